"""Looks at a repository file that may be hostile, in a process that may be lost.

Run by `gate.py` as `python -I -S gate_child.py`, never imported: it uses the
standard library only. Before it opens the file it bounds its memory, time and
file size and becomes the account of the repository files. It answers with one
JSON document on standard output: {"ok": …} or {"refused": …, "hint": …}.

Two jobs: `check` reads only; `copy` takes the content of the file, column by
column, into a fresh repository that Fossil made, so that nothing of the
stranger's schema, settings or users comes along.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sqlite3
import sys
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import Any
from urllib.parse import quote

MAGIC = b"SQLite format 3\0"
TABLES = ("blob", "delta", "rcvfrom", "user", "config", "shun", "private", "event", "tag")
# Content that is copied, with the columns that every Fossil of the last ten years has.
COPIED = {
    "blob": ("rid", "rcvid", "size", "uuid", "content"),
    "delta": ("rid", "srcid"),
    "rcvfrom": ("rcvid", "uid", "mtime"),
    "private": ("rid",),
    "shun": ("uuid", "mtime", "scom"),
    "unversioned": ("uvid", "name", "rcvid", "mtime", "hash", "sz", "encoding", "content"),
    "concealed": ("hash", "mtime", "content"),
    "reportfmt": ("rn", "owner", "title", "mtime", "cols", "sqlcode"),
}
UNVERSIONED = """CREATE TABLE IF NOT EXISTS unversioned(uvid INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT UNIQUE, rcvid INTEGER, mtime DATETIME, hash TEXT, sz INTEGER, encoding INT,
  content BLOB)"""
# Settings that are content; everything else of a stranger's stays behind.
CONFIG = ("project-code", "project-name", "project-description", "main-branch", "ticket-table",
          "short-project-name", "hash-policy")  # fmt: skip
TICKET_TABLE = re.compile(
    r"(\s*CREATE\s+(TABLE\s+ticket(chng)?|INDEX\s+\w+\s+ON\s+ticket(chng)?)\s*"
    r"\([\w\s,()'.{}-]*\)\s*(;|$))+\s*",
    re.IGNORECASE,
)
# Written by Fossil in the course of its work, or a secret: nobody misses it.
NOISE = re.compile(
    r"baseurl:|ckout:|captcha-secret|last-sync-|sync|http-auth:|backoffice$|fossilrepo-"
)
# The views of Fossil's full-text search and of its SQL shell, over the years.
VIEWS = (
    re.compile(r"create view (if not exists )?ftscontent as select [\w\s,.()|'%]+ from ftsdocs"),
    re.compile(r"create view (if not exists )?artifact\([\w,]+\) as select [\w\s,.()=]+"),
)
PSEUDO = ("nobody", "anonymous", "reader", "developer")


class Refused(Exception):
    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def main() -> None:
    order = json.load(sys.stdin)
    try:
        _confine(order)
        deadline = time.monotonic() + order["seconds"]
        job = {"check": check, "copy": copy}[order["job"]]
        answer: dict[str, Any] = {"ok": job(order, deadline)}
    except Refused as error:
        answer = {"refused": str(error), "hint": error.hint}
    except sqlite3.OperationalError as error:
        late = "interrupted" in str(error)
        answer = {"refused": "the check took too long" if late else f"it cannot be read: {error}"}
    except (sqlite3.Error, UnicodeError, OverflowError) as error:
        answer = {"refused": f"the file is damaged: {error}"}
    except MemoryError:
        answer = {"refused": "the file needs too much memory to be read"}
    except OSError as error:
        answer = {"refused": f"the file cannot be read: {error.strerror}"}
    json.dump(answer, sys.stdout)


def check(order: dict[str, Any], deadline: float) -> dict[str, Any]:
    """Header, size, integrity, what it is, and what in its schema Fossil does not make."""
    path = order["source"]
    size = _check_header(path, order["largest"])
    with closing(_open(path, deadline)) as db:
        _check_size(db, size)
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
        _check_kind(names)
        foreign = _foreign(db, order["schema"])
        if foreign:
            raise Refused(
                f"it has the {foreign[0]}, which Fossil does not make",
                "look at what it does, drop it with the sqlite3 program, and try again",
            )
        _check_integrity(db)
        if time.monotonic() > deadline:
            raise Refused("the check took too long")
        return _facts(db)


def copy(order: dict[str, Any], deadline: float) -> dict[str, Any]:
    """The content of `source` into `target`, a repository fresh from `fossil init`."""
    size = _check_header(order["source"], order["largest"])
    with (
        closing(_open(order["source"], deadline)) as source,
        closing(sqlite3.connect(order["target"], isolation_level=None)) as target,
    ):
        _check_size(source, size)
        _check_kind({name for (name,) in source.execute("SELECT name FROM sqlite_schema")})
        target.execute("PRAGMA trusted_schema=OFF")
        target.execute("PRAGMA synchronous=OFF")
        target.execute("BEGIN IMMEDIATE")
        for table in ("blob", "delta", "rcvfrom"):
            target.execute(f"DELETE FROM {table}")  # noqa: S608 - one of the three names above
        target.execute(UNVERSIONED)
        people = _copy_users(source, target)
        for table, columns in COPIED.items():
            _copy_table(source, target, table, columns, people)
        removed = _copy_config(source, target)
        target.execute("COMMIT")
        return {"removed": removed}


def _confine(order: dict[str, Any]) -> None:
    """Everything that is needed is loaded: now give up what could do harm."""
    for which, most in (
        (resource.RLIMIT_AS, order["memory"]),
        (resource.RLIMIT_CPU, int(order["seconds"]) + 5),
        (resource.RLIMIT_FSIZE, order["largest"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 32),
    ):
        with suppress(ValueError, OSError):  # already lower
            resource.setrlimit(which, (most, most))
    if order["account"] is not None:
        uid, gid = order["account"]
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def _check_header(path: str, largest: int) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        start = file.read(100)
    if size == 0:
        raise Refused("the file is empty", "make a repository with `fossil init`, or copy it again")
    if not start.startswith(MAGIC):
        raise Refused("it is no Fossil repository: not an SQLite file")
    if size > largest:
        raise Refused("the file is larger than limits.repository")
    if size < 512 or (_pages_said(start) > size and not _filled(f"{path}-wal")):
        raise Refused("the file is cut short", "copy it again, whole")
    return size


def _pages_said(header: bytes) -> int:
    """The size in bytes that the header promises (SQLite's file format, 1.3), 0 when unknown."""
    if header[24:28] != header[92:96]:
        return 0
    page = int.from_bytes(header[16:18], "big")
    return int.from_bytes(header[28:32], "big") * (65536 if page == 1 else page)


def _open(path: str, deadline: float) -> sqlite3.Connection:
    # A file with a journal beside it must be taken as SQLite finds it, after recovery.
    beside = any(_filled(f"{path}{suffix}") for suffix in ("-wal", "-journal"))
    mode = "mode=rw" if beside else "mode=ro&immutable=1"
    db = sqlite3.connect(f"file:{quote(path)}?{mode}", uri=True, timeout=2, isolation_level=None)
    db.execute("PRAGMA trusted_schema=OFF")
    db.execute("PRAGMA cell_size_check=ON")
    if not beside:
        db.execute("PRAGMA query_only=ON")
    db.set_progress_handler(lambda: time.monotonic() > deadline, 1_000)
    db.set_authorizer(_authorize)
    db.text_factory = lambda raw: raw.decode("utf-8", errors="replace")
    return db


def _filled(path: str) -> bool:
    try:
        return os.path.getsize(path) > 0
    except OSError:
        return False


_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}
_PRAGMAS = {"page_size", "page_count", "quick_check", "table_xinfo"}


