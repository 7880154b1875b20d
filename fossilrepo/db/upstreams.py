"""The rows of upstreams: other Fossils that repositories exchange their content with.

Owns the queries on `upstreams`. Sees the password encrypted only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, or_, select, update

from fossilrepo.bridge import Direction, Upstream
from fossilrepo.db.engine import Database
from fossilrepo.db.mirrors import standing
from fossilrepo.db.tables_bridge import upstreams

_DERIVED = ("direction", "has_password", "standing")
_UPSTREAM = tuple(f.name for f in fields(Upstream) if f.name not in _DERIVED)


class UpstreamStore:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, **values: Any) -> Upstream:
        """In place of the one that the repository has, if it has one."""
        query = insert(upstreams).values(**values).returning(upstreams)
        before = delete(upstreams).where(upstreams.c.repository_id == values["repository_id"])
        async with self._db.write() as connection:
            await connection.execute(before)
            return _upstream((await connection.execute(query)).one())

    async def get(self, upstream_id: str) -> Upstream | None:
        return await self._one(upstreams.c.id == upstream_id)

    async def of(self, repository_id: str) -> Upstream | None:
        return await self._one(upstreams.c.repository_id == repository_id)

    async def list(self) -> list[Upstream]:
        async with self._db.read() as connection:
            found = await connection.execute(select(upstreams).order_by(upstreams.c.created_at))
            return [_upstream(row) for row in found]

    async def due(self, at: datetime) -> Sequence[Upstream]:
        """Those that owe a run: asked for, or their time has come; not the paused ones."""
        query = select(upstreams).where(
            upstreams.c.paused_at.is_(None),
            or_(upstreams.c.next_run <= at, upstreams.c.wanted_at.is_not(None)),
        )
        async with self._db.read() as connection:
            return [_upstream(row) for row in await connection.execute(query)]

    async def update(self, upstream_id: str, **changes: Any) -> Upstream | None:
        """None when it was removed meanwhile."""
        query = (
            update(upstreams)
            .where(upstreams.c.id == upstream_id)
            .values(**changes)
            .returning(upstreams)
        )
        async with self._db.write() as connection:
            row = (await connection.execute(query)).first()
        return _upstream(row) if row else None

    async def remove(self, upstream_id: str) -> bool:
        query = delete(upstreams).where(upstreams.c.id == upstream_id)
        async with self._db.write() as connection:
            return (await connection.execute(query)).rowcount > 0

    async def password(self, upstream_id: str) -> bytes | None:
        """Encrypted."""
        query = select(upstreams.c.password).where(upstreams.c.id == upstream_id)
        async with self._db.read() as connection:
            password: bytes | None = (await connection.execute(query)).scalar_one_or_none()
        return password

    async def _one(self, condition: Any) -> Upstream | None:
        async with self._db.read() as connection:
            row = (await connection.execute(select(upstreams).where(condition))).first()
        return _upstream(row) if row else None


def _upstream(row: Row[Any]) -> Upstream:
    values = {name: row._mapping[name] for name in _UPSTREAM}
    return Upstream(
        **values,
        direction=Direction(row.direction),
        has_password=row.password is not None,
        standing=standing(row),
    )
