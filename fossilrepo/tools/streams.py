"""Copying a request and its answer between two connections.

Owns the few lines of HTTP/1 that the proxy for git and the relay for fossil share:
one request a connection, heads bounded, bodies streamed and never understood.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

HEAD_SECONDS = 20.0
LARGEST_HEAD = 64 * 1024
_CHUNK = 64 * 1024
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_DROPPED = ("proxy-authorization", "proxy-connection", "connection", "keep-alive")


def origin_head(method: str, target: str, lines: list[str], host: str = "") -> bytes:
    """The request's head as the far server gets it: its own form, and one request only."""
    dropped = (*_DROPPED, "host") if host else _DROPPED
    kept = [line for line in lines if line.partition(":")[0].strip().lower() not in dropped]
    named = [f"Host: {host}"] if host else []
    head = [f"{method} {target} HTTP/1.0", *named, *kept, "Connection: close", "", ""]
    return "\r\n".join(head).encode("latin-1")


async def refuse(writer: asyncio.StreamWriter, status: int, reason: str) -> None:
    """Answer without a body."""
    challenge = 'Proxy-Authenticate: Basic realm="job"\r\n' if status == 407 else ""
    head = f"HTTP/1.1 {status} {reason}\r\n{challenge}Content-Length: 0\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode())
    await writer.drain()


async def both_ways(near: Ends, far: Ends, check: Callable[[str], None] | None = None) -> None:
    """Copy until the far end closes; the near one may stop sending earlier.

    `check` sees the answer's head before anything of it is passed on, and may raise.
    """
    sending = asyncio.ensure_future(_copy(near[0], far[1]))
    try:
        if check is not None:
            head = await far[0].readuntil(b"\r\n\r\n")
            check(head.decode("latin-1"))
            near[1].write(head)
        await _copy(far[0], near[1])
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(_CHUNK):
        sink.write(chunk)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()


class JobSocket:
    """A listening socket on loopback for one job; `async with` opens it and ends all of it.

    A subclass says in `_address` what the job is given as `url`, answers a connection in
    `_serve`, and keeps in `refusal` why it let something not through, in words.
    """

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.refusal = ""
        self.url = ""

    def _address(self, port: int) -> str:
        raise NotImplementedError

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=LARGEST_HEAD)
        self.url = self._address(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        try:
            await self._serve(reader, writer)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        except asyncio.CancelledError:
            pass  # the job is over; asyncio would log what is raised here
        finally:
            writer.transport.abort()
