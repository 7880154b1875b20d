"""Opening a repository's pages as the person who is signed in on the site.

Owns the page on the site that asks for a ticket, and what we answer on a repository's own
host below `/.fossilrepo/`: `open` begins (a nonce in a cookie of that host), `session` ends
it (ticket and nonce against Fossil's own login cookie). The ticket travels in a form, never
in an address; the site's session stays on the site. Must not look at rights: the services do.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from urllib.parse import quote, urlencode

from aiohttp import web

from fossilrepo.errors import FossilrepoError
from fossilrepo.services.opening import digest
from fossilrepo.traces import CLIENT, span
from fossilrepo.web import gateway_pages as pages
from fossilrepo.web import render
from fossilrepo.web.gateway_limits import Full
from fossilrepo.web.gateway_stream import FossilFailed
from fossilrepo.web.hosts import OURS, opening, path_inside
from fossilrepo.web.middleware import SECURITY
from fossilrepo.web.visit import GATEWAY, SERVICES, Route, Visit, Who

log = logging.getLogger(__name__)

NONCE, SEEN = "fossilrepo-open", "fossilrepo-seen"
# Seconds: long enough to sign in on the site in between. It stays for that time, so that who
# goes back in the browser comes here again and not to a refusal; the ticket is another one.
_NONCE_LIFE = 300
_SEEN_LIFE = 400 * 24 * 3600  # the longest that browsers keep a cookie
_MOST_FORM = 4096  # bytes
_READ_WITHIN = 10.0  # seconds
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Server": "fossilrepo",
}


# On the site


async def page(visit: Visit) -> web.StreamResponse:
    """The form that takes the ticket to the repository's host; a script sends it by itself."""
    name, services = visit.path("name"), visit.services
    url = services.links.repo_url(name)
    to = path_inside(visit.query("to") or f"/{name}", name)
    own_users = await services.opening.has_own_users(visit.actor, name)
    if visit.request.headers.get("HX-Request") == "true":
        # After a sign-in: only a page of its own may send a form to the repository's host.
        return web.Response(headers={"HX-Redirect": visit.request.path_qs})
    if not visit.query("nonce"):
        return render.see(f"{url.rstrip('/')}{opening(to)}")
    ticket = await services.opening.ticket(visit.actor, name, visit.query("nonce"))
    response = render.page(
        visit, "open.html", name=name, url=url, to=to, ticket=ticket, own_users=own_users
    )
    policy = SECURITY["Content-Security-Policy"]
    response.headers["Content-Security-Policy"] = policy.replace(
        "form-action 'self'", f"form-action 'self' {url}"
    )
    # With the site's own policy the browser would hide where the form comes from.
    response.headers["Referrer-Policy"] = "strict-origin"
    return response


# On a repository's host


async def answer(request: web.Request, name: str, path: str) -> web.StreamResponse:
    """For the gateway: `path` is what is asked below `/.fossilrepo/` of a repository."""
    try:
        if path == f"{OURS}/open":
            return await _begin(request, name)
        if path == f"{OURS}/session":
            return await _end(request, name)
    except FossilrepoError as error:
        text = f"{error.message[:1].upper()}{error.message[1:]}."
        return _refused(request, name, error.status, text, "")
    except (Full, FossilFailed) as error:
        log.warning("nobody could be signed in to %s: %r", name, error)
        text = "The repository server does not answer now; try again in a few seconds."
        return pages.answer(request, 503, text, retry_after=5)
    return pages.not_found(request)


async def _begin(request: web.Request, name: str) -> web.StreamResponse:
    """A nonce for this browser on this host, and on to the site."""
    services = request.app[SERVICES]
    if request.method not in ("GET", "HEAD"):
        return pages.answer(request, 405, "This address only leads to the site.")
    if request.headers.get("Sec-Fetch-Dest", "document") != "document":
        return _refused(request, name, 403, "A repository is opened in a window of its own.", "")
    nonce = secrets.token_urlsafe(32)
    to = path_inside(request.query.get("to", ""), name)
    query = urlencode({"nonce": digest(nonce), "to": to})
    location = f"{services.links.public_url}/repos/{quote(name)}/open?{query}"
    response = web.Response(status=302, headers={**_HEADERS, "Location": location})
    _set_cookie(request, response, NONCE, name, nonce, _NONCE_LIFE)
    before = _cookies(request, SEEN, name)
    # Below the apex, what is kept belongs to other repositories too.
    if before and not services.links.by_path and before != [await services.opening.mark(name)]:
        # The name was another repository's: its pages may have left scripts that still run.
        response.headers["Clear-Site-Data"] = '"storage"'
    return response


