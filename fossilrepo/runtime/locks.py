"""Locks between processes and between tasks, which a crash cannot leave behind.

Owns `flock(2)` on small files. The kernel lets go when the holder's file is
closed, and our files are not handed on to children, so there is nothing stale
to clean; the files themselves stay, because deleting one would let two holders
lock different files by one name. Must not know what is being protected.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from fossilrepo.errors import Conflict, Unavailable

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,100}")
_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.1


@dataclass(slots=True)
class _Queue:
    """The tasks of this process that want one key: first come, first served."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class FileLocks:
    """One lock per key, in a folder that all processes share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._queues: dict[str, _Queue] = {}

    @asynccontextmanager
    async def hold(
        self,
        key: str,
        *,
        timeout: float = 30.0,  # noqa: ASYNC109 - it becomes Unavailable
        busy: str = "it",
    ) -> AsyncIterator[None]:
        """Hold the key's lock inside the block.

        Raises Unavailable, saying that `busy` is busy, when others hold it for all of
        `timeout` seconds. Not re-entrant: a task that asks twice waits for itself.
        """
        if not _KEY.fullmatch(key):
            raise ValueError(f"not a name for a lock: {key!r}")
        queue = self._queues.setdefault(key, _Queue())
        queue.users += 1
        try:
            file = await self._acquire(queue, key, timeout, busy)
            try:
                yield
            finally:
                os.close(file)
                queue.lock.release()
        finally:
            queue.users -= 1
            if not queue.users:
                self._queues.pop(key, None)

    async def _acquire(self, queue: _Queue, key: str, seconds: float, busy: str) -> int:
        try:
            async with asyncio.timeout(seconds):
                await queue.lock.acquire()
                try:
                    return await self._lock_file(self._folder / f"{key}.lock")
                except BaseException:
                    queue.lock.release()
                    raise
        except TimeoutError as error:
            raise Unavailable(
                f"{busy} is busy with something else",
                hint="wait until that is done, then try again",
            ) from error

    async def _lock_file(self, path: Path) -> int:
        """The open, locked file. Asked again and again: a waiting flock() cannot be cancelled."""
        file = _open(path)
        pause = _FIRST_PAUSE
        try:
            while not _try_lock(file):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        except BaseException:
            os.close(file)
            raise
        return file


class Single:
    """The proof that we are the only one; lets go at `close` or when the process ends."""

    def __init__(self, file: int) -> None:
        self._file = file

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def acquire_single(path: Path, what: str = "it") -> Single:
    """Become the only holder of the file, with our pid inside.

    Raises Conflict, naming the other's pid, when there is one already.
    """
    file = _open(path)
    if not _try_lock(file):
        pid = os.read(file, 32).decode("ascii", errors="replace").strip()
        os.close(file)
        raise Conflict(
            f"{what} is already running" + (f" (pid {pid})" if pid else ""),
            hint="stop it first, or use another data folder",
        )
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode("ascii"), 0)
    return Single(file)


def _open(path: Path) -> int:
    """Opening and asking take microseconds: not worth a thread, which could not be cancelled."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    folder = path.parent.stat()
    if os.geteuid() == 0 and folder.st_uid != 0:  # the folder's owner must be able to lock too
        os.fchown(file, folder.st_uid, folder.st_gid)
    return file


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
