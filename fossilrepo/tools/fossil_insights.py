"""What a repository tells of its own history: every event, tickets, languages, sizes.

Owns the reading that insights are made from, whole or only what arrived since the last time. The
numbers are Fossil's own: an event is a row of its timeline, its day is in UTC, its user and
comment are as corrected later. What is private or waits for moderation is left out. Blocks, and
reads only.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TypeVar

from fossilrepo.insight import KINDS, Big, Entry, Known, Read, Readme, Tickets
from fossilrepo.tools.fossil_artifacts import Artifacts, Manifest, NotReadable, parse_manifest
from fossilrepo.tools.fossil_db import PREFIX, config, reading
from fossilrepo.tools.fossil_tickets import is_closed, ticket_rows
from fossilrepo.tools.fossil_words import plain_text

_LONGEST_TEXT = 2000
_LARGEST_README = 200_000  # bytes
_BIGGEST = 10
_READMES = ("readme.md", "readme.markdown", "readme.txt", "readme", "readme.wiki", "readme.rst")
_ADDRESS = re.compile(r"[^\s<>@]+@[^\s<>@]+\.[^\s<>@]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PER_QUERY = 500
_T = TypeVar("_T")


def read(path: Path, known: Known | None = None) -> Read:
    """Since `known`, or everything when that cannot be told from it."""
    with reading(path) as db:
        hidden = _Hidden(db)
        now = Known(
            rcvid=_number(db, "SELECT max(rcvid) FROM rcvfrom"),
            counts=_counts(db, hidden),
            restored=config(db, f"{PREFIX}restored") or "",
        )
        entries = _changed(db, hidden, known, now) if known else None
        whole = entries is None
        if entries is None:
            entries = list(_entries(db, hidden))
        head = _head(db)
        files = _Files(db, head[0]) if head else None
        return Read(
            known=now,
            whole=whole,
            entries=tuple(entries),
            head=head[1] if head else "",
            open_branches=_open_branches(db),
            contacts=_contacts(db),
            tickets=_tickets(db),
            languages=files.languages() if files else {},
            biggest=_biggest(db),
            pushes=_pushes(db),
            wiki_pages=_wiki_pages(db),
            readme=files.readme() if files else None,
        )


# Events


class _Hidden:
    """The condition that leaves out what is private or waits for moderation."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.sql = "NOT EXISTS (SELECT 1 FROM private p WHERE p.rid = e.objid)"
        if _has(db, "modreq"):  # made by Fossil when something waits for the first time
            self.sql += " AND NOT EXISTS (SELECT 1 FROM modreq m WHERE m.objid = e.objid)"
        self.sql += f" AND e.type IN ({', '.join(repr(kind) for kind in KINDS)})"


def _counts(db: sqlite3.Connection, hidden: _Hidden, after: int = -1) -> dict[str, int]:
    """Events by kind, of what arrived with an rcvid above this one."""
    found = db.execute(
        f"""SELECT e.type, count(*) FROM event e JOIN blob b ON b.rid = e.objid
             WHERE {hidden.sql} AND b.rcvid > ? GROUP BY 1""",  # noqa: S608 - our words
        (after,),
    )
    return {str(kind): int(count) for kind, count in found}


def _changed(
    db: sqlite3.Connection, hidden: _Hidden, known: Known, now: Known
) -> list[Entry] | None:
    """New and corrected entries; None when only a whole reading is right."""
    if now.restored != known.restored or now.rcvid < known.rcvid:
        return None
    new = _counts(db, hidden, known.rcvid)
    if any(now.counts.get(k, 0) != known.counts.get(k, 0) + new.get(k, 0) for k in KINDS):
        return None  # something went, or came out of moderation
    corrected: set[int] = set()
    for rid, name in db.execute(
        """SELECT x.rid, t.tagname FROM tagxref x JOIN tag t USING (tagid)
             JOIN blob s ON s.rid = x.srcid JOIN blob b ON b.rid = x.rid
            WHERE s.rcvid > ? AND b.rcvid <= ?""",
        (known.rcvid, known.rcvid),
    ):
        if name == "branch":
            return None  # what follows from it is of another branch now, too
        corrected.add(int(rid))
    entries = list(_entries(db, hidden, "b.rcvid > ?", (known.rcvid,)))
    for rids in _chunks(sorted(corrected)):
        entries += _entries(db, hidden, f"e.objid IN ({_marks(rids)})", rids)
    return entries


