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
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fossilrepo.tools.fossil_db import address, explain

_WRITER, _FIRST_MARK, _DEAD_MAN = 120, 123, 128  # bytes of the -shm file
_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510  # bytes of the database
_FRAME_HEADER = 24
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
    busy: bool = False  # writers are kept out just now

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
        self._turns: dict[Path, threading.Lock] = {}

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
        with self._turn(path):
            return self.holds(path) or self._hold(path)

    def _turn(self, path: Path) -> threading.Lock:
        """One thread at a time for each database: two would open its files twice."""
        return self._turns.setdefault(path, threading.Lock())

    def _hold(self, path: Path) -> bool:
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
                return _lock(held)
        except (sqlite3.Error, OSError):
            return False

    def release(self, path: Path) -> None:
        """Let go of the log. Files are closed only when other ones have their names."""
        if path in self._held:
            with self._turn(path):
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
        if held is None or not held.locked or held.busy or not _set(held.shm, _WRITE, _WRITER, 1):
            yield False
            return
        held.busy = True
        try:
            yield True
        finally:
            held.busy = False
            _set(held.shm, _NONE, _WRITER, 1)

    def unfolded(self, path: Path) -> int:
        """Bytes of the log that are not in the database yet; 0 when it is not held.

        The file itself says little: it keeps its size when the log is begun anew.
        """
        held = self._held.get(path)
        index = os.pread(held.shm, 100, 0) if held is not None and held.locked else b""
        if len(index) < 100:
            return 0
        frames, done = _frames(index)
        return (frames - done) * (_FRAME_HEADER + _page_size(index))

    def checkpoint(self, path: Path) -> bool:
        """Write the log into the database, inside `no_writer`; False when a reader was in the way.

        The next commit begins the log anew: everything in it must be on the replica.
        """
        with self._turn(path):
            held = self._held[path]
            _set(held.shm, _NONE, _FIRST_MARK, 1)
            try:
                with closing(_connected(path)) as db:
                    answer = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except sqlite3.Error as error:
                raise explain(path, error) from error
            finally:
                locked = _lock(held)
        busy, frames, done = answer
        return locked and not busy and bool(frames == done)

    def close(self) -> None:
        """Let go of all at the end, the log first: see above."""
        for path in list(self._held):
            with self._turn(path):
                held = self._held.pop(path)
                held.unlock()
                os.close(held.shm)
                os.close(held.database)


def prepare(path: Path, newest_ltx: Path | None) -> bool:
    """Before Litestream starts: make a log that it would misread one that it notices.

    A log that was written into the database and begun anew while nobody held it still shows
    the last frame that Litestream knows, so it would go on in the new one and miss what was
    in between. An emptied log it notices, and sends the whole database. False when the log
    should have been emptied and somebody has it open. `newest_ltx`: Litestream's last file.
    """
    if newest_ltx is None or not _is_misleading(path, newest_ltx):
        return True
    try:
        with closing(_connected(path)) as db:
            busy, _frames, _done = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        return False
    return not busy


def _is_misleading(path: Path, newest_ltx: Path) -> bool:
    try:
        with path.with_name(path.name + "-wal").open("rb") as file:
            log = file.read(32)
        with newest_ltx.open("rb") as file:
            header = file.read(72)
    except OSError:
        return False
    if len(log) < 32 or len(header) < 72:
        return False
    if header[64:72] != log[16:24]:
        return True
    try:
        with _shm(path).open("rb") as file:
            index = file.read(100)
    except OSError:
        return False
    if len(index) < 100:
        return False
    frames, done = _frames(index)
    offset, size = struct.unpack_from(">qq", header, 48)
    return done > 0 and bool(offset + size < 32 + frames * (_FRAME_HEADER + _page_size(index)))


def _frames(index: bytes) -> tuple[int, int]:
    """Of the -shm: frames in the log, and how many of them are in the database."""
    return struct.unpack_from("=I", index, 16)[0], struct.unpack_from("=I", index, 96)[0]


def _page_size(index: bytes) -> int:
    size = int(struct.unpack_from("=H", index, 14)[0])
    return 65536 if size == 1 else size


def is_guarded(path: Path) -> bool:
    """Whether somebody, as the running host, holds the log: for other processes."""
    try:
        descriptor = os.open(_shm(path), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        asked = struct.pack("hhqqi4x", _WRITE, os.SEEK_SET, _FIRST_MARK, 1, 0)
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
        kind, _whence, _first, _size, pid = struct.unpack("hhqqi4x", answer)
        return bool(kind != _NONE and pid == -1)  # of an open file: a mere reader has a pid
    finally:
        os.close(descriptor)


def _opened(path: Path) -> _Held:
    """At the end of a process files are closed from the lowest number on: the -shm first."""
    shm = os.open(_shm(path), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    database = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    if database < shm:  # the lower one stays open too: closing it would drop SQLite's locks
        database = fcntl.fcntl(database, fcntl.F_DUPFD_CLOEXEC, shm + 1)
    return _Held(shm, database, (os.fstat(shm).st_ino, os.fstat(database).st_ino))


def _lock(held: _Held) -> bool:
    """Once somebody else's checkpoint, under way just now, has ended."""
    until = time.monotonic() + _PATIENCE
    while not held.lock() and time.monotonic() < until:
        time.sleep(0.01)
    return held.locked


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
