"""What people may do, written into each repository's own user table.

Owns the capabilities of each role and the plan for a repository; Fossil itself
enforces it, for the web, clone, push and sync. Nobody is ever given `a` or `s`:
in Fossil 2.21 `a` makes itself `s` with one configuration push, and `s` is a
shell on the server. The one exception is an administrator of the site who took
it for a quarter of an hour.

Two changes at once must not write an older state over a newer one: the state is
read while the repository's lock for people is held.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from fossilrepo.db.people import PeopleStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import FossilrepoError, Unavailable
from fossilrepo.models import Repository, RepositoryState, Visibility, now
from fossilrepo.rights import Role, effective
from fossilrepo.runtime.locks import FileLocks
from fossilrepo.services.access import Access, Picture
from fossilrepo.services.keys import Keys, derived
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_users

log = logging.getLogger(__name__)
HearsOfDrift = Callable[[Repository, tuple[fossil_users.Drifted, ...]], Awaitable[None]]

# g clone, h hyperlinks, j read wiki, o check out, r read tickets, z download archives, 2 read forum
READ = "ghjorz2"
# b attach, c append to tickets, f new wiki pages, i check in, k write wiki, m append to wiki,
# n new tickets, w write tickets, y unversioned files, 3 write forum, 4 forum without moderation
WRITE = READ + "bcfikmnwy34"
# l moderate wiki, q moderate tickets, t ticket reports, 5 moderate forum, 6 pin forum posts,
# A announce
ADMIN = WRITE + "lqt56A"
ELEVATED = ADMIN + "s"
CAPABILITIES = {Role.READ: READ, Role.WRITE: WRITE, Role.ADMIN: ADMIN}
AT_ONCE = 4  # repositories written at the same time
LOCK_WAIT = 60.0  # seconds
AGAIN_EVERY = 5.0  # seconds
SERVED = (RepositoryState.ACTIVE, RepositoryState.ARCHIVED)


def pseudo_users(repository: Repository) -> dict[str, str]:
    """Capabilities of Fossil's four special users: strangers read what is public, or nothing."""
    public = repository.visibility is Visibility.PUBLIC
    return {
        "nobody": READ if public else "",
        "anonymous": READ if public else "",
        "reader": "",
        "developer": "",
    }


