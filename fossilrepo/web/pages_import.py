"""Importing: a file as it arrives, a Fossil on the network, a Git repository.

Owns the three forms. Each ends in a job, whose page shows how far it is.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fossilrepo.errors import Forbidden, FossilrepoError, InvalidInput
from fossilrepo.models import Job
from fossilrepo.web import forms, places, render
from fossilrepo.web.visit import Route, Visit, Who

WAYS = ("file", "clone", "git")


async def choose(visit: Visit) -> web.StreamResponse:
    way = visit.query("way") if visit.query("way") in WAYS else "file"
    return render.page(visit, "repository_import.html", way=way, **await places.offered(visit))


async def from_file(visit: Visit) -> web.StreamResponse:
    known = await places.offered(visit)
    upload = None
    try:
        upload = await forms.upload(visit)
        form = upload.fields
        job = await visit.services.imports.upload(
            visit.actor,
            form["name"],
            upload.chunks,
            upload.length,
            title=form["title"],
            visibility=form.visibility,
            org=places.chosen(form, known),
        )
    except Forbidden:
        raise
    except FossilrepoError as error:
        return _again(visit, error, upload.fields if upload else forms.Fields({}), known, "file")
    return _to(job)


async def from_fossil(visit: Visit) -> web.StreamResponse:
    form, known = await forms.fields(visit), await places.offered(visit)
    try:
        job = await visit.services.imports.clone(
            visit.actor,
            form["name"],
            _address(form),
            login=form["login"],
            follow=bool(form["follow"]),
            password=form.raw("password"),
            title=form["title"],
            visibility=form.visibility,
            org=places.chosen(form, known),
        )
    except FossilrepoError as error:
        return _again(visit, error, form, known, "clone")
    return _to(job)


async def from_git(visit: Visit) -> web.StreamResponse:
    form, known = await forms.fields(visit), await places.offered(visit)
    try:
        job = await visit.services.imports.git(
            visit.actor,
            form["name"],
            _address(form),
            token=form.raw("token"),
            title=form["title"],
            visibility=form.visibility,
            org=places.chosen(form, known),
        )
    except FossilrepoError as error:
        return _again(visit, error, form, known, "git")
    return _to(job)


def _address(form: forms.Fields) -> str:
    if not form["url"]:
        raise InvalidInput("there is no address", hint="begin it with https://", field="url")
    return form["url"]


def _again(
    visit: Visit, error: FossilrepoError, form: forms.Fields, known: dict[str, Any], way: str
) -> web.StreamResponse:
    return render.again(visit, "repository_import.html", error, form, way=way, **known)


def _to(job: Job) -> web.StreamResponse:
    return render.see(f"/jobs/{job.id}")


ROUTES = (
    Route("GET", "/repos/-/import", Who.SIGNED_IN, choose),
    Route("POST", "/repos/-/import/file", Who.SIGNED_IN, from_file, reads_upload=True),
    Route("POST", "/repos/-/import/clone", Who.SIGNED_IN, from_fossil),
    Route("POST", "/repos/-/import/git", Who.SIGNED_IN, from_git),
)
