"""A repository's file from the replica, as a file in the scratch folder that may be used.

Owns the way in for what returns: restored, checked by SQLite and the gate, disarmed,
nobody signed in. A replica may have been in other hands, so it is a stranger's file
until then. What becomes of the file afterwards is the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from fossilrepo.errors import FossilrepoError, NotFound
from fossilrepo.models import new_id, now
from fossilrepo.services.jobs import Progress
from fossilrepo.services.replication import Replication
from fossilrepo.services.shelf import SUFFIX, Shelf
from fossilrepo.tools import fossil_write, litestream
from fossilrepo.tools.gate import Gate
from fossilrepo.tools.returned import sign_everybody_out

LARGEST = 1 << 42  # bytes; what was ours may have outgrown what may be brought in
RECENT = timedelta(seconds=30)
CATCH_UP_WITHIN = 5.0  # seconds


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
        await self._catch_up(repository_id, at, progress)
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
        except NotFound as error:
            label = self._replication.standing(repository_id).label or repository_id
            words = error.message.replace(f"{repository_id}{SUFFIX}", label)
            raise NotFound(words, hint=error.hint) from error
        finally:
            await asyncio.to_thread(self._shelf.discard, path)

    async def _catch_up(self, repository_id: str, at: datetime | None, progress: Progress) -> None:
        """What was just acknowledged may be on its way: have it there first, or say that it is not.

        Of a purged repository the replica is all there is.
        """
        is_old = at is not None and at < now() - RECENT
        if is_old or not await asyncio.to_thread(self._shelf.file(repository_id).exists):
            return
        try:
            await self._replication.control.info()
            await self._replication.ensure(repository_id, CATCH_UP_WITHIN)
        except FossilrepoError as error:
            progress.say(f"only what the replica has already: {error.message}")
