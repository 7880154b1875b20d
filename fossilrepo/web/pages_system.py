"""How the host is doing.

Owns the system page (children, disk, checks, jobs). Shows what was measured; judges
nothing that the services did not.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from fossilrepo.web import render
from fossilrepo.web.visit import Route, Visit, Who


async def system(visit: Visit) -> web.StreamResponse:
    health = visit.services.health
    status, checks, jobs = await asyncio.gather(
        health.status(), health.doctor(thorough=False), visit.services.jobs.recent(visit.actor, 10)
    )
    return render.page(
        visit,
        "system.html",
        host=status,
        children=health.children(),
        checks=checks,
        disk=health.disk(),
        data=visit.services.settings.data,
        jobs=jobs,
    )


async def children(visit: Visit) -> web.StreamResponse:
    """The part of the system page that renews itself."""
    if not visit.is_htmx:
        return render.see("/system")
    return render.page(visit, "piece_children.html", children=visit.services.health.children())


ROUTES = (
    Route("GET", "/system", Who.ADMIN, system),
    Route("GET", "/system/children", Who.ADMIN, children),
)
