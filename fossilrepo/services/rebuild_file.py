"""One repository back from the replica: fetched, checked, disarmed, put into the store.

Owns the tries and the checks. What is wrong with one repository is its outcome and
disturbs no other; what concerns all (the place cannot be reached, the disk is full)
is raised, and ends the rebuild so that it can go on later.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from fossilrepo.errors import (
    Damaged,
    FossilrepoError,
    InvalidInput,
    NotFound,
    ToolFailed,
    Unavailable,
)
from fossilrepo.services.rebuild_report import Brought, Result
from fossilrepo.services.shelf import SUFFIX, Shelf
from fossilrepo.tools import fossil_write, litestream, returned
from fossilrepo.tools.fossil import Fossil
from fossilrepo.tools.gate import Gate
from fossilrepo.tools.litestream import Restored
from fossilrepo.tools.target import Target

T = TypeVar("T")

PAUSES = (0.5, 2.0, 5.0)  # seconds before another try
SECONDS = 3600.0  # for one restore
AGAIN = "then start the rebuild again: it goes on where it was"
_FULL = ("no space left", "disk is full", "disk quota")
SPARE = 16 * 2**20  # bytes; with less free than this the disk counts as full


class Bringer:
    def __init__(self, source: Target, shelf: Shelf, fossil: Fossil, gate: Gate) -> None:
        self._source = source
        self._shelf = shelf
        self._fossil = fossil
        self._gate = gate

    async def bring(self, identity: str, project_code: str, before: Brought | None) -> Brought:
        """How it came out. `before`: it was fetched already, and is taken when it is the newest.

        `project_code` is what its row says, empty when there is none. Unavailable when
        going on makes no sense for any repository.
        """
        began = time.monotonic()
        name = f"{identity}{SUFFIX}"
        try:
            files = await self._tried(lambda: litestream.ltx(self._source, name))
            newest = max((file.max_txid for file in files), default=0)
            if before is not None and before.txid == newest:
                return before
            restored, size, checkins, removed = await self._fetched(identity, name, project_code)
        except NotFound as error:
            return Brought(identity, Result.MISSING, reason=error.message)
        except (Damaged, InvalidInput, ToolFailed) as error:
            words = error.message.replace(name, "the restored file")
            return Brought(identity, Result.FAILED, reason=words, seconds=time.monotonic() - began)
        times = [file.at for file in files if file.max_txid <= restored.txid]
        return Brought(
            identity,
            Result.RESTORED,
            size_bytes=size,
            checkins=checkins,
            seconds=round(time.monotonic() - began, 3),
            moment=max(times, default=None),
            txid=restored.txid,
            removed=removed,
        )

    async def _fetched(
        self, identity: str, name: str, project_code: str
    ) -> tuple[Restored, int, int, tuple[str, ...]]:
        scratch = self._shelf.scratch_file(identity)
        try:
            restored = await self.restore(name, scratch)
            try:
                size, checkins, removed = await self._placed(identity, scratch, project_code)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise _full(self._shelf.scratch) from error
                raise ToolFailed(f"it could not be stored: {error.strerror}") from error
            except (Unavailable, ToolFailed) as error:  # of this file, unless the disk is full
                self._stop_when_full(error)
                raise ToolFailed(error.message, hint=error.hint) from error
        finally:
            await asyncio.to_thread(self._shelf.discard, scratch)
        return restored, size, checkins, removed

    async def _placed(
        self, identity: str, scratch: Path, project_code: str
    ) -> tuple[int, int, tuple[str, ...]]:
        """Look at what came, make it harmless, and put it into the store."""
        await asyncio.to_thread(self._shelf.give, scratch)
        checked = await self._gate.check_file(scratch)  # nothing else opens it before
        found = checked.facts.project_code
        if project_code and found != project_code:
            raise Damaged(f"it holds another project, {found[:10]} and not {project_code[:10]}")
        removed = await asyncio.to_thread(fossil_write.disarm, scratch, entering=True)
        await asyncio.to_thread(returned.sign_everybody_out, scratch)
        await self._fossil.test_integrity(scratch)
        size = (await asyncio.to_thread(scratch.stat)).st_size
        await asyncio.to_thread(self._shelf.place, scratch, identity)
        return size, checked.facts.checkins, tuple(sorted(removed))

    async def restore(self, name: str, output: Path, txid: int | None = None) -> Restored:
        """The newest (or `txid`) of a replica, with SQLite's full check, tried a few times."""
        return await self._tried(
            lambda: litestream.restore(
                self._source, name, output, txid=txid, check="full", timeout=SECONDS
            )
        )

    async def _tried(self, call: Callable[[], Awaitable[T]]) -> T:
        for pause in (*PAUSES, None):
            try:
                return await call()
            except (Unavailable, ToolFailed, Damaged) as error:
                self._stop_when_full(error)
                if isinstance(error, Damaged):
                    raise
                if pause is None:
                    raise await self._judged(error) from error
                await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def _judged(self, error: FossilrepoError) -> FossilrepoError:
        """This replica's own fault, as long as the place itself answers."""
        try:
            answers = bool(await self._source.names())
        except Unavailable as away:
            return Unavailable(away.message, hint=f"{away.hint}, {AGAIN}" if away.hint else AGAIN)
        if answers:
            return ToolFailed(error.message, hint=error.hint)
        return Unavailable(
            f"{self._source.url} is not there any more", hint=f"bring it back, {AGAIN}"
        )

    def _stop_when_full(self, error: FossilrepoError) -> None:
        """A full disk is no repository's fault, whatever the program that met it says."""
        disk = os.statvfs(self._shelf.scratch)
        said = any(words in error.message.lower() for words in _FULL)
        if said or disk.f_bavail * disk.f_frsize < SPARE:
            raise _full(self._shelf.scratch) from error


def _full(folder: Path) -> Unavailable:
    return Unavailable(
        f"the disk of {folder} is full",
        hint=f"make room, {AGAIN}",
    )
