"""The ways in: set-up link, sign-in, sign-out, and `/NAME` in a browser.

Owns what a stranger sees. Says nothing about which logins or repositories exist.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from fossilrepo.errors import FossilrepoError, NotFound, NotSignedIn
from fossilrepo.services.accounts import SecondFactorNeeded, SignedIn
from fossilrepo.web import auth, forms, problems, render
from fossilrepo.web.visit import Route, Visit, Who

# Set once there is an administrator: that never ends, so it is asked until then only.
SET_UP: web.AppKey[asyncio.Event] = web.AppKey("set up", asyncio.Event)


async def sign_in_page(visit: Visit) -> web.StreamResponse:
    target = auth.safe_next(visit.query("next"))
    if visit.user:
        return render.see(target)
    if await _needs_set_up(visit):
        return render.page(visit, "needs_setup.html")
    return render.page(visit, "login.html", target=target)


async def _needs_set_up(visit: Visit) -> bool:
    known = visit.request.app[SET_UP]
    if not known.is_set() and not await visit.services.accounts.needs_setup():
        known.set()
    return not known.is_set()


async def sign_in(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    target = auth.safe_next(form["next"])
    accounts = visit.services.accounts
    try:
        signed_in = await accounts.sign_in(
            form["login"], form.raw("password"), address=visit.address, agent=visit.agent
        )
    except SecondFactorNeeded as needed:
        return render.page(visit, "login_second.html", target=target, token=needed.token)
    except FossilrepoError as error:
        return render.again(visit, "login.html", error, form, target=target)
    return await _welcome(visit, signed_in, render.see(target))


async def second(visit: Visit) -> web.StreamResponse:
    """The code after the password; `token` stands for the password that was right."""
    form = await forms.fields(visit)
    target, token = auth.safe_next(form["next"]), form["token"]
    try:
        signed_in = await visit.services.accounts.second(
            token, form["code"], address=visit.address, agent=visit.agent
        )
    except NotSignedIn as error:
        return render.again(visit, "login.html", error, form, target=target)
    except FossilrepoError as error:
        return render.again(visit, "login_second.html", error, form, target=target, token=token)
    return await _welcome(visit, signed_in, render.see(target))


async def sign_out(visit: Visit) -> web.StreamResponse:
    await visit.services.accounts.sign_out(auth.session_cookie(visit.request))
    if visit.actor.user_id is not None:
        await visit.services.opening.sign_out_everywhere(visit.actor.user_id)
    response = render.see("/login")
    auth.end_session(response, visit.services)
    return response


async def set_up_page(visit: Visit) -> web.StreamResponse:
    if not await visit.services.accounts.setup_token_valid(visit.path("token")):
        raise NotFound(
            "this set-up link is not valid any more",
            hint="as long as there is no administrator, every start of fossilrepo prints a new one",
        )
    return render.page(visit, "setup.html")


async def set_up(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    accounts, token = visit.services.accounts, visit.path("token")
    if not await accounts.setup_token_valid(token):
        return await set_up_page(visit)
    try:
        signed_in = await accounts.set_up(
            token,
            form["login"].lower(),
            form["name"],
            forms.new_password(form),
            address=visit.address,
            agent=visit.agent,
        )
    except FossilrepoError as error:
        return render.again(visit, "setup.html", error, form)
    return await _welcome(visit, signed_in, render.see("/repos", "set-up"))


async def _welcome(visit: Visit, signed_in: SignedIn, response: web.Response) -> web.Response:
    """Give the browser its session; the one that it had before ends."""
    if visit.session:
        await visit.services.accounts.sign_out(auth.session_cookie(visit.request))
    auth.set_session(response, visit.services, signed_in.token)
    return response


async def to_repository(visit: Visit) -> web.StreamResponse:
    """`/NAME` in a browser: to the repository's own host, when the reader may know of it."""
    try:
        repository = await visit.services.repos.get(visit.reader, visit.path("name"))
    except NotFound:
        raise problems.not_found() from None
    return web.Response(
        status=302, headers={"Location": visit.services.links.repo_url(repository.label)}
    )


ROUTES = (
    Route("GET", "/login", Who.PUBLIC, sign_in_page),
    Route("POST", "/login", Who.PUBLIC, sign_in),
    Route("POST", "/login/second", Who.PUBLIC, second),
    Route("POST", "/logout", Who.SIGNED_IN, sign_out),
    Route("GET", "/setup/{token}", Who.PUBLIC, set_up_page),
    Route("POST", "/setup/{token}", Who.PUBLIC, set_up),
)
WIDEST = (Route("GET", "/{name:[a-z0-9-]+}", Who.PUBLIC, to_repository),)
