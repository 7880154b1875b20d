"""The API: the same actions as the site and the command line, in JSON.

Owns its table of routes, with those of people and backups beside it; `openapi.json` is made
from that table, so neither can say what the other does not. Bodies are checked by their
models, everything else by the services.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiohttp import web

from fossilrepo.models import Repository
from fossilrepo.services.api_tokens import Scope
from fossilrepo.web import (
    api_access,
    api_account,
    api_audit,
    api_backups,
    api_bridge,
    api_exchange,
    api_insights,
    api_people,
    api_persons,
    auth,
    forms,
)
from fossilrepo.web import api_models as m
from fossilrepo.web.api_call import BASE, Call, job_answer
from fossilrepo.web.pages_job import find as find_job
from fossilrepo.web.pages_settings import send_file
from fossilrepo.web.visit import Visit, Who

_PER_PAGE, _MOST_PER_PAGE = 50, 500


# Repositories


async def search(visit: Visit, _body: None) -> object:
    found = await visit.services.repos.search(
        visit.reader,
        visit.query("q"),
        sort=visit.query("sort", "name"),
        offset=visit.number("offset", 0, 1_000_000),
        limit=max(1, visit.number("limit", _PER_PAGE, _MOST_PER_PAGE)),
    )
    mirrors = await visit.services.mirrors.described(visit.actor)
    shown = [
        _repository(visit, repository) | {"mirrors": mirrors.get(repository.id, [])}
        for repository in found.repositories
    ]
    return {"repositories": shown, "total": found.total}


async def create(visit: Visit, body: m.NewRepository) -> object:
    made = await visit.services.repos.create(
        visit.actor,
        body.name,
        title=body.title,
        description=body.description,
        org=body.org,
        visibility=body.visibility,
    )
    return _repository(visit, made)


async def show(visit: Visit, _body: None) -> object:
    name = visit.path("name")
    repository = await visit.services.repos.get(visit.reader, name)
    mirrors = await visit.services.mirrors.described(visit.actor, name)
    return _repository(visit, repository) | {"mirrors": mirrors.get(repository.id, [])}


async def configure(visit: Visit, body: m.Changes) -> object:
    """Who may see it is about people: as for a grant, a token for repositories is too little."""
    if body.visibility is not None or body.org is not None:
        auth.require_covered(visit, Scope.ADMIN)
    after = await visit.services.repos.configure(
        visit.actor,
        visit.path("name"),
        title=body.title,
        description=body.description,
        visibility=body.visibility,
        org=body.org,
    )
    return _repository(visit, after)


async def rename(visit: Visit, body: m.NewName) -> object:
    after = await visit.services.repos.rename(visit.actor, visit.path("name"), body.name)
    return _repository(visit, after)


async def archive(visit: Visit, _body: None) -> object:
    return _repository(visit, await visit.services.repos.archive(visit.actor, visit.path("name")))


async def unarchive(visit: Visit, _body: None) -> object:
    after = await visit.services.repos.unarchive(visit.actor, visit.path("name"))
    return _repository(visit, after)


async def delete(visit: Visit, _body: None) -> object:
    return _repository(visit, await visit.services.repos.delete(visit.actor, visit.path("name")))


async def export(visit: Visit, _body: None) -> object:
    name = visit.path("name")
    path = await visit.services.repos.export_scratch(visit.actor, name)
    return await send_file(visit.request, path, f"{name}.fossil")


async def sync_password(visit: Visit, _body: None) -> object:
    repository = await visit.services.repos.get(visit.reader, visit.path("name"))
    login = visit.actor.login
    password = await visit.services.opening.password(visit.actor, login, repository)
    return {"login": login, "password": password}


# Imports and jobs


async def start_import(visit: Visit, body: m.NewImport) -> object:
    imports = visit.services.imports
    if body.clone:
        job = await imports.clone(
            visit.actor,
            body.name,
            body.clone,
            login=body.login,
            follow=body.follow,
            password=body.password.get_secret_value(),
            title=body.title,
            visibility=body.visibility,
            org=body.org,
        )
    else:
        job = await imports.git(
            visit.actor,
            body.name,
            body.git or "",
            token=body.token.get_secret_value(),
            title=body.title,
            visibility=body.visibility,
            org=body.org,
        )
    return job_answer(visit, job)


async def upload(visit: Visit, _body: None) -> object:
    job = await visit.services.imports.upload(
        visit.actor,
        visit.path("name"),
        forms.body_pieces(visit.request),
        visit.request.content_length,
        title=visit.query("title"),
        visibility=forms.visibility(visit.query("visibility")),
        org=visit.query("org"),
    )
    return job_answer(visit, job)


async def jobs(visit: Visit, _body: None) -> object:
    found = await visit.services.jobs.recent(visit.actor)
    return {"jobs": [job_answer(visit, job) for job in found]}


async def job(visit: Visit, _body: None) -> object:
    return job_answer(visit, await find_job(visit))


# The trash


async def trash(visit: Visit, _body: None) -> object:
    found = await visit.services.repos.trash(visit.actor)
    return {"repositories": [_repository(visit, repository) for repository in found]}


async def restore(visit: Visit, body: m.BackAs) -> object:
    after = await visit.services.repos.undelete(visit.actor, visit.path("id"), body.name)
    return _repository(visit, after)


async def purge(visit: Visit, _body: None) -> object:
    await visit.services.repos.purge(visit.actor, visit.path("id"))
    return None


# The host


async def status(visit: Visit, _body: None) -> object:
    return await visit.services.health.status()


async def doctor(visit: Visit, _body: None) -> object:
    return {"checks": [asdict(check) for check in await visit.services.health.doctor()]}


async def description(_visit: Visit, _body: None) -> object:
    from fossilrepo.web import openapi  # costs memory, and few ask for it

    return web.json_response(openapi.document(CALLS, BASE))


def _repository(visit: Visit, repository: Repository) -> dict[str, Any]:
    return visit.services.repos.describe(repository)


_ALL, _ONE = "/repositories", "/repositories/{name}"
_REPOSITORY, _PAGE = m.RepositoryAnswer, ("q", "sort", "offset", "limit")
_IN, _ADMIN = Who.SIGNED_IN, Who.ADMIN
CALLS = (
    Call("GET", _ALL, _IN, search, "List", answer=m.Repositories, query=_PAGE),
    Call("POST", _ALL, _IN, create, "Create", m.NewRepository, _REPOSITORY, 201),
    Call("GET", _ONE, _IN, show, "One repository", answer=_REPOSITORY),
    Call("PATCH", _ONE, _IN, configure, "Change settings", m.Changes, _REPOSITORY),
    Call("DELETE", _ONE, _IN, delete, "To the trash", answer=_REPOSITORY),
    Call("POST", _ONE + "/rename", _IN, rename, "Rename", m.NewName, _REPOSITORY),
    Call("POST", _ONE + "/archive", _IN, archive, "Archive", answer=_REPOSITORY),
    Call("POST", _ONE + "/unarchive", _IN, unarchive, "Unarchive", answer=_REPOSITORY),
    Call("GET", _ONE + "/export", _IN, export, "A consistent copy", raw=True),
    Call(
        "GET",
        _ONE + "/sync-password",
        _IN,
        sync_password,
        "Your Fossil password there",
        answer=m.SyncPassword,
    ),
    Call(
        "POST",
        "/imports",
        _IN,
        start_import,
        "Clone, or import Git",
        m.NewImport,
        m.JobAnswer,
        202,
    ),
    Call(
        "PUT",
        "/imports/{name}",
        _IN,
        upload,
        "Import the .fossil file in the body",
        answer=m.JobAnswer,
        status=202,
        query=("title", "visibility", "org"),
        raw=True,
    ),
    Call("GET", "/jobs", _IN, jobs, "The last jobs", answer=m.JobsAnswer),
    Call("GET", "/jobs/{id}", _IN, job, "One job", answer=m.JobAnswer),
    Call("GET", "/trash", _IN, trash, "What was deleted", answer=m.Trash),
    Call("POST", "/trash/{id}/restore", _IN, restore, "Bring back", m.BackAs, _REPOSITORY),
    Call("DELETE", "/trash/{id}", _IN, purge, "Delete for ever", status=204),
    Call("GET", "/status", _ADMIN, status, "How the host is doing", answer=m.Status),
    Call("GET", "/doctor", _ADMIN, doctor, "Every check, which takes seconds", answer=m.Doctor),
    *api_persons.CALLS,
    *api_access.CALLS,
    *api_people.CALLS,
    *api_account.CALLS,
    *api_audit.CALLS,
    *api_backups.CALLS,
    *api_bridge.CALLS,
    *api_exchange.CALLS,
    *api_insights.CALLS,
    Call(
        "GET",
        "/openapi.json",
        Who.PUBLIC,
        description,
        "This description",
        raw=True,
        gives=("application/json",),
    ),
)
ROUTES = tuple(call.route() for call in CALLS)
