"""The gateway to the repositories: `NAME.DOMAIN`, and Fossil's client on the apex.

Owns what a request to a repository may do before and while Fossil answers it:
which repository, sizes, limits, failed sign-ins, and the streaming through.
Fossil decides everything about rights. Must not read a whole body, and must not
send Fossil a target outside the repository that the host (or the path form)
names. Caddy's file is the same mapping without the limits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from fossilrepo.config import Settings
from fossilrepo.errors import FossilrepoError
from fossilrepo.models import KEY_LOGIN, HostState
from fossilrepo.web import gateway_costly as costly
from fossilrepo.web import gateway_login
from fossilrepo.web import gateway_moved as moved
from fossilrepo.web import gateway_pages as pages
from fossilrepo.web import gateway_xfer as xfer
from fossilrepo.web.addresses import Proxies, share_key
from fossilrepo.web.gateway_headers import ResponseHead, keep_to, request_head, take_powers
from fossilrepo.web.gateway_limits import FailedLogins, Full, Slots
from fossilrepo.web.gateway_stream import (
    ClientGone,
    Exchange,
    FossilFailed,
    Pace,
    RequestBody,
    SlowClient,
    TimeLimits,
    Upstream,
    exchange,
    unless_gone,
)
from fossilrepo.web.hosts import (
    NOT_FOUND_TARGET,
    Action,
    PublicUrl,
    is_raw_page,
    map_target,
    page_of,
)

log = logging.getLogger(__name__)
Ours = Callable[[web.Request, str, str], Awaitable[web.StreamResponse]]
Told = Callable[[str], Awaitable[None]]
_SMALL_ANSWER = 4096


@dataclass(frozen=True, slots=True)
class GatewayStats:
    """For status and metrics; counts since the start, bodies only."""

    in_flight: int
    waiting: int
    requests: int
    refused: int
    failed: int
    bytes_received: int
    bytes_sent: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that was let through, with what is known of it."""

    request: web.Request
    name: str
    target: str
    client: str
    body: RequestBody
    cards: bytes | None = None

    @property
    def is_sync(self) -> bool:
        return xfer.is_sync(self.request.headers.get("Content-Type", ""))

    @property
    def is_login(self) -> bool:
        return self.request.method == "POST" and page_of(self.target) == "login"

    @property
    def signs_in(self) -> bool:
        return self.is_login or (self.is_sync and xfer.signs_in(self.cards))

    @property
    def key(self) -> str:
        """The access key that a sync message names; empty when a person or nobody asks."""
        login = xfer.login_of(self.cards)
        return login if KEY_LOGIN.fullmatch(login) else ""

    @property
    def writes(self) -> bool:
        if self.request.method in ("GET", "HEAD") or self.is_login:
            return False
        return xfer.writes(self.cards) if self.is_sync else True


