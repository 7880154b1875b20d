"""Bytes between a client and one Fossil process, both ways, a piece at a time.

Owns the request's body, the connection to Fossil, and their time limits. Holds
at most a few pieces of 64 KiB in memory whatever the size of the body. A plain
stream is used and not an HTTP client: Fossil serves one request for each
connection in HTTP/1.0, and the end of the connection ends the answer. Must not
decide who may ask for what.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from fossilrepo.traces import CLIENT, span
from fossilrepo.web.gateway_headers import ResponseHead, parse_response_head

PIECE = 64 * 1024
_NOTICE = 0.3  # seconds until a client that hung up is noticed while Fossil computes
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Upstream:
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """In seconds. A client must move `floor` bytes in each `window` that we wait for it."""

    idle: float = 30.0
    window: float = 60.0
    floor: int = 16 * 1024
    connect: float = 5.0
    thinking: float = 600.0  # Fossil without a byte: a large tarball, a rebuild of a page


class SlowClient(Exception):
    """The client kept Fossil waiting."""


class ClientGone(Exception):
    """The client closed its connection."""


class FossilFailed(Exception):
    """Fossil could not be reached, or did not give a whole answer."""


class Pace:
    """Waiting for a client, whichever way the bytes go."""

    def __init__(self, limits: TimeLimits) -> None:
        self._limits, self._waited, self._moved = limits, 0.0, 0

    async def wait(self, operation: Coroutine[Any, Any, T]) -> T:
        """The operation's result; SlowClient when this client has used up its patience."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.idle):
                result = await operation
        except TimeoutError:
            raise SlowClient from None
        self._waited += time.monotonic() - started
        return result

    def moved(self, size: int) -> None:
        self._moved += size
        if self._waited >= self._limits.window:
            if self._moved < self._limits.floor:
                raise SlowClient
            self._waited, self._moved = 0.0, 0


class RequestBody:
    """A request's body of known length; its first piece is read before Fossil is troubled."""

    def __init__(self, request: web.Request, limits: TimeLimits) -> None:
        self._content, self._pace = request.content, Pace(limits)
        self.length = request.content_length or 0
        self.received = 0
        self.start = b""

    async def read_ahead(self) -> None:
        """Fills `start` with the first 64 KiB, or with all of a smaller body."""
        start = bytearray()
        while len(start) < PIECE and self.received < self.length:
            start += await self._read()
        self.start = bytes(start)

    async def pieces(self) -> AsyncIterator[bytes]:
        if self.start:
            yield self.start
        while self.received < self.length:
            yield await self._read()

    async def _read(self) -> bytes:
        try:
            with span(CLIENT):
                piece = await self._pace.wait(self._content.readany())
        except (OSError, HttpProcessingError, web.RequestPayloadError):
            raise ClientGone from None
        if not piece:
            raise ClientGone
        self.received += len(piece)
        self._pace.moved(len(piece))
        return piece


class Body(Protocol):
    """What is sent after a request's head."""

    def pieces(self) -> AsyncIterator[bytes]: ...


class Exchange:
    """One request and its answer on a connection of their own to Fossil."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: TimeLimits
    ) -> None:
        self._reader, self._writer, self._limits = reader, writer, limits

    async def send(self, head: bytes, body: Body) -> None:
        try:
            self._writer.write(head)
            async for piece in body.pieces():
                self._writer.write(piece)
                async with asyncio.timeout(self._limits.thinking):
                    await self._writer.drain()
        except OSError as error:  # TimeoutError too
            raise FossilFailed(f"while sending: {error!r}") from None

    async def head(self) -> ResponseHead:
        try:
            with span("fossil"):
                async with asyncio.timeout(self._limits.thinking):
                    got = await self._reader.readuntil(b"\r\n\r\n")
            return parse_response_head(got)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise FossilFailed(f"no answer: {error!r}") from None

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            while True:
                async with asyncio.timeout(self._limits.thinking):
                    piece = await self._reader.read(PIECE)
                if not piece:
                    return
                yield piece
        except OSError as error:
            raise FossilFailed(f"in the middle of the answer: {error!r}") from None


@asynccontextmanager
async def exchange(upstream: Upstream, limits: TimeLimits) -> AsyncIterator[Exchange]:
    """A connection to Fossil; its end, however it comes, is felt by the process at once."""
    try:
        async with asyncio.timeout(limits.connect):
            reader, writer = await asyncio.open_connection(
                upstream.host, upstream.port, limit=PIECE
            )
    except OSError as error:
        raise FossilFailed(f"cannot connect: {error!r}") from None
    try:
        yield Exchange(reader, writer, limits)
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def unless_gone(request: web.Request, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; when the client closes first, the work is cancelled: ClientGone."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _gone(request: web.Request) -> None:
    """Returns soon after the client's connection closed; aiohttp tells it in no other way."""
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(_NOTICE)
