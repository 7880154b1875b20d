"""People and how they prove who they are: set-up, sign-in, passwords; the face of sessions.

Owns the rules of accounts. Sign-in attempts, the second factor's too, are slowed per
account and per address. A change that matters inside Fossil (a new person, a disabled one,
rotated secrets) is handed to `on_change`, which projects it into the repositories.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

from fossilrepo.db.one_time import OneTimeStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.errors import (
    Conflict,
    Forbidden,
    FossilrepoError,
    InvalidInput,
    NotFound,
    NotSignedIn,
)
from fossilrepo.models import Actor, Repository, Session, User, check_login, check_text, now
from fossilrepo.services import second_step
from fossilrepo.services.audit import Audit
from fossilrepo.services.keys import Keys
from fossilrepo.services.passwords import MIN_PASSWORD, Passwords
from fossilrepo.services.second_factor import SecondFactor
from fossilrepo.services.sessions import SESSION_LIFE, Sessions, SignedIn
from fossilrepo.services.slowing import Slowing

__all__ = ["SESSION_LIFE", "Accounts", "SecondFactorNeeded", "SignedIn"]

SETUP_LIFE = timedelta(days=7)


class SecondFactorNeeded(FossilrepoError):
    """The password was right; `token` takes a code to `second`, for five minutes."""

    status = 401

    def __init__(self, token: str) -> None:
        super().__init__("a code of your authenticator is needed", field="code")
        self.token = token


class Accounts:
    MIN_PASSWORD = MIN_PASSWORD

    def __init__(
        self,
        store: PeopleStore,
        one_time: OneTimeStore,
        second_factor: SecondFactor,
        keys: Keys,
        audit: Audit,
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._one_time = one_time
        self._second_step = second_step.SecondStep(store, one_time)
        self._second_factor = second_factor
        self._keys = keys
        self._audit = audit
        self._on_change = on_change
        self._passwords = Passwords()
        self._slowing = Slowing()
        self._setting_up = asyncio.Lock()
        self._sessions = Sessions(store, audit)
        # With the person's id, when one of their sessions was ended by them or for them.
        self.after_ending = self._sessions.after_ending

    # Set-up

    async def needs_setup(self) -> bool:
        return await self._store.count() == 0

    async def setup_token(self) -> str:
        """A fresh one-time token for the set-up page; earlier ones end."""
        token = secrets.token_urlsafe(24)
        await self._one_time.remove_all("setup")
        await self._one_time.add(
            token_hash=_digest(token),
            purpose="setup",
            created_at=now(),
            expires_at=now() + SETUP_LIFE,
        )
        return token

    async def setup_token_valid(self, token: str) -> bool:
        found = await self._one_time.find(_digest(token), "setup", now())
        return found is not None and await self.needs_setup()

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
        async with self._setting_up:  # of two who use the link at once one is the first
            if not await self.setup_token_valid(token):
                raise NotFound(
                    "this set-up link is not valid any more",
                    hint="restart fossilrepo: it prints a new one as long as there is no "
                    "administrator",
                )
            await self.create_user(
                Actor("set-up", is_admin=True, address=address),
                login,
                name=name,
                is_admin=True,
                password=password,
            )
            await self._one_time.remove_all("setup")
        return await self.sign_in(login, password, address=address, agent=agent)

    # Sign-in

    async def sign_in(self, login: str, password: str, *, address: str, agent: str) -> SignedIn:
        """A new session.

        Raises NotSignedIn, TooManyRequests after too many failures, SecondFactorNeeded.
        """
        login = login.strip().lower()
        found = await self._store.credentials(login)
        user, password_hash = found if found else (None, "")
        right = await self._is_right(login, address, password_hash, password)
        if user is None or user.disabled or not right:
            # What is nobody's login may be a password in the wrong field: it is not written down.
            await self._failed(login, address, told="" if user is None else login)
            raise _wrong()
        if self._passwords.is_outdated(password_hash):
            fresh = await self._passwords.hash(password)
            if await self._store.renew_password_hash(user.id, password_hash, fresh):
                password_hash = fresh
        if user.has_totp:
            raise SecondFactorNeeded(await self._second_step.begin(user, password_hash))
        self._slowing.succeeded(f"account {login}")
        made = await self._sessions.begin(user, address, agent)
        if not await self._is_still(login, password_hash, password):
            await self._sessions.end(made.token)
            raise _wrong()
        return made

    async def _is_right(self, login: str, address: str, password_hash: str, password: str) -> bool:
        """TooManyRequests as soon as there were too many wrong ones.

        Of many guesses at once those that come after that learn nothing, and those that still
        wait for their turn cost nothing: whoever comes after them gets in.
        """
        may_try = partial(self._slowing.check, f"account {login}", f"address {address}")
        may_try()
        right = await self._passwords.verify(password_hash, password, may_try)
        may_try()
        return right

    async def _is_still(self, login: str, password_hash: str, password: str) -> bool:
        """Asked once the session is there: what ended all of them meanwhile has not seen it."""
        found = await self._store.credentials(login)
        if found is None or found[0].disabled:
            return False
        return found[1] == password_hash or await self._passwords.verify(found[1], password)

    async def _failed(self, login: str, address: str, *, told: str | None = None) -> None:
        self._slowing.failed(f"account {login}", f"address {address}")
        await self._audit.sign_in_failed(login if told is None else told, address)

    async def second(self, token: str, code: str, *, address: str, agent: str) -> SignedIn:
        """The session of who gave the right password before; NotSignedIn when that is over."""
        user, proof = await self._second_step.find(token)
        self._slowing.check(f"account {user.login}", f"address {address}")
        right = await self._second_factor.verify(user, code)
        self._slowing.check(f"account {user.login}", f"address {address}")
        if not right:
            await self._failed(user.login, address)
            raise InvalidInput(
                "this code is wrong, or was used before",
                hint="wait for the next one, or use a recovery code",
                field="code",
            )
        await self._second_step.take(token)
        self._slowing.succeeded(f"account {user.login}")
        made = await self._sessions.begin(user, address, agent)
        if not await self._second_step.holds(user, proof):
            await self._sessions.end(made.token)
            raise second_step.over()
        return made

    # Sessions

    async def session_for(self, user: User, *, address: str, agent: str) -> SignedIn:
        """For who has just proven who they are in another way than by a password."""
        return await self._sessions.begin(user, address, agent)

    async def session(self, cookie: str) -> Session | None:
        """The live session of this cookie's value, if there is one."""
        return await self._sessions.find(cookie)

    async def sign_out(self, cookie: str) -> None:
        await self._sessions.end(cookie)

    async def sessions(self, user: User) -> list[Session]:
        """Where the person is signed in, the latest first."""
        return await self._sessions.of(user)

    async def end_session(self, actor: Actor, session_id: str) -> None:
        """One of the actor's own; NotFound when it has ended, or is another's."""
        await self._sessions.end_one(actor, session_id)

    async def end_other_sessions(self, session: Session, address: str = "") -> int:
        """All of the person's but this one; how many there were."""
        return await self._sessions.end_others(session, address)

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
        password_hash = await self._passwords.new_hash(login, password) if password else ""
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
        password_hash = await self._passwords.new_hash(login, password)
        await self._store.update_user(login, password_hash=password_hash)
        await self._sessions.end_all(user)
        await self._audit.record(actor, "person.password", login)

    async def change_own_password(
        self, session: Session, old: str, new: str, *, address: str, agent: str
    ) -> SignedIn:
        """Every session ends, and this browser gets a fresh one."""
        await self.confirm_password(session, old, address)
        login = session.user.login
        await self.set_password(
            Actor(login, session.user.is_admin, address, user_id=session.user.id), login, new
        )
        return await self._sessions.begin(session.user, address, agent)

    async def confirm_password(self, session: Session, password: str, address: str) -> None:
        """Before what a passer-by at an open browser must not do; slowed like a sign-in."""
        login = session.user.login
        found = await self._store.credentials(login)
        if not await self._is_right(login, address, found[1] if found else "", password):
            await self._failed(login, address)
            raise InvalidInput("this is not your password", field="old")

    async def set_disabled(self, actor: Actor, login: str, disabled: bool) -> User:
        """Takes effect at once: sessions ended, Fossil passwords and capabilities replaced."""
        _admins_only(actor)
        before = await self._store.user(login)
        if disabled:
            user = await self._store.shut_out(login, self._keys.new_sync_secret())
        else:
            user = await self._store.update_user(login, disabled=False)
        await self._audit.record(
            actor,
            "person.disable" if disabled else "person.enable",
            login,
            before={"disabled": before.disabled if before else None},
            after={"disabled": user.disabled},
        )
        await self._on_change()
        return user

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

    async def new_hash(self, login: str, password: str) -> str:
        """For a password that passes the rules; InvalidInput says which one it does not."""
        return await self._passwords.new_hash(login, password)


def _wrong() -> NotSignedIn:
    return NotSignedIn("wrong login or password", hint="check both and try again")


def _admins_only(actor: Actor) -> None:
    if not actor.is_admin:
        raise Forbidden("only an administrator of the site may do this")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