def _entries(
    db: sqlite3.Connection, hidden: _Hidden, only: str = "1", values: Sequence[object] = ()
) -> Iterator[Entry]:
    for kind, uuid, mtime, user, text, branch in db.execute(
        f"""SELECT e.type, b.uuid, e.mtime, coalesce(e.euser, e.user),
                   coalesce(e.ecomment, e.comment),
                   (SELECT x.value FROM tagxref x JOIN tag USING (tagid)
                     WHERE tag.tagname = 'branch' AND x.rid = e.objid AND x.tagtype > 0)
              FROM event e JOIN blob b ON b.rid = e.objid WHERE {hidden.sql} AND {only}
             ORDER BY e.objid""",  # noqa: S608 - our words
        tuple(values),
    ):
        yield Entry(
            hash=str(uuid),
            kind=str(kind),
            at=_time(mtime),
            user=_clean(user),
            text=plain_text(str(kind), _clean(text))[:_LONGEST_TEXT],
            branch=_clean(branch) if kind == "ci" else "",
        )


# What else there is


def _head(db: sqlite3.Connection) -> tuple[int, str] | None:
    """The newest check-in of the main branch, or of all when it has none: rid and hash."""
    row = db.execute(
        """SELECT b.rid, b.uuid FROM event e JOIN blob b ON b.rid = e.objid
            WHERE e.type = 'ci' AND NOT EXISTS (SELECT 1 FROM private p WHERE p.rid = b.rid)
            ORDER BY EXISTS (SELECT 1 FROM tagxref t JOIN tag USING (tagid)
                              WHERE t.rid = b.rid AND t.tagtype > 0 AND tag.tagname = 'sym-' || ?)
                     DESC, e.mtime DESC LIMIT 1""",
        (config(db, "main-branch") or "trunk",),
    ).fetchone()
    return (int(row[0]), str(row[1])) if row else None


def _open_branches(db: sqlite3.Connection) -> frozenset[str]:
    found = db.execute(
        """SELECT DISTINCT x.value FROM leaf l
             JOIN tagxref x ON x.rid = l.rid AND x.tagtype > 0
              AND x.tagid = (SELECT tagid FROM tag WHERE tagname = 'branch')
            WHERE NOT EXISTS (SELECT 1 FROM tagxref c WHERE c.rid = l.rid AND c.tagtype > 0
                   AND c.tagid = (SELECT tagid FROM tag WHERE tagname = 'closed'))"""
    )
    return frozenset(_clean(name) for (name,) in found)


def _contacts(db: sqlite3.Connection) -> dict[str, str]:
    """As the user table knows them; a name that is an address speaks for itself."""
    contacts = {}
    for login, info in db.execute("SELECT login, CAST(info AS TEXT) FROM user"):
        if address := _ADDRESS.search(_clean(info)):
            contacts[_clean(login)] = address[0].lower()
    return contacts


def _tickets(db: sqlite3.Connection) -> Tickets:
    opened: Counter[int] = Counter()
    closed: Counter[int] = Counter()
    for status, made, changed in ticket_rows(db):
        opened[_time(made if made is not None else changed).toordinal()] += 1
        if is_closed(status):
            closed[_time(changed).toordinal()] += 1
    total, ended = opened.total(), closed.total()
    return Tickets(total - ended, ended, dict(opened), dict(closed))


def _biggest(db: sqlite3.Connection) -> tuple[Big, ...]:
    found = db.execute(
        """SELECT rid, uuid, size,
                  (SELECT f.name FROM mlink m JOIN filename f USING (fnid)
                    WHERE m.fid = blob.rid LIMIT 1)
             FROM blob WHERE size > 0 AND NOT EXISTS
                  (SELECT 1 FROM private p WHERE p.rid = blob.rid)
            ORDER BY size DESC, rid LIMIT ?""",
        (_BIGGEST,),
    )
    return tuple(Big(_clean(name), str(uuid), int(size)) for _, uuid, size, name in found)