class Gateway:
    """Streams requests for repositories to Fossil and its answers back."""

    def __init__(
        self,
        *,
        settings: Settings,
        public: Callable[[], PublicUrl],
        lookup: Callable[[str], HostState],
        upstream: Callable[[], Upstream | None],
        read_only_reason: Callable[[], str | None] = lambda: None,
        ours: Ours | None = None,
        key_used: Told | None = None,
        former: Callable[[str], str | None] = lambda _name: None,
        limits: TimeLimits | None = None,
        patience: float = 10.0,
    ) -> None:
        """`lookup` and the other callables are asked at every request and must be cheap.

        `former` gives the present name of the repository that had a name before.
        `ours` answers `/.fossilrepo/...` (its third argument) of a repository; `key_used`
        is told the login of an access key that Fossil took; `patience` is how many seconds
        a request may wait for a free place at Fossil.
        """
        self._settings, self._public, self._lookup = settings, public, lookup
        self._upstream, self._read_only, self._ours = upstream, read_only_reason, ours
        self._former = former
        self._limits, self._key_used = limits or TimeLimits(), key_used
        self._proxies = Proxies(settings.server.trusted_proxies)
        places = settings.fossil.max_requests
        self._slots = Slots(places, queue=places, patience=patience)
        self._failures = FailedLogins(limit=10, window=60.0)
        self._allowance = costly.Allowance()
        self._requests = self._failed = self._received = self._sent = 0
        self._telling: set[asyncio.Task[None]] = set()

    def knows(self, name: str) -> bool:
        """Whether a repository has this name, or had it."""
        return self.serves(name) or self._former(name) is not None

    def serves(self, name: str) -> bool:
        """Whether a repository has this name, be it closed for a moment."""
        return self._lookup(name) is not HostState.UNKNOWN

    async def handle(
        self, request: web.Request, name: str, *, below: bool = False
    ) -> web.StreamResponse:
        """Answers a request to a repository's host, or `below` the apex's `/NAME`."""
        unserved = await self._unserved(request, name, path_form=below)
        if unserved is not None:
            return unserved
        if self._public().by_path and not below and request.method in ("GET", "HEAD"):
            if not request.raw_path.startswith("/") or not request.raw_path.isascii():
                return pages.answer(request, 400, "This address cannot be read.")
            return pages.redirect(moved.present(request.raw_path, self._public(), name, name))
        if request.raw_path == "/robots.txt":
            return web.Response(text=costly.robots_txt(name))
        route = map_target(request.method, request.raw_path, name, below=below)
        match route.action:
            case Action.REFUSE:
                return pages.answer(request, 400, "This address cannot be read.")
            case Action.REDIRECT:
                return pages.redirect(route.target)
            case Action.SIGN_IN:
                if "g=" in request.query_string and _has_fossil_cookie(request):
                    return pages.needs_more_rights(request, route.target, name)
                return pages.redirect(route.target)
            case Action.OURS:
                if self._ours is None or route.target.startswith(NOT_FOUND_TARGET):
                    return pages.not_found(request)
                return await self._ours(request, name, route.target.partition("?")[0])
        return await self._guarded(request, name, route.target)

    async def handle_path_form(self, request: web.Request, name: str) -> web.StreamResponse:
        """Answers `/NAME` on the apex: Fossil's client there, browsers on the repository's host."""
        unserved = await self._unserved(request, name, path_form=True)
        if unserved is not None:
            return unserved
        if request.method in ("GET", "HEAD"):
            return pages.redirect(f"{self._public().url(name)}/")
        if request.method != "POST" or not xfer.is_sync(request.headers.get("Content-Type", "")):
            return pages.not_found(request)
        return await self._guarded(request, name, f"/{name}")

    async def sign_in(
        self, request: web.Request, name: str, login: str, password: str
    ) -> tuple[str, ...]:
        """The cookies that Fossil gives to this person; none when it does not take the password.

        Raises Full and FossilFailed.
        """
        public, client = self._public(), self.client_address(request)
        host, https = public.authority(name), public.scheme == "https"
        asked = gateway_login.SignIn(name, login, password, host, client, https)
        async with self._slots.take(share_key(client)):
            upstream = self._upstream()
            if upstream is None:
                raise FossilFailed("not running")
            async with exchange(upstream, self._limits) as fossil:
                return await gateway_login.sign_in(fossil, asked)

    def stats(self) -> GatewayStats:
        return GatewayStats(
            in_flight=self._slots.held,
            waiting=self._slots.waiting,
            requests=self._requests,
            refused=self._slots.refused,
            failed=self._failed,
            bytes_received=self._received,
            bytes_sent=self._sent,
        )

    def client_address(self, request: web.Request) -> str:
        """Who asks, behind the trusted proxies."""
        forwarded = request.headers.getall("X-Forwarded-For", [])
        return self._proxies.client(request.remote or "", forwarded)

    async def _unserved(
        self, request: web.Request, name: str, *, path_form: bool
    ) -> web.Response | None:
        match self._lookup(name):
            case HostState.SERVED:
                return None
            case HostState.MAINTENANCE:
                return pages.maintenance(request)
        new = self._former(name)
        if new is None:
            return pages.not_found(request)
        most = self._settings.limits.push
        return await moved.answer(
            request, self._public(), name, new, most=most, path_form=path_form
        )

    async def _guarded(self, request: web.Request, name: str, target: str) -> web.StreamResponse:
        """Lets a request through to Fossil, and turns every way to fail into an answer."""
        self._requests += 1
        body = RequestBody(request, self._limits)
        refused = self._refused_unread(request) or self._too_many(request, target)
        if refused is not None:
            return refused
        try:
            return await unless_gone(request, self._admit(request, name, target, body))
        except ClientGone:
            return web.Response(status=499)
        except SlowClient:
            return await _last_words(request, "The request did not arrive in time.")
        except Full:
            text = "The server is busy with other requests; try again in a few seconds."
            return pages.answer(request, 503, text, retry_after=5)
        except FossilFailed as failure:
            self._failed += 1
            log.warning("fossil gave no answer", extra={"repository": name, "why": str(failure)})
            text = "The repository server does not answer; it is being restarted, try again."
            return pages.answer(request, 502, text, retry_after=5)
        finally:
            self._received += body.received

    def _refused_unread(self, request: web.Request) -> web.Response | None:
        """What a request's head alone decides."""
        limit = self._settings.limits.push
        if "Transfer-Encoding" in request.headers:
            # Fossil reads Content-Length only, and the size must be known before it is let in.
            return pages.answer(request, 411, "Send the body with a Content-Length.")
        if (request.content_length or 0) > limit:
            text = f"This push is larger than the {limit // 2**20} MiB that this server takes."
            return pages.answer(request, 413, text)
        return None

    def _too_many(self, request: web.Request, target: str) -> web.Response | None:
        """Whoever asks for costly pages without end is asked to wait."""
        if request.method not in ("GET", "HEAD") or not costly.is_costly(target):
            return None
        key = share_key(self.client_address(request))
        wait = self._allowance.take(key, signed_in=_has_fossil_cookie(request))
        if not wait:
            return None
        text = "Too many costly pages were asked for from your address; try again in a moment."
        return pages.answer(request, 429, text, retry_after=wait)

    async def _admit(
        self, request: web.Request, name: str, target: str, body: RequestBody
    ) -> web.StreamResponse:
        """Reads the body's beginning without troubling Fossil, then waits for a place there."""
        await body.read_ahead()
        content_type = request.headers.get("Content-Type", "")
        cards = xfer.opening(body.start, content_type) if xfer.is_sync(content_type) else None
        asked = _Asked(request, name, target, self.client_address(request), body, cards)
        refused = self._refused(asked)
        if refused is not None:
            return refused
        async with self._slots.take(share_key(asked.client)):
            upstream = self._upstream()
            if upstream is None:
                raise FossilFailed("not running")
            async with exchange(upstream, self._limits) as fossil:
                return await self._relay(asked, fossil)

    def _refused(self, asked: _Asked) -> web.Response | None:
        """What the body's beginning decides."""
        reason = self._read_only() if asked.writes else None
        if reason:
            text = f"Read-only for now, nothing was changed: {reason}"
            return pages.answer(asked.request, 503, text, retry_after=300)
        wait = self._failures.wait(share_key(asked.client)) if asked.signs_in else 0.0
        if wait:
            text = "Too many failed sign-ins from your address; wait a minute and try again."
            return pages.answer(asked.request, 429, text, retry_after=wait)
        return None

    async def _relay(self, asked: _Asked, fossil: Exchange) -> web.StreamResponse:
        request, public = asked.request, self._public()
        head = request_head(
            request.method,
            asked.target,
            request.raw_headers,
            host=public.authority(asked.name),
            client=asked.client,
            https=public.scheme == "https",
            length=asked.body.length,
        )
        await fossil.send(head, asked.body)
        got = await fossil.head()
        if got.headers.get("Location", "").endswith(NOT_FOUND_TARGET):
            return pages.not_found(request)
        if is_raw_page(asked.target):
            take_powers(got.headers)
        if public.by_path:
            keep_to(got.headers, public.url(asked.name))
        if asked.signs_in and got.status == 401:
            self._failures.failed(share_key(asked.client))
        return await self._pass_back(asked, got, fossil)

    async def _pass_back(
        self, asked: _Asked, got: ResponseHead, fossil: Exchange
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=got.status, reason=got.reason, headers=got.headers)
        response.headers.setdefault("Server", "fossilrepo")
        await response.prepare(asked.request)
        pace, sent, small, why, refused = Pace(self._limits), 0, b"", "", False
        doubtful = asked.signs_in and asked.is_sync and (got.length or 0) <= _SMALL_ANSWER
        try:
            async for piece in fossil.pieces():
                if doubtful and sent < _SMALL_ANSWER:
                    small += piece[:_SMALL_ANSWER]
                    # Before it is passed on: who reads that much and hangs up is counted too.
                    refused = self._count_refusal(asked, small, got)
                    doubtful = not refused
                if sent + len(piece) == got.length and got.status == 200 and not refused:
                    self._tell_of_key(asked.key)  # also before: the client hangs up at once
                await pace.wait(response.write(piece))
                pace.moved(len(piece))
                sent += len(piece)
        except (FossilFailed, SlowClient, OSError) as failure:
            why = repr(failure)
        self._sent += sent
        if got.length is not None and sent < got.length and asked.request.method != "HEAD":
            why = why or f"{sent} of {got.length} bytes"
        if why:
            self._cut(asked, response, why)
        return response

    def _tell_of_key(self, key: str) -> None:
        """On its own, so that neither the answer waits for it nor it ends with the answer."""
        if key and self._key_used is not None:
            task = asyncio.create_task(_told(self._key_used, key), name="access key used")
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    def _count_refusal(self, asked: _Asked, answer: bytes, got: ResponseHead) -> bool:
        """Whether the answer to a sync message says that its login was wrong."""
        cards = xfer.opening(answer, got.headers.get("Content-Type", ""))
        refused = xfer.refused_login(cards)
        if refused:
            self._failures.failed(share_key(asked.client))
        return refused

    def _cut(self, asked: _Asked, response: web.StreamResponse, why: str) -> None:
        """Ends an answer that has begun, so that it is not taken for a whole one."""
        self._failed += 1
        log.info("an answer was cut short", extra={"repository": asked.name, "why": why})
        response.force_close()
        if asked.request.transport is not None:
            asked.request.transport.abort()


async def _told(told: Told, key: str) -> None:
    try:
        await told(key)
    except FossilrepoError as error:
        log.warning("the use of an access key was not noted: %s", error)


def _has_fossil_cookie(request: web.Request) -> bool:
    """Whether the browser was signed in here: Fossil's login cookies are `fossil-...`."""
    return any(key.startswith("fossil-") for key in request.cookies)


async def _last_words(request: web.Request, text: str) -> web.StreamResponse:
    """Answers a client that stopped sending, and does not wait for the rest of its body."""
    answer = pages.answer(request, 408, text)
    answer.force_close()
    await answer.prepare(request)
    await answer.write_eof()
    if request.transport is not None:
        request.transport.close()
    return answer
