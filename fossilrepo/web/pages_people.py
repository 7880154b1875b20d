"""People: who has an account, who is invited, and what an administrator does for them.

Owns the list, the ways to somebody new, and a person's page. A link that is good once is on
the page that answers, and on no other.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fossilrepo.errors import FossilrepoError, InvalidInput
from fossilrepo.insight import Asked
from fossilrepo.models import User
from fossilrepo.services.people_import import MOST_BYTES
from fossilrepo.web import forms, render
from fossilrepo.web.visit import Route, Visit, Who

SEARCH_FROM = 12  # people, from which on there is a field to search them


async def listing(visit: Visit) -> web.StreamResponse:
    everybody = await visit.services.accounts.users()
    wanted = visit.query("q").strip().lower()
    shown = [
        user
        for user in everybody
        if not wanted or any(wanted in text.lower() for text in (user.login, user.name, user.email))
    ]
    return render.page(
        visit,
        "people.html",
        people=shown,
        q=visit.query("q").strip(),
        searchable=len(everybody) >= SEARCH_FROM,
        invitations=await visit.services.invitations.list(visit.actor),
    )


# Somebody new


async def new(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "people_new.html")


async def create(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    try:
        person = await visit.services.accounts.create_user(
            visit.actor,
            form["login"].lower(),
            name=form["name"],
            email=form["email"],
            is_admin=form["admin"] == "yes",
            password=forms.new_password(form),
        )
    except FossilrepoError as error:
        return render.again(visit, "people_new.html", error, form)
    return await _to_named(visit, person.login, "person-created")


async def _to_named(visit: Visit, login: str, notice: str) -> web.StreamResponse:
    """To the page of who has a new login; with a warning where a native user has it too."""
    collides = await visit.services.people.collisions(visit.actor, login)
    return render.see(f"/people/{login}" + ("?natives=1" if collides else ""), notice)


async def invite_page(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "people_invite.html", **await _organizations(visit))


async def invite(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    try:
        made = await visit.services.invitations.invite(
            visit.actor,
            login=form["login"].lower(),
            name=form["name"],
            email=form["email"],
            org=form["org"],
            org_role="owner" if form["owner"] == "yes" else "member",
            teams=form["teams"].replace(",", " ").split(),
            days=_days(form["days"]),
        )
    except FossilrepoError as error:
        known = await _organizations(visit)
        return render.again(visit, "people_invite.html", error, form, **known)
    return render.page(visit, "people_link.html", made=made, email=form["email"], login="")


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput("write a number of days", field="days")
    return int(text[:6])


async def _organizations(visit: Visit) -> dict[str, Any]:
    directory = await visit.services.access.directory()
    return {"organizations": sorted(directory.organizations)}


async def revoke(visit: Visit) -> web.StreamResponse:
    await visit.services.invitations.revoke(visit.actor, visit.path("id"))
    return render.see("/people", "invitation-ended")


async def import_page(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "people_import.html", mailed=visit.services.mail.configured)


async def import_file(visit: Visit) -> web.StreamResponse:
    mailed = visit.services.mail.configured
    try:
        sent = await forms.upload(visit)
        text = await _text(sent)
        made = await visit.services.people.import_csv(
            visit.actor, text, mail=sent.fields["mail"] == "yes"
        )
    except FossilrepoError as error:
        if error.status == 403:
            raise
        return render.again(visit, "people_import.html", error, {}, mailed=mailed)
    return render.page(visit, "people_imported.html", made=made)


async def _text(sent: forms.Upload) -> str:
    content = b""
    async for piece in sent.chunks:
        content += piece
        if len(content) > MOST_BYTES:
            raise InvalidInput("the file is larger than 1 MiB", field="file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput(
            "the file is not UTF-8 text", hint="save it as “CSV UTF-8”", field="file"
        ) from None


# One person


async def show(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "person.html", **await _known(visit))


async def _known(visit: Visit) -> dict[str, Any]:
    login, services = visit.path("login"), visit.services
    profile = await services.people.show(visit.actor, login)
    looks = bool(visit.query("natives"))
    return {
        "person": profile.user,
        "profile": profile,
        "collides": await services.people.collisions(visit.actor, login) if looks else None,
        "entries": await services.audit.recent(actor=login, limit=10),
        "events": await services.insights.events(visit.reader, _done_by(profile.user), 8),
    }


def _done_by(user: User) -> Asked:
    """In repositories, under the login or, as imports from Git have it, the e-mail address."""
    return Asked(users=(user.login, *((user.email,) if user.email else ())))


async def _again(visit: Visit, error: FossilrepoError, form: forms.Fields) -> web.StreamResponse:
    return render.again(visit, "person.html", error, form, **await _known(visit))


async def configure(visit: Visit) -> web.StreamResponse:
    form, login = await forms.fields(visit), visit.path("login")
    try:
        await visit.services.people.configure(
            visit.actor, login, name=form["name"], email=form["email"]
        )
    except FossilrepoError as error:
        return await _again(visit, error, form)
    return render.see(f"/people/{login}", "person-configured")


async def set_password(visit: Visit) -> web.StreamResponse:
    form, login = await forms.fields(visit), visit.path("login")
    try:
        await visit.services.accounts.set_password(visit.actor, login, forms.new_password(form))
    except FossilrepoError as error:
        return await _again(visit, error, form)
    return render.see(f"/people/{login}", "password-set")


async def reset_link(visit: Visit) -> web.StreamResponse:
    login = visit.path("login")
    url = await visit.services.resets.link(visit.actor, login)
    return render.page(visit, "people_link.html", made={"url": url}, email="", login=login)


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


async def second_factor_off(visit: Visit) -> web.StreamResponse:
    login = visit.path("login")
    await visit.services.second_factor.reset(visit.actor, login)
    return render.see(f"/people/{login}", "second-factor-off")


async def make_admin(visit: Visit) -> web.StreamResponse:
    login = visit.path("login")
    await visit.services.people.set_admin(visit.actor, login, True)
    return render.see(f"/people/{login}", "admin-made")


async def unmake_admin(visit: Visit) -> web.StreamResponse:
    login = visit.path("login")
    await visit.services.people.set_admin(visit.actor, login, False)
    own = login == visit.actor.login
    return render.see("/repos" if own else f"/people/{login}", "admin-unmade")


async def rename(visit: Visit) -> web.StreamResponse:
    form, login = await forms.fields(visit), visit.path("login")
    try:
        after = await visit.services.people.rename(visit.actor, login, form["new_login"].lower())
    except FossilrepoError as error:
        if error.field == "login":
            error.field = "new_login"
        return await _again(visit, error, form)
    return await _to_named(visit, after.login, "person-renamed")


async def delete(visit: Visit) -> web.StreamResponse:
    form, login = await forms.fields(visit), visit.path("login")
    try:
        forms.confirmed(form, login)
        await visit.services.people.delete(visit.actor, login)
    except FossilrepoError as error:
        return await _again(visit, error, form)
    own = login == visit.actor.login
    return render.see("/login" if own else "/people", "person-deleted")


_ONE = "/people/{login}"
ROUTES = (
    Route("GET", "/people", Who.ADMIN, listing),
    Route("POST", "/people", Who.ADMIN, create),
    Route("GET", "/people/-/new", Who.ADMIN, new),
    Route("GET", "/people/-/invite", Who.ADMIN, invite_page),
    Route("POST", "/people/-/invite", Who.ADMIN, invite),
    Route("POST", "/people/-/invitations/{id}/revoke", Who.ADMIN, revoke),
    Route("GET", "/people/-/import", Who.ADMIN, import_page),
    Route("POST", "/people/-/import", Who.ADMIN, import_file, reads_upload=True),
    Route("GET", _ONE, Who.ADMIN, show),
    Route("POST", _ONE, Who.ADMIN, configure),
    Route("POST", _ONE + "/password", Who.ADMIN, set_password),
    Route("POST", _ONE + "/reset-link", Who.ADMIN, reset_link),
    Route("POST", _ONE + "/disable", Who.ADMIN, disable),
    Route("POST", _ONE + "/enable", Who.ADMIN, enable),
    Route("POST", _ONE + "/rotate", Who.ADMIN, rotate),
    Route("POST", _ONE + "/second-factor-off", Who.ADMIN, second_factor_off),
    Route("POST", _ONE + "/make-admin", Who.ADMIN, make_admin),
    Route("POST", _ONE + "/unmake-admin", Who.ADMIN, unmake_admin),
    Route("POST", _ONE + "/rename", Who.ADMIN, rename),
    Route("POST", _ONE + "/delete", Who.ADMIN, delete),
)
