"""A person's own account: who they are, password, second factor, sessions, tokens.

Owns what everybody may change about themselves. What a passer-by at an open browser must not
do asks for the password again.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web
from markupsafe import Markup

from fossilrepo.errors import FossilrepoError, InvalidInput, NotSignedIn
from fossilrepo.models import Session
from fossilrepo.services.api_tokens import Scope
from fossilrepo.services.second_factor import Enrolment, is_secret
from fossilrepo.web import auth, forms, render
from fossilrepo.web.agents import browser_of
from fossilrepo.web.visit import Route, Visit, Who

_PAGE = "account.html"


async def show(visit: Visit) -> web.StreamResponse:
    return render.page(visit, _PAGE, **await _known(visit))


async def _known(visit: Visit) -> dict[str, Any]:
    user = visit.user
    if user is None:
        raise NotSignedIn("nobody is signed in", hint="sign in first")
    services = visit.services
    sessions = await services.accounts.sessions(user)
    left = await services.second_factor.codes_left(user) if user.has_totp else 0
    return {
        "session": visit.session,
        "sessions": [(one, browser_of(one.agent)) for one in sessions],
        "codes_left": left,
        "tokens": await services.api_tokens.list(visit.actor, user.login),
        "scopes": list(Scope),
        "token": None,
    }


async def _again(
    visit: Visit, error: FossilrepoError, form: forms.Fields, at: str
) -> web.StreamResponse:
    return render.again(visit, _PAGE, error, form, **await _known(visit), at=at)


def _session(visit: Visit) -> Session:
    if visit.session is None:
        raise NotSignedIn("this needs a browser's session", hint="sign in first")
    return visit.session


async def configure(visit: Visit) -> web.StreamResponse:
    """Another address asks for the password: links for a new one are sent there."""
    form, session = await forms.fields(visit), _session(visit)
    try:
        if form["email"] != session.user.email:
            await visit.services.accounts.confirm_password(session, form.raw("old"), visit.address)
        await visit.services.people.configure(
            visit.actor, visit.actor.login, name=form["name"], email=form["email"]
        )
    except FossilrepoError as error:
        return await _again(visit, error, form, "you")
    return render.see("/account", "own-saved")


async def change_password(visit: Visit) -> web.StreamResponse:
    """Ends every session of the person; this browser gets a new one at once."""
    form, session = await forms.fields(visit), _session(visit)
    try:
        signed_in = await visit.services.accounts.change_own_password(
            session,
            form.raw("old"),
            forms.new_password(form),
            address=visit.address,
            agent=visit.agent,
        )
    except FossilrepoError as error:
        return await _again(visit, error, form, "password")
    response = render.see("/account", "own-password-set")
    auth.set_session(response, visit.services, signed_in.token)
    return response


async def rotate(visit: Visit) -> web.StreamResponse:
    await visit.services.accounts.rotate(visit.actor, visit.actor.login)
    return render.see("/account", "rotated")


# Second factor


async def enrol(visit: Visit) -> web.StreamResponse:
    """A fresh secret; nothing is kept of it until a code proves it."""
    user = _session(visit).user
    if user.has_totp:
        return render.see("/account")
    offer = visit.services.second_factor.offer(user)
    return render.page(visit, "account_second_factor.html", offer=offer, qr=_qr(offer))


def _qr(offer: Enrolment) -> Markup:
    return Markup(offer.svg)  # noqa: S704 - the service made it, and quotes what is in it


async def confirm(visit: Visit) -> web.StreamResponse:
    form, session = await forms.fields(visit), _session(visit)
    factor = visit.services.second_factor
    try:
        await visit.services.accounts.confirm_password(session, form.raw("old"), visit.address)
        codes = await factor.confirm(session.user, form["secret"], form["code"], visit.address)
    except InvalidInput as error:
        known = form["secret"] if error.field in ("code", "old") else ""
        offer = factor.offer(session.user, known if is_secret(known) else "")
        return render.again(
            visit,
            "account_second_factor.html",
            error,
            form,
            offer=offer,
            qr=_qr(offer),
        )
    return render.page(visit, "account_codes.html", codes=codes, fresh=True)


async def end_second_factor(visit: Visit) -> web.StreamResponse:
    form, session = await forms.fields(visit), _session(visit)
    try:
        await visit.services.accounts.confirm_password(session, form.raw("old"), visit.address)
        await visit.services.second_factor.disable(session.user, visit.address)
    except FossilrepoError as error:
        return await _again(visit, error, form, "second-factor")
    return render.see("/account", "second-factor-ended")


async def new_codes(visit: Visit) -> web.StreamResponse:
    form, session = await forms.fields(visit), _session(visit)
    try:
        await visit.services.accounts.confirm_password(session, form.raw("old"), visit.address)
        codes = await visit.services.second_factor.new_codes(session.user, visit.address)
    except FossilrepoError as error:
        return await _again(visit, error, form, "second-factor")
    return render.page(visit, "account_codes.html", codes=codes, fresh=False)


# Sessions and tokens


async def end_session(visit: Visit) -> web.StreamResponse:
    await visit.services.accounts.end_session(visit.actor, visit.path("id"))
    return render.see("/account", "session-ended")


async def end_others(visit: Visit) -> web.StreamResponse:
    session = _session(visit)
    await visit.services.accounts.end_other_sessions(session, visit.address)
    await visit.services.opening.sign_out_everywhere(session.user.id)
    return render.see("/account", "sessions-ended")


async def new_token(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    try:
        _, token = await visit.services.api_tokens.create(
            visit.actor, visit.actor.login, form["label"], forms.days(form), _scope(form)
        )
    except FossilrepoError as error:
        return await _again(visit, error, form, "tokens")
    return render.page(visit, _PAGE, **{**await _known(visit), "token": token})


def _scope(form: forms.Fields) -> Scope:
    try:
        return Scope(form["scope"] or "read")
    except ValueError:
        raise InvalidInput("there is no such scope", field="scope") from None


async def end_token(visit: Visit) -> web.StreamResponse:
    await visit.services.api_tokens.revoke(visit.actor, visit.path("id"))
    return render.see("/account", "token-ended")


ROUTES = (
    Route("GET", "/account", Who.SIGNED_IN, show),
    Route("POST", "/account", Who.SIGNED_IN, configure),
    Route("POST", "/account/password", Who.SIGNED_IN, change_password),
    Route("POST", "/account/rotate", Who.SIGNED_IN, rotate),
    Route("GET", "/account/second-factor", Who.SIGNED_IN, enrol),
    Route("POST", "/account/second-factor", Who.SIGNED_IN, confirm),
    Route("POST", "/account/second-factor/end", Who.SIGNED_IN, end_second_factor),
    Route("POST", "/account/second-factor/codes", Who.SIGNED_IN, new_codes),
    Route("POST", "/account/sessions/end", Who.SIGNED_IN, end_others),
    Route("POST", "/account/sessions/{id}/end", Who.SIGNED_IN, end_session),
    Route("POST", "/account/tokens", Who.SIGNED_IN, new_token),
    Route("POST", "/account/tokens/{id}/end", Who.SIGNED_IN, end_token),
)