class Projection:
    def __init__(
        self,
        repositories: RepositoryStore,
        people: PeopleStore,
        access: Access,
        keys: Keys,
        shelf: Shelf,
        locks: FileLocks,
    ) -> None:
        self._repositories = repositories
        self._people = people
        self._access = access
        self._keys = keys
        self._shelf = shelf
        self._locks = locks
        self.on_drift: list[HearsOfDrift] = []
        self._secrets: tuple[int, dict[int, bytes]] = (-1, {})  # version, by person
        self.on_people: list[Callable[[], Awaitable[None]]] = []  # who has copies of their own

    # Plans

    async def plan(self, repository: Repository) -> fossil_users.Plan:
        """Who may do what in this repository now.

        People who may only read because everybody may are in it from their first use on.
        """
        picture = await self._access.picture()
        secrets = await self._opened_secrets(picture)
        archived = repository.state is RepositoryState.ARCHIVED
        users: dict[str, fossil_users.Account] = {}
        elevated: set[str] = set()
        raised = {
            one.user_id
            for one in picture.inside.elevated.get(repository.id, ())
            if one.until > now() and not archived
        }
        for user_id, role in self._roles(repository, picture).items():
            user = picture.directory.users[user_id]
            letters = READ if archived else CAPABILITIES[role]
            if user_id in raised and user.is_admin:
                letters = ELEVATED
                elevated.add(user.login)
            password = derived(secrets[user_id], repository.id)
            users[user.login] = fossil_users.Account(password, letters, user.name)
        for key, secret in picture.inside.keys.get(repository.id, ()):
            if key.expires_at is None or key.expires_at > now():
                letters = READ if archived else CAPABILITIES[Role(key.role)]
                password = self._keys.sync_password(secret, repository.id)
                users[key.login] = fossil_users.Account(password, letters, key.label)
        return fossil_users.Plan(
            users=users,
            pseudo=pseudo_users(repository),
            archived=archived,
            elevated=frozenset(elevated),
            adopted=frozenset(n.login for n in picture.inside.adopted.get(repository.id, ())),
        )

    def _roles(self, repository: Repository, picture: Picture) -> dict[int, Role]:
        """By person: those who are to be in the repository's user table."""
        grants = picture.directory.grants_on(repository)
        visited = picture.inside.visits.get(repository.id, frozenset())
        roles: dict[int, Role] = {}
        for user_id in picture.directory.users:
            found = effective(user_id, repository, picture.directory, grants)
            if found.role and (user_id in visited or not found.is_by_visibility):
                roles[user_id] = found.role
        return roles

    async def _opened_secrets(self, picture: Picture) -> dict[int, bytes]:
        """Everyone's secret, decrypted once for each version of the picture."""
        if self._secrets[0] != picture.version:
            sealed = await self._people.sync_secrets()
            opened = {user_id: self._keys.decrypt(secret) for user_id, secret in sealed.items()}
            self._secrets = (picture.version, opened)
        missing = picture.directory.users.keys() - self._secrets[1].keys()
        if missing:  # the picture is newer than the secrets that were read
            self._secrets = (-1, {})
            return await self._opened_secrets(await self._access.picture())
        return self._secrets[1]

    async def reading_plan(self, repository_id: str) -> fossil_users.Plan:
        """For a copy of the repository that those look at who may read it, and nobody else.

        They have the passwords in it that they have in the repository. Of a repository that is
        gone only administrators of the site may see anything.
        """
        picture = await self._access.picture()
        secrets = await self._opened_secrets(picture)
        repository = await self._repositories.get(repository_id)
        users = picture.directory.users
        if repository is not None:
            readers = set(self._roles(repository, picture))
        else:
            readers = {u.id for u in users.values() if u.is_admin and not u.disabled}
        return fossil_users.Plan(
            users={
                users[user_id].login: fossil_users.Account(
                    derived(secrets[user_id], repository_id), READ, users[user_id].name
                )
                for user_id in readers
            },
            pseudo=dict.fromkeys(fossil_users.PSEUDO_USERS, ""),
            archived=True,
        )

    # Writing

    @asynccontextmanager
    async def _held(self, repository: Repository) -> AsyncIterator[None]:
        key = f"people-{repository.id}"
        async with self._locks.hold(key, timeout=LOCK_WAIT, busy=repository.label):
            yield

    async def project(self, repository: Repository) -> bool:
        """Write what differs; True when something did."""
        return bool((await self.projected(repository)).changed)

    async def projected(self, repository: Repository) -> fossil_users.Projected:
        """The same, with what was changed, the native users, and the names that collide."""
        try:
            current, done = await self._written(repository)
        except FossilrepoError:
            await asyncio.to_thread(self._shelf.note_unwritten, repository.id)
            raise
        if done.drifts:
            for listener in self.on_drift:
                await listener(current, done.drifts)
        if done.collisions:
            log.warning(
                "%s: %s exist there already and are left alone",
                repository.label,
                ", ".join(done.collisions),
            )
        return done

    async def _written(self, repository: Repository) -> tuple[Repository, fossil_users.Projected]:
        async with self._held(repository):
            current = await self._repositories.get(repository.id) or repository
            if current.state is RepositoryState.TRASHED:
                current = repository  # it is on its way back
            plan = await self.plan(current)
            path = self._shelf.file(repository.id)
            done = await asyncio.to_thread(fossil_users.project, path, plan)
            await asyncio.to_thread(self._shelf.note_written, repository.id)
        return current, done

    async def project_all(self, identities: Iterable[str] | None = None) -> None:
        """After a change of people: these repositories, or every one that is served.

        One bad file does not keep people in the others; it is tried again by `run`.
        """
        living = await self._repositories.all(*SERVED)
        if identities is not None:
            wanted = set(identities)
            living = [repository for repository in living if repository.id in wanted]
        places = asyncio.Semaphore(AT_ONCE)

        async def one(repository: Repository) -> None:
            async with places:
                try:
                    await self.project(repository)
                except FossilrepoError as error:
                    log.error("%s: people could not be written: %s", repository.label, error)

        await asyncio.gather(*map(one, living))
        for listener in self.on_people:
            await listener()

    async def write_again(self) -> None:
        """Where it failed the last time: who lost a role must lose it. Raises while it fails."""
        failing = []
        for identity in await asyncio.to_thread(self._shelf.unwritten):
            repository = await self._repositories.get(identity)
            if repository is None or repository.state not in SERVED:
                # Written before it is served again.
                await asyncio.to_thread(self._shelf.note_written, identity)
                continue
            try:
                await self.project(repository)
            except FossilrepoError as error:
                failing.append(f"{repository.label}: {error.message}")
        if failing:
            raise Unavailable(f"people could not be written into {'; '.join(failing[:5])}")

    async def run(self) -> None:
        while True:
            await asyncio.sleep(AGAIN_EVERY)
            await self.write_again()
