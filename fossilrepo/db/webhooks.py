"""The rows of webhooks and of what was sent.

Owns the queries on `webhooks` and `deliveries`. Sees addresses and secrets encrypted only.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from fossilrepo.bridge import Delivery, Event, Webhook
from fossilrepo.db.engine import Database
from fossilrepo.db.tables_bridge import deliveries, webhooks

_DELIVERY = tuple(Delivery.__dataclass_fields__)


class WebhookStore:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, **values: Any) -> Webhook:
        query = insert(webhooks).values(**values).returning(webhooks)
        async with self._db.write() as connection:
            return _webhook((await connection.execute(query)).one())

    async def get(self, webhook_id: str) -> Webhook | None:
        async with self._db.read() as connection:
            query = select(webhooks).where(webhooks.c.id == webhook_id)
            row = (await connection.execute(query)).first()
        return _webhook(row) if row else None

    async def all(self) -> list[Webhook]:
        async with self._db.read() as connection:
            found = await connection.execute(select(webhooks).order_by(webhooks.c.id))
            return [_webhook(row) for row in found]

    async def of(self, repository_id: str) -> list[Webhook]:
        query = (
            select(webhooks)
            .where(webhooks.c.repository_id == repository_id)
            .order_by(webhooks.c.created_at, webhooks.c.id)
        )
        async with self._db.read() as connection:
            return [_webhook(row) for row in await connection.execute(query)]

    async def secrets(self, webhook_id: str) -> tuple[bytes, bytes] | None:
        """(address, secret), encrypted."""
        query = select(webhooks.c.url, webhooks.c.secret).where(webhooks.c.id == webhook_id)
        async with self._db.read() as connection:
            row = (await connection.execute(query)).first()
        return (row.url, row.secret) if row else None

    async def update(self, webhook_id: str, **changes: Any) -> Webhook | None:
        query = (
            update(webhooks)
            .where(webhooks.c.id == webhook_id)
            .values(**changes)
            .returning(webhooks)
        )
        async with self._db.write() as connection:
            row = (await connection.execute(query)).first()
        return _webhook(row) if row else None

    async def remove(self, webhook_id: str) -> bool:
        query = delete(webhooks).where(webhooks.c.id == webhook_id)
        async with self._db.write() as connection:
            return (await connection.execute(query)).rowcount > 0

    # Deliveries

    async def tell(self, webhook_id: str, rcvid: int, before: int, messages: list[Any]) -> bool:
        """Queue messages and remember up to where; False when somebody else has done so."""
        claim = (
            update(webhooks)
            .where(webhooks.c.id == webhook_id, webhooks.c.last_rcvid == before)
            .values(last_rcvid=rcvid)
        )
        async with self._db.write() as connection:
            if not (await connection.execute(claim)).rowcount:
                return False
            if messages:
                await connection.execute(insert(deliveries), messages)
            return True

    async def queue(self, **values: Any) -> Delivery:
        query = insert(deliveries).values(**values).returning(deliveries)
        async with self._db.write() as connection:
            return _delivery((await connection.execute(query)).one())

    async def delivery(self, delivery_id: str) -> Delivery | None:
        query = select(deliveries).where(deliveries.c.id == delivery_id)
        async with self._db.read() as connection:
            row = (await connection.execute(query)).first()
        return _delivery(row) if row else None

    async def deliveries(self, webhook_id: str, limit: int) -> list[Delivery]:
        """Newest first."""
        query = (
            select(deliveries)
            .where(deliveries.c.webhook_id == webhook_id)
            .order_by(deliveries.c.created_at.desc(), deliveries.c.id)
            .limit(limit)
        )
        async with self._db.read() as connection:
            return [_delivery(row) for row in await connection.execute(query)]

    async def due(self, at: datetime, limit: int = 100) -> list[Delivery]:
        """Of active webhooks, oldest first."""
        query = (
            select(deliveries)
            .join(webhooks, webhooks.c.id == deliveries.c.webhook_id)
            .where(deliveries.c.next_at <= at, webhooks.c.active)
            .order_by(deliveries.c.created_at, deliveries.c.id)
            .limit(limit)
        )
        async with self._db.read() as connection:
            return [_delivery(row) for row in await connection.execute(query)]

    async def claim(self, delivery: Delivery, until: datetime) -> bool:
        """Count an attempt and keep others away until then; False when it was taken."""
        query = (
            update(deliveries)
            .where(deliveries.c.id == delivery.id, deliveries.c.attempts == delivery.attempts)
            .values(attempts=delivery.attempts + 1, next_at=until)
        )
        async with self._db.write() as connection:
            return (await connection.execute(query)).rowcount > 0

    async def ended(self, delivery_id: str, **changes: Any) -> Delivery | None:
        query = (
            update(deliveries)
            .where(deliveries.c.id == delivery_id)
            .values(**changes)
            .returning(deliveries)
        )
        async with self._db.write() as connection:
            row = (await connection.execute(query)).first()
        return _delivery(row) if row else None

    async def forget(self, before: datetime) -> None:
        query = delete(deliveries).where(
            deliveries.c.created_at < before, deliveries.c.next_at.is_(None)
        )
        async with self._db.write() as connection:
            await connection.execute(query)


def _webhook(row: Row[Any]) -> Webhook:
    return Webhook(
        id=row.id,
        repository_id=row.repository_id,
        url=row.shown,
        events=tuple(Event(one) for one in row.events),
        active=row.active,
        created_by=row.created_by,
        created_at=row.created_at,
        last_rcvid=row.last_rcvid,
    )


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(**{name: row._mapping[name] for name in _DELIVERY})
