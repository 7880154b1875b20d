"""What people were told last, so that they are told of changes only.

Owns the queries on `alerts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select

from fossilrepo.db.engine import Database
from fossilrepo.db.tables_bridge import alerts


@dataclass(frozen=True, slots=True)
class Alert:
    """`subject` is like `mirror ID`; `told_at` None: people do not know of it yet."""

    subject: str
    condition: str
    since: datetime
    told_at: datetime | None
    text: str


class AlertStore:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def all(self) -> dict[str, Alert]:
        async with self._db.read() as connection:
            found = await connection.execute(select(alerts))
            return {row.subject: Alert(**row._mapping) for row in found}

    async def set(self, alert: Alert) -> None:
        async with self._db.write() as connection:
            await connection.execute(delete(alerts).where(alerts.c.subject == alert.subject))
            await connection.execute(
                insert(alerts).values(
                    subject=alert.subject,
                    condition=alert.condition,
                    since=alert.since,
                    told_at=alert.told_at,
                    text=alert.text,
                )
            )

    async def clear(self, subject: str) -> None:
        async with self._db.write() as connection:
            await connection.execute(delete(alerts).where(alerts.c.subject == subject))
