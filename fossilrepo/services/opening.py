"""From the site into a repository's own pages: tickets that sign a browser in there, once.

Owns the tickets (in memory, as hashes, half a minute long), who is written into a repository
on first use, what a person's Fossil password there is, and the way out of all repositories.
Fossil's cookies are handed over by the web; nothing here knows of HTTP.

A ticket is worth something only together with the nonce that the browser got from the
repository's host before, and only on that host: neither a stolen one nor one of somebody
else's in a victim's browser opens anything.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fossilrepo.db.access import AccessStore
from fossilrepo.db.backups import BackupStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import Conflict, Forbidden, FossilrepoError, InvalidInput, NotFound
from fossilrepo.models import Actor, Repository, RepositoryState, User, is_preview_name, now
from fossilrepo.rights import Role
from fossilrepo.services.access import Access, no_repository
from fossilrepo.services.audit import Audit
from fossilrepo.services.keys import Keys
from fossilrepo.services.projection import Projection
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_sessions, fossil_users

log = logging.getLogger(__name__)

TICKET_LIFE = 30.0  # seconds
_HASH = re.compile(r"[0-9a-f]{64}")
_SERVED = (RepositoryState.ACTIVE, RepositoryState.ARCHIVED)


@dataclass(frozen=True, slots=True)
class Ticket:
    """`host` is the name in front of the domain: a repository's or a preview's."""

    user_id: int
    host: str
    repository_id: str
    nonce_hash: str


class Tickets:
    """Those that are out: few for one person, so that nobody drives out another's."""

    def __init__(
        self,
        *,
        each: int = 10,
        most: int = 10_000,
        life: float = TICKET_LIFE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._each, self._most, self._life, self._clock = each, most, life, clock
        self._out: OrderedDict[str, tuple[Ticket, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._out)

    def give(self, ticket: Ticket) -> str:
        """The word that stands for the ticket, once."""
        word = secrets.token_urlsafe(32)
        self._drop_expired()
        mine = [key for key, (one, _) in self._out.items() if one.user_id == ticket.user_id]
        for key in mine[: max(0, len(mine) - self._each + 1)]:
            del self._out[key]
        self._out[digest(word)] = (ticket, self._clock() + self._life)
        while len(self._out) > self._most:
            self._out.popitem(last=False)
        return word

    def take(self, word: str) -> Ticket | None:
        """The ticket, which is gone by it; None when there is none or its time is over."""
        self._drop_expired()
        found = self._out.pop(digest(word), None)
        return found[0] if found else None

    def drop(self, user_id: int) -> None:
        for key in [key for key, (one, _) in self._out.items() if one.user_id == user_id]:
            del self._out[key]

    def _drop_expired(self) -> None:
        at = self._clock()
        while self._out and next(iter(self._out.values()))[1] <= at:
            self._out.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Opened:
    """Who may be signed in where, and with what."""

    repository_id: str
    login: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Place:
    """What a host serves: a repository or, with its identity, a preview of one."""

    repository_id: str
    repository: Repository | None  # None: it is gone, only the preview is there
    preview_id: str = ""


class Opening:
    def __init__(
        self,
        store: AccessStore,
        people: PeopleStore,
        repositories: RepositoryStore,
        backups: BackupStore,
        access: Access,
        projection: Projection,
        keys: Keys,
        shelf: Shelf,
        audit: Audit,
    ) -> None:
        self._store = store
        self._people = people
        self._repositories = repositories
        self._backups = backups
        self._access = access
        self._projection = projection
        self._keys = keys
        self._shelf = shelf
        self._audit = audit
        self._tickets = Tickets()

    # Into a repository's pages

    async def ticket(self, actor: Actor, name: str, nonce_hash: str) -> str:
        """A word that signs the actor in on the host of this name, for whoever has the nonce.

        NotFound for what the actor may not read.
        """
        if actor.user_id is None:
            raise Forbidden("only a person can open a repository", hint="sign in on the site")
        if not _HASH.fullmatch(nonce_hash):
            raise InvalidInput("this sign-in was not begun by the repository", field="nonce")
        place = await self._readable(actor, name)
        return self._tickets.give(Ticket(actor.user_id, name, place.repository_id, nonce_hash))

    async def redeem(self, ticket: str, name: str, *nonces: str, address: str = "") -> Opened:
        """Who is to be signed in on this host. Forbidden unless everything fits; never twice.

        `nonces` are what the browser sent: another host beside it can add some of its own.
        """
        found = self._tickets.take(ticket)
        if found is None or found.host != name or not _fits(found.nonce_hash, nonces):
            raise _refused()
        user = (await self._access.directory()).users.get(found.user_id)
        if user is None or user.disabled:
            raise _refused()
        actor = _person(user, address)
        try:
            place = await self._readable(actor, name)
        except NotFound:
            raise _refused() from None
        if place.repository_id != found.repository_id:
            raise _refused()
        await self._let_in(actor, place)
        await self._audit.record(actor, "repository.open", name)
        return Opened(place.repository_id, user.login, await self._password(user, place))

    async def has_own_users(self, actor: Actor, name: str) -> bool:
        """Whether somebody can sign in there who is no person of this site."""
        place = await self._readable(actor, name)
        try:
            natives = await asyncio.to_thread(fossil_users.natives, self._file(place))
        except FossilrepoError as error:
            log.info("the users of %s cannot be read now: %s", name, error)
            return False
        return any(one.has_password and not one.adopted for one in natives)

    async def mark(self, name: str) -> str:
        """What a browser keeps to tell whether this host is still the same repository's."""
        place = await self._place(name)
        return digest(f"seen {place.repository_id}")[:16] if place else ""

    # On first use

    async def visited(self, actor: Actor, repository: Repository, *, opened: bool = False) -> None:
        """The actor is about to use the repository: write them into it when they are not.

        Who has a role is there already; who may only read because everybody may is not, or
        every repository would list everybody.
        """
        found = await self._access.effective(actor, repository)
        if actor.user_id is None or found.role is None:
            return
        await self._store.visit(repository.id, actor.user_id, opened=opened)
        if found.is_by_visibility:
            await self._projection.project(repository)

    async def password(self, actor: Actor, login: str, repository: Repository) -> str:
        """The Fossil password of a person for the repository, who can use it from now on.

        One's own; anybody's for administrators of the site. Forbidden when the person may do
        nothing there.
        """
        await self._access.require(actor, repository, Role.READ)
        if actor.login != login and not actor.is_admin:
            raise Forbidden("only an administrator of the site may do this")
        users = (await self._access.directory()).users.values()
        person = next((user for user in users if user.login == login), None)
        if person is None:
            raise NotFound(f"there is no person with the login {login[:40]!r}", field="login")
        name = repository.label
        found = await self._access.effective(_person(person), repository)
        if found.role is None:
            raise Forbidden(
                f"{login} may do nothing in {name}",
                hint="they are disabled"
                if person.disabled
                else f"give them a role: fossilrepo grant {name} --user {login} --role read",
            )
        if repository.state not in _SERVED:
            raise Conflict(f"{name} is not served now", hint=repository.reason)
        await self.visited(_person(person), repository)
        return await self._password(person, _Place(repository.id, repository))

    # Out again

    async def sign_out_everywhere(self, user_id: int) -> None:
        """Sign the person out of every repository where a browser of theirs was signed in.

        All browsers of a person share Fossil's cookie of a repository, so this signs out the
        person's other browsers there too; they stay signed in on the site, and one click opens
        the repository again. What cannot be written now is tried again the next time.
        """
        self._tickets.drop(user_id)
        user = (await self._access.directory()).users.get(user_id)
        opened = await self._store.opened_by(user_id)
        if user is None or not opened:
            return
        files = [self._shelf.file(identity) for identity in opened]
        files += [self._shelf.preview_file(one.id) for one in await self._backups.previews()]
        ended = [await asyncio.to_thread(_end, file, user.login) for file in files]
        if all(ended):
            await self._store.closed_by(user_id)

    # Parts

    async def _place(self, name: str) -> _Place | None:
        if not is_preview_name(name):
            repository = await self._repositories.by_name(name)
            return _Place(repository.id, repository) if repository else None
        preview = await self._backups.preview_by_name(name)
        if preview is None or preview.expires_at <= now():
            return None
        repository = await self._repositories.get(preview.repository_id)
        return _Place(preview.repository_id, repository, preview.id)

    async def _readable(self, actor: Actor, name: str) -> _Place:
        """NotFound for what the actor may not read, Conflict for what is not served."""
        place = await self._place(name)
        if place is None or (place.repository is None and not actor.is_admin):
            raise no_repository(name)
        repository = place.repository
        if repository is not None:
            if not await self._access.may(actor, repository, Role.READ):
                raise no_repository(name)
            if repository.state not in _SERVED and not place.preview_id:
                raise Conflict(f"{name} is not served now", hint=repository.reason)
        return place

    async def _let_in(self, actor: Actor, place: _Place) -> None:
        if place.repository is not None:
            await self.visited(actor, place.repository, opened=True)
        if place.preview_id:
            plan = await self._projection.reading_plan(place.repository_id)
            await asyncio.to_thread(fossil_users.project, self._file(place), plan)

    async def _password(self, user: User, place: _Place) -> str:
        secrets_of_all = await self._people.sync_secrets()
        return self._keys.sync_password(secrets_of_all[user.id], place.repository_id)

    def _file(self, place: _Place) -> Path:
        if place.preview_id:
            return self._shelf.preview_file(place.preview_id)
        return self._shelf.file(place.repository_id)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _fits(nonce_hash: str, nonces: tuple[str, ...]) -> bool:
    return any(hmac.compare_digest(digest(nonce), nonce_hash) for nonce in nonces)


def _person(user: User, address: str = "") -> Actor:
    return Actor(user.login, user.is_admin, address, user_id=user.id)


def _refused() -> Forbidden:
    return Forbidden("this sign-in is not good any more", hint="open the repository again")


def _end(file: Path, login: str) -> bool:
    """Whether nobody is signed in there any more; a file that is gone keeps nobody in."""
    try:
        fossil_sessions.end(file, login)
    except FossilrepoError as error:
        if not file.exists():
            return True
        log.warning("%s stays signed in in %s: %s", login, file.stem, error)
        return False
    return True
