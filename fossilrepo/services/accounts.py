"""People and how they prove who they are: set-up, sign-in, sessions, passwords, API tokens.

Owns the rules of accounts. Passwords are argon2id, hashed in threads, two at a
time; sign-in attempts are slowed per account and per address. A change that
matters inside Fossil (a new person, a disabled one, rotated secrets) is handed
to `on_change`, which projects it into the repositories.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from fossilrepo.db.people import PeopleStore
from fossilrepo.errors import Conflict, Forbidden, InvalidInput, NotFound, NotSignedIn
from fossilrepo.models import Actor, Repository, Session, User, check_login, check_text, new_id, now
from fossilrepo.services.audit import Audit
from fossilrepo.services.keys import Keys
from fossilrepo.services.slowing import Slowing

MIN_PASSWORD = 10
SESSION_LIFE = timedelta(days=30)
SETUP_LIFE = timedelta(days=7)
TOUCH_AFTER = timedelta(minutes=5)
_COMMON = frozenset(
    """1234567890 12345678910 0123456789 password12 password123 password1234 qwertyuiop qwerty12345
    1q2w3e4r5t 1qaz2wsx3edc passwordpassword administrator letmein123 iloveyou123 welcome123
    fossilrepo fossilrepo1 changeme123 abcdefghij aaaaaaaaaa 1111111111""".split()
)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A fresh session; `token` is the cookie's value and is nowhere else."""

    token: str
    session: Session