def _pushes(db: sqlite3.Connection) -> dict[int, int]:
    """Days on which something came over the network."""
    days: Counter[int] = Counter()
    for (mtime,) in db.execute("SELECT mtime FROM rcvfrom WHERE ipaddr IS NOT NULL AND ipaddr<>''"):
        days[_time(mtime).toordinal()] += 1
    return dict(days)


def _wiki_pages(db: sqlite3.Connection) -> int:
    """Pages that are there: the newest version of each is not empty."""
    return _number(
        db,
        """SELECT count(*) FROM tag t WHERE t.tagname GLOB 'wiki-*' AND
             (SELECT x.value + 0 FROM tagxref x WHERE x.tagid = t.tagid
               ORDER BY x.mtime DESC LIMIT 1) > 0""",
    )


class _Files:
    """The files of one check-in."""

    def __init__(self, db: sqlite3.Connection, rid: int) -> None:
        self._db = db
        self._artifacts = Artifacts(db)
        try:
            manifest = parse_manifest(self._artifacts.content(rid))
            self._files = self._all(manifest)
        except NotReadable:  # shunned, or not arrived: nothing can be told of its files
            self._files = {}

    def _all(self, manifest: Manifest) -> dict[str, str]:
        files: dict[bytes, tuple[str, str]] = {}
        if manifest.baseline and (rid := self._rid(manifest.baseline)):
            files |= parse_manifest(self._artifacts.content(rid)).files
        files |= manifest.files
        return {name.decode("utf-8", "replace"): uuid for name, (uuid, _) in files.items() if uuid}

    def _rid(self, uuid: str) -> int | None:
        row = self._db.execute("SELECT rid FROM blob WHERE uuid = ?", (uuid,)).fetchone()
        return int(row[0]) if row else None

    def languages(self) -> dict[str, tuple[int, int]]:
        sizes: dict[str, int] = {}
        for hashes in _chunks(sorted(set(self._files.values()))):
            sizes |= dict(
                self._db.execute(
                    f"SELECT uuid, size FROM blob WHERE uuid IN ({_marks(hashes)})",  # noqa: S608
                    hashes,
                ).fetchall()
            )
        found: dict[str, tuple[int, int]] = {}
        for name, uuid in self._files.items():
            ending = PurePosixPath(name).suffix.lower()[:20]
            files, size = found.get(ending, (0, 0))
            found[ending] = (files + 1, size + max(0, int(sizes.get(uuid, 0))))
        return found

    def readme(self) -> Readme | None:
        names = {name.lower(): name for name in self._files if "/" not in name}
        for wanted in _READMES:
            if wanted in names and (text := self._text(self._files[names[wanted]])) is not None:
                return Readme(names[wanted], text)
        return None

    def _text(self, uuid: str) -> str | None:
        rid = self._rid(uuid)
        if rid is None:
            return None
        (size,) = self._db.execute("SELECT size FROM blob WHERE rid = ?", (rid,)).fetchone()
        if not 0 < int(size) <= _LARGEST_README:
            return None
        try:
            content = self._artifacts.content(rid, uuid)
        except NotReadable:
            return None
        return None if b"\0" in content else content.decode("utf-8", "replace")


def _has(db: sqlite3.Connection, table: str) -> bool:
    found = db.execute("SELECT 1 FROM sqlite_schema WHERE type='table' AND name=?", (table,))
    return found.fetchone() is not None


def _chunks(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), _PER_QUERY):
        yield values[start : start + _PER_QUERY]


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _number(db: sqlite3.Connection, statement: str) -> int:
    return int(db.execute(statement).fetchone()[0] or 0)


def _clean(value: object) -> str:
    """Text that every database can keep."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _time(julian: object) -> datetime:
    """Nothing that a file says is out of a calendar's reach."""
    try:
        seconds = (float(str(julian)) - 2440587.5) * 86400
        return _EPOCH + timedelta(milliseconds=round(seconds * 1000))
    except (ValueError, OverflowError):
        return _EPOCH
