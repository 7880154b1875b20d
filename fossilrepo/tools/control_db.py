"""The control database as a file that came back from a replica.

Owns the look at it before it is trusted (whole, ours, nothing in its schema that
would run in our writes) and what of it must not count any more. Works on files
that nobody else has open; every function blocks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fossilrepo.errors import Damaged
from fossilrepo.insight import WORDS, WORDS_SQL
from fossilrepo.tools.fossil_db import address

_NEEDED = {"alembic_version", "repositories", "users"}
_RUNS = ("trigger", "view")
# What is read from the repositories again.
_DERIVED = ("timeline", "insight_days", "insight_users", "insight_branches", "insights")
# Who was signed in, links that make somebody an administrator, work of processes that are
# gone, and rows about files that are in no replica.
_PASSING = ("sessions", "one_time_tokens", "previews", "restorations", "drop_ins")


@dataclass(frozen=True, slots=True)
class Control:
    """`secrets`: every person's, encrypted with the key that the database was made with."""

    revision: str
    repositories: int
    secrets: tuple[bytes, ...]

    @property
    def is_used(self) -> bool:
        return bool(self.repositories or self.secrets)


def look(path: Path) -> Control:
    """Read-only; Damaged when it is not whole, not ours, or would run something."""
    with _open(path, "ro") as db:
        verdict = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if verdict != "ok":
            raise _damaged(f"it is not whole: {verdict}")
        schema = db.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
        tables = {name for kind, name, _ in schema if kind == "table"}
        if missing := sorted(_NEEDED - tables):
            raise _damaged(f"it has no table {missing[0]}")
        for kind, name, sql in schema:
            virtual = str(sql or "").lower().split()[:2] == ["create", "virtual"]
            if kind in _RUNS or (virtual and sql != WORDS_SQL):
                raise _damaged(f"it has the {kind} {name}, which fossilrepo does not make")
        revision = db.execute("SELECT version_num FROM alembic_version").fetchone()
        secrets = db.execute("SELECT CAST(sync_secret AS BLOB) FROM users").fetchall()
        count = db.execute("SELECT count(*) FROM repositories").fetchone()[0]
    return Control(
        revision=str(revision[0]) if revision else "",
        repositories=int(count),
        secrets=tuple(bytes(secret or b"") for (secret,) in secrets),
    )


def forget_the_passing(path: Path) -> None:
    """Take out what signs somebody in, what was under way, and what the files tell again."""
    with _open(path, "rw") as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
        db.execute("BEGIN IMMEDIATE")
        for table in _PASSING:
            if table in tables:
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - one of the names above
        db.execute("DELETE FROM jobs WHERE state IN ('queued', 'running')")
        if WORDS in tables:  # it is made anew, and filled from the repositories
            for table in _DERIVED:
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - one of the names above
            db.execute(f"DROP TABLE {WORDS}")
            db.execute(WORDS_SQL)
        db.execute("COMMIT")


def is_unused(path: Path) -> bool:
    """Whether nothing was ever made in it: no repository, no person. False for what is no
    control database."""
    try:
        with _open(path, "ro") as db:
            names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
            if not names:
                return True
            tables = ("repositories", "users", "drop_ins")
            counts = [db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables]  # noqa: S608
    except Damaged:
        return False
    return not any(counts)


@contextmanager
def _open(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    quiet = mode == "ro" and not Path(f"{path}-wal").exists()  # then nothing is put beside it
    place = address(path, mode=mode, immutable=quiet)
    try:
        with closing(sqlite3.connect(place, uri=True, timeout=5, isolation_level=None)) as db:
            db.execute("PRAGMA trusted_schema=OFF")
            db.execute("PRAGMA cell_size_check=ON")
            yield db
    except sqlite3.Error as error:
        raise _damaged(str(error)) from error


def _damaged(why: str) -> Damaged:
    return Damaged(
        f"the control database of the replica cannot be used: {why}",
        hint="an older moment of it may be whole: see README.txt in the replica",
    )
