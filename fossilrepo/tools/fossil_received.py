"""When a repository received what it holds, and from whom.

Owns the reading of Fossil's `rcvfrom`: one row for each request that brought something.
Its clock is this server's, unlike the times that check-ins carry. For files that have
passed the gate. Every function blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fossilrepo.tools.fossil_db import reading
from fossilrepo.tools.fossil_words import plain_text

_EPOCH, _JULIAN_EPOCH = datetime(1970, 1, 1, tzinfo=UTC), 2440587.5


@dataclass(frozen=True, slots=True)
class Received:
    """What came at once. `checkin` and `comment` are of its first check-in, or what came first.

    `changes` counts check-ins, wiki edits, tickets and forum posts; `checkin` is a hash,
    empty without one.
    """

    at: datetime
    login: str
    checkins: int
    changes: int
    comment: str
    checkin: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """A check-in, and when this server received it."""

    checkin: str
    at: datetime


def received(path: Path, since: datetime | None = None, limit: int = 10_000) -> list[Received]:
    """The newest receipts that changed something, oldest first; `since`: not those before."""
    with reading(path) as db:
        rows = db.execute(
            # A subquery without a name of its own: a named one is refused as a view is.
            """SELECT r.rcvid, r.mtime, u.login, e.type, b.uuid, coalesce(e.ecomment, e.comment)
                 FROM (SELECT rcvid, uid, mtime FROM rcvfrom WHERE mtime >= ?
                        ORDER BY rcvid DESC LIMIT ?) AS r
                CROSS JOIN blob b ON b.rcvid = r.rcvid JOIN event e ON e.objid = b.rid
                 LEFT JOIN user u ON u.uid = r.uid
                ORDER BY r.rcvid, e.mtime, e.objid""",
            (_julian(since) if since else 0.0, limit),
        )
        found = [_gathered(group) for group in _groups(rows)]
    return sorted(found, key=lambda one: one.at)


def _groups(rows: Any) -> Iterator[list[tuple[Any, ...]]]:
    group: list[tuple[Any, ...]] = []
    for row in rows:
        if group and group[0][0] != row[0]:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _gathered(rows: list[tuple[Any, ...]]) -> Received:
    checkins = [row for row in rows if row[3] == "ci"]
    first = checkins[0] if checkins else rows[0]
    return Received(
        at=_time(first[1]),
        login=str(first[2] or ""),
        checkins=len(checkins),
        changes=len(rows),
        comment=plain_text(str(first[3]), str(first[5] or "")),
        checkin=str(first[4]) if checkins else "",
    )


def arrivals(path: Path, prefix: str, limit: int = 2) -> list[Arrival]:
    """The check-ins whose hash begins with `prefix` (hexadecimal), at most `limit`."""
    with reading(path) as db:
        rows = db.execute(
            """SELECT b.uuid, r.mtime FROM blob b JOIN event e ON e.objid = b.rid
                 JOIN rcvfrom r ON r.rcvid = b.rcvid
                WHERE b.uuid >= ? AND b.uuid < ? || 'g' AND e.type = 'ci' LIMIT ?""",
            (prefix, prefix, limit),
        ).fetchall()
    return [Arrival(str(uuid), _time(mtime)) for uuid, mtime in rows]


def _julian(at: datetime) -> float:
    return (at - _EPOCH) / timedelta(days=1) + _JULIAN_EPOCH


def _time(julian: object) -> datetime:
    """To the millisecond, which is what Fossil wrote; the beginning of time for nonsense."""
    if not isinstance(julian, int | float):
        return _EPOCH
    try:
        return _EPOCH + timedelta(milliseconds=round((julian - _JULIAN_EPOCH) * 86_400_000))
    except (OverflowError, ValueError):
        return _EPOCH
