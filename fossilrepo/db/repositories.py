"""The rows of repositories and the files that wait to become one.

Owns the queries on `repositories` and `drop_ins`. Decides
nothing: states and names are checked by the services. A taken name raises
Conflict from the database itself, so that two processes get an order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update

from fossilrepo.db import rows
from fossilrepo.db.engine import Database
from fossilrepo.db.tables import drop_ins, repositories
from fossilrepo.errors import NotFound
from fossilrepo.models import DropIn, Repository, RepositoryState

SORTS = {
    "name": (repositories.c.name,),
    "change": (repositories.c.last_change.desc().nulls_last(), repositories.c.name),
    "size": (repositories.c.size_bytes.desc(), repositories.c.name),
}


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a list: `total` counts all that match."""

    repositories: list[Repository]
    total: int


@dataclass(frozen=True, slots=True)
class Readable:
    """Which repositories a list may show: by visibility, organization, identity, or a team.

    `through_teams`: identities, each only while it is in this organization.
    """

    visibilities: tuple[str, ...] = ()
    organizations: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    through_teams: tuple[tuple[str, str], ...] = ()

    def condition(self) -> ColumnElement[bool]:
        by_org: dict[str, list[str]] = {}
        for identity, org in self.through_teams:
            by_org.setdefault(org, []).append(identity)
        return or_(
            repositories.c.visibility.in_(self.visibilities),
            repositories.c.org.in_(self.organizations),
            repositories.c.id.in_(self.repositories),
            *(
                and_(repositories.c.org == org, repositories.c.id.in_(identities))
                for org, identities in by_org.items()
            ),
        )


class RepositoryStore:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(
        self, repository: Repository, kept_aside: Mapping[str, str] | None = None
    ) -> None:
        values = asdict(repository)
        values["removed"] = list(repository.removed)
        values["kept_aside"] = dict(kept_aside or {})
        async with self._db.write() as connection:
            await connection.execute(insert(repositories).values(**values))

    async def get(self, repository_id: str) -> Repository | None:
        return await self._one(repositories.c.id == repository_id)

    async def by_name(self, name: str) -> Repository | None:
        return await self._one(repositories.c.name == name)

    async def _one(self, condition: ColumnElement[bool]) -> Repository | None:
        async with self._db.read() as connection:
            row = (await connection.execute(select(repositories).where(condition))).first()
        return rows.repository(row) if row else None

    async def all(self, *states: RepositoryState) -> list[Repository]:
        """Every repository, or those in the given states, by name."""
        query = select(repositories).order_by(repositories.c.name, repositories.c.id)
        if states:
            query = query.where(repositories.c.state.in_(states))
        async with self._db.read() as connection:
            return [rows.repository(row) for row in await connection.execute(query)]

    async def search(
        self,
        words: str,
        *,
        sort: str = "name",
        offset: int = 0,
        limit: int = 50,
        readable: Readable | None = None,
    ) -> Listed:
        """One page of the named repositories whose name, title or description has every word."""
        conditions: list[ColumnElement[bool]] = [repositories.c.name.is_not(None)]
        if readable is not None:
            conditions.append(readable.condition())
        for word in words.lower().split()[:8]:
            conditions.append(
                or_(
                    repositories.c.name.contains(word, autoescape=True),
                    func.lower(repositories.c.title).contains(word, autoescape=True),
                    func.lower(repositories.c.description).contains(word, autoescape=True),
                )
            )
        query = (
            select(repositories, func.count().over().label("total"))
            .where(and_(*conditions))
            .order_by(*SORTS.get(sort, SORTS["name"]))
            .offset(offset)
            .limit(limit)
        )
        async with self._db.read() as connection:
            found = (await connection.execute(query)).all()
            if not found and offset:
                count = select(func.count()).select_from(repositories).where(and_(*conditions))
                return Listed([], (await connection.execute(count)).scalar_one())
        return Listed([rows.repository(row) for row in found], found[0].total if found else 0)

    async def update(self, repository_id: str, **changes: Any) -> Repository:
        """Write the named columns; gives back the repository as it is now. NotFound without it."""
        if "removed" in changes:
            changes["removed"] = list(changes["removed"])
        query = (
            update(repositories)
            .where(repositories.c.id == repository_id)
            .values(**changes)
            .returning(repositories)
        )
        async with self._db.write() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            raise NotFound(f"there is no repository with the identity {repository_id}")
        return rows.repository(row)

    async def remove(self, repository_id: str) -> None:
        async with self._db.write() as connection:
            await connection.execute(delete(repositories).where(repositories.c.id == repository_id))

    async def count(self) -> int:
        query = select(func.count()).where(repositories.c.name.is_not(None))
        async with self._db.read() as connection:
            return (await connection.execute(query)).scalar_one()

    async def kept_aside(self, repository_id: str) -> dict[str, str]:
        """Settings that the gate took out, with their values."""
        query = select(repositories.c.kept_aside).where(repositories.c.id == repository_id)
        async with self._db.read() as connection:
            return dict((await connection.execute(query)).scalar() or {})

    async def drop_ins(self) -> list[DropIn]:
        query = select(drop_ins).order_by(drop_ins.c.filename)
        async with self._db.read() as connection:
            return [rows.drop_in(row) for row in await connection.execute(query)]

    async def set_drop_in(self, drop_in: DropIn) -> None:
        async with self._db.write() as connection:
            await connection.execute(
                delete(drop_ins).where(drop_ins.c.filename == drop_in.filename)
            )
            await connection.execute(insert(drop_ins).values(**asdict(drop_in)))

    async def forget_drop_ins(self, filenames: set[str]) -> None:
        if filenames:
            async with self._db.write() as connection:
                await connection.execute(delete(drop_ins).where(drop_ins.c.filename.in_(filenames)))
