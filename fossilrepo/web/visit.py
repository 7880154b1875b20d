"""One request to the site: who asks, from where, and what the site may ask of the services.

Owns `Visit`, the value that every page and API handler gets, and `Route`, the
row of the table that says who may. Decides nothing itself: `auth.py` finds out
who it is, `middleware.py` holds the door.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web

from fossilrepo.errors import NotSignedIn
from fossilrepo.models import Actor, Session, User
from fossilrepo.services import Services
from fossilrepo.services.api_tokens import Scope
from fossilrepo.web.gateway import Gateway

SERVICES: web.AppKey[Services] = web.AppKey("services", Services)
GATEWAY: web.AppKey[Gateway] = web.AppKey("gateway", Gateway)
NUMBER: web.RequestKey[str] = web.RequestKey("number", str)  # the request's id, also in the log


class Who(StrEnum):
    """Who may use a route. There is no default: a route without one does not exist."""

    PUBLIC = "anyone"
    SIGNED_IN = "signed in"
    ADMIN = "administrators"


class Form(StrEnum):
    """What a route answers with, errors included; the way people prove who they are follows."""

    PAGE = "page"  # HTML, by session
    JSON = "json"  # the API, by bearer token or by session
    TEXT = "text"  # plain, for machines that do not sign in


@dataclass(frozen=True, slots=True)
class Visit:
    """`session` is a browser's; `user` also stands for an API token, which has a `scope`."""

    request: web.Request
    address: str
    form: Form = Form.PAGE
    session: Session | None = None
    user: User | None = None
    scope: Scope | None = None

    @property
    def services(self) -> Services:
        return self.request.app[SERVICES]

    @property
    def gateway(self) -> Gateway:
        return self.request.app[GATEWAY]

    @property
    def reader(self) -> Actor | None:
        """Who reads, None for a stranger."""
        if self.user is None:
            return None
        return Actor(self.user.login, self.user.is_admin, self.address, user_id=self.user.id)

    @property
    def actor(self) -> Actor:
        """Who changes something; NotSignedIn for a stranger."""
        reader = self.reader
        if reader is None:
            raise NotSignedIn("nobody is signed in", hint="sign in and try again")
        return reader

    @property
    def csrf(self) -> str:
        return self.session.csrf if self.session else ""

    @property
    def agent(self) -> str:
        return self.request.headers.get("User-Agent", "")

    @property
    def is_htmx(self) -> bool:
        """A piece of a page is wanted, not a page (a boosted link wants a page)."""
        headers = self.request.headers
        return headers.get("HX-Request") == "true" and headers.get("HX-Boosted") != "true"

    def path(self, name: str) -> str:
        """A variable part of the path."""
        return self.request.match_info[name]

    def query(self, name: str, default: str = "") -> str:
        return self.request.query.get(name, default)

    def number(self, name: str, default: int, most: int) -> int:
        """A number from the query, never below 0 nor above `most`; the default when it is none."""
        text = self.query(name)
        return min(int(text), most) if text.isascii() and text.isdigit() else default


Handler = Callable[[Visit], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table of routes. GET answers HEAD too."""

    method: str
    path: str
    who: Who
    handler: Handler
    form: Form = Form.PAGE
    reads_upload: bool = False  # the handler itself reads the body, CSRF token first

    @property
    def changes(self) -> bool:
        return self.method not in ("GET", "HEAD")
