"""Which repositories there are, in one cheap query, also those whose replica alone is left.

Owns that query and the question whether a database was ever used. Asked every few
seconds, so it reads only the columns that the replica's manifest shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Select, func, inspect, literal, null, select, union_all

from fossilrepo.db.engine import Database
from fossilrepo.db.tables import Moment, replicas, repositories, users


@dataclass(frozen=True, slots=True)
class Entry:
    """One repository as the manifest names it; `purged_at`: only its replica is left."""

    id: str
    name: str | None
    deleted_name: str | None
    deleted_at: datetime | None
    title: str
    visibility: str
    state: str
    trust: str
    project_code: str
    created_at: datetime | None
    purged_at: datetime | None


class Inventory:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def entries(self) -> list[Entry]:
        """Every repository, and every purged one whose replica is still kept, by identity."""
        query = union_all(_living(), _purged()).order_by("id")
        async with self._db.read() as connection:
            return [Entry(**row._mapping) for row in await connection.execute(query)]

    async def is_used(self) -> bool:
        """Whether there is, or was, anything of anybody's in the database."""
        async with self._db.read() as connection:
            return await connection.run_sync(_has_content)


def _living() -> Select[tuple[object, ...]]:
    r = repositories.c
    return select(
        r.id,
        r.name,
        r.deleted_name,
        r.deleted_at,
        r.title,
        r.visibility,
        r.state,
        r.trust,
        r.project_code,
        r.created_at,
        null().cast(Moment).label("purged_at"),
    )


def _purged() -> Select[tuple[object, ...]]:
    r = replicas.c
    return select(
        r.repository_id.label("id"),
        null().label("name"),
        r.label.label("deleted_name"),
        null().cast(Moment).label("deleted_at"),
        literal("").label("title"),
        literal("private").label("visibility"),
        literal("purged").label("state"),
        literal("untrusted").label("trust"),
        r.project_code,
        null().cast(Moment).label("created_at"),
        r.purged_at,
    ).where(r.purged_at.is_not(None), r.cleared_at.is_(None))


def _has_content(connection: Connection) -> bool:
    if not inspect(connection).has_table(repositories.name):
        return False
    counts = (select(func.count()).select_from(table) for table in (repositories, users))
    return any(connection.execute(count).scalar_one() for count in counts)
