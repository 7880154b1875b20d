"""The rows of links and tokens that are good once: set-up, invitations, new passwords.

Owns their queries on `one_time_tokens`. Sees hashes only; using one up is a single statement,
so that of two clicks at once one finds it gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select

from fossilrepo.db.engine import Database
from fossilrepo.db.tables import one_time_tokens as tokens


@dataclass(frozen=True, slots=True)
class OneTime:
    """`detail` is what the link promises; `user_id` whom it is for, where they exist already."""

    id: str
    purpose: str
    created_at: datetime
    expires_at: datetime
    created_by: str
    user_id: int | None
    detail: dict[str, Any]


class OneTimeStore:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, *, only: bool = False, **values: Any) -> None:
        """`only`: the person's earlier ones for the same purpose end."""
        async with self._db.write() as connection:
            if only:
                await connection.execute(
                    delete(tokens).where(
                        tokens.c.user_id == values["user_id"],
                        tokens.c.purpose == values["purpose"],
                    )
                )
            await connection.execute(insert(tokens).values(**values))

    async def find(self, token_hash: str, purpose: str, at: datetime) -> OneTime | None:
        query = select(tokens).where(
            tokens.c.token_hash == token_hash,
            tokens.c.purpose == purpose,
            tokens.c.expires_at > at,
        )
        async with self._db.read() as connection:
            row = (await connection.execute(query)).first()
        return _one_time(row) if row else None

    async def take(self, token_hash: str, purpose: str, at: datetime) -> OneTime | None:
        """Use it up; None for all but the first who try."""
        query = (
            delete(tokens)
            .where(
                tokens.c.token_hash == token_hash,
                tokens.c.purpose == purpose,
                tokens.c.expires_at > at,
            )
            .returning(tokens)
        )
        async with self._db.write() as connection:
            row = (await connection.execute(query)).first()
        return _one_time(row) if row else None

    async def all(self, purpose: str, at: datetime) -> list[OneTime]:
        """Those that are still good, newest first."""
        query = (
            select(tokens)
            .where(tokens.c.purpose == purpose, tokens.c.expires_at > at)
            .order_by(tokens.c.created_at.desc())
        )
        async with self._db.read() as connection:
            return [_one_time(row) for row in await connection.execute(query)]

    async def remove(self, purpose: str, identity: str) -> bool:
        query = delete(tokens).where(tokens.c.purpose == purpose, tokens.c.id == identity)
        async with self._db.write() as connection:
            return (await connection.execute(query)).rowcount > 0

    async def remove_all(self, purpose: str) -> None:
        async with self._db.write() as connection:
            await connection.execute(delete(tokens).where(tokens.c.purpose == purpose))

    async def remove_of(self, user_id: int) -> None:
        """Every one that is for this person."""
        async with self._db.write() as connection:
            await connection.execute(delete(tokens).where(tokens.c.user_id == user_id))


def _one_time(row: Row[Any]) -> OneTime:
    values = dict(row._mapping)
    values.pop("token_hash")
    values["detail"] = values["detail"] or {}
    return OneTime(**values)
