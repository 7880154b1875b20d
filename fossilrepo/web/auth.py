"""Who is asking, and whether a request really comes from our own pages.

Owns the session cookie, the CSRF token and Origin checks, and the rule of the
table of routes. The cookie belongs to the apex alone: repositories can serve
hostile pages on hosts beside it, so "same site" proves nothing here and the
origin must be equal.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import re
from dataclasses import replace
from urllib.parse import urlsplit

from aiohttp import web

from fossilrepo.errors import Forbidden, NotSignedIn
from fossilrepo.models import Session
from fossilrepo.services import Services
from fossilrepo.services.accounts import SESSION_LIFE
from fossilrepo.services.api_tokens import Scope
from fossilrepo.traces import CLIENT, span
from fossilrepo.web.visit import SERVICES, Form, Route, Visit, Who

CSRF_FIELD = "csrf"
CSRF_HEADER = "X-CSRF-Token"
_FRESH = "open the page again and repeat it; if it stays, set server.public_url"


def cookie_name(services: Services) -> str:
    """With the prefix, no other host can set it; browsers take the prefix with https only."""
    return "__Host-fossilrepo" if services.links.https else "fossilrepo"


def session_cookie(request: web.Request) -> str:
    """The session cookie's value; empty when there is none, or more than one.

    A hostile repository's page can put a second one beside ours on plain http;
    which of the two is ours cannot be known.
    """
    name = cookie_name(request.app[SERVICES])
    values = [
        value.strip()
        for header in request.headers.getall("Cookie", [])
        for key, equals, value in (part.partition("=") for part in header.split(";"))
        if equals and key.strip() == name
    ]
    return values[0] if len(values) == 1 else ""


def set_session(response: web.StreamResponse, services: Services, token: str) -> None:
    response.set_cookie(
        cookie_name(services),
        token,
        max_age=int(SESSION_LIFE.total_seconds()),
        path="/",
        secure=services.links.https,
        httponly=True,
        samesite="Lax",
    )


def end_session(response: web.StreamResponse, services: Services) -> None:
    response.del_cookie(
        cookie_name(services),
        path="/",
        secure=services.links.https,
        httponly=True,
        samesite="Lax",
    )


async def recognise(visit: Visit) -> Visit:
    """The visit with who it is: by bearer token on the API, else by the browser's session."""
    request, accounts = visit.request, visit.services.accounts
    authorization = request.headers.get("Authorization", "")
    if authorization and visit.form is not Form.PAGE:
        tokens = visit.services.api_tokens
        token = _token_of(authorization, reads=request.method in ("GET", "HEAD"))
        bearer = await tokens.bearer(token) if token else None
        if bearer is None:
            raise NotSignedIn("this API token is not valid", hint="make one with api-token create")
        return replace(visit, user=bearer.user, scope=bearer.scope)
    if visit.form is Form.TEXT:
        return visit
    cookie = session_cookie(request)
    session = await accounts.session(cookie) if cookie else None
    if session is not None:
        await visit.services.access.picture()  # pages look different for who is alone here
    return replace(visit, session=session, user=session.user) if session else visit


