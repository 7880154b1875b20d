"""Connections that never get as far as a request.

Owns the time limit for the first request's head, which aiohttp lacks (its
keep-alive limit covers the later ones). Looks at a server's connections now and
then and closes those that have sent no whole head. Must not touch one that has.
"""

from __future__ import annotations

import asyncio
import time

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware


class HeadDeadline:
    """Install `middleware` first, and keep `run()` as a task while the server listens."""

    def __init__(self, *, seconds: float = 15.0) -> None:
        self._seconds = seconds
        self._asked: set[object] = set()
        self._silent: dict[object, float] = {}

    @property
    def middleware(self) -> Middleware:
        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._asked.add(request.protocol)
            return await handler(request)

        return note

    async def run(self, server: web.Server) -> None:
        while True:
            await asyncio.sleep(self._seconds / 3)
            self.close_silent(server)

    def close_silent(self, server: web.Server) -> int:
        """Closes what has been silent for too long; how many."""
        now, closed, connections = time.monotonic(), 0, set(server.connections)
        self._asked &= connections
        silent = connections - self._asked
        self._silent = {one: self._silent.get(one, now) for one in silent}
        for connection in silent:
            if now - self._silent[connection] >= self._seconds:
                connection.force_close()
                closed += 1
        return closed
