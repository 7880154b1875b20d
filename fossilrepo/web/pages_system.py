"""How the host is doing, and who did what.

Owns the system page (children, disk, checks, jobs) and the activity page. Shows
what was measured; judges nothing that the services did not.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from fossilrepo.web import render
from fossilrepo.web.visit import Route, Visit, Who

_ENTRIES, _MOST_ENTRIES = 100, 1000


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


async def activity(visit: Visit) -> web.StreamResponse:
    limit = max(1, visit.number("limit", _ENTRIES, _MOST_ENTRIES))
    subject, person = visit.query("subject").strip(), visit.query("person").strip()
    entries = await visit.services.audit.recent(subject=subject, actor=person, limit=limit)
    return render.page(
        visit,
        "activity.html",
        entries=entries,
        subject=subject,
        person=person,
        limit=limit,
        most=_MOST_ENTRIES,
    )


ROUTES = (
    Route("GET", "/system", Who.ADMIN, system),
    Route("GET", "/system/children", Who.ADMIN, children),
    Route("GET", "/activity", Who.ADMIN, activity),
)
