"""A repository's settings, and what is dangerous: rename, archive, delete, export.

Owns changing one repository from the site. Deleting needs its name typed.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from aiohttp import web

from fossilrepo.errors import FossilrepoError
from fossilrepo.web import forms, places, render
from fossilrepo.web.visit import Route, Visit, Who

_TEMPLATE = "repository_settings.html"
_PIECE = 2**18  # bytes of a file in memory at once


async def show(visit: Visit) -> web.StreamResponse:
    repository = await visit.services.repos.administered(visit.actor, visit.path("name"))
    known = await places.elsewhere(visit, repository)
    return render.page(visit, _TEMPLATE, repository=repository, at="settings", elsewhere=known)


async def configure(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    name = visit.path("name")
    try:
        await visit.services.repos.configure(
            visit.actor,
            name,
            title=form["title"],
            description=form["description"],
            visibility=form.visibility if form["visibility"] else None,
        )
    except FossilrepoError as error:
        return await _again(visit, error, form, "settings")
    return render.see(f"/repos/{name}/settings", "configured")


async def rename(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    try:
        after = await visit.services.repos.rename(visit.actor, visit.path("name"), form["name"])
    except FossilrepoError as error:
        return await _again(visit, error, form, "rename")
    return render.see(f"/repos/{after.name}", "renamed")


async def move(visit: Visit) -> web.StreamResponse:
    """To another organization."""
    form, name = await forms.fields(visit), visit.path("name")
    try:
        await visit.services.repos.configure(visit.actor, name, org=form["org"])
    except FossilrepoError as error:
        return await _again(visit, error, form, "move")
    return render.see(f"/repos/{name}/settings", "moved")


async def archive(visit: Visit) -> web.StreamResponse:
    name = visit.path("name")
    await visit.services.repos.archive(visit.actor, name)
    return render.see(f"/repos/{name}", "archived")


async def unarchive(visit: Visit) -> web.StreamResponse:
    name = visit.path("name")
    await visit.services.repos.unarchive(visit.actor, name)
    return render.see(f"/repos/{name}", "unarchived")


async def delete(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    name = visit.path("name")
    try:
        forms.confirmed(form, name)
        await visit.services.repos.delete(visit.actor, name)
    except FossilrepoError as error:
        return await _again(visit, error, form, "delete")
    return render.see("/repos/-/trash", "deleted")


async def export(visit: Visit) -> web.StreamResponse:
    name = visit.path("name")
    path = await visit.services.repos.export_scratch(visit.actor, name)
    return await send_file(visit.request, path, f"{name}.fossil")


async def send_file(request: web.Request, path: Path, filename: str) -> web.StreamResponse:
    """A scratch file as a download; it is gone when it was sent, or could not be.

    It is sent whole: the next request gets another copy, so a part of one fits no other part.
    """
    response = web.StreamResponse(
        headers={"Content-Disposition": f'attachment; filename="{filename}"'}
    )
    response.content_type = "application/x-sqlite3"
    try:
        with await asyncio.to_thread(path.open, "rb") as file:
            response.content_length = os.fstat(file.fileno()).st_size
            await response.prepare(request)
            while request.method != "HEAD" and (
                piece := await asyncio.to_thread(file.read, _PIECE)
            ):
                await response.write(piece)
        await response.write_eof()
    except ConnectionError:
        pass  # the reader left
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)
    return response


async def _again(
    visit: Visit, error: FossilrepoError, form: forms.Fields, at: str
) -> web.StreamResponse:
    """The page once more; `at` is the form that was sent."""
    repository = await visit.services.repos.get(visit.reader, visit.path("name"))
    known = await places.elsewhere(visit, repository)
    return render.again(
        visit, _TEMPLATE, error, form, repository=repository, at=at, elsewhere=known
    )


ROUTES = (
    Route("GET", "/repos/{name}/settings", Who.SIGNED_IN, show),
    Route("POST", "/repos/{name}/settings", Who.SIGNED_IN, configure),
    Route("POST", "/repos/{name}/rename", Who.SIGNED_IN, rename),
    Route("POST", "/repos/{name}/move", Who.SIGNED_IN, move),
    Route("POST", "/repos/{name}/archive", Who.SIGNED_IN, archive),
    Route("POST", "/repos/{name}/unarchive", Who.SIGNED_IN, unarchive),
    Route("POST", "/repos/{name}/delete", Who.SIGNED_IN, delete),
    Route("POST", "/repos/{name}/export", Who.SIGNED_IN, export),
)
