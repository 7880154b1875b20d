"""Is a file open in another program, and moving it only when it is not.

Owns the kernel's leases (fcntl(2), F_SETLEASE): a write lease is given only when
nobody else has the file open, and whoever opens it later waits until we let go or
have answered. SQLite's own locks do not tell this: a repository in rollback mode
may be open and idle. Where the file system gives no leases the open files of all
processes are looked through, which sees those of our own account only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from fossilrepo.errors import Damaged

_UNSUPPORTED = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EACCES}


def in_use(path: Path) -> bool:
    """True when some process, also ours, has the file open now. A missing file is not in use."""
    try:
        with _held(path) as held:
            return held is None
    except FileNotFoundError:
        return False


def move_if_unused(source: Path, target: Path) -> bool:
    """Rename a SQLite file that nobody has open, whole, in one file; False when it is in use.

    What its write-ahead log or a hot journal holds is taken in first. When somebody opens
    it while it is moved, it is put back: they would write beside a name that is gone.
    Raises Damaged when SQLite cannot read it.
    """
    if in_use(source):
        return False
    if not _one_file(source):
        return False
    with _held(source) as held:
        if held is None:
            return False
        os.rename(source, target)
        if _wanted_back(held):
            os.rename(target, source)
            return False
    return True


def _one_file(path: Path) -> bool:
    """Take the log or journal in and leave WAL mode; False when another program is in the way."""
    try:
        with closing(sqlite3.connect(path, timeout=0.2, isolation_level=None)) as db:
            db.execute("PRAGMA trusted_schema=OFF")
            mode = db.execute("PRAGMA journal_mode=DELETE").fetchone()[0]
            db.execute("BEGIN IMMEDIATE")  # rolls a hot journal back
            db.execute("ROLLBACK")
            if _beside(path, "-journal").exists():
                # One that was never needed: SQLite removes it at the end of the next write.
                version = int(db.execute("PRAGMA user_version").fetchone()[0])
                db.execute(f"PRAGMA user_version={version}")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return False
        raise Damaged(f"{path.name} cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        raise Damaged(f"{path.name} is damaged: {error}") from error
    sides = (_beside(path, side) for side in ("-wal", "-journal"))
    return str(mode) == "delete" and not any(side.exists() for side in sides)


def _beside(path: Path, side: str) -> Path:
    return path.with_name(path.name + side)


@contextmanager
def _held(path: Path) -> Iterator[int | None]:
    """The file open with a write lease on it, or None when somebody else has it open."""
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        # The kernel tells of another opener with SIGIO, which would end us; SIGURG is ignored.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        yield file if _lease(file) else None
    finally:
        with suppress(OSError):
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        os.close(file)


def _lease(file: int) -> bool:
    try:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            return False
        return not _open_elsewhere(file)
    return True


def _wanted_back(file: int) -> bool:
    """Whether somebody waits to open it: the kernel shows what the lease is to become."""
    try:
        return fcntl.fcntl(file, fcntl.F_GETLEASE) != fcntl.F_WRLCK
    except OSError:
        return False


def _open_elsewhere(file: int) -> bool:
    ours = os.fstat(file)
    for process in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            for entry in process.iterdir():
                with suppress(OSError):
                    other = entry.stat()
                    same = (other.st_dev, other.st_ino) == (ours.st_dev, ours.st_ino)
                    if same and not (process.parent.name == str(os.getpid()) and
                                     entry.name == str(file)):  # fmt: skip
                        return True
    return False
