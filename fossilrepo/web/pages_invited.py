"""One-time links that people are sent: an invitation, a new password; and asking for one.

Owns what somebody without a session sees of these. The token stands in the path only, and
no page here tells which logins there are.
"""

from __future__ import annotations

from aiohttp import web

from fossilrepo.errors import FossilrepoError
from fossilrepo.web import auth, forms, render
from fossilrepo.web.visit import Route, Visit, Who


async def invitation(visit: Visit) -> web.StreamResponse:
    found = await visit.services.invitations.look(visit.path("token"))
    return render.page(visit, "invited.html", invitation=found)


async def accept(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    invitations, token = visit.services.invitations, visit.path("token")
    found = await invitations.look(token)
    try:
        signed_in = await invitations.accept(
            token,
            form["login"].lower(),
            form["name"],
            forms.new_password(form),
            address=visit.address,
            agent=visit.agent,
        )
    except FossilrepoError as error:
        return render.again(visit, "invited.html", error, form, invitation=found)
    if visit.session:
        await visit.services.accounts.sign_out(auth.session_cookie(visit.request))
    response = render.see("/repos", "joined")
    auth.set_session(response, visit.services, signed_in.token)
    return response


async def new_password(visit: Visit) -> web.StreamResponse:
    login = await visit.services.resets.look(visit.path("token"))
    return render.page(visit, "reset.html", login=login)


async def set_password(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    resets, token = visit.services.resets, visit.path("token")
    login = await resets.look(token)
    try:
        await resets.use(token, forms.new_password(form), address=visit.address)
    except FossilrepoError as error:
        return render.again(visit, "reset.html", error, form, login=login)
    response = render.see("/login", "password-reset")
    auth.end_session(response, visit.services)
    return response


async def forgot(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "forgot.html", mailed=visit.services.mail.configured, asked=False)


async def ask(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    mailed = visit.services.mail.configured
    try:
        await visit.services.resets.ask_by_mail(form["who"], visit.address)
    except FossilrepoError as error:
        return render.again(visit, "forgot.html", error, form, mailed=mailed, asked=False)
    return render.page(visit, "forgot.html", mailed=mailed, asked=True)


ROUTES = (
    Route("GET", "/invite/{token}", Who.PUBLIC, invitation),
    Route("POST", "/invite/{token}", Who.PUBLIC, accept),
    Route("GET", "/reset/{token}", Who.PUBLIC, new_password),
    Route("POST", "/reset/{token}", Who.PUBLIC, set_password),
    Route("GET", "/forgot", Who.PUBLIC, forgot),
    Route("POST", "/forgot", Who.PUBLIC, ask),
)