def _authorize(action: int, one: str | None, _two: object, _db: object, inside: object) -> int:
    """Reading only; nothing through a view or trigger, whose name comes last."""
    pragma = action == sqlite3.SQLITE_PRAGMA and one in _PRAGMAS
    if inside is None and (action in _ALLOWED or pragma):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _check_size(db: sqlite3.Connection, size: int) -> None:
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    page_size = db.execute("PRAGMA page_size").fetchone()[0]
    if pages * page_size > size:
        raise Refused("the file is cut short", "copy it again, whole")


def _check_kind(names: set[str]) -> None:
    if {"vfile", "vvar"} <= names:
        raise Refused(
            "it is the database of a check-out, not a repository",
            "`fossil info` in that check-out tells where its repository is",
        )
    missing = [table for table in TABLES if table not in names]
    if missing:
        raise Refused(f"it is an SQLite file but no Fossil repository: no table {missing[0]}")


def _foreign(db: sqlite3.Connection, known: dict[str, list[str]]) -> list[str]:
    """What the schema has that Fossil does not make, for people: `trigger NAME`."""
    found = []
    for kind, name, table, sql in db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema"):
        virtual = bool(re.match(r"\s*create\s+virtual\b", sql or "", re.IGNORECASE))
        if kind == "table" and not virtual:
            good = _table_is_known(str(name).lower(), known) and not _computes(db, str(name))
        elif kind == "table":
            good = _virtual_is_known(str(name).lower(), sql, known)
        elif kind == "index":
            good = _index_is_known(str(name).lower(), str(table).lower(), sql, known)
        elif kind == "view":
            good = any(view.fullmatch(_squeezed(sql)) for view in VIEWS)
        else:
            good = False
        if not good:
            found.append(f"{'virtual table' if virtual else kind} {name}")
    return found


def _table_is_known(name: str, known: dict[str, list[str]]) -> bool:
    return name in known["tables"] or name.startswith("sqlite_")


