"""What is kept of each repository's history, so that pages never open a repository.

Owns the tables of insights: what came since the last reading is kept in one transaction, a whole
history in many, so that nobody who writes waits for it; the counts are those of the events in
`timeline` either way.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, case, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fossilrepo.db import timeline as events
from fossilrepo.db.engine import Database
from fossilrepo.db.repositories import Readable
from fossilrepo.db.tables import repositories
from fossilrepo.db.tables_insights import (
    disk_days,
    insight_branches,
    insight_days,
    insight_sizes,
    insight_users,
    insights,
    timeline,
)
from fossilrepo.insight import (
    Big,
    Branch,
    Contributor,
    DiskDay,
    Entry,
    Kept,
    Known,
    Read,
    Readme,
    Tickets,
)

_PER_STATEMENT = 400
PART = 5000  # events that are written in one transaction; less of them make a longer log
_COUNTED = (insight_days, insight_users, insight_branches)


class InsightStore:
    def __init__(self, database: Database) -> None:
        self._db = database

    # Writing

    async def keep(
        self, repository_id: str, read: Read, *, seen: str, size: int, at: datetime, seconds: float
    ) -> bool:
        """All of what was read; False when nothing of it is new.

        A long history is kept in parts. Cut off between them, it counts as not read yet.
        """
        values = _values(read)
        counts = await asyncio.to_thread(_counted, read.entries) if read.whole else None
        is_first = read.whole and await self.known(repository_id) is None
        is_short = is_first and len(read.entries) <= PART
        if read.whole and not is_short:
            await self._refill(repository_id, read.entries)
        async with self._db.write() as connection:
            before = (
                await connection.execute(
                    select(insights).where(insights.c.repository_id == repository_id)
                )
            ).first()
            same = before is not None and not read.whole and not read.entries
            if before is not None and same and _is_same(before, values):
                await connection.execute(
                    update(insights)
                    .where(insights.c.repository_id == repository_id)
                    .values(seen=seen)
                )
                return False
            hours = list(before.hours) if before is not None and not read.whole else [0] * 168
            if counts is None:
                gone = await _replace(connection, repository_id, read.entries)
                _count_hours(hours, gone, -1)
                _count_hours(hours, read.entries, 1)
            else:
                hours = counts.hours
                if is_short:
                    while await events.clear(connection, repository_id, PART):
                        pass  # what was cut off before
                    await events.put_in(connection, repository_id, read.entries)
                await counts.put(connection, repository_id)
            values |= {"hours": hours, "seen": seen, "read_at": at, "seconds": seconds}
            await _put(connection, insights, {"repository_id": repository_id}, values)
            today = {"repository_id": repository_id, "day": at.toordinal()}
            await _put(connection, insight_sizes, today, {"bytes": size})
        return True

    async def forget(self, repository_id: str) -> None:
        """Everything that was read of it."""
        await self._refill(repository_id, ())
        async with self._db.write() as connection:
            for table in (*_COUNTED, insight_sizes):
                await connection.execute(
                    delete(table).where(table.c.repository_id == repository_id)
                )

    async def _refill(self, repository_id: str, entries: Sequence[Entry]) -> None:
        """These events instead of all that there were; whoever else writes has a turn between."""
        mine = insights.c.repository_id == repository_id
        async with self._db.write() as connection:
            await connection.execute(delete(insights).where(mine))
        there_are = True
        while there_are:
            began = time.monotonic()
            async with self._db.write() as connection:
                there_are = await events.clear(connection, repository_id, PART)
            await _rest(began)
        for start in range(0, len(entries), PART):
            began = time.monotonic()
            async with self._db.write() as connection:
                await events.put_in(connection, repository_id, entries[start : start + PART])
            await _rest(began)

    async def keep_disk(self, day: DiskDay) -> None:
        values = asdict(day)
        async with self._db.write() as connection:
            await _put(connection, disk_days, {"day": values.pop("day")}, values)

    # Reading

    async def unread(self) -> list[str]:
        """Living repositories whose file has changed since it was read, or that never were."""
        query = (
            select(repositories.c.id)
            .outerjoin(insights, insights.c.repository_id == repositories.c.id)
            .where(
                repositories.c.state.in_(("active", "archived")),
                or_(insights.c.seen.is_(None), insights.c.seen != repositories.c.seen),
            )
        )
        async with self._db.read() as connection:
            return list((await connection.execute(query)).scalars())

    async def known(self, repository_id: str) -> Known | None:
        query = select(insights.c.rcvid, insights.c.counts, insights.c.restored).where(
            insights.c.repository_id == repository_id
        )
        async with self._db.read() as connection:
            row = (await connection.execute(query)).first()
        return Known(row.rcvid, row.counts, row.restored) if row else None

    async def of(self, repository_id: str) -> Kept | None:
        """All that is kept of one repository but its events; None when it was not read yet."""
        async with self._db.read() as connection:
            row = (
                await connection.execute(
                    select(insights).where(insights.c.repository_id == repository_id)
                )
            ).first()
            if row is None:
                return None
            users = await connection.execute(
                select(insight_users).where(insight_users.c.repository_id == repository_id)
            )
            branches = await connection.execute(
                select(insight_branches)
                .where(insight_branches.c.repository_id == repository_id)
                .order_by(insight_branches.c.last_at.desc(), insight_branches.c.branch)
            )
            days = await connection.execute(
                select(insight_days.c.day, insight_days.c.kind, insight_days.c.count).where(
                    insight_days.c.repository_id == repository_id
                )
            )
            sizes = await connection.execute(
                select(insight_sizes.c.day, insight_sizes.c.bytes)
                .where(insight_sizes.c.repository_id == repository_id)
                .order_by(insight_sizes.c.day)
            )
            return _kept(row, users.all(), branches.all(), days.all(), sizes.all())

    async def days(
        self, readable: Readable | None, since: int, *, org: str = ""
    ) -> dict[int, dict[str, int]]:
        """Day to kind to number of events, in all repositories that may be read."""
        query = (
            select(insight_days.c.day, insight_days.c.kind, func.sum(insight_days.c.count))
            .where(insight_days.c.day >= since, _is_shown(readable, org))
            .group_by(insight_days.c.day, insight_days.c.kind)
        )
        async with self._db.read() as connection:
            return _by_day((await connection.execute(query)).all())

    async def size_of_all(self) -> int:
        """Bytes of every repository, those in the trash counted."""
        async with self._db.read() as connection:
            found = await connection.execute(select(func.sum(repositories.c.size_bytes)))
            return int(found.scalar_one() or 0)

    async def disk(self, since: int) -> list[DiskDay]:
        """Oldest first."""
        query = select(disk_days).where(disk_days.c.day >= since).order_by(disk_days.c.day)
        async with self._db.read() as connection:
            return [DiskDay(**row._mapping) for row in await connection.execute(query)]


def _is_shown(readable: Readable | None, org: str) -> ColumnElement[bool]:
    """The days of repositories that have a name and may be read; most often that is all."""
    if readable is None and not org:
        unnamed = select(repositories.c.id).where(repositories.c.name.is_(None))
        return insight_days.c.repository_id.not_in(unnamed)
    conditions: list[ColumnElement[bool]] = [repositories.c.name.is_not(None)]
    if readable is not None:
        conditions.append(readable.condition())
    if org:
        conditions.append(repositories.c.org == org)
    return insight_days.c.repository_id.in_(select(repositories.c.id).where(*conditions))


def _values(read: Read) -> dict[str, Any]:
    """As they are kept: JSON has texts for keys and lists for pairs."""
    tickets = read.tickets
    return {
        "rcvid": read.known.rcvid,
        "counts": dict(read.known.counts),
        "restored": read.known.restored,
        "head": read.head,
        "open_branches": sorted(read.open_branches),
        "contacts": dict(read.contacts),
        "tickets": {
            "open": tickets.open,
            "closed": tickets.closed,
            "opened_on": _texts(tickets.opened_on),
            "closed_on": _texts(tickets.closed_on),
        },
        "languages": {ending: list(found) for ending, found in read.languages.items()},
        "biggest": [asdict(one) for one in read.biggest],
        "pushes": _texts(read.pushes),
        "wiki_pages": read.wiki_pages,
        "readme_name": read.readme.name if read.readme else "",
        "readme": read.readme.text if read.readme else "",
    }


def _texts(days: Mapping[int, int]) -> dict[str, int]:
    return {str(day): count for day, count in days.items()}


def _is_same(before: Row[Any], values: dict[str, Any]) -> bool:
    return all(before._mapping[name] == value for name, value in values.items())


async def _replace(
    connection: AsyncConnection, repository_id: str, entries: Sequence[Entry]
) -> list[Entry]:
    """These events beside what was kept, with every count; those that they replaced."""
    gone = await events.take_out(connection, repository_id, [entry.hash for entry in entries])
    await events.put_in(connection, repository_id, entries)
    await _count_again(connection, repository_id, [*gone, *entries])
    return gone


async def _rest(began: float) -> None:
    """As long as the work took: waiting writers ask again in steps of up to a tenth of a second."""
    await asyncio.sleep(time.monotonic() - began)


def _kept(
    row: Row[Any],
    users: Iterable[Row[Any]],
    branches: Iterable[Row[Any]],
    days: Iterable[Any],
    sizes: Iterable[Any],
) -> Kept:
    tickets = row.tickets
    return Kept(
        head=row.head,
        counts=row.counts,
        contacts=row.contacts,
        tickets=Tickets(
            tickets["open"],
            tickets["closed"],
            {int(day): n for day, n in tickets["opened_on"].items()},
            {int(day): n for day, n in tickets["closed_on"].items()},
        ),
        languages={ending: (files, size) for ending, (files, size) in row.languages.items()},
        biggest=tuple(Big(**one) for one in row.biggest),
        pushes={int(day): n for day, n in row.pushes.items()},
        hours=tuple(row.hours),
        wiki_pages=row.wiki_pages,
        readme=Readme(row.readme_name, row.readme) if row.readme_name else None,
        read_at=row.read_at,
        seconds=row.seconds,
        contributors=tuple(
            Contributor((u.user,), u.checkins, u.others, u.first_at, u.last_at) for u in users
        ),
        branches=tuple(
            Branch(b.branch, b.checkins, b.first_at, b.last_at, b.branch in row.open_branches)
            for b in branches
        ),
        days=_by_day(days),
        sizes={one.day: one.bytes for one in sizes},
    )


def _by_day(rows: Iterable[Any]) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = {}
    for day, kind, count in rows:
        found.setdefault(int(day), {})[kind] = int(count)
    return found


# Counting


def _count_hours(hours: list[int], entries: Iterable[Entry], by: int) -> None:
    for one in entries:
        if one.kind == "ci":
            hours[one.at.weekday() * 24 + one.at.hour] += by


@dataclass(frozen=True, slots=True)
class _Counts:
    """Of a repository whose events are all in hand."""

    hours: list[int]
    days: Mapping[tuple[int, str], int]
    users: Mapping[str, Contributor]
    branches: Mapping[str, Branch]

    async def put(self, connection: AsyncConnection, repository_id: str) -> None:
        for table in _COUNTED:
            await connection.execute(delete(table).where(table.c.repository_id == repository_id))
        days = [{"day": day, "kind": kind, "count": n} for (day, kind), n in self.days.items()]
        await _add(connection, insight_days, repository_id, days)
        users = [_user(one) for one in self.users.values()]
        await _add(connection, insight_users, repository_id, users)
        branches = [_branch(one) for one in self.branches.values()]
        await _add(connection, insight_branches, repository_id, branches)


def _counted(entries: Sequence[Entry]) -> _Counts:
    """Blocks, for many events."""
    hours = [0] * 168
    _count_hours(hours, entries, 1)
    users: dict[str, Contributor] = {}
    branches: dict[str, Branch] = {}
    for one in entries:
        is_checkin = one.kind == "ci"
        known = users.get(one.user) or Contributor((one.user,), 0, 0, one.at, one.at)
        users[one.user] = replace(
            known,
            checkins=known.checkins + is_checkin,
            others=known.others + (not is_checkin),
            first_at=min(known.first_at, one.at),
            last_at=max(known.last_at, one.at),
        )
        if is_checkin:
            branch = branches.get(one.branch) or Branch(one.branch, 0, one.at, one.at, False)
            branches[one.branch] = replace(
                branch,
                checkins=branch.checkins + 1,
                first_at=min(branch.first_at, one.at),
                last_at=max(branch.last_at, one.at),
            )
    days = Counter((one.at.toordinal(), one.kind) for one in entries)
    return _Counts(hours, days, users, branches)


def _user(one: Contributor) -> dict[str, Any]:
    return {
        "user": one.names[0],
        "checkins": one.checkins,
        "others": one.others,
        "first_at": one.first_at,
        "last_at": one.last_at,
    }


def _branch(one: Branch) -> dict[str, Any]:
    return {
        "branch": one.name,
        "checkins": one.checkins,
        "first_at": one.first_at,
        "last_at": one.last_at,
    }


async def _count_again(
    connection: AsyncConnection, repository_id: str, touched: Sequence[Entry]
) -> None:
    """The counts that the touched events are in, from the events as they are now."""
    mine = timeline.c.repository_id == repository_id
    for day in {one.at.toordinal() for one in touched}:
        begin = datetime.fromordinal(day).replace(tzinfo=UTC)
        within = and_(mine, timeline.c.at >= begin, timeline.c.at < begin + timedelta(days=1))
        found = await connection.execute(
            select(timeline.c.kind, func.count().label("n")).where(within).group_by(timeline.c.kind)
        )
        rows = [{"day": day, "kind": row.kind, "count": row.n} for row in found]
        await connection.execute(
            delete(insight_days).where(
                insight_days.c.repository_id == repository_id, insight_days.c.day == day
            )
        )
        await _add(connection, insight_days, repository_id, rows)
    is_checkin = case((timeline.c.kind == "ci", 1), else_=0)
    first, last = func.min(timeline.c.at), func.max(timeline.c.at)
    for some in _some({one.user for one in touched}):
        query = (
            select(
                timeline.c.user,
                func.sum(is_checkin).label("checkins"),
                func.sum(1 - is_checkin).label("others"),
                first.label("first_at"),
                last.label("last_at"),
            )
            .where(mine, timeline.c.user.in_(some))
            .group_by(timeline.c.user)
        )
        rows = [dict(row._mapping) for row in await connection.execute(query)]
        table = insight_users
        await connection.execute(
            delete(table).where(table.c.repository_id == repository_id, table.c.user.in_(some))
        )
        await _add(connection, table, repository_id, rows)
    for some in _some({one.branch for one in touched if one.kind == "ci"}):
        query = (
            select(
                timeline.c.branch,
                func.count().label("checkins"),
                first.label("first_at"),
                last.label("last_at"),
            )
            .where(mine, timeline.c.kind == "ci", timeline.c.branch.in_(some))
            .group_by(timeline.c.branch)
        )
        rows = [dict(row._mapping) for row in await connection.execute(query)]
        table = insight_branches
        await connection.execute(
            delete(table).where(table.c.repository_id == repository_id, table.c.branch.in_(some))
        )
        await _add(connection, table, repository_id, rows)


def _some(values: set[str]) -> Iterable[list[str]]:
    ordered = sorted(values)
    for start in range(0, len(ordered), _PER_STATEMENT):
        yield ordered[start : start + _PER_STATEMENT]


async def _add(
    connection: AsyncConnection, table: Any, repository_id: str, rows: list[dict[str, Any]]
) -> None:
    if rows:
        await connection.execute(
            insert(table), [{"repository_id": repository_id, **row} for row in rows]
        )


async def _put(
    connection: AsyncConnection, table: Any, key: dict[str, Any], values: dict[str, Any]
) -> None:
    """The row of this key, whether there was one or not."""
    await connection.execute(
        delete(table).where(*(table.c[name] == value for name, value in key.items()))
    )
    await connection.execute(insert(table).values(**key, **values))
