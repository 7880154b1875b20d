"""The step between the password and the code of a second factor.

Owns its token: bound to the person and to the password that was proven, good once, for five
minutes, kept as SHA-256. It ends with another password, and when the person is disabled.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from fossilrepo.db.one_time import OneTimeStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.errors import NotSignedIn
from fossilrepo.models import User, new_id, now

LIFE = timedelta(minutes=5)
_PURPOSE = "second"


class SecondStep:
    def __init__(self, people: PeopleStore, one_time: OneTimeStore) -> None:
        self._people = people
        self._one_time = one_time

    async def begin(self, user: User, password_hash: str) -> str:
        """The token; an earlier one of the person ends."""
        token = secrets.token_urlsafe(32)
        await self._one_time.add(
            only=True,
            token_hash=_digest(token),
            id=new_id(),
            purpose=_PURPOSE,
            user_id=user.id,
            created_at=now(),
            expires_at=now() + LIFE,
            detail={"proven": _digest(password_hash)},
        )
        return token

    async def find(self, token: str) -> tuple[User, str]:
        """Whose it is, and the proof that `holds` takes; NotSignedIn when it is over."""
        row = await self._one_time.find(_digest(token), _PURPOSE, now())
        for user in await self._people.users() if row is not None else []:
            if row is not None and user.id == row.user_id:
                proof = await self._proof(user.login)
                if proof and row.detail.get("proven") == proof:
                    return user, proof
        raise over()

    async def take(self, token: str) -> None:
        """Use it up; NotSignedIn for all but the first who try."""
        if await self._one_time.take(_digest(token), _PURPOSE, now()) is None:
            raise over()

    async def holds(self, user: User, proof: str) -> bool:
        """Whether the password that was proven is still the person's, and lets them in."""
        return await self._proof(user.login) == proof

    async def _proof(self, login: str) -> str:
        """Changes with the password; empty for who is disabled."""
        found = await self._people.credentials(login)
        return "" if found is None or found[0].disabled else _digest(found[1])


def over() -> NotSignedIn:
    return NotSignedIn("this sign-in has taken too long", hint="sign in again")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