def _computes(db: sqlite3.Connection, table: str) -> bool:
    """Whether a column is an expression, which would run in whoever reads it."""
    quoted = table.replace('"', '""')
    return any(row[6] in (2, 3) for row in db.execute(f'PRAGMA table_xinfo("{quoted}")'))


def _virtual_is_known(name: str, sql: str, known: dict[str, list[str]]) -> bool:
    return name in known["virtual"] and bool(re.search(r"\busing\s+fts[45]\s*\(", sql, re.I))


def _index_is_known(name: str, table: str, sql: str | None, known: dict[str, list[str]]) -> bool:
    if sql is None:
        return name.startswith("sqlite_autoindex_")
    plain = re.search(r"\(\s*[\w\s,]+(desc|asc)?\s*\)\s*(where\s+[\w\s<>=']+)?$", sql, re.I)
    return table in known["tables"] and bool(plain)


def _squeezed(sql: str | None) -> str:
    return re.sub(r"\s+", " ", sql or "").strip().lower()


def _check_integrity(db: sqlite3.Connection) -> None:
    verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise Refused(f"the file is damaged: {verdict}", "restore it from a backup")


def _facts(db: sqlite3.Connection) -> dict[str, Any]:
    code = _config(db, "project-code") or ""
    if not re.fullmatch(r"[0-9a-fA-F]{40,64}", code):
        raise Refused("it has no project code, as every Fossil repository has")
    users = db.execute("SELECT login, cap FROM user WHERE typeof(login) = 'text'").fetchall()
    admins = [
        login for login, cap in users if set(str(cap or "")) & set("as") and login not in PSEUDO
    ]
    stranger = {login: str(cap or "") for login, cap in users if login in ("nobody", "anonymous")}
    return {
        "project_code": code,
        "project_name": _config(db, "project-name") or "",
        "description": _config(db, "project-description") or "",
        "public": any("g" in cap for cap in stranger.values()),
        "checkins": db.execute("SELECT count(*) FROM event WHERE type = 'ci'").fetchone()[0],
        "artifacts": db.execute("SELECT count(*) FROM blob WHERE size >= 0").fetchone()[0],
        "admins": sorted(admins),
    }


def _config(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT value FROM config WHERE name = ?", (name,)).fetchone()
    if row is None or row[0] is None:
        return None
    return row[0].decode(errors="replace") if isinstance(row[0], bytes) else str(row[0])


def _columns(db: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in db.execute(f"PRAGMA table_xinfo({table})") if row[6] == 0}


def _copy_table(
    source: sqlite3.Connection,
    target: sqlite3.Connection,
    table: str,
    columns: tuple[str, ...],
    people: dict[int, int],
) -> None:
    here = _columns(source, table)
    if not here:
        return
    missing = set(columns) - here
    if missing:
        raise Refused(f"its table {table} has no column {sorted(missing)[0]}")
    names = ", ".join(columns)
    marks = ", ".join("?" * len(columns))
    rows: Iterable[tuple[Any, ...]] = source.execute(f"SELECT {names} FROM {table}")  # noqa: S608
    if table == "rcvfrom":
        rows = ((number, people.get(uid), at) for number, uid, at in rows)
    target.executemany(
        f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})",  # noqa: S608
        rows,
    )


def _copy_users(source: sqlite3.Connection, target: sqlite3.Connection) -> dict[int, int]:
    """Names only, so that what they did keeps them: no password and no right.

    Gives back the number that each of the stranger's users has in the new repository.
    """
    ours = {login: uid for uid, login in target.execute("SELECT uid, login FROM user")}
    people = {}
    for uid, login in source.execute("SELECT uid, login FROM user WHERE typeof(login) = 'text'"):
        if login not in ours:
            row = target.execute("INSERT INTO user (login, cap) VALUES (?, '')", (login,))
            ours[login] = int(row.lastrowid or 0)
        people[uid] = ours[login]
    return people


def _copy_config(source: sqlite3.Connection, target: sqlite3.Connection) -> dict[str, str]:
    """The settings that are content are copied; gives back those that were not."""
    left: dict[str, str] = {}
    own = {name for (name,) in target.execute("SELECT name FROM config")}
    for name, value in source.execute("SELECT name, value FROM config WHERE typeof(name)='text'"):
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
        if name in CONFIG and _harmless(name, text):
            target.execute(
                "REPLACE INTO config (name, value, mtime) VALUES (?, ?, ?)",
                (name, text, int(time.time())),
            )
        elif len(left) < 1000 and name not in own and not NOISE.match(name):
            left[name] = text[:10_000]
    return left


def _harmless(name: str, text: str) -> bool:
    if name == "project-code":
        return bool(re.fullmatch(r"[0-9a-fA-F]{40,64}", text))
    if name == "hash-policy":
        return text in ("0", "1", "2", "3", "4")
    if name == "ticket-table":
        return bool(TICKET_TABLE.fullmatch(text))
    return len(text) <= 10_000


if __name__ == "__main__":
    main()
