"""Holds every database's write-ahead log until Litestream has read it.

Owns locks as a reader of SQLite would have them, on each database that is replicated.
Litestream 0.5.17 holds none: when a program checkpoints the log (Fossil does at the end
of every request) and the next one begins the log anew, what was committed in between is
missing on the replica, and Litestream says that all is well. A shared lock on the first
read mark lets nobody checkpoint; the host does it when everything is on the replica.

Locks belong to open files (F_OFD_SETLK), and these stay open: closing any descriptor of
a file would drop the locks that SQLite has in this process. The shared lock on the
database itself goes with it, as with a real reader: without it the last program that
closes the database would delete a log that it could not checkpoint. Functions block.
See https://www.sqlite.org/walformat.html (locks) and os_unix.c, UNIX_SHM_BASE.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fossilrepo.tools.fossil_db import address, explain

_WRITER, _FIRST_MARK, _DEAD_MAN = 120, 123, 128  # bytes of the -shm file
_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510  # bytes of the database
_READ, _WRITE, _NONE = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
_BUSY = 2.0
_PATIENCE = 1.0  # seconds that a checkpoint of somebody else may take


@dataclass(slots=True)
class _Held:
    """The two files open, the inodes that they are, and whether the locks are ours now."""

    shm: int
    database: int
    inodes: tuple[int, int]
    locked: bool = False

    def lock(self) -> bool:
        """As a reader does it, the database first; False while a checkpoint is under way."""
        self.locked = (
            _set(self.database, _READ, _SHARED_FIRST, _SHARED_SIZE)
            and _set(self.shm, _READ, _DEAD_MAN, 1)
            and _set(self.shm, _READ, _FIRST_MARK, 1)
        )
        return self.locked

    def unlock(self) -> None:
        _set(self.shm, _NONE, _WRITER, _DEAD_MAN + 1 - _WRITER)
        _set(self.database, _NONE, _SHARED_FIRST, _SHARED_SIZE)
        self.locked = False


class WalGuard:
    """One for the running host; `hold` each database before others may write to it."""

    def __init__(self) -> None:
        self._held: dict[Path, _Held] = {}

    def holds(self, path: Path) -> bool:
        """Whether the log that is there now is held."""
        held = self._held.get(path)
        return held is not None and held.locked and held.inodes == _inodes(path)

    def hold(self, path: Path) -> bool:
        """Hold the database's log from now on; False when it cannot be just now.

        The database is put into WAL mode. What is no database is not held.
        """
        if self.holds(path):
            return True
        self._forget_what_went(path)
        try:
            with closing(_connected(path)) as db:
                if db.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
                    return False
                db.execute("BEGIN")
                db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()  # makes the -shm
                held = self._held.get(path)
                if held is None:
                    held = self._held[path] = _opened(path)
                until = time.monotonic() + _PATIENCE
                while not held.lock() and time.monotonic() < until:
                    time.sleep(0.01)
                return held.locked
        except (sqlite3.Error, OSError):
            return False

    def release(self, path: Path) -> None:
        """Let go of the log. Files are closed only when other ones have their names."""
        if path in self._held:
            self._held[path].unlock()
            self._forget_what_went(path)

    def _forget_what_went(self, path: Path) -> None:
        """Close what nobody can open any more: SQLite here has no lock on it that counts."""
        held, now = self._held.get(path), _inodes(path)
        if held is None or held.inodes == now:
            return
        held.unlock()
        del self._held[path]
        for descriptor, before, after in zip(
            (held.shm, held.database), held.inodes, now, strict=True
        ):
            if before != after:
                os.close(descriptor)

    @contextmanager
    def no_writer(self, path: Path) -> Iterator[bool]:
        """Nobody commits inside the block; False when it is not held, or somebody writes now."""
        held = self._held.get(path)
        got = held is not None and held.locked and _set(held.shm, _WRITE, _WRITER, 1)
        try:
            yield got
        finally:
            if got and held is not None:
                _set(held.shm, _NONE, _WRITER, 1)

    def checkpoint(self, path: Path) -> bool:
        """Write the log into the database, inside `no_writer`; False when a reader was in the way.

        The next commit begins the log anew: everything in it must be on the replica.
        """
        held = self._held[path]
        _set(held.shm, _NONE, _FIRST_MARK, 1)
        try:
            with closing(_connected(path)) as db:
                busy, frames, done = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            raise explain(path, error) from error
        finally:
            held.lock()
        return not busy and frames == done

    def close(self) -> None:
        """Let go of all, the log first: see above."""
        for held in self._held.values():
            os.close(held.shm)
            os.close(held.database)
        self._held.clear()


def is_guarded(path: Path) -> bool:
    """Whether somebody, as the running host, holds the log: for other processes."""
    try:
        descriptor = os.open(_shm(path), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        asked = struct.pack("hhqqi4x", _WRITE, os.SEEK_SET, _FIRST_MARK, 1, 0)
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
        return bool(struct.unpack("hhqqi4x", answer)[0] != _NONE)
    finally:
        os.close(descriptor)


def _opened(path: Path) -> _Held:
    """At the end of a process files are closed from the lowest number on: the -shm first."""
    shm = os.open(_shm(path), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    database = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    if database < shm:  # the lower one stays open too: closing it would drop SQLite's locks
        database = fcntl.fcntl(database, fcntl.F_DUPFD_CLOEXEC, shm + 1)
    return _Held(shm, database, _inodes(path))


def _set(descriptor: int, kind: int, first: int, size: int) -> bool:
    lock = struct.pack("hhqqi4x", kind, os.SEEK_SET, first, size, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        address(path, mode="rw"), uri=True, timeout=_BUSY, isolation_level=None
    )
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def _shm(path: Path) -> Path:
    return path.with_name(path.name + "-shm")


def _inodes(path: Path) -> tuple[int, int]:
    """Of the -shm and the database; 0 for what is missing."""
    found = [0, 0]
    for place, name in enumerate((_shm(path), path)):
        with suppress(OSError):
            found[place] = name.stat().st_ino
    return found[0], found[1]
