"""How the host is doing.

Owns the system page (children, disk, checks, jobs). Shows what was measured; judges
nothing that the services did not.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from fossilrepo.config import masked
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
        slow=health.timings.slow(),
        slow_from=visit.services.settings.log.slow,
        usage=await asyncio.to_thread(health.usage),
        certificates=await asyncio.to_thread(visit.services.certificates.standing),
        configuration=_sections(masked(visit.services.settings)),
    )


def _sections(shown: dict[str, Any]) -> dict[str, Any]:
    """Key to value by section, those outside of one first; secrets are masked already."""
    plain = {key: value for key, value in shown.items() if not isinstance(value, dict)}
    return {"": plain} | {key: value for key, value in shown.items() if isinstance(value, dict)}


async def children(visit: Visit) -> web.StreamResponse:
    """The part of the system page that renews itself."""
    if not visit.is_htmx:
        return render.see("/system")
    health = visit.services.health
    usage = await asyncio.to_thread(health.usage)
    return render.page(visit, "piece_children.html", children=health.children(), usage=usage)


ROUTES = (
    Route("GET", "/system", Who.ADMIN, system),
    Route("GET", "/system/children", Who.ADMIN, children),
)
