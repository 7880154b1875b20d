"""What arrived in a repository: check-ins, tickets, wiki edits, technotes, forum posts.

Owns the reading of Fossil's timeline by the order of arrival. Who a change is said to be by is what
its author wrote; who sent it here is what the server knows. Blocks, and reads only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fossilrepo.bridge import Event
from fossilrepo.tools.fossil_db import reading

_KINDS = {
    "ci": Event.PUSH,
    "t": Event.TICKET,
    "w": Event.WIKI,
    "e": Event.TECHNOTE,
    "f": Event.FORUM,
}


@dataclass(frozen=True, slots=True)
class Arrival:
    event: Event
    hash: str
    at: datetime
    user: str
    pushed_by: str
    comment: str
    branch: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arrived:
    """`newest` is what to ask after the next time; `more` entries were left out."""

    newest: int
    entries: tuple[Arrival, ...]
    more: int


def newest(path: Path) -> int:
    with reading(path) as db:
        return int(db.execute("SELECT max(rcvid) FROM rcvfrom").fetchone()[0] or 0)


def arrived_after(path: Path, rcvid: int, most: int = 500) -> Arrived:
    """What came with an rcvid above this one, in order; private check-ins do not count.

    A repository that went back in time (a restore) tells nothing of what was before.
    """
    with reading(path) as db:
        last = int(db.execute("SELECT max(rcvid) FROM rcvfrom").fetchone()[0] or 0)
        if last <= rcvid:
            return Arrived(last, (), 0)
        where = """FROM event e JOIN blob b ON b.rid = e.objid
                   LEFT JOIN rcvfrom r ON r.rcvid = b.rcvid LEFT JOIN user u ON u.uid = r.uid
                  WHERE b.rcvid > ? AND e.type IN ('ci', 't', 'w', 'e', 'f')
                    AND NOT EXISTS (SELECT 1 FROM private p WHERE p.rid = b.rid)"""
        count = int(db.execute(f"SELECT count(*) {where}", (rcvid,)).fetchone()[0])
        found = []
        for kind, rid, uuid, mtime, user, pusher, comment in db.execute(
            f"""SELECT e.type, b.rid, b.uuid, e.mtime, coalesce(e.euser, e.user), u.login,
                       coalesce(e.ecomment, e.comment) {where}
                 ORDER BY b.rcvid, e.mtime LIMIT ?""",
            (rcvid, most),
        ):
            branch, tags = "", []
            if kind == "ci":
                for name, value in db.execute(
                    """SELECT t.tagname, x.value FROM tagxref x JOIN tag t USING (tagid)
                        WHERE x.rid = ? AND x.tagtype > 0""",
                    (rid,),
                ):
                    if name == "branch":
                        branch = str(value or "")
                    elif str(name).startswith("sym-"):
                        tags.append(str(name)[4:])
            found.append(
                Arrival(
                    event=_KINDS[str(kind)],
                    hash=str(uuid),
                    at=_EPOCH + timedelta(days=float(mtime) - 2440587.5),
                    user=str(user or ""),
                    pushed_by=str(pusher or ""),
                    comment=str(comment or "")[:2000],
                    branch=branch,
                    tags=tuple(tag for tag in tags if tag != branch),
                )
            )
        return Arrived(last, tuple(found), count - len(found))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
