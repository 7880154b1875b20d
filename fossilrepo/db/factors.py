"""The rows of second factors: authenticator secrets and recovery codes.

Owns the columns `totp_…` of `users` and the table `recovery_codes`. A step or a code is used
up in one statement, so that of two who try it at once one is refused. Sees secrets encrypted
and codes as hashes.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete, func, insert, select, update

from fossilrepo.db.engine import Database
from fossilrepo.db.tables import recovery_codes, users
from fossilrepo.db.versions import people_changed
from fossilrepo.models import now


class FactorStore:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def secret(self, user_id: int) -> bytes | None:
        """The encrypted secret of the authenticator; None: no second factor."""
        query = select(users.c.totp_secret).where(users.c.id == user_id)
        async with self._db.read() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def secrets(self) -> dict[int, bytes]:
        """By person."""
        query = select(users.c.id, users.c.totp_secret).where(users.c.totp_secret.is_not(None))
        async with self._db.read() as connection:
            return {row.id: row.totp_secret for row in await connection.execute(query)}

    async def begin(self, user_id: int, secret: bytes, step: int, codes: Iterable[str]) -> bool:
        """From now on signing in asks for it; `step` was used to prove it. False when one is on."""
        query = (
            update(users)
            .where(users.c.id == user_id, users.c.totp_secret.is_(None))
            .values(totp_secret=secret, totp_last=step)
        )
        async with self._db.write() as connection:
            await people_changed(connection)
            if not (await connection.execute(query)).rowcount:
                return False
            await connection.execute(
                delete(recovery_codes).where(recovery_codes.c.user_id == user_id)
            )
            await connection.execute(insert(recovery_codes), _rows(user_id, codes))
        return True

    async def end(self, user_id: int) -> bool:
        """No second factor and no codes any more; False when there was none."""
        query = (
            update(users)
            .where(users.c.id == user_id, users.c.totp_secret.is_not(None))
            .values(totp_secret=None, totp_last=0)
        )
        async with self._db.write() as connection:
            await people_changed(connection)
            done = await connection.execute(query)
            await connection.execute(
                delete(recovery_codes).where(recovery_codes.c.user_id == user_id)
            )
        return done.rowcount > 0

    async def use_step(self, user_id: int, step: int) -> bool:
        """False when this step of time or a later one was used before."""
        query = (
            update(users)
            .where(users.c.id == user_id, users.c.totp_last < step)
            .values(totp_last=step)
        )
        async with self._db.write() as connection:
            return (await connection.execute(query)).rowcount > 0

    async def replace_codes(self, user_id: int, codes: Iterable[str]) -> None:
        async with self._db.write() as connection:
            await connection.execute(
                delete(recovery_codes).where(recovery_codes.c.user_id == user_id)
            )
            await connection.execute(insert(recovery_codes), _rows(user_id, codes))

    async def use_code(self, user_id: int, code_hash: str) -> bool:
        """False when there is no such code, or it was used before."""
        query = (
            update(recovery_codes)
            .where(
                recovery_codes.c.user_id == user_id,
                recovery_codes.c.code_hash == code_hash,
                recovery_codes.c.used_at.is_(None),
            )
            .values(used_at=now())
        )
        async with self._db.write() as connection:
            return (await connection.execute(query)).rowcount > 0

    async def codes_left(self, user_id: int) -> int:
        query = select(func.count()).where(
            recovery_codes.c.user_id == user_id, recovery_codes.c.used_at.is_(None)
        )
        async with self._db.read() as connection:
            return int((await connection.execute(query)).scalar_one())


def _rows(user_id: int, codes: Iterable[str]) -> list[dict[str, object]]:
    at = now()
    return [{"user_id": user_id, "code_hash": code, "created_at": at} for code in codes]
