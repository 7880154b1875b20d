"""A repository's history in numbers: when, who, where, what.

Owns the page. Everything on it was read before; the repository itself is not opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from aiohttp import web

from fossilrepo.insight import KIND_WORDS, Kept, Tickets
from fossilrepo.models import now
from fossilrepo.services.insights import contributors
from fossilrepo.web import charts, render
from fossilrepo.web.visit import Route, Visit, Who
from fossilrepo.wording import size

_CONTRIBUTORS, _BRANCHES, _LANGUAGES = 25, 25, 12


async def show(visit: Visit) -> web.StreamResponse:
    repository = await visit.services.repos.get(visit.reader, visit.path("name"))
    kept = await visit.services.insights.of(repository)
    known: dict[str, Any] = {"repository": repository, "kept": kept, "kinds": KIND_WORDS}
    if kept is not None:
        known |= _pictures(kept, now().date())
    url = visit.services.links.repo_url(repository.label)
    return render.page(visit, "repository_insights.html", url=url, **known)


def _pictures(kept: Kept, today: date) -> dict[str, Any]:
    people = contributors(kept)
    checkins = {day: kinds.get("ci", 0) for day, kinds in kept.days.items()}
    return {
        "calendar": charts.calendar(checkins, today, "check-in"),
        "weeks": charts.bars(
            charts.by_week(checkins, today),
            "Check-ins in each of the last 26 weeks",
            heads=("Week from", "Check-ins"),
            every=4,
        ),
        "hours": charts.week(kept.hours, "Check-ins by day of the week and hour, in UTC"),
        "tickets": _tickets(kept.tickets, today),
        "growth": _growth(kept.sizes),
        "pushes": charts.bars(
            charts.by_week(kept.pushes, today),
            "Pushes in each of the last 26 weeks",
            heads=("Week from", "Pushes"),
            every=4,
            height=60,
        )
        if kept.pushes
        else None,
        "people": people[:_CONTRIBUTORS],
        "more_people": max(0, len(people) - _CONTRIBUTORS),
        "branches": kept.branches[:_BRANCHES],
        "more_branches": max(0, len(kept.branches) - _BRANCHES),
        "languages": _languages(kept.languages),
    }


def _tickets(tickets: Tickets, today: date) -> charts.Chart | None:
    if not tickets.opened_on:
        return None
    values = charts.running((tickets.opened_on, tickets.closed_on), (1, -1), today)
    return charts.line(
        values, "Open tickets in the last 26 weeks", heads=("Week from", "Open"), height=60
    )


def _growth(sizes: Mapping[int, int]) -> charts.Chart | None:
    if len(sizes) < 2:
        return None
    values = [(f"{date.fromordinal(day):%d %b}", float(count)) for day, count in sizes.items()]
    return charts.line(
        values, "Size of the file", heads=("Day", "Size"), height=60, told=lambda v: size(int(v))
    )


def _languages(found: Mapping[str, tuple[int, int]]) -> list[dict[str, Any]]:
    """By their bytes, largest first, with their part of the whole in percent."""
    total = sum(count for _, count in found.values()) or 1
    ordered = sorted(found.items(), key=lambda one: (-one[1][1], one[0]))
    shown = [
        {"name": ending or "no ending", "files": files, "size": count, "part": count * 100 / total}
        for ending, (files, count) in ordered[:_LANGUAGES]
    ]
    rest = ordered[_LANGUAGES:]
    if rest:
        files, count = sum(f for _, (f, _) in rest), sum(c for _, (_, c) in rest)
        part = count * 100 / total
        shown.append({"name": "others", "files": files, "size": count, "part": part})
    return shown


ROUTES = (Route("GET", "/repos/{name}/insights", Who.SIGNED_IN, show),)
