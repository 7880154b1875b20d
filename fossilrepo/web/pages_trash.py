"""The trash: bring back, or delete for ever.

Owns two actions. What is purged needs its name typed; nothing else here destroys.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fossilrepo.errors import FossilrepoError, NotFound
from fossilrepo.models import Repository
from fossilrepo.web import forms, render
from fossilrepo.web.visit import Route, Visit, Who

_WHERE = "/repos/-/trash"


async def listing(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "trash.html", trashed=await visit.services.repos.trash(visit.actor))


async def show(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "trash_one.html", **await _one(visit))


async def restore(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    found = await _one(visit)
    try:
        repository = await visit.services.repos.undelete(
            visit.actor, visit.path("id"), form["name"] or None
        )
    except FossilrepoError as error:
        return render.again(visit, "trash_one.html", error, form, **found)
    return render.see(f"/repos/{repository.name}", "restored")


async def purge(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    found = await _one(visit)
    try:
        forms.confirmed(form, found["repository"].label)
        await visit.services.repos.purge(visit.actor, visit.path("id"))
    except FossilrepoError as error:
        return render.again(visit, "trash_one.html", error, form, **found)
    return render.see(_WHERE, "purged")


async def _one(visit: Visit) -> dict[str, Any]:
    wanted = visit.path("id")
    found: list[Repository] = await visit.services.repos.trash(visit.actor)
    for repository in found:
        if repository.id == wanted:
            keep = visit.services.retention.keeps_for.total_seconds()
            return {"repository": repository, "keep": keep}
    raise NotFound("this is not in the trash", hint="it may have been brought back already")


ROUTES = (
    Route("GET", _WHERE, Who.SIGNED_IN, listing),
    Route("GET", _WHERE + "/{id}", Who.SIGNED_IN, show),
    Route("POST", _WHERE + "/{id}/restore", Who.SIGNED_IN, restore),
    Route("POST", _WHERE + "/{id}/purge", Who.SIGNED_IN, purge),
)
