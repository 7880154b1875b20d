"""The children as a whole.

Owns their start (all at once), their stop (in the order given), what is shown
of them and who is told of changes. A child that fails does not end us; what a
crashed run left is ended first, and what escaped from a child is ended last.
Must not know what the programs are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fossilrepo.errors import NotFound, Unavailable
from fossilrepo.runtime.child import Child, ChildSpec, ChildStatus, Pace
from fossilrepo.runtime.ledger import Ledger
from fossilrepo.runtime.orphans import Reaper, become_subreaper, end_orphans
from fossilrepo.runtime.states import SETTLED, State

__all__ = ["ChildSpec", "ChildStatus", "Pace", "State", "Supervisor"]

log = logging.getLogger(__name__)

_LEFTOVER_GRACE = 3.0


class Supervisor:
    """Keeps programs running. One per process and state file."""

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        *,
        state_file: Path,
        pace: Pace | None = None,
        leftover_grace: float = _LEFTOVER_GRACE,
    ) -> None:
        if len({spec.name for spec in specs}) != len(specs):
            raise ValueError("two children have one name")
        self._ledger = Ledger(state_file)
        self._leftover_grace = leftover_grace
        self._children = {
            spec.name: Child(spec, pace or Pace(), self._ledger.record, self._tell)
            for spec in specs
        }
        self._version = 0
        self._change = asyncio.Event()
        self._reaper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start all children; back when every needed one runs or has failed once.

        A child that is not needed is not waited for.
        """
        become_subreaper()
        await self._ledger.end_leftovers(self._leftover_grace)
        self._reaper = asyncio.create_task(Reaper().run(), name="reaper")
        for child in self._children.values():
            child.start()
        for child in self._children.values():
            if child.spec.needed:
                await self._settled(child)

    async def stop(self) -> None:
        """Stop the children one after the other, in the order given, and what escaped them."""
        for child in self._children.values():
            await child.stop()
        if self._reaper is not None:
            self._reaper.cancel()
            await asyncio.wait({self._reaper})
            self._reaper = None
        await end_orphans()
        become_subreaper(False)

    async def restart(self, name: str) -> ChildStatus:
        """Stop it, start it without a pause; its status once it runs or has failed."""
        child = self._find(name)
        await child.restart()
        await self._settled(child)
        return child.status()

    @asynccontextmanager
    async def paused(self, name: str) -> AsyncIterator[None]:
        """The child is stopped inside the block, and started again after it, whatever happens."""
        child = self._find(name)
        await child.stop()
        try:
            yield
        finally:
            child.start()
        await self._settled(child)

    def child(self, name: str) -> ChildStatus:
        return self._find(name).status()

    def status(self) -> list[ChildStatus]:
        """All children, in the order given."""
        return [child.status() for child in self._children.values()]

    async def changes(self) -> AsyncIterator[list[ChildStatus]]:
        """The status now and after every change of a state; quick changes may come as one."""
        seen = -1
        while True:
            while seen == self._version:
                await self._change.wait()
            seen = self._version
            yield self.status()

    async def wait(self, name: str, *states: State, seconds: float) -> ChildStatus:
        """The status once it is in one of the states; Unavailable when that takes longer."""
        child = self._find(name)
        try:
            async with asyncio.timeout(seconds):
                while child.state not in states:
                    await self._change.wait()
        except TimeoutError as error:
            raise Unavailable(
                f"{name} is still {child.state} after {seconds:g} s",
                hint=child.status().last_error,
            ) from error
        return child.status()

    async def _settled(self, child: Child) -> None:
        while child.state not in SETTLED:
            await self._change.wait()

    def _find(self, name: str) -> Child:
        if name not in self._children:
            raise NotFound(f"there is no child called {name}")
        return self._children[name]

    def _tell(self) -> None:
        self._version += 1
        told, self._change = self._change, asyncio.Event()
        told.set()
