"""Users that repositories brought along: shown, and adopted by people of ours on request.

Owns what is told of them and their adoption. Adopting says who somebody is; it gives no
role: what the person may do comes from grants, as everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from fossilrepo.db.access import AccessStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import Conflict, Forbidden, FossilrepoError, NotFound
from fossilrepo.models import Actor, Repository, RepositoryState, User
from fossilrepo.rights import Role
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.projection import Projection
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_users
from fossilrepo.tools.fossil_users import Native

Everywhere = list[tuple[str, tuple[str, ...], str | None]]
ByRepository = list[tuple[Repository, tuple[Native, ...]]]
READ_AT_ONCE = 4  # files
LIVING = (RepositoryState.ACTIVE, RepositoryState.ARCHIVED)


@dataclass(frozen=True, slots=True)
class NativeView:
    """One native user; `collides`: a person of ours with this login is kept out by it."""

    login: str
    capabilities: str  # now
    original: str  # as the repository gave them
    info: str
    has_password: bool
    collides: bool
    adopted_by: str | None = None

    @property
    def role(self) -> Role | None:
        """The role of ours that comes nearest to what it could do; None: nothing."""
        return nearest_role(self.original)


def nearest_role(capabilities: str) -> Role | None:
    """The smallest role of ours that stands for Fossil's letters."""
    letters = set(capabilities)
    if letters & set("as"):
        return Role.ADMIN
    if letters & set("bcfiklmnqtwy3456Av"):
        return Role.WRITE
    return Role.READ if letters & set("ghjorz2u") else None


def in_words(role: Role | None) -> str:
    """What somebody could do, for people."""
    words = {Role.ADMIN: "administer it", Role.WRITE: "write", Role.READ: "read"}
    return words[role] if role else "do nothing"


class Natives:
    def __init__(
        self,
        store: AccessStore,
        people: PeopleStore,
        repositories: RepositoryStore,
        access: Access,
        projection: Projection,
        shelf: Shelf,
        audit: Audit,
    ) -> None:
        self._store = store
        self._people = people
        self._repositories = repositories
        self._access = access
        self._projection = projection
        self._shelf = shelf
        self._audit = audit

    # Looking

    async def list(self, actor: Actor, repository_name: str) -> tuple[NativeView, ...]:
        """By login; none of a broken repository."""
        repository = await self._access.repository(actor, repository_name, Role.ADMIN)
        if repository.state not in LIVING:
            return ()
        picture = await self._access.picture()
        users = picture.directory.users
        logins = {user.login for user in users.values()}
        owners = {
            one.login: users[one.user_id].login
            for one in picture.inside.adopted.get(repository.id, ())
            if one.user_id in users
        }
        found = []
        for native in await self._read(repository):
            if native.adopted and native.login not in owners:
                continue
            found.append(
                NativeView(
                    native.login,
                    native.capabilities,
                    native.original,
                    native.info,
                    native.has_password,
                    not native.adopted and native.has_password and native.login in logins,
                    owners.get(native.login),
                )
            )
        return tuple(found)

    async def everywhere(self, actor: Actor) -> Everywhere:
        """Native users over all repositories that nobody has adopted, by login.

        Each with the repositories that it is in, and the person that it may be.
        """
        _site_admins_only(actor)
        places: dict[str, list[str]] = {}
        infos: dict[str, set[str]] = {}
        for repository, natives in await self._read_all():
            for native in natives:
                places.setdefault(native.login, []).append(repository.label)
                infos.setdefault(native.login, set()).add(native.info)
        people = [user for user in await self._people.users() if not user.disabled]
        return [
            (login, tuple(sorted(names)), _suggested(login, infos[login], people))
            for login, names in sorted(places.items())
        ]

    async def _read_all(self) -> ByRepository:
        """Not adopted ones; a repository that cannot be read has none."""
        places = asyncio.Semaphore(READ_AT_ONCE)

        async def one(repository: Repository) -> tuple[Repository, tuple[Native, ...]]:
            async with places:
                try:
                    found = await self._read(repository)
                except FossilrepoError:
                    return repository, ()  # its own page tells why
            return repository, tuple(native for native in found if not native.adopted)

        living = await self._repositories.all(*LIVING)
        return [*await asyncio.gather(*map(one, living))]

    async def _read(self, repository: Repository) -> tuple[Native, ...]:
        return await asyncio.to_thread(fossil_users.natives, self._shelf.file(repository.id))

    # Adopting

    async def adopt(
        self, actor: Actor, repository_name: str | None, native_login: str, person_login: str
    ) -> int:
        """Say that a native user is this person; gives the number of repositories.

        Of the same login: the row becomes the person's. Of another one: the native user is
        closed for good, its password is gone. Without a name: in every repository that has it.
        """
        if repository_name is None:
            _site_admins_only(actor)
            found = [
                (repository, native)
                for repository, natives in await self._read_all()
                for native in _called(natives, native_login)
            ]
        else:
            repository = await self._access.repository(actor, repository_name, Role.ADMIN)
            if repository.state not in LIVING:
                raise Conflict(f"{repository_name} is {repository.state}", hint=repository.reason)
            known = _called(await self._read(repository), native_login)
            found = [(repository, native) for native in known if not native.adopted]
            if known and not found:
                raise Conflict(f"{native_login[:80]!r} is adopted already", field="native")
        if not found:
            raise NotFound(
                f"there is no native user {native_login[:80]!r}",
                hint="see `fossilrepo native list`",
                field="native",
            )
        person = await self._people.user(person_login)
        if person is None:
            raise NotFound(f"there is no person with the login {person_login!r}", field="person")
        for repository, native in found:
            await self._store.adopt(repository.id, native.login, person.id, actor.login)
            await self._audit.record(
                actor,
                "native.adopt",
                repository.label,
                native=native.login,
                person=person.login,
                before=native.capabilities,
            )
        await self._write(repository for repository, _native in found)
        return len(found)

    async def _write(self, repositories: Iterable[Repository]) -> None:
        written = list(repositories)
        if len(written) == 1:
            await self._projection.project(written[0])
        else:
            await self._projection.project_all(one.id for one in written)


def _site_admins_only(actor: Actor) -> None:
    if not actor.is_admin:
        raise Forbidden(
            "only administrators of the site see native users of all repositories",
            hint="name one repository",
        )


def _called(natives: Iterable[Native], login: str) -> list[Native]:
    """Those of this login; forms send every line break as CR LF, whatever it was."""
    known = list(natives)
    exactly = [native for native in known if native.login == login]
    return exactly or [n for n in known if n.login.splitlines() == login.splitlines()]


def _suggested(login: str, infos: Iterable[str], people: list[User]) -> str | None:
    """Who it may be: of the same login, else the one whose mail or name stands beside it."""
    plain = login.strip().lower()
    texts = {info.strip().lower() for info in infos}
    by_login = [user.login for user in people if user.login == plain]
    by_text = [
        user.login
        for user in people
        if (user.name and user.name.lower() in texts)
        or (user.email and any(user.email.lower() in _words(text) for text in texts))
    ]
    candidates = by_login or by_text
    return candidates[0] if len(candidates) == 1 else None


def _words(text: str) -> list[str]:
    return [word.strip("<>()[],;") for word in text.split()]
