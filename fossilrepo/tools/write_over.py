"""Another content for a live repository file, as one transaction.

Owns the writing: SQLite's backup API into the file that others have open, so that
readers see the old or the new content and Litestream an ordinary change; never a
swap of files. What comes in is prepared before, in a file that nobody else has.
Every function blocks.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from fossilrepo.errors import Unavailable
from fossilrepo.tools.fossil_db import PREFIX, address, explain, reading, writing

_PAGES = 4096  # in one step, between which the clock is looked at


def fit(temporary: Path, live: Path) -> None:
    """Give the file the page size of the live one: SQLite refuses any other."""
    with reading(live) as db:
        wanted = int(db.execute("PRAGMA page_size").fetchone()[0])
    with _plain(temporary) as db:
        if int(db.execute("PRAGMA page_size").fetchone()[0]) == wanted:
            return
        db.execute("PRAGMA journal_mode=DELETE").fetchone()
        db.execute(f"PRAGMA page_size={wanted}")
        db.execute("VACUUM")


def take_over_people(temporary: Path, live: Path) -> None:
    """The live file's users, and our own settings in it, instead of those of the past.

    So nobody who was put out meanwhile comes back. Cookies are not taken along.
    """
    with reading(live) as db:
        cursor = db.execute("SELECT * FROM user")
        columns = [column[0] for column in cursor.description]
        users = [dict(zip(columns, row, strict=True)) for row in cursor]
        ours = db.execute(
            "SELECT name, value, mtime FROM config WHERE name GLOB ?", (f"{PREFIX}*",)
        ).fetchall()
    with writing(temporary, ("user", "config")) as db:
        known = [c[0] for c in db.execute("SELECT * FROM user LIMIT 0").description]
        named = [column for column in known if column in columns]
        places = ", ".join("?" * len(named))
        db.execute("DELETE FROM user")
        db.executemany(
            f"INSERT INTO user ({', '.join(named)}) VALUES ({places})",  # noqa: S608
            [[_kept(user, column) for column in named] for user in users],
        )
        db.execute("DELETE FROM config WHERE name GLOB ?", (f"{PREFIX}*",))
        db.executemany("INSERT INTO config (name, value, mtime) VALUES (?, ?, ?)", ours)


def _kept(user: dict[str, object], column: str) -> object:
    return None if column in ("cookie", "cexpire", "ipaddr") else user[column]


def write_over(source: Path, live: Path, *, deadline: float = 300.0) -> None:
    """Make the content of `live` that of `source`, all of it or nothing.

    Unavailable when somebody keeps it locked for `deadline` seconds.
    """
    until = time.monotonic() + deadline

    def watch(_status: int, _remaining: int, _total: int) -> None:
        if time.monotonic() > until:
            raise TimeoutError

    try:
        with (
            closing(sqlite3.connect(address(source, mode="ro"), uri=True)) as new,
            closing(sqlite3.connect(address(live, mode="rw"), uri=True, timeout=5)) as target,
        ):
            new.backup(target, pages=_PAGES, progress=watch, sleep=0.02)
    except TimeoutError as error:
        raise Unavailable(
            f"{live.name} stayed locked by another program", hint="try again when it is quiet"
        ) from error
    except sqlite3.Error as error:
        raise explain(live, error) from error


def empty(live: Path) -> None:
    """Make a file that is no database any more an empty one, where content can be written.

    Only when nobody else has it open. What SQLite put beside it belonged to the old content.
    """
    handle = os.open(live, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o640)
    try:
        os.ftruncate(handle, 0)
        os.fsync(handle)
    finally:
        os.close(handle)
    for side in ("-wal", "-shm", "-journal"):
        live.with_name(live.name + side).unlink(missing_ok=True)


@contextmanager
def _plain(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA trusted_schema=OFF")
        try:
            yield db
        except sqlite3.Error as error:
            raise explain(path, error) from error