class Accounts:
    MIN_PASSWORD = MIN_PASSWORD

    def __init__(
        self,
        store: PeopleStore,
        keys: Keys,
        audit: Audit,
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._keys = keys
        self._audit = audit
        self._on_change = on_change
        self._hasher = PasswordHasher()
        self._hashing = asyncio.Semaphore(2)
        self._slowing = Slowing()
        self._no_such_hash = ""

    # Set-up

    async def needs_setup(self) -> bool:
        return await self._store.count() == 0

    async def setup_token(self) -> str:
        """A fresh one-time token for the set-up page; earlier ones end."""
        token = secrets.token_urlsafe(24)
        await self._store.drop_one_time_tokens("setup")
        await self._store.add_one_time_token(
            token_hash=_digest(token),
            purpose="setup",
            created_at=now(),
            expires_at=now() + SETUP_LIFE,
        )
        return token

    async def setup_token_valid(self, token: str) -> bool:
        valid = await self._store.has_one_time_token(_digest(token), "setup", now())
        return valid and await self.needs_setup()

    async def set_up(
        self,
        token: str,
        login: str,
        name: str,
        password: str,
        *,
        address: str = "",
        agent: str = "",
    ) -> SignedIn:
        """The first administrator, signed in. NotFound when the token is not (or no more) good."""
        if not await self.setup_token_valid(token):
            raise NotFound(
                "this set-up link is not valid any more",
                hint="restart fossilrepo: it prints a new one as long as there is no administrator",
            )
        await self.create_user(
            Actor("set-up", is_admin=True, address=address),
            login,
            name=name,
            is_admin=True,
            password=password,
        )
        await self._store.drop_one_time_tokens("setup")
        return await self.sign_in(login, password, address=address, agent=agent)

    # Sign-in

    async def sign_in(self, login: str, password: str, *, address: str, agent: str) -> SignedIn:
        """A new session. Raises NotSignedIn, or TooManyRequests after too many failures."""
        login = login.strip().lower()
        self._slowing.check(f"account {login}", f"address {address}")
        found = await self._store.credentials(login)
        user, password_hash = found if found else (None, "")
        right = await self._verify(password_hash, password)
        if user is None or user.disabled or not right:
            self._slowing.failed(f"account {login}", f"address {address}")
            raise NotSignedIn("wrong login or password", hint="check both and try again")
        self._slowing.succeeded(f"account {login}")
        if self._hasher.check_needs_rehash(password_hash):
            await self._store.update_user(login, password_hash=await self._hash(password))
        return await self._new_session(user, address, agent)

    async def session_for(self, user: User, *, address: str, agent: str) -> SignedIn:
        """For who has just proven who they are in another way than by a password."""
        return await self._new_session(user, address, agent)

    async def _new_session(self, user: User, address: str, agent: str) -> SignedIn:
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
        return SignedIn(token, Session(user, csrf, at, at + SESSION_LIFE))

    async def session(self, cookie: str) -> Session | None:
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

    async def sign_out(self, cookie: str) -> None:
        await self._store.end_session(_digest(cookie))

    # People

    async def users(self) -> list[User]:
        return await self._store.users()

    async def user(self, login: str) -> User:
        user = await self._store.user(login)
        if user is None:
            raise NotFound(f"there is no person with the login {login[:40]!r}")
        return user

    async def create_user(
        self,
        actor: Actor,
        login: str,
        *,
        name: str = "",
        email: str = "",
        is_admin: bool = False,
        password: str = "",
    ) -> User:
        """A new person. Without a password nobody can sign in as them until one is set."""
        _admins_only(actor)
        check_login(login)
        name = check_text(name, what="name", most=100)
        email = check_text(email, what="email", most=200)
        if email and ("@" not in email or " " in email):
            raise InvalidInput(f"{email!r} is no e-mail address", field="email")
        if await self._store.user(login):
            raise Conflict(f"the login {login!r} is taken", hint="logins are never used again")
        password_hash = await self._new_hash(password, login) if password else ""
        user = await self._store.add_user(
            login=login,
            name=name,
            email=email,
            is_admin=is_admin,
            disabled=False,
            password_hash=password_hash,
            sync_secret=self._keys.new_sync_secret(),
            created_at=now(),
        )
        await self._audit.record(actor, "person.create", login, admin=is_admin)
        await self._on_change()
        return user

    async def set_password(self, actor: Actor, login: str, password: str) -> None:
        """A new password for the site; ends every session of the person."""
        if actor.login != login:
            _admins_only(actor)
        user = await self.user(login)
        password_hash = await self._new_hash(password, login)
        await self._store.update_user(login, password_hash=password_hash)
        await self._store.end_sessions_of(user.id)
        await self._audit.record(actor, "person.password", login)

    async def change_own_password(self, session: Session, old: str, new: str, address: str) -> None:
        """NotSignedIn when the old password is wrong; slowed like a sign-in."""
        login = session.user.login
        self._slowing.check(f"account {login}", f"address {address}")
        found = await self._store.credentials(login)
        if found is None or not await self._verify(found[1], old):
            self._slowing.failed(f"account {login}", f"address {address}")
            raise InvalidInput("the old password is wrong", field="old")
        await self.set_password(Actor(login, session.user.is_admin, address), login, new)

    async def set_disabled(self, actor: Actor, login: str, disabled: bool) -> User:
        """Takes effect at once: sessions ended, Fossil passwords and capabilities replaced."""
        _admins_only(actor)
        before = await self.user(login)
        if disabled and before.is_admin and await self._last_admin(login):
            raise Conflict(
                f"{login} is the last administrator",
                hint="make another one first: `fossilrepo user create LOGIN --admin`",
            )
        changes: dict[str, Any] = {"disabled": disabled}
        if disabled:
            changes["sync_secret"] = self._keys.new_sync_secret()
        user = await self._store.update_user(login, **changes)
        if disabled:
            await self._store.end_sessions_of(user.id)
        await self._audit.record(actor, "person.disable" if disabled else "person.enable", login)
        await self._on_change()
        return user

    async def _last_admin(self, login: str) -> bool:
        return not any(
            u.is_admin and not u.disabled and u.login != login for u in await self._store.users()
        )

    async def rotate(self, actor: Actor, login: str) -> None:
        """New Fossil passwords for the person in every repository."""
        if actor.login != login:
            _admins_only(actor)
        await self._store.update_user(login, sync_secret=self._keys.new_sync_secret())
        await self._audit.record(actor, "person.rotate", login)
        await self._on_change()

    async def sync_password(self, login: str, repository: Repository) -> str:
        """What the person gives to Fossil for this repository."""
        user = await self.user(login)
        encrypted = (await self._store.sync_secrets())[user.id]
        return self._keys.sync_password(encrypted, repository.id)

    # API tokens

    async def create_api_token(
        self, actor: Actor, login: str, label: str = "", days: int | None = None
    ) -> tuple[str, str]:
        """(id, token); the token itself is shown once and kept as a hash."""
        if actor.login != login:
            _admins_only(actor)
        user = await self.user(login)
        if days is not None and not 1 <= days <= 3650:
            raise InvalidInput("a token lives between 1 and 3650 days", field="days")
        token, token_id = "frt_" + secrets.token_urlsafe(32), new_id()
        await self._store.add_api_token(
            id=token_id,
            token_hash=_digest(token),
            user_id=user.id,
            label=check_text(label, what="label", most=100),
            created_at=now(),
            expires_at=now() + timedelta(days=days) if days else None,
        )
        await self._audit.record(actor, "token.create", login, token=token_id)
        return token_id, token

    async def api_tokens(self) -> list[dict[str, Any]]:
        """id, login, label, created_at, expires_at, last_used of each."""
        found = await self._store.api_tokens()
        shown = ("id", "login", "label", "created_at", "expires_at", "last_used")
        return [{key: row[key] for key in shown} for row in found]

    async def revoke_api_token(self, actor: Actor, token_id: str) -> None:
        _admins_only(actor)
        if not await self._store.remove_api_token(token_id):
            raise NotFound(f"there is no API token {token_id}")
        await self._audit.record(actor, "token.revoke", token_id)

    async def token_user(self, token: str) -> User | None:
        if not token.startswith("frt_") or len(token) > 100:
            return None
        user = await self._store.api_token_user(_digest(token), now())
        if user is not None:
            await self._store.touch_api_token(_digest(token), now())
        return user

    # Hashing

    async def new_hash(self, login: str, password: str) -> str:
        """For a password that passes the rules; InvalidInput says which one it does not."""
        return await self._new_hash(password, login)

    async def _new_hash(self, password: str, login: str) -> str:
        if len(password) < MIN_PASSWORD:
            raise InvalidInput(
                f"the password has fewer than {MIN_PASSWORD} characters",
                hint="four random words are easy to keep in mind",
                field="password",
            )
        if len(password) > 1000:
            raise InvalidInput("the password is longer than 1000 characters", field="password")
        short_and_obvious = login in password.lower() and len(password) < 14
        if password.lower() in _COMMON or short_and_obvious:
            raise InvalidInput(
                "this password is one of the first that a stranger would try",
                hint="four random words are easy to keep in mind",
                field="password",
            )
        return await self._hash(password)

    async def _hash(self, password: str) -> str:
        async with self._hashing:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def _verify(self, password_hash: str, password: str) -> bool:
        """Takes as long for a login that does not exist as for one that does."""
        if not self._no_such_hash:
            self._no_such_hash = await self._hash(secrets.token_urlsafe(16))
        try:
            async with self._hashing:
                await asyncio.to_thread(
                    self._hasher.verify, password_hash or self._no_such_hash, password[:1000]
                )
        except (VerifyMismatchError, InvalidHashError):
            return False
        return bool(password_hash)


def _admins_only(actor: Actor) -> None:
    if not actor.is_admin:
        raise Forbidden("only an administrator of the site may do this")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
