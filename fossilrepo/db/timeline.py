"""Every event of every repository: written by the insights, read by pages, feeds and search.

Owns the queries on `timeline` and on what finds words in it. Which repositories a reader may
know of comes in as a condition; nothing here is shown without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, insert, literal_column, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from fossilrepo.db.engine import Database
from fossilrepo.db.repositories import Readable
from fossilrepo.db.tables import repositories
from fossilrepo.db.tables_insights import timeline
from fossilrepo.insight import Asked, Entry, Event

_PER_STATEMENT = 400
_INDEX_SQLITE = """
    INSERT INTO timeline_words (rowid, text, "user")
    SELECT id, text, "user" FROM timeline WHERE repository_id = :of AND id > :after"""
_FORGET_SQLITE = """
    INSERT INTO timeline_words (timeline_words, rowid, text, "user")
    SELECT 'delete', id, text, "user" FROM timeline WHERE repository_id = :of"""
_SIMPLE: ColumnElement[str] = literal_column("'simple'")


class Timeline:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def events(self, readable: Readable | None, asked: Asked, limit: int = 50) -> list[Event]:
        """Newest first."""
        conditions = _conditions(readable, asked)
        query = (
            _events().where(and_(*conditions)).order_by(timeline.c.at.desc(), timeline.c.id.desc())
        )
        async with self._db.read() as connection:
            return [_event(row) for row in await connection.execute(query.limit(limit))]

    async def search(
        self, readable: Readable | None, words: Sequence[str], asked: Asked, limit: int = 50
    ) -> list[Event]:
        """What has words that begin so, or a hash that does; newest first."""
        conditions = _conditions(readable, asked)
        query = _events().where(and_(*conditions, self._has(words)))
        query = query.order_by(timeline.c.at.desc(), timeline.c.id.desc()).limit(limit)
        async with self._db.read() as connection:
            return [_event(row) for row in await connection.execute(query)]

    def _has(self, words: Sequence[str]) -> ColumnElement[bool]:
        if self._db.is_sqlite:
            wanted = " ".join('"' + word.replace('"', '""') + '" *' for word in words)
            found = text(
                "SELECT rowid FROM timeline_words WHERE timeline_words MATCH :wanted"
            ).bindparams(wanted=wanted)
            has: ColumnElement[bool] = timeline.c.id.in_(found.columns(timeline.c.id))
        else:
            wanted = " & ".join("'" + _lexeme(word) + "':*" for word in words)
            has = func.to_tsvector(_SIMPLE, timeline.c.text + " " + timeline.c.user).op("@@")(
                func.to_tsquery(_SIMPLE, wanted)
            )
        if len(words) == 1 and len(words[0]) >= 4 and set(words[0]) <= set("0123456789abcdef"):
            has = or_(has, timeline.c.hash.startswith(words[0]))
        return has


def _lexeme(word: str) -> str:
    return word.replace("\\", "").replace("'", "''")


def _events() -> Any:
    return select(
        timeline.c.id,
        repositories.c.name.label("repository"),
        repositories.c.org,
        *(timeline.c[name] for name in ("kind", "hash", "at", "user", "text", "branch")),
    ).join(repositories, repositories.c.id == timeline.c.repository_id)


def _event(row: Any) -> Event:
    return Event(**row._mapping)


def _conditions(readable: Readable | None, asked: Asked) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [repositories.c.name.is_not(None)]
    if readable is not None:
        conditions.append(readable.condition())
    if asked.repository:
        conditions.append(repositories.c.name == asked.repository)
    if asked.org:
        conditions.append(repositories.c.org == asked.org)
    if asked.user:
        conditions.append(timeline.c.user == asked.user)
    if asked.users:
        conditions.append(timeline.c.user.in_(asked.users))
    if asked.kinds:
        conditions.append(timeline.c.kind.in_(asked.kinds))
    if asked.before:
        at, number = asked.before
        conditions.append(
            or_(timeline.c.at < at, and_(timeline.c.at == at, timeline.c.id < number))
        )
    return conditions


# Writing: parts of the transaction that keeps what was read


async def clear(connection: AsyncConnection, repository_id: str, most: int) -> bool:
    """Take out so many at most, the oldest rows first; whether there were any."""
    mine = timeline.c.repository_id == repository_id
    query = select(timeline.c.id).where(mine).order_by(timeline.c.id).limit(1).offset(most)
    end = (await connection.execute(query)).scalar()
    some = and_(mine, timeline.c.id < end) if end is not None else mine
    if connection.dialect.name == "sqlite":
        until = " AND id < :end" if end is not None else ""
        values = {"of": repository_id} | ({"end": end} if end is not None else {})
        await connection.execute(text(_FORGET_SQLITE + until), values)
    done = await connection.execute(delete(timeline).where(some))
    return done.rowcount > 0


async def take_out(
    connection: AsyncConnection, repository_id: str, hashes: Iterable[str]
) -> list[Entry]:
    """The events of these hashes, which are gone then."""
    gone: list[Entry] = []
    wanted = list(hashes)
    for start in range(0, len(wanted), _PER_STATEMENT):
        some = and_(
            timeline.c.repository_id == repository_id,
            timeline.c.hash.in_(wanted[start : start + _PER_STATEMENT]),
        )
        rows = (await connection.execute(select(timeline).where(some))).all()
        if not rows:
            continue
        gone += [Entry(r.hash, r.kind, r.at, r.user, r.text, r.branch) for r in rows]
        if connection.dialect.name == "sqlite":
            await connection.execute(
                text(f"{_FORGET_SQLITE} AND id = :id"),
                [{"of": repository_id, "id": r.id} for r in rows],
            )
        await connection.execute(delete(timeline).where(some))
    return gone


async def put_in(connection: AsyncConnection, repository_id: str, entries: Sequence[Entry]) -> None:
    if not entries:
        return
    newest = select(func.max(timeline.c.id))
    after = (await connection.execute(newest)).scalar_one() or 0
    await connection.execute(
        insert(timeline),
        [
            {
                "repository_id": repository_id,
                "hash": one.hash,
                "kind": one.kind,
                "at": one.at,
                "user": one.user,
                "text": one.text,
                "branch": one.branch,
            }
            for one in entries
        ],
    )
    if connection.dialect.name == "sqlite":
        await connection.execute(text(_INDEX_SQLITE), {"of": repository_id, "after": after})
