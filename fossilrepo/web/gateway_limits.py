"""How much of Fossil one client, and all of them together, may hold.

Owns the slots (requests at Fossil at one time, with a short queue and a share
per client) and the count of failed sign-ins. Both are bounded in memory and
know nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fossilrepo.traces import span


class Full(Exception):
    """No slot became free in time."""


class Slots:
    """At most `total` holders, at most half of them (at least one) for one client."""

    def __init__(self, total: int, *, queue: int, patience: float) -> None:
        self.total, self.share = total, max(1, total // 2)
        self._queue, self._patience = queue, patience
        self._held: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self.refused = 0

    @property
    def held(self) -> int:
        return self._held.total()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @asynccontextmanager
    async def take(self, client: str) -> AsyncIterator[None]:
        """Holds a slot; waits for one in turn, and raises Full when that takes too long."""
        if self._room(client):
            self._held[client] += 1
        else:
            await self._wait(client)
        try:
            yield
        finally:
            self._release(client)

    def _room(self, client: str) -> bool:
        return self.held < self.total and self._held[client] < self.share

    async def _wait(self, client: str) -> None:
        mine = sum(1 for other, _ in self._waiting if other == client)
        if self.waiting >= self._queue or mine >= max(1, self._queue // 2):
            self.refused += 1
            raise Full
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (client, turn)
        self._waiting.append(entry)
        try:
            with span("place"):
                async with asyncio.timeout(self._patience):
                    await turn
        except BaseException as error:
            if entry in self._waiting:
                self._waiting.remove(entry)
            elif turn.done() and not turn.cancelled():  # handed over in the same moment
                self._release(client)
            if isinstance(error, TimeoutError):
                self.refused += 1
                raise Full from None
            raise

    def _release(self, client: str) -> None:
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
        for entry in list(self._waiting):
            waiter, turn = entry
            if not turn.done() and self._room(waiter):
                self._waiting.remove(entry)
                self._held[waiter] += 1
                turn.set_result(None)


class FailedLogins:
    """Failed sign-ins per client within a window; past the limit the client has to wait."""

    def __init__(
        self,
        *,
        limit: int,
        window: float,
        clients: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit, self._window, self._clients, self._clock = limit, window, clients, clock
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def failed(self, client: str) -> None:
        count, since = self._seen.pop(client, (0, 0.0))
        if not count or self._clock() - since >= self._window:
            count, since = 0, self._clock()
        self._seen[client] = (count + 1, since)
        while len(self._seen) > self._clients:
            self._seen.popitem(last=False)

    def wait(self, client: str) -> float:
        """Seconds until the client may try again; 0 when it may now."""
        count, since = self._seen.get(client, (0, 0.0))
        if count < self._limit:
            return 0.0
        return max(0.0, since + self._window - self._clock())
