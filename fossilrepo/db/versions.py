"""A number that grows with every change of what decides rights.

Owns `versions`. Whoever keeps a picture of people in memory compares it: the number is
written in the same transaction as the change, by whatever process made it.
"""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fossilrepo.db.engine import Database
from fossilrepo.db.tables import versions

_PEOPLE = versions.c.name == "people"


async def people_changed(connection: AsyncConnection) -> None:
    """Part of a transaction that changes people, organizations, grants or who is inside."""
    await connection.execute(update(versions).where(_PEOPLE).values(number=versions.c.number + 1))


async def people_version(database: Database) -> int:
    async with database.read() as connection:
        query = select(versions.c.number).where(_PEOPLE)
        return int((await connection.execute(query)).scalar_one())