def _token_of(authorization: str, *, reads: bool) -> str:
    """Of a bearer; for what only reads also as a password: feed readers know nothing else.

    A browser would send a password by itself, so it is no proof for what changes something.
    """
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    if scheme.lower() == "basic" and reads:
        try:
            return base64.b64decode(given, validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return ""


def require(visit: Visit, who: Who) -> None:
    """Raises unless the visitor is one of those who may."""
    if who is Who.PUBLIC:
        return
    if visit.user is None:
        raise NotSignedIn("nobody is signed in", hint="sign in first")
    if who is Who.ADMIN and not visit.user.is_admin:
        raise Forbidden(
            "only an administrator of the site may do this",
            hint="ask one of them, or sign in as one",
        )


def require_scope(visit: Visit, route: Route) -> None:
    """Raises when the visitor came with a token that is not for this."""
    require_covered(visit, scope_of(route))


def require_covered(visit: Visit, needed: Scope) -> None:
    """The same for what depends on more than the route. Whoever has no token is not bounded."""
    if visit.scope is not None and not visit.scope.covers(needed):
        raise Forbidden(
            f"this token has the scope {visit.scope}, and this needs {needed}",
            hint="make another one with `fossilrepo api-token create --scope`",
        )


# What is done to repositories; the rest is about people, organizations and the host.
_OF_REPOSITORIES = re.compile(r"/api/v1/(repositories|imports|trash|jobs|backup/previews)(/|$)")
# Where things go to, and with whose token, is for whoever may give away rights.
_OF_PEOPLE = re.compile(
    r".*/(grants|natives|access-keys|elevation|access|mirrors|upstream|webhooks|git-authors)(/|$)"
)
_RUNS = re.compile(r"/api/v1/(mirrors/{id}|repositories/{name}/upstream)/(run|dry-run)$")
_PASSWORDS = re.compile(r".*/(sync-password|password)$")  # with one of these one can write

_FOR_EVER = ("DELETE", "/api/v1/trash/{id}")


def scope_of(route: Route) -> Scope:
    """The scope that a token must have for this route: by what it does, not by who may."""
    if _PASSWORDS.match(route.path) or (route.method, route.path) == _FOR_EVER:
        return Scope.ADMIN
    if not route.changes:
        return Scope.READ
    if _RUNS.match(route.path):
        return Scope.WRITE
    if _OF_REPOSITORIES.match(route.path) and not _OF_PEOPLE.match(route.path):
        return Scope.WRITE
    return Scope.ADMIN


async def require_own_page(visit: Visit, route: Route) -> None:
    """For what changes something: it must come from a page of ours, with the session's token.

    A bearer token is proof enough: no browser adds one by itself.
    """
    if visit.user is not None and visit.session is None:
        return
    require_own_origin(visit.request)
    if route.who is Who.PUBLIC or route.reads_upload:
        return
    token = visit.request.headers.get(CSRF_HEADER)
    if token is None and route.form is Form.PAGE:
        with span(CLIENT):
            token = str((await visit.request.post()).get(CSRF_FIELD, ""))
    require_token(visit.session, token or "")


def require_token(session: Session | None, token: str) -> None:
    if session is None or not hmac.compare_digest(session.csrf.encode(), token.encode()):
        raise Forbidden("this form does not belong to your session any more", hint=_FRESH)


def require_own_origin(request: web.Request) -> None:
    """Forbidden unless Origin (or else Referer) names this very site, port included."""
    said = request.headers.get("Origin") or _origin_of(request.headers.get("Referer", ""))
    fetched = request.headers.get("Sec-Fetch-Site", "same-origin")
    if fetched not in ("same-origin", "none") or said not in own_origins(request):
        raise Forbidden("this request does not come from a page of this site", hint=_FRESH)


def own_origins(request: web.Request) -> tuple[str, ...]:
    """The origins of this site as this browser may see it.

    The Host header was found to be the apex already, and no page can forge its own.
    """
    links, host = request.app[SERVICES].links, request.headers.get("Host", "")
    public = links.public_url
    if not links.configured or is_direct(host):
        return (public, f"http://{host}")
    return (public,)


def is_direct(host: str) -> bool:
    """Whether a Host header is an address or `localhost`: past any proxy, plain http."""
    name = urlsplit(f"//{host}").hostname or ""
    return name == "localhost" or _address(name) is not None


def is_insecure(request: web.Request) -> bool:
    """Plain http on another host than this machine: passwords travel in clear text."""
    if request.app[SERVICES].links.https:
        return False
    name = urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
    address = _address(name)
    if address is not None:
        return not address.is_loopback
    return name != "localhost" and not name.endswith(".localhost")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme and parts.netloc else ""


def safe_next(target: str) -> str:
    """A path on this site to go on to, or the list of repositories: never another site."""
    printable = target.isascii() and all(" " < character < "\x7f" for character in target)
    inside = target.startswith("/") and not target.startswith("//") and "\\" not in target
    if not printable or not inside or len(target) > 500:
        return "/repos"
    return "/repos" if target.startswith(("/login", "/logout", "/setup")) else target
