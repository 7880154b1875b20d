"""A repository's file from the replica, as a file in the scratch folder that may be used.

Owns the way in for what returns: restored, checked by SQLite and the gate, disarmed,
nobody signed in. A replica may have been in other hands, so it is a stranger's file
until then. What becomes of the file afterwards is the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from fossilrepo.models import new_id
from fossilrepo.services.jobs import Progress
from fossilrepo.services.replication import Replication
from fossilrepo.services.shelf import SUFFIX, Shelf
from fossilrepo.tools import fossil_write, litestream
from fossilrepo.tools.gate import Gate
from fossilrepo.tools.returned import sign_everybody_out


class BringBack:
    def __init__(self, replication: Replication, shelf: Shelf, gate: Gate) -> None:
        self._replication = replication
        self._shelf = shelf
        self._gate = gate

    @asynccontextmanager
    async def scratch(
        self, repository_id: str, at: datetime | None, progress: Progress, *, size: int = 0
    ) -> AsyncIterator[Path]:
        """The repository as it was at the moment (None: the newest); gone after the block.

        `size` in bytes is what it will take. NotFound when the replica does not reach back
        that far, InvalidInput when what came back may not be used.
        """
        self._shelf.require_space(2 * size)
        path = self._shelf.scratch_file(f"restored-{new_id()}")
        progress.say("fetching it from the replica")
        try:
            await litestream.restore(
                self._replication.target, f"{repository_id}{SUFFIX}", path, at=at, check="quick"
            )
            progress.say("checking it")
            await asyncio.to_thread(self._shelf.give, path)
            await self._gate.check_file(path)
            await asyncio.to_thread(fossil_write.disarm, path, entering=True)
            await asyncio.to_thread(sign_everybody_out, path)
            yield path
        finally:
            await asyncio.to_thread(self._shelf.discard, path)
