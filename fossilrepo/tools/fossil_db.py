"""A repository's SQLite file, read and opened with care.

Owns how this program opens repository files, the facts that it reads from
them, and consistent copies. A repository may be hostile: nothing in its schema
may run in our process, so triggers and views are refused by an authorizer and
only the statements named here are let through. Every function blocks and
belongs in a thread. Never used on a file that has not passed the gate.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fossilrepo.errors import Damaged, FossilrepoError, InvalidInput, Unavailable

PREFIX = "fossilrepo-"  # of what we keep in the config table
BUSY_SECONDS = 5.0
WRITE_TRIES = 4
_JULIAN_EPOCH = 2440587.5  # 1970-01-01 as SQLite's julian day
_READING = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
    sqlite3.SQLITE_TRANSACTION,
}
_WRITING = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}
_PRAGMAS = {"page_size", "page_count", "freelist_count", "user_version"}
# Programs of others may be in the way: worth another try. Everything else is the file's fault.
_PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
}
Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a repository says of itself.

    `head` is the newest check-in of its main branch; `public`: a stranger may read it.
    """

    project_code: str
    project_name: str
    checkins: int
    artifacts: int
    newest_rcvid: int
    last_change: datetime | None
    page_size: int
    head: str | None
    description: str = ""
    public: bool = False  # strangers may clone it


@dataclass(frozen=True, slots=True)
class CheckIn:
    """`user` is what the check-in says; `pushed_by` is who sent it here, when that is known."""

    hash: str
    at: datetime
    user: str
    pushed_by: str
    comment: str
    branch: str


