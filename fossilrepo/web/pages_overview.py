"""The first page: what needs attention, what happens in the repositories, how the host is doing.

Owns what is on it and in what order. Everything comes from what is kept or in memory: no
repository is opened, so it costs the same with ten or a thousand of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from aiohttp import web

from fossilrepo.insight import Asked
from fossilrepo.models import now
from fossilrepo.services.insights import Storage
from fossilrepo.web import charts, render
from fossilrepo.web.visit import Route, Visit, Who
from fossilrepo.wording import size

_EVENTS = 12
_FULL_SOON = 30  # days
_SHOWN = ("ci", "w", "t", "e", "f")


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that needs somebody's attention, and where it is looked into."""

    tone: str
    title: str
    text: str
    path: str


@dataclass(frozen=True, slots=True)
class Step:
    """One of the first things to do on a new host."""

    done: bool
    title: str
    text: str
    path: str
    optional: bool = False


async def overview(visit: Visit) -> web.StreamResponse:
    if visit.user is None:
        return render.see("/login")
    number = visit.services.insights.pulse.number  # before anything is read
    return render.page(visit, "overview.html", number=number, **await known(visit))


async def piece(visit: Visit) -> web.StreamResponse:
    """The part of the page that moves."""
    if not visit.is_htmx:
        return render.see("/")
    return render.page(visit, "piece_overview.html", **await known(visit))


async def known(visit: Visit) -> dict[str, Any]:
    """What the page shows to this visitor."""
    today = now().date()
    days, events = await asyncio.gather(
        year(visit), visit.services.insights.events(visit.reader, Asked(kinds=_SHOWN), _EVENTS)
    )
    told: dict[str, Any] = {
        "calendar": calendar(days),
        "events": events,
        "week": _sums(days, today.toordinal() - 6),
        "last_week": _sums(days, today.toordinal() - 13, today.toordinal() - 7),
    }
    if visit.user is not None and visit.user.is_admin:
        told |= await _host(visit)
    return told


async def year(visit: Visit, org: str = "") -> dict[int, dict[str, int]]:
    """Day to kind to number of events, in all that the visitor may read or one organization."""
    since = now().date().toordinal() - 7 * charts.WEEKS
    return await visit.services.insights.days(visit.reader, since, org=org)


def calendar(days: Mapping[int, Mapping[str, int]]) -> charts.Chart:
    return charts.calendar(_totals(days), now().date(), "event")


def _totals(days: Mapping[int, Mapping[str, int]]) -> dict[int, int]:
    return {
        day: sum(count for kind, count in by_kind.items() if kind in _SHOWN)
        for day, by_kind in days.items()
    }


def _sums(days: Mapping[int, Mapping[str, int]], first: int, last: int = 10**7) -> dict[str, int]:
    """By kind, from the first of these days to the last."""
    found = dict.fromkeys(_SHOWN, 0)
    for day, by_kind in days.items():
        if first <= day <= last:
            for kind, count in by_kind.items():
                if kind in found:
                    found[kind] += count
    return found


async def _host(visit: Visit) -> dict[str, Any]:
    services = visit.services
    status, storage, jobs, troubles = await asyncio.gather(
        services.health.status(),
        services.insights.storage(),
        services.jobs.recent(visit.actor, 5),
        services.alerts.look(),
    )
    concerns = [Concern("bad", one.title, one.text, one.path) for one in troubles]
    concerns += [
        Concern("bad", f"{one.label}: its history cannot be read", one.why, f"/repos/{one.label}")
        for one in services.insights.unread()
    ]
    concerns += _storage_concerns(storage)
    children = services.health.children()
    usage = await asyncio.to_thread(services.health.usage)
    return {
        "host": status,
        "concerns": concerns,
        "children": children,
        "usage": usage,
        "disk": services.health.disk(),
        "storage": storage,
        "growth": _growth(storage),
        "jobs": jobs,
        "mirrors": Counter(await services.mirrors.states()),
        "steps": await _first_steps(visit, status["repositories"]),
    }


def _storage_concerns(storage: Storage) -> list[Concern]:
    if storage.full_in is None or storage.full_in > _FULL_SOON:
        return []
    text = "As it went in the last days; free some space, or move to a larger disk."
    return [Concern("warn", f"The disk is full in {storage.full_in} days", text, "/system")]


def _growth(storage: Storage) -> charts.Chart | None:
    if len(storage.days) < 2:
        return None
    values = [
        (f"{date.fromordinal(one.day):%d %b}", float(one.repositories)) for one in storage.days
    ]
    return charts.line(
        values,
        "Size of all repositories",
        heads=("Day", "Size"),
        height=60,
        told=lambda value: size(int(value)),
    )


async def _first_steps(visit: Visit, repositories: int) -> list[Step]:
    """What to do first on a new host; none once all is done."""
    services = visit.services
    events = await services.insights.events(visit.reader, Asked(kinds=("ci",)), 30)
    pushed = any(one.text != "initial empty check-in" for one in events)
    people = len(await services.accounts.users())
    steps = [
        Step(repositories > 0, "Make the first repository", "or import one", "/repos/-/new"),
        Step(
            pushed,
            "Clone it and commit something",
            "its page has the command",
            "/repos",
        ),
        Step(
            services.replication.place != "this disk",
            "Keep the backups somewhere else",
            "another disk or a bucket; now they are lost with this one",
            "/backups",
        ),
        Step(
            services.alerts.configured,
            "Be told when something breaks",
            "alerts.urls in the configuration: mail, ntfy and many others",
            "/system#h-checks",
        ),
        Step(
            await asyncio.to_thread(services.checkup.has_copy_of_key),
            "Keep a copy of the secret key",
            "it is in no backup; `fossilrepo key confirm COPY` remembers that there is one",
            "/system#h-checks",
        ),
        Step(
            people > 1,
            "Invite somebody",
            "or stay alone: nobody minds",
            "/people/-/invite",
            optional=True,
        ),
    ]
    return [] if all(one.done or one.optional for one in steps) else steps


ROUTES = (
    Route("GET", "/", Who.PUBLIC, overview),
    Route("GET", "/overview", Who.SIGNED_IN, piece),
)
