"""Forgotten passwords: one-time links, given by an administrator or sent by mail.

Owns the links and their use. Whoever asks by mail learns nothing: the answer comes before
anything is looked up, and the rest happens behind it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta

from fossilrepo.db.one_time import OneTimeStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.errors import Conflict, Forbidden, FossilrepoError, NotFound, TooManyRequests
from fossilrepo.models import Actor, User, new_id, now
from fossilrepo.services.accounts import Accounts
from fossilrepo.services.audit import Audit
from fossilrepo.services.links import Links
from fossilrepo.services.mail import LAST_MOMENT, Mail, check_address
from fossilrepo.services.slowing import Slowing

log = logging.getLogger(__name__)

PURPOSE = "password"
LIFE = timedelta(hours=24)
MOST_WAITING = 50  # requests by mail that are worked on at once
MOST_ACCOUNTS = 5  # of one address


class Resets:
    def __init__(
        self,
        one_time: OneTimeStore,
        people: PeopleStore,
        accounts: Accounts,
        mail: Mail,
        links: Links,
        audit: Audit,
    ) -> None:
        self._one_time = one_time
        self._people = people
        self._accounts = accounts
        self._mail = mail
        self._links = links
        self._audit = audit
        self._slowing = Slowing()
        self._sending: set[asyncio.Task[None]] = set()
        self.after_use: list[Callable[[int], Awaitable[None]]] = []  # with the person's id

    async def link(self, actor: Actor, login: str, *, life: timedelta = LIFE) -> str:
        """A link by which the person sets a new password; an earlier one ends."""
        if not actor.is_admin:
            raise Forbidden("only an administrator of the site may do this")
        user = await self._accounts.user(login)
        if user.disabled:
            raise Conflict(f"{login} is disabled", hint="enable the person first")
        return await self._link(actor, user, life)

    async def _link(self, actor: Actor, user: User, life: timedelta) -> str:
        found = await self._people.credentials(user.login)
        token, row = new_token(actor, life, found[1] if found else "")
        await self._one_time.add(only=True, user_id=user.id, **row)
        await self._audit.record(actor, "person.reset-link", user.login)
        return self.url(token)

    def url(self, token: str) -> str:
        return f"{self._links.public_url}/reset/{token}"

    async def look(self, token: str) -> str:
        """The login that the link is for; NotFound when it is not, or no more, good."""
        return (await self._whose(token)).login

    async def _whose(self, token: str) -> User:
        row = await self._one_time.find(_digest(token), PURPOSE, now())
        for user in await self._people.users() if row else ():
            if row and user.id == row.user_id and not user.disabled:
                found = await self._people.credentials(user.login)
                if found and row.detail.get("instead_of") == _digest(found[1]):
                    return user
        raise _spent()

    async def use(self, token: str, password: str, *, address: str = "") -> str:
        """Set the password and end every session. Second factor and Fossil passwords stay."""
        user = await self._whose(token)
        password_hash = await self._accounts.new_hash(user.login, password)
        if await self._one_time.take(_digest(token), PURPOSE, now()) is None:
            raise _spent()
        await self._people.update_user(user.login, password_hash=password_hash)
        await self._people.end_sessions_of(user.id)
        await self._one_time.remove_of(user.id)  # other links, and sign-ins that are half done
        for step in self.after_use:
            await step(user.id)
        actor = Actor(user.login, address=address, user_id=user.id)
        await self._audit.record(actor, "person.reset", user.login)
        self._mail.tell(
            user.email,
            f"Your password for {self._links.domain} is a new one",
            f"The password of {user.login} at {self._links.public_url} was set by a link just "
            "now. If that was not you, tell an administrator of the site.\n",
        )
        return user.login

    async def ask_by_mail(self, login_or_email: str, address: str) -> None:
        """The same for whatever was typed; TooManyRequests for who asks too often."""
        wanted = login_or_email.strip().lower()[:200]
        keys = (f"account {wanted}", f"address {address}")
        try:
            self._slowing.check(*keys)
        except TooManyRequests as error:
            raise TooManyRequests(
                "too many requests for a new password",
                retry_after=error.retry_after,
                hint=error.hint,
            ) from None
        self._slowing.failed(*keys)
        if not self._mail.configured:
            return
        if len(self._sending) >= MOST_WAITING:
            log.warning("too many requests for new passwords at once: one was dropped")
            return
        task = asyncio.create_task(self._answer(wanted, address), name="reset by mail")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _answer(self, wanted: str, address: str) -> None:
        try:
            people = [user for user in await self._people.users() if not user.disabled]
            meant = [user for user in people if wanted in (user.login, user.email.lower())]
            for user in meant[:MOST_ACCOUNTS]:
                if user.email:
                    await self._send(user, address)
        except FossilrepoError as error:
            log.warning("a link for a new password could not be mailed: %s", error)
        except Exception:
            log.exception("a link for a new password could not be mailed")

    async def _send(self, user: User, address: str) -> None:
        to = check_address(user.email)
        url = await self._link(Actor("by mail", address=address), user, LIFE)
        text = (
            f"Somebody, perhaps you, asked for a new password for {user.login} at "
            f"{self._links.public_url}. Set it here:\n\n{url}\n\n"
            "The link works once, within 24 hours. If it was not you, do nothing: "
            "your password stays as it is.\n"
        )
        await self._mail.send(to, f"A new password for {self._links.domain}", text)

    async def close(self) -> None:
        """What is being sent has a moment to end."""
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=LAST_MOMENT)
            for task in late:
                task.cancel()


def new_token(
    actor: Actor, life: timedelta, password_hash: str = ""
) -> tuple[str, dict[str, object]]:
    """The token, which goes into a link only, and its row without the person.

    It replaces this very password: once another is set in whatever way, the link is worthless.
    """
    token, at = secrets.token_urlsafe(24), now()
    row = {
        "token_hash": _digest(token),
        "id": new_id(),
        "purpose": PURPOSE,
        "created_at": at,
        "expires_at": at + life,
        "created_by": actor.login,
        "detail": {"instead_of": _digest(password_hash)},
    }
    return token, row


def _spent() -> NotFound:
    return NotFound(
        "this link for a new password is not valid any more",
        hint="it works once, within a day: ask for a new one",
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