def address(path: Path, *, mode: str, immutable: bool = False) -> str:
    """SQLite's URI of the file: `ro` or `rw`, never created."""
    return f"file:{quote(str(path))}?mode={mode}" + ("&immutable=1" if immutable else "")


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can only read, in one consistent view; Unavailable when it cannot."""
    with closing(_open(path, "ro")) as connection:
        connection.set_authorizer(_authorizer(frozenset()))
        with _explained(path):
            connection.execute("BEGIN")
            yield connection


@contextmanager
def writing(path: Path, tables: Iterable[str]) -> Iterator[sqlite3.Connection]:
    """One immediate transaction that may change `tables` only; all of it happens or nothing.

    Refused with InvalidInput when the file carries a trigger: it would run in our write.
    """
    with closing(_open(path, "rw")) as connection:
        connection.set_authorizer(_authorizer(frozenset(tables)))
        with _explained(path):
            _begin_immediate(connection)
            try:
                _refuse_triggers(connection, path)
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()


def read_facts(path: Path) -> Facts:
    """What the repository says of itself; InvalidInput when it carries a trigger."""
    with reading(path) as db:
        _refuse_triggers(db, path)
        head = db.execute(
            """SELECT b.uuid FROM tagxref t JOIN tag USING (tagid)
                 JOIN event e ON e.objid = t.rid JOIN blob b ON b.rid = t.rid
                WHERE tag.tagname = 'sym-' || ? AND t.tagtype > 0 AND e.type = 'ci'
                ORDER BY e.mtime DESC LIMIT 1""",
            (config(db, "main-branch") or "trunk",),
        ).fetchone()
        return Facts(
            project_code=config(db, "project-code") or "",
            project_name=config(db, "project-name") or "",
            checkins=_number(db, "SELECT count(*) FROM event WHERE type = 'ci'"),
            artifacts=_number(db, "SELECT count(*) FROM blob WHERE size >= 0"),
            newest_rcvid=_number(db, "SELECT max(rcvid) FROM rcvfrom"),
            last_change=_time(db.execute("SELECT max(mtime) FROM event").fetchone()[0]),
            page_size=_number(db, "PRAGMA page_size"),
            head=str(head[0]) if head else None,
            description=config(db, "project-description") or "",
            public="g" in _capabilities(db, "nobody") or "g" in _capabilities(db, "anonymous"),
        )


_CHECKINS = """SELECT b.uuid, e.mtime, coalesce(e.euser, e.user), u.login,
                      coalesce(e.ecomment, e.comment),
                      (SELECT x.value FROM tagxref x JOIN tag USING (tagid)
                        WHERE tag.tagname = 'branch' AND x.rid = e.objid AND x.tagtype > 0)
                 FROM event e JOIN blob b ON b.rid = e.objid
                 LEFT JOIN rcvfrom r ON r.rcvid = b.rcvid LEFT JOIN user u ON u.uid = r.uid
                WHERE e.type = 'ci'"""


def recent_checkins(path: Path, limit: int) -> list[CheckIn]:
    """The newest check-ins, newest first."""
    with reading(path) as db:
        found = db.execute(f"{_CHECKINS} ORDER BY e.mtime DESC LIMIT ?", (limit,))
        return [_checkin(row) for row in found]


def checkins_named(path: Path, hashes: Sequence[str]) -> list[CheckIn]:
    """These check-ins, newest first; a few."""
    places = ", ".join("?" * len(hashes))
    with reading(path) as db:
        found = db.execute(
            f"{_CHECKINS} AND b.uuid IN ({places}) ORDER BY e.mtime DESC", tuple(hashes)
        )
        return [_checkin(row) for row in found]


def _checkin(row: tuple[Any, ...]) -> CheckIn:
    uuid, at, user, pusher, text, branch = row
    return CheckIn(uuid, _time(at) or _EPOCH, user or "", pusher or "", text or "", branch or "")


def held(path: Path) -> dict[str, dict[str, float]]:
    """What the repository holds: kind of event (`uv`: unversioned files), hash, time in days."""
    found: dict[str, dict[str, float]] = {}
    with reading(path) as db:
        for kind, uuid, mtime in db.execute(
            "SELECT e.type, b.uuid, e.mtime FROM event e JOIN blob b ON b.rid = e.objid"
        ):
            found.setdefault(kind, {})[uuid] = float(mtime or 0)
        if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'unversioned'").fetchone():
            found["uv"] = {
                f"{name} {uuid}": float(mtime or 0)
                for name, uuid, mtime in db.execute(
                    "SELECT name, hash, mtime FROM unversioned WHERE hash IS NOT NULL"
                )
            }
    return found


@dataclass(frozen=True, slots=True)
class Waiting:
    """What arrived after a moment that somebody else knows of.

    `since` is when the oldest of it arrived; `restored` when the file was last written over.
    """

    newest_rcvid: int
    checkins: int
    since: datetime | None
    restored: datetime | None


def waiting(path: Path, rcvid: int) -> Waiting:
    """What arrived with an rcvid above this one; private check-ins do not count."""
    with reading(path) as db:
        newest = _number(db, "SELECT max(rcvid) FROM rcvfrom")
        checkins, oldest = db.execute(
            """SELECT count(*), min(r.mtime) FROM event e JOIN blob b ON b.rid = e.objid
                 LEFT JOIN rcvfrom r ON r.rcvid = b.rcvid
                WHERE e.type = 'ci' AND b.rcvid > ?
                  AND NOT EXISTS (SELECT 1 FROM private p WHERE p.rid = b.rid)""",
            (rcvid,),
        ).fetchone()
        if oldest is None and newest > rcvid:
            oldest = db.execute(
                "SELECT min(mtime) FROM rcvfrom WHERE rcvid > ?", (rcvid,)
            ).fetchone()[0]
        restored = config(db, f"{PREFIX}restored")
        return Waiting(newest, int(checkins), _time(oldest), _iso(restored))


def config(db: sqlite3.Connection, name: str) -> str | None:
    """One value of the repository's `config` table as text."""
    row = db.execute("SELECT value FROM config WHERE name = ?", (name,)).fetchone()
    if row is None or row[0] is None:
        return None
    return row[0].decode(errors="replace") if isinstance(row[0], bytes) else str(row[0])


