"""The tickets of a repository, with their history.

Owns the reading of Fossil's ticket tables, whose columns each repository may choose itself: what
is not there is empty. Blocks, and reads only.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fossilrepo.tools.fossil_db import reading

CLOSED = frozenset(("closed", "fixed", "resolved", "done", "rejected", "wontfix", "duplicate"))


@dataclass(frozen=True, slots=True)
class Remark:
    """One comment; `id` is the artifact's rid, which stays."""

    id: str
    user: str
    at: datetime
    text: str
    mimetype: str


@dataclass(frozen=True, slots=True)
class Ticket:
    uuid: str
    title: str
    text: str
    user: str
    at: datetime
    status: str
    kind: str
    remarks: tuple[Remark, ...]

    @property
    def is_closed(self) -> bool:
        return is_closed(self.status)


def is_closed(status: str) -> bool:
    return status.lower().replace(" ", "").replace("'", "") in CLOSED


def ticket_rows(db: sqlite3.Connection) -> list[tuple[str, object, object]]:
    """Of each ticket: its status, when it was made (None: not kept) and last changed, in days."""
    columns = _columns(db, "ticket")
    if "tkt_mtime" not in columns:
        return []
    status = "status" if "status" in columns else "''"
    made = "tkt_ctime" if "tkt_ctime" in columns else "NULL"
    found = db.execute(f"SELECT {status}, {made}, tkt_mtime FROM ticket")  # noqa: S608 - our words
    return [(_text(status), made, changed) for status, made, changed in found]


def tickets(path: Path) -> list[Ticket]:
    """All of them, oldest first; Fossil keeps what waits for moderation as private."""
    with reading(path) as db:
        columns = _columns(db, "ticket")
        if not {"tkt_id", "tkt_uuid", "tkt_mtime"} <= columns:
            return []
        history = _history(db)
        names = ("title", "comment", "status", "type", "tkt_ctime")
        wanted = ", ".join(name if name in columns else "NULL" for name in names)
        found = db.execute(
            f"SELECT tkt_id, tkt_uuid, tkt_mtime, {wanted} FROM ticket ORDER BY tkt_id"  # noqa: S608 - names from a list
        )
        result = []
        for number, uuid, changed, title, text, status, kind, made in found:
            remarks = history.get(int(number), [])
            first = remarks[0] if remarks else None
            result.append(
                Ticket(
                    uuid=str(uuid),
                    title=_text(title) or f"Ticket {str(uuid)[:10]}",
                    text=_text(text),
                    user=first.user if first else "",
                    at=_time(made) or _time(changed) or _EPOCH,
                    status=_text(status),
                    kind=_text(kind),
                    remarks=tuple(remark for remark in remarks if remark.text.strip()),
                )
            )
        return result


def _history(db: sqlite3.Connection) -> dict[int, list[Remark]]:
    columns = _columns(db, "ticketchng")
    if not {"tkt_id", "tkt_rid", "tkt_mtime"} <= columns:
        return {}
    names = ("tkt_user", "login", "icomment", "mimetype")
    wanted = ", ".join(f"c.{name}" if name in columns else "NULL" for name in names)
    found: dict[int, list[Remark]] = {}
    for number, rid, at, user, login, text, mimetype in db.execute(
        f"""SELECT c.tkt_id, c.tkt_rid, c.tkt_mtime, {wanted} FROM ticketchng c
             WHERE NOT EXISTS (SELECT 1 FROM private p WHERE p.rid = c.tkt_rid)
             ORDER BY c.tkt_mtime, c.tkt_rid"""  # noqa: S608 - names from a list
    ):
        remark = Remark(
            id=str(rid),
            user=_text(user) or _text(login),
            at=_time(at) or _EPOCH,
            text=_text(text),
            mimetype=_text(mimetype),
        )
        found.setdefault(int(number), []).append(remark)
    return found


def _columns(db: sqlite3.Connection, table: str) -> set[str]:
    """Without a pragma, which the authorizer refuses: what a query of everything gives."""
    try:
        return {str(one[0]) for one in db.execute(f"SELECT * FROM {table} LIMIT 0").description}  # noqa: S608 - our words
    except sqlite3.OperationalError:
        return set()


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def _time(julian: object) -> datetime | None:
    if not isinstance(julian, int | float):
        return None
    try:
        return _EPOCH + timedelta(days=julian - 2440587.5)
    except OverflowError:
        return None
