"""The rows of who is inside repositories: first visits, natives, access keys, elevations, drift.

Owns the queries on `visits`, `adopted_natives`, `access_keys`, `elevations`, `drifts` and
`former_names`. Sees secrets encrypted only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update

from fossilrepo.db import rows
from fossilrepo.db.engine import Database
from fossilrepo.db.tables import (
    access_keys,
    adopted_natives,
    drifts,
    elevations,
    former_names,
    repositories,
    visits,
)
from fossilrepo.db.versions import people_changed
from fossilrepo.models import AccessKey, now


@dataclass(frozen=True, slots=True)
class Adopted:
    """A native user of a repository that is now a person of ours."""

    repository_id: str
    login: str
    user_id: int


@dataclass(frozen=True, slots=True)
class Elevation:
    repository_id: str
    user_id: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Drift:
    """What somebody changed inside Fossil: capabilities found, and those put back."""

    repository_id: str
    login: str
    at: datetime
    found: str
    repaired: str


@dataclass(frozen=True, slots=True)
class FormerName:
    name: str
    repository_id: str
    org: str
    leads: bool
    until: datetime


@dataclass(frozen=True, slots=True)
class Inside:
    """What is written into repositories besides roles; by repository."""

    visits: dict[str, frozenset[int]]
    adopted: dict[str, tuple[Adopted, ...]]
    keys: dict[str, tuple[tuple[AccessKey, bytes], ...]]  # each with its encrypted secret
    elevated: dict[str, tuple[Elevation, ...]]


class AccessStore:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def inside(self) -> Inside:
        """Of all repositories; what has expired is in it."""
        visited: dict[str, set[int]] = {}
        adopted: dict[str, list[Adopted]] = {}
        keys: dict[str, list[tuple[AccessKey, bytes]]] = {}
        elevated: dict[str, list[Elevation]] = {}
        async with self._db.read() as connection:
            for row in await connection.execute(select(visits)):
                visited.setdefault(row.repository_id, set()).add(row.user_id)
            for row in await connection.execute(select(adopted_natives)):
                native = Adopted(row.repository_id, row.login, row.user_id)
                adopted.setdefault(row.repository_id, []).append(native)
            for row in await connection.execute(select(access_keys)):
                key = (rows.access_key(row), row.secret)
                keys.setdefault(row.repository_id, []).append(key)
            for row in await connection.execute(select(elevations)):
                one = Elevation(**row._mapping)
                elevated.setdefault(row.repository_id, []).append(one)
        return Inside(
            {key: frozenset(found) for key, found in visited.items()},
            {key: tuple(found) for key, found in adopted.items()},
            {key: tuple(found) for key, found in keys.items()},
            {key: tuple(found) for key, found in elevated.items()},
        )

    # Visits

    async def visit(self, repository_id: str, user_id: int, *, opened: bool = False) -> bool:
        """Remember the first use, or that a browser was signed in; True when it is the first."""
        at = now()
        this = (visits.c.repository_id == repository_id) & (visits.c.user_id == user_id)
        async with self._db.write() as connection:
            known = (await connection.execute(select(visits).where(this))).first()
            if known is None:
                await people_changed(connection)  # of two at once the second waits here
                known = (await connection.execute(select(visits).where(this))).first()
            if known is None:
                await connection.execute(
                    insert(visits).values(
                        repository_id=repository_id,
                        user_id=user_id,
                        first_at=at,
                        opened_at=at if opened else None,
                    )
                )
            elif opened:
                await connection.execute(update(visits).where(this).values(opened_at=at))
        return known is None

    async def opened_by(self, user_id: int) -> list[str]:
        """The repositories where a browser of the person may still be signed in."""
        query = select(visits.c.repository_id).where(
            visits.c.user_id == user_id, visits.c.opened_at.is_not(None)
        )
        async with self._db.read() as connection:
            return [row.repository_id for row in await connection.execute(query)]

    async def closed_by(self, user_id: int) -> None:
        """The person was signed out of every repository."""
        query = update(visits).where(visits.c.user_id == user_id).values(opened_at=None)
        async with self._db.write() as connection:
            await connection.execute(query)

    # Natives

    async def adopt(self, repository_id: str, login: str, user_id: int, by: str) -> None:
        """Conflict when it is adopted already."""
        async with self._db.write() as connection:
            await people_changed(connection)
            await connection.execute(
                insert(adopted_natives).values(
                    repository_id=repository_id,
                    login=login,
                    user_id=user_id,
                    adopted_by=by,
                    at=now(),
                )
            )

    # Access keys

    async def add_key(self, **values: Any) -> AccessKey:
        query = insert(access_keys).values(**values).returning(access_keys)
        async with self._db.write() as connection:
            await people_changed(connection)
            return rows.access_key((await connection.execute(query)).one())

    async def keys(self, repository_id: str | None = None) -> list[AccessKey]:
        """Of one repository or of all, expired ones too, oldest first."""
        query = select(access_keys).order_by(access_keys.c.created_at)
        if repository_id is not None:
            query = query.where(access_keys.c.repository_id == repository_id)
        async with self._db.read() as connection:
            return [rows.access_key(row) for row in await connection.execute(query)]

    async def renew_key(self, key_id: str, secret: bytes) -> None:
        """Another secret, encrypted: the key's password is a new one."""
        query = update(access_keys).where(access_keys.c.id == key_id).values(secret=secret)
        async with self._db.write() as connection:
            await people_changed(connection)
            await connection.execute(query)

    async def remove_key(self, key_id: str) -> AccessKey | None:
        query = delete(access_keys).where(access_keys.c.id == key_id).returning(access_keys)
        async with self._db.write() as connection:
            await people_changed(connection)
            row = (await connection.execute(query)).first()
        return rows.access_key(row) if row else None

    async def key_used(self, login: str, at: datetime) -> None:
        query = update(access_keys).where(access_keys.c.login == login).values(last_used=at)
        async with self._db.write() as connection:
            await connection.execute(query)

    async def expired_keys(self, at: datetime) -> list[str]:
        """The repositories that have keys which ended before this moment."""
        query = select(access_keys.c.repository_id).where(access_keys.c.expires_at <= at).distinct()
        async with self._db.read() as connection:
            return [row.repository_id for row in await connection.execute(query)]

    # Elevations

    async def elevate(self, repository_id: str, user_id: int, until: datetime) -> None:
        """In place of one that lasts already."""
        before = delete(elevations).where(
            elevations.c.repository_id == repository_id, elevations.c.user_id == user_id
        )
        async with self._db.write() as connection:
            await people_changed(connection)
            await connection.execute(before)
            await connection.execute(
                insert(elevations).values(repository_id=repository_id, user_id=user_id, until=until)
            )

    async def elevations(self) -> list[Elevation]:
        async with self._db.read() as connection:
            found = await connection.execute(select(elevations).order_by(elevations.c.until))
            return [Elevation(**row._mapping) for row in found]

    async def end_elevation(self, repository_id: str, user_id: int) -> bool:
        query = delete(elevations).where(
            elevations.c.repository_id == repository_id, elevations.c.user_id == user_id
        )
        async with self._db.write() as connection:
            await people_changed(connection)
            return (await connection.execute(query)).rowcount > 0

    # Drift

    async def add_drift(self, repository_id: str, login: str, found: str, repaired: str) -> None:
        async with self._db.write() as connection:
            await connection.execute(
                insert(drifts).values(
                    repository_id=repository_id,
                    login=login,
                    at=now(),
                    found=found,
                    repaired=repaired,
                )
            )

    async def drifts(self, repository_id: str, limit: int = 20) -> list[Drift]:
        """Newest first."""
        query = (
            select(drifts)
            .where(drifts.c.repository_id == repository_id)
            .order_by(drifts.c.id.desc())
            .limit(limit)
        )
        async with self._db.read() as connection:
            return [
                Drift(row.repository_id, row.login, row.at, row.found, row.repaired)
                for row in await connection.execute(query)
            ]

    # Former names

    async def former_name(self, name: str) -> FormerName | None:
        query = select(former_names).where(former_names.c.name == name)
        async with self._db.read() as connection:
            row = (await connection.execute(query)).first()
        return FormerName(**row._mapping) if row else None

    async def former_names(self) -> list[tuple[FormerName, str | None]]:
        """All that are still kept, each with the present name of its repository."""
        query = (
            select(former_names, repositories.c.name.label("present"))
            .join(repositories, repositories.c.id == former_names.c.repository_id, isouter=True)
            .where(former_names.c.until > now())
            .order_by(former_names.c.name)
        )
        async with self._db.read() as connection:
            found = []
            for row in await connection.execute(query):
                values = dict(row._mapping)
                present = values.pop("present")
                found.append((FormerName(**values), present))
            return found

    async def keep_name(self, former: FormerName) -> None:
        async with self._db.write() as connection:
            await connection.execute(delete(former_names).where(former_names.c.name == former.name))
            await connection.execute(
                insert(former_names).values(
                    name=former.name,
                    repository_id=former.repository_id,
                    org=former.org,
                    leads=former.leads,
                    until=former.until,
                )
            )

    async def free_name(self, name: str) -> None:
        async with self._db.write() as connection:
            await connection.execute(delete(former_names).where(former_names.c.name == name))
