"""Sessions of browsers: begun, recognised, listed, ended.

Owns their life. A session is always a fresh one: its cookie's value is made here, given to
the browser once, and kept as SHA-256. Who may have one is decided by who asks for it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from fossilrepo.db.people import PeopleStore
from fossilrepo.errors import NotFound
from fossilrepo.models import Actor, Session, User, new_id, now
from fossilrepo.services.audit import Audit

SESSION_LIFE = timedelta(days=30)
TOUCH_AFTER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A fresh session; `token` is the cookie's value and is nowhere else."""

    token: str
    session: Session


class Sessions:
    def __init__(self, store: PeopleStore, audit: Audit) -> None:
        self._store = store
        self._audit = audit
        # With the person's id, when one of their sessions was ended by them or for them.
        self.after_ending: list[Callable[[int], Awaitable[None]]] = []

    async def begin(self, user: User, address: str, agent: str) -> SignedIn:
        token, csrf, at = secrets.token_urlsafe(32), secrets.token_urlsafe(32), now()
        await self._store.forget_expired(at)
        await self._store.add_session(
            token_hash=_digest(token),
            id=new_id(),
            user_id=user.id,
            csrf=csrf,
            created_at=at,
            last_seen=at,
            expires_at=at + SESSION_LIFE,
            address=address,
            agent=agent[:200],
        )
        await self._store.touch_session(_digest(token), user.id, at)
        actor = Actor(user.login, user.is_admin, address, user_id=user.id)
        await self._audit.record(actor, "sign-in", user.login)
        return SignedIn(token, Session(user, csrf, at, at + SESSION_LIFE))

    async def find(self, cookie: str) -> Session | None:
        """The live session of this cookie's value, if there is one."""
        if not 20 <= len(cookie) <= 100:
            return None
        digest, at = _digest(cookie), now()
        found = await self._store.session(digest, at)
        if found is None:
            return None
        session, last_seen = found
        if at - last_seen > TOUCH_AFTER:
            await self._store.touch_session(digest, session.user.id, at)
        return session

    async def of(self, user: User) -> list[Session]:
        """Where the person is signed in, the latest first."""
        return await self._store.sessions_of(user.id, now())

    async def end(self, cookie: str) -> None:
        await self._store.end_session(_digest(cookie))

    async def end_one(self, actor: Actor, session_id: str) -> None:
        """One of the actor's own."""
        user_id = actor.user_id or 0
        if not await self._store.end_session_of(user_id, session_id):
            raise NotFound("this session has ended already")
        await self._ended(user_id)
        await self._audit.record(actor, "person.session-ended", actor.login)

    async def end_others(self, session: Session, address: str = "") -> int:
        """All of the person's but this one; how many there were."""
        user = session.user
        ended = await self._store.end_sessions_of(user.id, but=session.id)
        await self._ended(user.id)
        actor = Actor(user.login, user.is_admin, address, user_id=user.id)
        await self._audit.record(actor, "person.sessions-ended", user.login, ended=ended)
        return ended

    async def end_all(self, user: User) -> None:
        await self._store.end_sessions_of(user.id)
        await self._ended(user.id)

    async def _ended(self, user_id: int) -> None:
        for step in self.after_ending:
            await step(user_id)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
