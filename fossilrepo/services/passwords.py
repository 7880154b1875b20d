"""Passwords of the site: which are good enough, and how they are kept.

Owns argon2id, in threads and two at a time (each takes 64 MiB), and the rule: long enough and
not one of those that everybody tries first. No rule asks for digits or signs.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import cache
from importlib import resources

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from fossilrepo.errors import InvalidInput
from fossilrepo.traces import span

MIN_PASSWORD, MAX_PASSWORD = 10, 1000
AT_ONCE = 2
_LONG_ENOUGH_WITH_LOGIN = 14
_HINT = "four random words are easy to keep in mind"


class Passwords:
    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._no_such_hash = ""

    async def new_hash(self, login: str, password: str) -> str:
        """For a password that is good enough; InvalidInput says why another is not."""
        check(login, password)
        return await self.hash(password)

    async def hash(self, text: str) -> str:
        with span("password"):
            async with self._places:
                return await asyncio.to_thread(self._hasher.hash, text)

    async def verify(
        self, password_hash: str, password: str, may_try: Callable[[], None] = lambda: None
    ) -> bool:
        """Takes as long without a hash (nobody has this login) as with one.

        `may_try` raises, when it is this one's turn, if it shall not be tried any more.
        """
        if not self._no_such_hash:
            self._no_such_hash = await self.hash(secrets.token_urlsafe(16))
        try:
            with span("password"):
                async with self._places:
                    may_try()
                    await asyncio.to_thread(
                        self._hasher.verify,
                        password_hash or self._no_such_hash,
                        password[:MAX_PASSWORD],
                    )
        except (VerifyMismatchError, InvalidHashError):
            return False
        return bool(password_hash)

    def is_outdated(self, password_hash: str) -> bool:
        """Whether it was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)


def check(login: str, password: str) -> None:
    """InvalidInput for what is too short, too long, or known to everybody."""
    if len(password) < MIN_PASSWORD:
        raise InvalidInput(
            f"the password has fewer than {MIN_PASSWORD} characters", hint=_HINT, field="password"
        )
    if len(password) > MAX_PASSWORD:
        raise InvalidInput(
            f"the password is longer than {MAX_PASSWORD} characters", field="password"
        )
    lower = password.lower()
    is_login = login in lower and len(password) < _LONG_ENOUGH_WITH_LOGIN
    if is_login or f"\n{lower}\n" in _common() or len(set(lower)) < 3:
        raise InvalidInput(
            "this password is one of the first that a stranger would try",
            hint=_HINT,
            field="password",
        )


@cache
def _common() -> str:
    """One a line, as one text: a set of them takes ten times the memory."""
    return resources.files("fossilrepo.services").joinpath("common_passwords.txt").read_text()
