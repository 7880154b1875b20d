"""Search over all that the visitor may read, and the quick switcher.

Owns what is searched and in which order it is shown: repositories, people, what was done in
repositories; in the switcher also the pages that one can go to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from fossilrepo.models import User
from fossilrepo.services.insights import words_of
from fossilrepo.web import places, render
from fossilrepo.web.visit import Route, Visit, Who

_REPOSITORIES, _PEOPLE, _EVENTS = 10, 10, 40
_QUICK = 6


@dataclass(frozen=True, slots=True)
class Goal:
    """Somewhere to go: what it is, its name, and what else helps to know it."""

    what: str
    name: str
    path: str
    more: str = ""


async def page(visit: Visit) -> web.StreamResponse:
    words = visit.query("q")[:200].strip()
    known: dict[str, Any] = {"words": words, "repositories": [], "people": [], "events": []}
    if words:
        found = await visit.services.repos.search(visit.reader, words, limit=_REPOSITORIES)
        known |= {
            "repositories": found.repositories,
            "people": await _people(visit, words, _PEOPLE),
            "events": await visit.services.insights.search(visit.reader, words, limit=_EVENTS),
        }
    return render.page(visit, "search.html", **known)


async def quick(visit: Visit) -> web.StreamResponse:
    """The list of the switcher; a page of its own without it."""
    words = visit.query("q")[:100].strip()
    if not visit.is_htmx:
        return render.see("/search?" + urlencode({"q": words}))
    found = await visit.services.repos.search(visit.reader, words, sort="change", limit=_QUICK)
    goals = [
        Goal("Repository", one.label, f"/repos/{one.name}", one.title if one.title else "")
        for one in found.repositories
    ]
    goals += [
        Goal("Person", one.login, f"/people/{one.login}", one.name)
        for one in await _people(visit, words, 3)
        if words
    ]
    lower = words.lower()
    goals += [one for one in await _pages(visit) if lower in f"{one.what} {one.name}".lower()]
    if words_of(words):
        path = "/search?" + urlencode({"q": words})
        goals.append(Goal("Search", f"“{words}” in everything", path))
    return render.page(visit, "piece_goals.html", goals=goals)


async def _people(visit: Visit, words: str, most: int) -> list[User]:
    """By login, name or address; for who runs the site."""
    if not visit.actor.is_admin:
        return []
    wanted = words.lower().split()
    return [
        one
        for one in await visit.services.accounts.users()
        if all(word in f"{one.login} {one.name} {one.email}".lower() for word in wanted)
    ][:most]


async def _pages(visit: Visit) -> list[Goal]:
    goals = [
        Goal("Page", "Overview", "/"),
        Goal("Page", "Repositories", "/repos"),
        Goal("Page", "Activity", "/activity"),
        Goal("Page", "Mirrors", "/mirrors"),
        Goal("Page", "My account", "/account"),
    ]
    if await places.may_create(visit):
        goals += [
            Goal("Do", "New repository", "/repos/-/new"),
            Goal("Do", "Import a repository", "/repos/-/import"),
        ]
    if visit.actor.is_admin:
        goals += [
            Goal("Do", "Invite somebody", "/people/-/invite"),
            Goal("Page", "Backups", "/backups"),
            Goal("Page", "People", "/people"),
            Goal("Page", "Organizations", "/orgs"),
            Goal("Page", "Audit log", "/audit"),
            Goal("Page", "System", "/system"),
        ]
    return goals


ROUTES = (
    Route("GET", "/search", Who.SIGNED_IN, page),
    Route("GET", "/search/quick", Who.SIGNED_IN, quick),
)
