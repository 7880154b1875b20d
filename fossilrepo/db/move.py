"""Every row of one control database into another one, and the proof that all of them came.

Owns the order of tables, sequences and words, which the two engines keep in ways of their own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from sqlalchemy import Integer, String, Table, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from fossilrepo.db import tables_bridge, tables_insights
from fossilrepo.db.engine import Database
from fossilrepo.db.migrate import migrate
from fossilrepo.db.tables import metadata
from fossilrepo.errors import Conflict, Damaged
from fossilrepo.insight import WORDS

_AT_ONCE = 500  # rows
# The modules are what fills `metadata`.
_MODULES = (tables_bridge, tables_insights)

Say = Callable[[str], None]


async def move(source: Database, target: Database, say: Say) -> dict[str, int]:
    """Copy everything in one transaction and compare it; rows by table.

    `source` is only read. Conflict when `target` holds anything; Damaged, and nothing kept,
    when a row is not the same there.
    """
    await migrate(source)
    await migrate(target)
    moved: dict[str, int] = {}
    async with source.read() as before, target.write() as after:
        for table in metadata.sorted_tables:
            if (await after.execute(select(table).limit(1))).first() is not None:
                if table.name in _SEEDED:
                    await after.execute(table.delete())
                    continue
                raise Conflict(
                    f"the database to move to is not empty: {table.name} has rows",
                    hint="make a new one (`createdb`), or empty that one",
                )
        for table in metadata.sorted_tables:
            moved[table.name] = await _copy(before, after, table)
            say(f"{table.name}: {moved[table.name]:,}")
        await _settle(after, target.is_sqlite)
        await compare(before, after)
    say("every row was compared")
    return moved


# What migrations put into a new database; the rows of the source take their place.
_SEEDED = ("organizations", "versions")


async def _copy(before: AsyncConnection, after: AsyncConnection, table: Table) -> int:
    count = 0
    async for rows in _rows(before, table):
        await after.execute(insert(table), rows)
        count += len(rows)
    return count


async def _rows(connection: AsyncConnection, table: Table) -> AsyncIterator[list[dict[str, Any]]]:
    """All rows in the order of their key, which is the same in both engines, some at a time."""
    binary = "C" if connection.dialect.name == "postgresql" else "BINARY"
    order = [
        key.collate(binary) if isinstance(key.type, String) else key
        for key in table.primary_key.columns
    ]
    found = await connection.stream(select(table).order_by(*order))
    async for some in found.partitions(_AT_ONCE):
        yield [dict(row._mapping) for row in some]


async def compare(before: AsyncConnection, after: AsyncConnection) -> None:
    """Damaged when anything differs, in any row of any table."""
    for table in metadata.sorted_tables:
        await _compare(before, after, table)


async def _compare(before: AsyncConnection, after: AsyncConnection, table: Table) -> None:
    here, there = _rows(before, table), _rows(after, table)
    while True:
        some, same = await anext(here, None), await anext(there, None)
        if some != same:
            raise Damaged(
                f"rows of {table.name} are not the same in the new database",
                hint="nothing was kept there; the old one is in use as before",
            )
        if some is None:
            return


async def _settle(after: AsyncConnection, is_sqlite: bool) -> None:
    """What follows rows by itself when they are made one by one: words, and the next number."""
    if is_sqlite:
        await after.execute(text(f"INSERT INTO {WORDS}({WORDS}) VALUES ('rebuild')"))  # noqa: S608
        return
    for table in metadata.sorted_tables:
        keys = list(table.primary_key.columns)
        if len(keys) == 1 and isinstance(keys[0].type, Integer) and keys[0].autoincrement:
            name, key = table.name, keys[0].name
            await after.execute(
                text(
                    f"SELECT setval(s, coalesce(max({key}), 1), max({key}) IS NOT NULL)"  # noqa: S608
                    f" FROM {name}, pg_get_serial_sequence('{name}', '{key}') AS s"
                    " WHERE s IS NOT NULL GROUP BY s"
                )
            )