def _capabilities(db: sqlite3.Connection, login: str) -> str:
    row = db.execute("SELECT CAST(cap AS TEXT) FROM user WHERE login = ?", (login,)).fetchone()
    return str(row[0]) if row and row[0] is not None else ""


@dataclass(frozen=True, slots=True)
class MadeBy:
    """`schema` is that of the derived tables; `version` of the Fossil that derived them last."""

    schema: str
    version: str


def read_made_by(path: Path) -> MadeBy:
    with reading(path) as db:
        schemas = [config(db, f"{kind}-schema") or "" for kind in ("content", "aux")]
        return MadeBy(" ".join(schemas), (config(db, "rebuilt") or "").partition(" ")[0])


def consistent_copy(source: Path, target: Path, *, deadline: float = 600.0) -> None:
    """A copy of a live repository at one moment, in rollback mode, one file.

    SQLite's backup API starts over when someone writes, and waits without end for
    a lock: after `deadline` seconds this raises Unavailable, and leaves no target.
    """
    until = time.monotonic() + deadline

    def watch(_status: int, _remaining: int, _total: int) -> None:
        if time.monotonic() > until:
            raise TimeoutError

    try:
        with closing(_open(source, "ro")) as live, closing(sqlite3.connect(target)) as copy:
            live.execute("BEGIN")
            live.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()  # one view, no restarts
            live.backup(copy, pages=2048, progress=watch, sleep=0.01)
            copy.execute("PRAGMA journal_mode=DELETE").fetchone()
    except (TimeoutError, sqlite3.Error) as error:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{target}{suffix}").unlink(missing_ok=True)
        if isinstance(error, sqlite3.Error):
            raise explain(source, error) from error
        raise Unavailable(
            f"{source.name} could not be copied in time", hint="try again when it is quiet"
        ) from error


def compact(path: Path) -> None:
    """Write a file that nobody else has open anew, without free space."""
    with closing(_open(path, "rw")) as connection, _explained(path):
        connection.execute("VACUUM")


def _open(path: Path, mode: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            address(path, mode=mode), uri=True, timeout=BUSY_SECONDS, isolation_level=None
        )
    except sqlite3.Error as error:
        raise explain(path, error) from error
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_VIEW, False)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
    return connection


def _authorizer(tables: frozenset[str]) -> Authorizer:
    """Reading, and changes of `tables`; nothing out of a trigger or view, whose name comes last."""

    def allow(
        action: int, one: str | None, _two: str | None, _db: str | None, inside: str | None
    ) -> int:
        if inside is not None:
            return sqlite3.SQLITE_DENY
        if action in _READING or (action in _WRITING and one in tables):
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_PRAGMA and one in _PRAGMAS:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    return allow


def _begin_immediate(connection: sqlite3.Connection) -> None:
    for attempt in range(1, WRITE_TRIES + 1):
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or attempt == WRITE_TRIES:
                raise
            time.sleep(0.05 * attempt)


def _refuse_triggers(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchone()
    if found:
        raise InvalidInput(
            f"{path.name} has the trigger {found[0]!r}, which Fossil does not make",
            hint="drop the trigger after looking at what it does, or import the file again",
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise explain(path, error) from error


def explain(path: Path, error: sqlite3.Error) -> FossilrepoError:
    """Unavailable for what may pass (locked, disk full), Damaged for what is the file's fault."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING:
        return Unavailable(
            f"the repository file {path.name} could not be used: {error}", hint="try again"
        )
    return Damaged(
        f"the repository file {path.name} is not whole: {error}",
        hint="restore the repository from its backup",
    )


def _number(db: sqlite3.Connection, statement: str) -> int:
    value = db.execute(statement).fetchone()[0]
    return int(value) if value is not None else 0


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _iso(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _time(julian: object) -> datetime | None:
    if not isinstance(julian, int | float):
        return None
    try:
        return _EPOCH + timedelta(days=julian - _JULIAN_EPOCH)
    except OverflowError:
        return None
