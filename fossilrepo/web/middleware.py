"""The door of the site: every request comes through here first.

Owns the request's id, the dispatch by host (repositories to the gateway, the
apex to the table of routes), who may, the headers of every answer, and that a
change which has begun is not cut off when its browser leaves. Must not know any
page.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from fossilrepo.logs import blank_secrets, request_id
from fossilrepo.services import Services
from fossilrepo.services.timings import Kind
from fossilrepo.traces import Trace, traced
from fossilrepo.web import auth, gateway_pages, problems
from fossilrepo.web.gateway import Gateway
from fossilrepo.web.gateway_xfer import is_sync
from fossilrepo.web.hosts import HostKind, PublicUrl, first_segment, parse_host, path_form
from fossilrepo.web.visit import NUMBER, Form, Route, Visit

log = logging.getLogger(__name__)

REQUEST_ID = "X-Request-Id"
TRACE: web.RequestKey[Trace] = web.RequestKey("trace", Trace)
_IS_SITE: web.RequestKey[bool] = web.RequestKey("is site", bool)
_DRAIN = 5.0  # seconds for changes in flight when the site stops
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def public_url(services: Services) -> PublicUrl:
    """The address of the site as hosts are compared with it."""
    links = services.links
    return PublicUrl.of(
        links.public_url if links.configured else "",
        domain=links.domain,
        listening_port=links.port or 80,
        by_path=links.by_path,
    )


class Door:
    """Install `middleware` as the first of the site and `on_prepare` as its signal."""

    def __init__(self, services: Services, gateway: Gateway) -> None:
        self._services, self._gateway = services, gateway
        self._routes: dict[object, Route] = {}
        self._own: set[str] = set()  # first segments of the site's own paths
        self._changes: set[asyncio.Task[web.StreamResponse]] = set()

    def add(self, app: web.Application, route: Route) -> None:
        """Open a route; what was not added here stays closed, whatever the router says."""
        self._own.add(route.path.split("/")[1])
        methods = ("GET", "HEAD") if route.method == "GET" else (route.method,)
        for method in methods:
            added = app.router.add_route(method, route.path, _only_through_the_door)
            self._routes[added] = route

    def route_of(self, route: object) -> Route | None:
        """The table's row for a route of aiohttp's router."""
        return self._routes.get(route)

    async def on_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers[REQUEST_ID] = request.get(NUMBER, "")
        if TRACE in request:
            self._time(request, request[TRACE], response.status)
        if request.get(_IS_SITE):
            for name, value in SECURITY.items():
                response.headers.setdefault(name, value)
            response.headers["Server"] = "fossilrepo"

    def _time(self, request: web.Request, trace: Trace, status: int) -> None:
        """How long it took until the answer began; what is long after that is its size."""
        kind: Kind = "repository"
        host, path = request.host, request.rel_url.raw_path
        if request.get(_IS_SITE):
            kind, host = "api" if path.startswith("/api/") else "site", ""
        seconds, asked = trace.ours(), blank_secrets(f"{request.method} {host}{path}")
        is_change = not host and request.method not in ("GET", "HEAD")
        mark = request_id.set(request[NUMBER])
        try:
            self._services.health.timings.add(kind, asked, status, seconds, trace.words())
            level = logging.INFO if is_change else logging.DEBUG
            log.log(level, "%s %d in %.0f ms", asked, status, seconds * 1000)
        finally:
            request_id.reset(mark)

    async def finish(self, _app: web.Application) -> None:
        """Wait for changes whose browsers have left, for a while."""
        if self._changes:
            await asyncio.wait(self._changes, timeout=_DRAIN)

    @property
    def middleware(self) -> Middleware:
        @web.middleware
        async def door(request: web.Request, handler: Handler) -> web.StreamResponse:
            request[NUMBER] = secrets.token_hex(8)
            mark = request_id.set(request[NUMBER])
            try:
                with traced() as request[TRACE]:
                    return await self._by_host(request)
            finally:
                request_id.reset(mark)

        return door

    async def _by_host(self, request: web.Request) -> web.StreamResponse:
        public = public_url(self._services)
        host = parse_host(request.headers.getall("Host", []), public)
        if host.kind is HostKind.REPOSITORY:
            return await self._gateway.handle(request, host.name)
        if host.kind is HostKind.REFUSED:
            return gateway_pages.not_found(request)
        if public.by_path:
            name = first_segment(request.raw_path)
            if name is not None and name not in self._own and self._gateway.knows(name):
                return await self._gateway.handle(request, name, below=True)
        if request.method == "POST" and is_sync(request.headers.get("Content-Type", "")):
            name = path_form(request.rel_url.raw_path)
            if name is not None:
                return await self._gateway.handle_path_form(request, name)
        return await self._site(request)

    async def _site(self, request: web.Request) -> web.StreamResponse:
        request[_IS_SITE] = True
        route = self._routes.get(request.match_info.route)
        visit = Visit(request, self._gateway.client_address(request), _form(request, route))
        try:
            visit = await auth.recognise(visit)
            return await self._through(visit, route)
        except Exception as error:
            return problems.answer(visit, error)

    async def _through(self, visit: Visit, route: Route | None) -> web.StreamResponse:
        if route is None:
            failed = visit.request.match_info.http_exception
            raise failed if failed is not None else problems.not_found()
        auth.require(visit, route.who)
        auth.require_scope(visit, route)
        if not route.changes:
            return await route.handler(visit)
        await auth.require_own_page(visit, route)
        return await self._to_its_end(partial(route.handler, visit))

    async def _to_its_end(
        self, change: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """A change runs on when the browser leaves in the middle of it."""

        async def run() -> web.StreamResponse:
            return await change()

        task = asyncio.create_task(run(), name="change")
        self._changes.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[web.StreamResponse]) -> None:
        self._changes.discard(task)
        if not task.cancelled():
            task.exception()  # seen: whoever waits raises it again, and nobody else cares


def _form(request: web.Request, route: Route | None) -> Form:
    if route is not None:
        return route.form
    return Form.JSON if request.path.startswith("/api/") else Form.PAGE


async def _only_through_the_door(request: web.Request) -> web.StreamResponse:
    raise RuntimeError(f"{request.path} was reached without the door")
