"""A person's own account: password, this session, Fossil passwords.

Owns what everybody may change about themselves.
"""

from __future__ import annotations

from aiohttp import web

from fossilrepo.errors import FossilrepoError, NotSignedIn
from fossilrepo.web import auth, forms, render
from fossilrepo.web.visit import Route, Visit, Who


async def show(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "account.html", session=visit.session)


async def change_password(visit: Visit) -> web.StreamResponse:
    """Ends every session of the person; this browser gets a new one at once."""
    form = await forms.fields(visit)
    accounts, session = visit.services.accounts, visit.session
    if session is None:
        raise NotSignedIn("this needs a browser's session")
    try:
        new = forms.new_password(form)
        await accounts.change_own_password(session, form.raw("old"), new, visit.address)
        signed_in = await accounts.sign_in(
            session.user.login, new, address=visit.address, agent=visit.agent
        )
    except FossilrepoError as error:
        return render.again(visit, "account.html", error, form, session=session)
    response = render.see("/account", "own-password-set")
    auth.set_session(response, visit.services, signed_in.token)
    return response


async def rotate(visit: Visit) -> web.StreamResponse:
    await visit.services.accounts.rotate(visit.actor, visit.actor.login)
    return render.see("/account", "rotated")


ROUTES = (
    Route("GET", "/account", Who.SIGNED_IN, show),
    Route("POST", "/account/password", Who.SIGNED_IN, change_password),
    Route("POST", "/account/rotate", Who.SIGNED_IN, rotate),
)
