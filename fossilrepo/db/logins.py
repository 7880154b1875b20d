"""Who has which login, for ever: newcomers, new logins, administrators, leaving.

Owns `retired_logins` and the changes of people that must happen whole or not at all. Each
is one transaction that begins with the version of people: no second one runs beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fossilrepo.db import rows
from fossilrepo.db.engine import Database
from fossilrepo.db.tables import (
    api_tokens,
    elevations,
    grants,
    jobs,
    members,
    one_time_tokens,
    organizations,
    recovery_codes,
    retired_logins,
    sessions,
    team_members,
    teams,
    users,
    visits,
)
from fossilrepo.db.versions import people_changed
from fossilrepo.errors import Conflict, NotFound
from fossilrepo.models import User, now
from fossilrepo.rights import MemberRole

_OF_ONE = (
    *(sessions, api_tokens, one_time_tokens, recovery_codes),
    *(members, team_members, grants, visits, elevations),
)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A person's first row, where they belong from the start, and a link that waits for them."""

    values: Mapping[str, Any]
    org_id: int | None = None
    role: MemberRole = MemberRole.MEMBER
    team_ids: tuple[int, ...] = ()
    token: Mapping[str, Any] = field(default_factory=dict)  # a row without its person


class LoginStore:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def taken(self, logins: Sequence[str]) -> set[str]:
        """Those of these logins that somebody has or had."""
        async with self._db.read() as connection:
            return await _taken(connection, logins)

    async def admit(
        self, newcomers: Sequence[Newcomer], *, with_token: str = "", at: datetime | None = None
    ) -> list[User] | None:
        """All of them or, with a Conflict, none.

        `with_token` is the hash of the invitation that is used up by it; None when it is not
        good any more.
        """
        made = []
        async with self._db.write() as connection:
            await people_changed(connection)
            if with_token:
                spent = delete(one_time_tokens).where(
                    one_time_tokens.c.token_hash == with_token,
                    one_time_tokens.c.purpose == "invitation",
                    one_time_tokens.c.expires_at > (at or now()),
                )
                if not (await connection.execute(spent)).rowcount:
                    return None
            for newcomer in newcomers:
                made.append(await _admit(connection, newcomer))
        return made

    async def rename(self, user_id: int, login: str) -> User:
        """The old login stays with the person and is nobody else's; they may go back to it."""
        async with self._db.write() as connection:
            await people_changed(connection)
            await connection.execute(
                delete(retired_logins).where(
                    retired_logins.c.login == login, retired_logins.c.user_id == user_id
                )
            )
            await refuse_taken(connection, login)
            before = await _living(connection, user_id)
            await connection.execute(
                insert(retired_logins).values(login=before.login, user_id=user_id, at=now())
            )
            await connection.execute(  # theirs to watch
                update(jobs).where(jobs.c.requested_by == before.login).values(requested_by=login)
            )
            query = update(users).where(users.c.id == user_id).values(login=login).returning(users)
            return rows.user((await connection.execute(query)).one())

    async def former(self, user_id: int) -> list[str]:
        """The logins that the person had before, oldest first."""
        query = (
            select(retired_logins.c.login)
            .where(retired_logins.c.user_id == user_id)
            .order_by(retired_logins.c.at)
        )
        async with self._db.read() as connection:
            return list((await connection.execute(query)).scalars())

    async def set_admin(self, user_id: int, is_admin: bool) -> User:
        """Conflict when nobody would be left to run the site."""
        query = (
            update(users).where(users.c.id == user_id).values(is_admin=is_admin).returning(users)
        )
        async with self._db.write() as connection:
            await people_changed(connection)
            await _living(connection, user_id)
            if not is_admin:
                await refuse_last_admin(connection, user_id)
            return rows.user((await connection.execute(query)).one())

    async def leave(self, user_id: int, sync_secret: bytes) -> None:
        """The row and the login stay; everything that the person could do, and was, goes."""
        async with self._db.write() as connection:
            await people_changed(connection)
            await _living(connection, user_id)
            await refuse_last_admin(connection, user_id)
            for table in _OF_ONE:
                await connection.execute(delete(table).where(table.c.user_id == user_id))
            await connection.execute(
                update(users)
                .where(users.c.id == user_id)
                .values(
                    name="",
                    email="",
                    is_admin=False,
                    disabled=True,
                    password_hash="",
                    sync_secret=sync_secret,
                    totp_secret=None,
                    deleted_at=now(),
                )
            )


async def refuse_taken(connection: AsyncConnection, login: str) -> None:
    """Conflict when somebody has or had the login; part of the transaction that gives it."""
    if await _taken(connection, (login,)):
        raise Conflict(
            f"the login {login!r} is taken",
            hint="choose another one: logins are never used again",
            field="login",
        )


async def _taken(connection: AsyncConnection, logins: Sequence[str]) -> set[str]:
    found = set()
    for column in (users.c.login, retired_logins.c.login):
        query = select(column).where(column.in_(logins))
        found |= set((await connection.execute(query)).scalars())
    return found


async def _living(connection: AsyncConnection, user_id: int) -> User:
    query = select(users).where(users.c.id == user_id, users.c.deleted_at.is_(None))
    row = (await connection.execute(query)).first()
    if row is None:
        raise NotFound("this person is gone")
    return rows.user(row)


async def refuse_last_admin(connection: AsyncConnection, user_id: int) -> None:
    """Conflict when nobody else could run the site; part of the transaction that ends it."""
    able = (users.c.is_admin, ~users.c.disabled, users.c.deleted_at.is_(None))
    query = select(users.c.id).where(*able)
    admins = set((await connection.execute(query)).scalars())
    if admins == {user_id}:
        raise Conflict(
            "this is the last administrator of the site", hint="make somebody else one first"
        )


async def _admit(connection: AsyncConnection, newcomer: Newcomer) -> User:
    await refuse_taken(connection, newcomer.values["login"])
    query = insert(users).values(**newcomer.values).returning(users)
    user = rows.user((await connection.execute(query)).one())
    at = now()
    org = select(func.count(organizations.c.id)).where(organizations.c.id == newcomer.org_id)
    if newcomer.org_id is not None and (await connection.execute(org)).scalar_one():
        await connection.execute(
            insert(members).values(
                org_id=newcomer.org_id, user_id=user.id, role=newcomer.role, added_at=at
            )
        )
        there = select(teams.c.id).where(
            teams.c.id.in_(newcomer.team_ids), teams.c.org_id == newcomer.org_id
        )
        for team_id in (await connection.execute(there)).scalars().all():
            await connection.execute(
                insert(team_members).values(team_id=team_id, user_id=user.id, added_at=at)
            )
    if newcomer.token:
        await connection.execute(insert(one_time_tokens).values(**newcomer.token, user_id=user.id))
    return user
