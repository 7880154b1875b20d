"""Logs that have grown, written into their databases once Litestream has read them.

Owns when that is worth it and the order: Litestream reads, writers out, it reads the rest, one
checkpoint, and a small write that begins the log anew. A failure is told in the log and
tried again with the next question: nothing is lost while the log stays. See `wal_guard`.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
from pathlib import Path

from fossilrepo.errors import FossilrepoError
from fossilrepo.tools import litestream, wal_guard
from fossilrepo.tools.litestream import Control
from fossilrepo.tools.wal_guard import WalGuard

log = logging.getLogger(__name__)

LIMIT = 4 * 2**20  # bytes, at least; an eighth of a larger database, up to 16 times as much
QUIET_LIMIT = 256 * 2**10  # bytes, when nothing has changed for a while
MOST = 16
READ_WITHIN = 60.0  # seconds, while others write
HELD_UP = 2.0  # seconds that writers wait at most until the rest is read


class Folding:
    def __init__(self, guard: WalGuard, control: Control) -> None:
        self._guard = guard
        self._control = control

    async def fold(self, path: Path, *, quiet: bool) -> None:
        """Fold the log in if it is large enough. Runs to its end also when it is cancelled."""
        unfolded = await asyncio.to_thread(self._guard.unfolded, path)
        size = await asyncio.to_thread(lambda: path.stat().st_size if path.exists() else 0)
        limit = QUIET_LIMIT if quiet else max(LIMIT, min(size // 8, MOST * LIMIT))
        if unfolded < limit:
            return
        folding = asyncio.ensure_future(self._fold(path))
        try:
            await asyncio.shield(folding)
        except asyncio.CancelledError:
            await asyncio.wait({folding})
            raise
        except (FossilrepoError, sqlite3.Error, OSError) as error:
            log.warning("the log of %s could not be folded in: %s", path.name, error)

    async def _fold(self, path: Path) -> None:
        await self._control.read(path, within=READ_WITHIN)
        with self._guard.no_writer(path) as alone:
            if not alone:
                return  # somebody writes: after that the question comes again
            await self._control.read(path, within=HELD_UP)  # what came since
            done = await asyncio.to_thread(self._guard.checkpoint, path)
        if done:
            await asyncio.to_thread(litestream.begin_log_anew, path)
            await self._control.read(path)


def prepare(path: Path, state: Path) -> None:
    """Before Litestream starts: nothing that happened to the log meanwhile may be missed.

    `state` is Litestream's folder of this database. It goes when the log misleads and
    cannot be emptied: then the whole database is sent, and the replica goes on after that.
    """
    newest = max((state / "ltx" / "0").glob("*.ltx"), default=None)
    if not wal_guard.prepare(path, newest):
        shutil.rmtree(state, ignore_errors=True)