async def _end(request: web.Request, name: str) -> web.StreamResponse:
    """The ticket against Fossil's cookie, for a form of the site's own page only."""
    services, gateway = request.app[SERVICES], request.app[GATEWAY]
    if request.method != "POST":
        return _refused(request, name, 405, "Signing in takes more than an address.", "")
    form = await _form(request)
    to = path_inside(form.get("to", ""), name)
    if request.headers.getall("Origin", []) != [services.links.public_url]:
        return _refused(request, name, 403, "This did not come from the site.", to)
    address = gateway.client_address(request)
    opened = await services.opening.redeem(
        form.get("ticket", ""), name, *_cookies(request, NONCE, name), address=address
    )
    cookies = await gateway.sign_in(request, name, opened.login, opened.password)
    if not cookies:
        return _not_taken(request, name, opened.login)
    response = web.Response(status=303, headers={**_HEADERS, "Location": to})
    for cookie in cookies:
        response.headers.add("Set-Cookie", cookie)
    _set_cookie(request, response, SEEN, name, await services.opening.mark(name), _SEEN_LIFE)
    return response


async def _form(request: web.Request) -> dict[str, str]:
    """The fields of a small form; none of one that is not small, or slow, or no form."""
    if request.content_length is None or request.content_length > _MOST_FORM:
        return {}
    try:
        async with asyncio.timeout(_READ_WITHIN):
            with span(CLIENT):
                sent = await request.post()
    except (TimeoutError, ValueError, web.RequestPayloadError):
        return {}
    return {key: value for key, value in sent.items() if isinstance(value, str)}


def _refused(request: web.Request, name: str, status: int, text: str, to: str) -> web.Response:
    again = opening(to, request.app[SERVICES].links.base(name))
    return pages.answer(request, status, text, links=((again, "Open the repository again"),))


def _not_taken(request: web.Request, name: str, login: str) -> web.Response:
    text = (
        f"Fossil does not let {login} in. Most likely the repository brought a user of this name "
        "along: an administrator of the repository decides whether that is you."
    )
    links = (
        (f"/{name}/login?native", "Sign in as a Fossil user of this repository"),
        (f"/{name}", "Front page of the repository"),
    )
    return pages.answer(request, 409, text, links=links)


# Cookies of a repository's host


def _cookie_name(request: web.Request, kind: str, name: str) -> str:
    links = request.app[SERVICES].links
    own = f"{kind}-{name}" if links.by_path else kind  # one host for all of them
    return f"__Host-{own}" if links.https else own


def _cookies(request: web.Request, kind: str, name: str) -> list[str]:
    """Every value that was sent under the name: a host beside this one can add its own."""
    wanted = _cookie_name(request, kind, name)
    pairs = (
        part.partition("=")
        for header in request.headers.getall("Cookie", [])
        for part in header.split(";")
    )
    return [value.strip() for key, equals, value in pairs if equals and key.strip() == wanted][:10]


def _set_cookie(
    request: web.Request, response: web.Response, kind: str, name: str, value: str, life: int
) -> None:
    """A cookie of this host alone.

    Browsers take `localhost` and `NAME.localhost` for two sites: there, a strict cookie would
    not come with the form. The form's Origin is checked in any case.
    """
    links = request.app[SERVICES].links
    response.set_cookie(
        _cookie_name(request, kind, name),
        value,
        max_age=life,
        path="/",
        secure=links.https,
        httponly=True,
        samesite="Lax" if "." in links.domain else None,
    )


ROUTES = (Route("GET", "/repos/{name}/open", Who.SIGNED_IN, page),)
