"""Things to be dealt with, gathered while the previous ones are.

Owns one waiting set and one handler that gets it whole, never twice at once. Whoever
adds does not wait: a slow handler delays nobody but itself. What the handler raises
is logged and kept; the next things are handled all the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")
LONGEST = 2.0  # seconds of a rest


class Gathered(Generic[T]):
    """`run` it as a task; `add` from the loop's thread."""

    def __init__(
        self, name: str, handle: Callable[[set[T]], Awaitable[None]], *, rest: float = 0.0
    ) -> None:
        """`rest`: after what took a second, so many seconds (`LONGEST` at most) go by before
        the next, so that what costs more with every thing there is does not go on all the time.
        """
        self.last_error = ""
        self._rest = rest
        self._name = name
        self._handle = handle
        self._waiting: set[T] = set()
        self._some = asyncio.Event()

    def add(self, things: Iterable[T]) -> None:
        self._waiting.update(things)
        if self._waiting:
            self._some.set()

    async def run(self) -> None:
        """Handle what comes until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            things, self._waiting = self._waiting, set()
            began = time.monotonic()
            try:
                await self._handle(things)
            except Exception as error:
                log.exception("%s could not be handled", self._name)
                self.last_error = f"{type(error).__name__}: {error}"
            await asyncio.sleep(min(LONGEST, self._rest * (time.monotonic() - began)))
