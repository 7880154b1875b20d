"""The rows of people, their sessions and their tokens.

Owns the queries on `users`, `sessions` and `api_tokens`.
Sees hashes only: a cookie's or a token's own value never comes here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, delete, func, insert, select, update

from fossilrepo.db import rows
from fossilrepo.db.engine import Database
from fossilrepo.db.logins import refuse_last_admin, refuse_taken
from fossilrepo.db.tables import api_tokens, one_time_tokens, sessions, users
from fossilrepo.db.versions import people_changed
from fossilrepo.errors import NotFound
from fossilrepo.models import Session, User


class PeopleStore:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def add_user(self, **values: Any) -> User:
        """A new person; Conflict when somebody has or had the login."""
        query = insert(users).values(**values).returning(users)
        async with self._db.write() as connection:
            await people_changed(connection)
            await refuse_taken(connection, values["login"])
            return rows.user((await connection.execute(query)).one())

    async def user(self, login: str) -> User | None:
        async with self._db.read() as connection:
            row = (await connection.execute(_living(login))).first()
        return rows.user(row) if row else None

    async def users(self) -> list[User]:
        async with self._db.read() as connection:
            query = select(users).where(users.c.deleted_at.is_(None)).order_by(users.c.login)
            found = await connection.execute(query)
            return [rows.user(row) for row in found]

    async def count(self) -> int:
        async with self._db.read() as connection:
            return (await connection.execute(select(func.count(users.c.id)))).scalar_one()

    async def credentials(self, login: str) -> tuple[User, str] | None:
        """The person and the argon2id hash of the password."""
        async with self._db.read() as connection:
            row = (await connection.execute(_living(login))).first()
        return (rows.user(row), row.password_hash) if row else None

    async def sync_secrets(self) -> dict[int, bytes]:
        """User id to encrypted sync secret."""
        async with self._db.read() as connection:
            found = await connection.execute(select(users.c.id, users.c.sync_secret))
            return {row.id: row.sync_secret for row in found}

    async def update_user(self, login: str, **changes: Any) -> User:
        """NotFound also when the person left meanwhile."""
        query = (
            update(users)
            .where(users.c.login == login, users.c.deleted_at.is_(None))
            .values(**changes)
            .returning(users)
        )
        async with self._db.write() as connection:
            await people_changed(connection)
            row = (await connection.execute(query)).first()
        if row is None:
            raise _nobody(login)
        return rows.user(row)

    async def renew_password_hash(self, user_id: int, before: str, after: str) -> bool:
        """The same password, hashed anew; False when another one was set meanwhile."""
        query = (
            update(users)
            .where(users.c.id == user_id, users.c.password_hash == before)
            .values(password_hash=after)
        )
        async with self._db.write() as connection:
            return (await connection.execute(query)).rowcount > 0

    async def shut_out(self, login: str, sync_secret: bytes) -> User:
        """Disabled, and sessions and links ended for good; API tokens count again once the person
        is let in again. Conflict for the last administrator of the site."""
        async with self._db.write() as connection:
            await people_changed(connection)
            found = (await connection.execute(_living(login))).first()
            if found is None:
                raise _nobody(login)
            await refuse_last_admin(connection, found.id)
            for table in (sessions, one_time_tokens):
                await connection.execute(delete(table).where(table.c.user_id == found.id))
            query = (
                update(users)
                .where(users.c.id == found.id)
                .values(disabled=True, sync_secret=sync_secret)
                .returning(users)
            )
            return rows.user((await connection.execute(query)).one())

    # Sessions

    async def add_session(self, **values: Any) -> None:
        async with self._db.write() as connection:
            await connection.execute(insert(sessions).values(**values))

    async def session(self, token_hash: str, at: datetime) -> tuple[Session, datetime] | None:
        """The live session of an enabled person, and when it was last seen."""
        query = (
            select(*_SESSION)
            .join(sessions, sessions.c.user_id == users.c.id)
            .where(
                sessions.c.token_hash == token_hash,
                sessions.c.expires_at > at,
                users.c.disabled.is_(False),
            )
        )
        async with self._db.read() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            return None
        return _session(row), row.session_seen

    async def touch_session(self, token_hash: str, user_id: int, at: datetime) -> None:
        async with self._db.write() as connection:
            await connection.execute(
                update(sessions).where(sessions.c.token_hash == token_hash).values(last_seen=at)
            )
            await connection.execute(
                update(users).where(users.c.id == user_id).values(last_seen=at)
            )

    async def end_session(self, token_hash: str) -> None:
        async with self._db.write() as connection:
            await connection.execute(delete(sessions).where(sessions.c.token_hash == token_hash))

    async def end_sessions_of(self, user_id: int, *, but: str = "") -> int:
        """All of the person's, or all but the one of this id; how many."""
        condition = sessions.c.user_id == user_id
        if but:
            condition = condition & (sessions.c.id != but)
        async with self._db.write() as connection:
            return (await connection.execute(delete(sessions).where(condition))).rowcount

    async def end_session_of(self, user_id: int, session_id: str) -> bool:
        condition = (sessions.c.user_id == user_id) & (sessions.c.id == session_id)
        async with self._db.write() as connection:
            return (await connection.execute(delete(sessions).where(condition))).rowcount > 0

    async def sessions_of(self, user_id: int, at: datetime) -> list[Session]:
        """The living ones, the one that was seen last first."""
        query = (
            select(*_SESSION)
            .join(sessions, sessions.c.user_id == users.c.id)
            .where(sessions.c.user_id == user_id, sessions.c.expires_at > at)
            .order_by(sessions.c.last_seen.desc())
        )
        async with self._db.read() as connection:
            return [_session(row) for row in await connection.execute(query)]

    async def forget_expired(self, at: datetime) -> None:
        async with self._db.write() as connection:
            await connection.execute(delete(sessions).where(sessions.c.expires_at <= at))
            await connection.execute(
                delete(one_time_tokens).where(one_time_tokens.c.expires_at <= at)
            )

    # API tokens

    async def add_api_token(self, **values: Any) -> None:
        async with self._db.write() as connection:
            await connection.execute(insert(api_tokens).values(**values))

    async def api_tokens(self) -> list[dict[str, Any]]:
        query = (
            select(api_tokens, users.c.login)
            .join(users, users.c.id == api_tokens.c.user_id)
            .order_by(api_tokens.c.created_at)
        )
        async with self._db.read() as connection:
            return [dict(row._mapping) for row in await connection.execute(query)]

    async def api_token_user(
        self, token_hash: str, at: datetime
    ) -> tuple[User, str, datetime | None] | None:
        """Whose it is, its scope and its last use; None when it has ended, or its person is
        disabled."""
        query = (
            select(users, api_tokens.c.expires_at, api_tokens.c.scope, api_tokens.c.last_used)
            .join(api_tokens, api_tokens.c.user_id == users.c.id)
            .where(api_tokens.c.token_hash == token_hash, users.c.disabled.is_(False))
        )
        async with self._db.read() as connection:
            row = (await connection.execute(query)).first()
        if row is None or (row.expires_at is not None and row.expires_at <= at):
            return None
        return rows.user(row), row.scope, row.last_used

    async def touch_api_token(self, token_hash: str, at: datetime) -> None:
        async with self._db.write() as connection:
            await connection.execute(
                update(api_tokens).where(api_tokens.c.token_hash == token_hash).values(last_used=at)
            )

    async def remove_api_token(self, token_id: str, user_id: int | None = None) -> bool:
        """`user_id`: only when it is this person's."""
        query = delete(api_tokens).where(api_tokens.c.id == token_id)
        if user_id is not None:
            query = query.where(api_tokens.c.user_id == user_id)
        async with self._db.write() as connection:
            return (await connection.execute(query)).rowcount > 0


def _nobody(login: str) -> NotFound:
    return NotFound(f"there is no person with the login {login[:40]!r}")


def _living(login: str) -> Select[Any]:
    return select(users).where(users.c.login == login, users.c.deleted_at.is_(None))


_SESSION = (
    users,
    sessions.c.csrf,
    sessions.c.created_at.label("began_at"),
    sessions.c.expires_at,
    sessions.c.last_seen.label("session_seen"),
    sessions.c.id.label("session_id"),
    sessions.c.address,
    sessions.c.agent,
)


def _session(row: Row[Any]) -> Session:
    return Session(
        rows.user(row),
        row.csrf,
        row.began_at,
        row.expires_at,
        id=row.session_id,
        last_seen=row.session_seen,
        address=row.address,
        agent=row.agent,
    )
