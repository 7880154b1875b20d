"""A number that grows when something changed that open pages show.

Owns the waiting for it. Who waits costs nothing; nobody is told what changed, only that they may
look again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Pulse:
    def __init__(self) -> None:
        self.number = 0
        self._changed = asyncio.Event()

    def beat(self) -> None:
        self.number += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def after(self, number: int, *, within: float) -> int:
        """The number as soon as it is another one, or as it is after `within` seconds."""
        if self.number == number:
            with suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await self._changed.wait()
        return self.number
