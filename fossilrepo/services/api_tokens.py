"""Tokens with which programs use the API as a person.

Owns their making and their end. A token is shown once and kept as SHA-256; its scope bounds
what it may do of what its person may.
"""

from __future__ import annotations

import builtins
import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from fossilrepo.db.people import PeopleStore
from fossilrepo.errors import Forbidden, InvalidInput, NotFound
from fossilrepo.models import Actor, User, check_text, new_id, now
from fossilrepo.services.audit import Audit

PREFIX = "frt_"
MOST_DAYS = 3650
TOUCH_AFTER = timedelta(minutes=1)  # a program that asks often does not write each time
_SHOWN = ("id", "login", "label", "scope", "created_at", "expires_at", "last_used")


class Scope(StrEnum):
    """What a token may do of what its person may; each holds what the one before it does.

    read: look. write: change repositories too. admin: everything.
    """

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def covers(self, other: Scope) -> bool:
        return _RANK[self] >= _RANK[other]


_RANK = {Scope.READ: 1, Scope.WRITE: 2, Scope.ADMIN: 3}


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who a token stands for, and how far."""

    user: User
    scope: Scope


class ApiTokens:
    def __init__(self, store: PeopleStore, audit: Audit) -> None:
        self._store = store
        self._audit = audit

    async def create(
        self,
        actor: Actor,
        login: str,
        label: str = "",
        days: int | None = None,
        scope: Scope = Scope.ADMIN,
    ) -> tuple[str, str]:
        """(id, token), for oneself, or by an administrator for anybody."""
        if actor.login != login and not actor.is_admin:
            raise Forbidden("only an administrator of the site makes tokens for other people")
        user = await self._store.user(login)
        if user is None:
            raise NotFound(f"there is no person with the login {login[:40]!r}")
        if days is not None and not 1 <= days <= MOST_DAYS:
            raise InvalidInput(f"a token lives between 1 and {MOST_DAYS} days", field="days")
        token, token_id, at = PREFIX + secrets.token_urlsafe(32), new_id(), now()
        await self._store.add_api_token(
            id=token_id,
            token_hash=_digest(token),
            user_id=user.id,
            label=check_text(label, what="label", most=100),
            created_at=at,
            expires_at=at + timedelta(days=days) if days else None,
            scope=scope,
        )
        await self._audit.record(actor, "token.create", login, id=token_id, scope=scope, days=days)
        return token_id, token

    async def list(self, actor: Actor, login: str = "") -> builtins.list[dict[str, Any]]:
        """Everybody's for administrators of the site, or of one login; else the actor's own."""
        wanted = login if actor.is_admin else actor.login
        found = await self._store.api_tokens()
        return [{key: row[key] for key in _SHOWN} for row in found if wanted in ("", row["login"])]

    async def revoke(self, actor: Actor, token_id: str) -> None:
        """One of one's own, or any by an administrator of the site."""
        mine = None if actor.is_admin else actor.user_id or 0
        if not await self._store.remove_api_token(token_id, mine):
            raise NotFound(f"there is no API token {token_id[:40]!r}")
        await self._audit.record(actor, "token.revoke", token_id)

    async def bearer(self, token: str) -> Bearer | None:
        """Whom the token stands for; None when it is none, or has ended."""
        if not token.startswith(PREFIX) or len(token) > 100:
            return None
        digest, at = _digest(token), now()
        found = await self._store.api_token_user(digest, at)
        if found is None:
            return None
        user, scope, last_used = found
        if last_used is None or at - last_used > TOUCH_AFTER:
            await self._store.touch_api_token(digest, at)
        return Bearer(user, Scope(scope))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
