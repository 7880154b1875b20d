"""Who can do what in a repository, and why; where a person can go; users found in files.

Owns the pages of access: grants on one repository, its native users, keys of machines, and
the setup right for a quarter of an hour.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fossilrepo.errors import FossilrepoError
from fossilrepo.models import now
from fossilrepo.rights import Role, role_of
from fossilrepo.web import forms, places, render
from fossilrepo.web.visit import Route, Visit, Who

_ONE = "/repos/{name}/access"


async def show(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "repository_access.html", **await _known(visit))


async def _known(visit: Visit) -> dict[str, Any]:
    report = await visit.services.grants.access(visit.actor, visit.path("name"))
    directory = await visit.services.access.directory()
    org = directory.organizations.get(report.repository.org)
    teams = [t.name for t in directory.teams.values() if org and t.org_id == org.id]
    at = now()
    return {
        "report": report,
        "repository": report.repository,
        "teams": sorted(teams),
        "sees_org": await places.sees(visit, report.repository),
        "roles": list(Role),
        "at": "",
        "shown": None,
        "minutes": {
            login: max(1, round((until - at).total_seconds() / 60))
            for login, until in report.elevated
        },
    }


async def _again(
    visit: Visit, error: FossilrepoError, form: forms.Fields, at: str
) -> web.StreamResponse:
    known = await _known(visit) | {"at": at}
    return render.again(visit, "repository_access.html", error, form, **known)


def _done(visit: Visit, notice: str) -> web.StreamResponse:
    return render.see(_ONE.format(name=visit.path("name")), notice)


# Grants


async def grant(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    try:
        await visit.services.grants.grant(
            visit.actor,
            role_of(form["role"]),
            repository=visit.path("name"),
            **forms.holder(form),
        )
    except FossilrepoError as error:
        return await _again(visit, error, form, "grant")
    return _done(visit, "granted")


async def revoke(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    try:
        await visit.services.grants.revoke(
            visit.actor, repository=visit.path("name"), **forms.holder(form)
        )
    except FossilrepoError as error:
        return await _again(visit, error, form, "grant")
    return _done(visit, "revoked")


# Native users, keys, the setup right


async def adopt(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    try:
        await visit.services.natives.adopt(
            visit.actor, visit.path("name"), form["native"], form["person"].lower()
        )
    except FossilrepoError as error:
        return await _again(visit, error, form, "native")
    return _done(visit, "adopted")


async def new_key(visit: Visit) -> web.StreamResponse:
    form, name = await forms.fields(visit), visit.path("name")
    try:
        key, password = await visit.services.access_keys.create(
            visit.actor,
            name,
            role_of(form["role"]),
            label=form["label"],
            days=forms.days(form),
        )
    except FossilrepoError as error:
        return await _again(visit, error, form, "key")
    known = await _known(visit) | {"shown": (key.login, password)}
    return render.page(visit, "repository_access.html", **known)


async def key_password(visit: Visit) -> web.StreamResponse:
    """A POST: looking at it is written into the audit log."""
    form, name = await forms.fields(visit), visit.path("name")
    try:
        password = await visit.services.access_keys.reveal(visit.actor, name, form["key"])
    except FossilrepoError as error:
        return await _again(visit, error, form, "key")
    known = await _known(visit)
    login = next((k.login for k in known["report"].keys if k.id == form["key"]), form["key"])
    return render.page(visit, "repository_access.html", **(known | {"shown": (login, password)}))


async def end_key(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    try:
        await visit.services.access_keys.revoke(visit.actor, visit.path("name"), form["key"])
    except FossilrepoError as error:
        return await _again(visit, error, form, "key")
    return _done(visit, "key-ended")


async def elevate(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    try:
        await visit.services.elevation.elevate(visit.actor, visit.path("name"))
    except FossilrepoError as error:
        return await _again(visit, error, form, "elevation")
    return _done(visit, "elevated")


async def end_elevation(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    try:
        await visit.services.elevation.end(visit.actor, visit.path("name"), form["login"])
    except FossilrepoError as error:
        return await _again(visit, error, form, "elevation")
    return _done(visit, "elevation-ended")


# From the person's end


async def where(visit: Visit) -> web.StreamResponse:
    person = await visit.services.accounts.user(visit.path("login"))
    found = await visit.services.grants.where(visit.actor, person.login)
    return render.page(visit, "person_where.html", person=person, found=found)


async def own_where(visit: Visit) -> web.StreamResponse:
    """Where the visitor can go, and why."""
    found = await visit.services.grants.where(visit.actor, visit.actor.login)
    return render.page(visit, "person_where.html", person=visit.user, found=found)


# All native users at once: "you are joe here"


async def natives(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "natives.html", **await _natives(visit))


async def _natives(visit: Visit) -> dict[str, Any]:
    found = await visit.services.natives.everywhere(visit.actor)
    people = [user.login for user in await visit.services.accounts.users() if not user.disabled]
    return {"found": found, "people": people}


async def adopt_everywhere(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    try:
        await visit.services.natives.adopt(
            visit.actor, None, form["native"], form["person"].lower()
        )
    except FossilrepoError as error:
        return render.again(visit, "natives.html", error, form, **await _natives(visit))
    return render.see("/people/-/natives", "adopted")


_IN, _ADMIN = Who.SIGNED_IN, Who.ADMIN
ROUTES = (
    Route("GET", _ONE, _IN, show),
    Route("POST", _ONE + "/grant", _IN, grant),
    Route("POST", _ONE + "/revoke", _IN, revoke),
    Route("POST", _ONE + "/adopt", _IN, adopt),
    Route("POST", _ONE + "/keys", _IN, new_key),
    Route("POST", _ONE + "/keys/password", _IN, key_password),
    Route("POST", _ONE + "/keys/end", _IN, end_key),
    Route("POST", _ONE + "/elevate", _ADMIN, elevate),
    Route("POST", _ONE + "/elevate/end", _ADMIN, end_elevation),
    Route("GET", "/people/{login}/where", _ADMIN, where),
    Route("GET", "/account/where", _IN, own_where),
    Route("GET", "/people/-/natives", _ADMIN, natives),
    Route("POST", "/people/-/natives", _ADMIN, adopt_everywhere),
)
