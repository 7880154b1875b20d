"""People: who has an account, and what an administrator does for them.

Owns the list, a person's page, and creating, disabling and passwords of others.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fossilrepo.errors import FossilrepoError
from fossilrepo.web import forms, render
from fossilrepo.web.visit import Route, Visit, Who


async def listing(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "people.html", people=await visit.services.accounts.users())


async def create(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    accounts = visit.services.accounts
    try:
        person = await accounts.create_user(
            visit.actor,
            form["login"].lower(),
            name=form["name"],
            email=form["email"],
            is_admin=form["admin"] == "yes",
            password=forms.new_password(form),
        )
    except FossilrepoError as error:
        return render.again(visit, "people.html", error, form, people=await accounts.users())
    return render.see(f"/people/{person.login}", "person-created")


async def show(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "person.html", **await _known(visit))


async def set_password(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    login = visit.path("login")
    try:
        await visit.services.accounts.set_password(visit.actor, login, forms.new_password(form))
    except FossilrepoError as error:
        return render.again(visit, "person.html", error, form, **await _known(visit))
    return render.see(f"/people/{login}", "password-set")


async def disable(visit: Visit) -> web.StreamResponse:
    return await _switch(visit, disabled=True)


async def enable(visit: Visit) -> web.StreamResponse:
    return await _switch(visit, disabled=False)


async def _switch(visit: Visit, *, disabled: bool) -> web.StreamResponse:
    login = visit.path("login")
    await visit.services.accounts.set_disabled(visit.actor, login, disabled)
    return render.see(f"/people/{login}", "person-disabled" if disabled else "person-enabled")


async def rotate(visit: Visit) -> web.StreamResponse:
    login = visit.path("login")
    await visit.services.accounts.rotate(visit.actor, login)
    return render.see(f"/people/{login}", "rotated")


async def _known(visit: Visit) -> dict[str, Any]:
    login = visit.path("login")
    return {
        "person": await visit.services.accounts.user(login),
        "entries": await visit.services.audit.recent(actor=login, limit=10),
    }


ROUTES = (
    Route("GET", "/people", Who.ADMIN, listing),
    Route("POST", "/people", Who.ADMIN, create),
    Route("GET", "/people/{login}", Who.ADMIN, show),
    Route("POST", "/people/{login}/password", Who.ADMIN, set_password),
    Route("POST", "/people/{login}/disable", Who.ADMIN, disable),
    Route("POST", "/people/{login}/enable", Who.ADMIN, enable),
    Route("POST", "/people/{login}/rotate", Who.ADMIN, rotate),
)
