"""Elevation: an administrator of the site takes Fossil's setup right, for a quarter of an hour.

Owns its beginning and its end, both audited. That the right stands in the repository's file
only meanwhile is the projection's; what has expired is dropped here, elevations and keys.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from fossilrepo.db.access import AccessStore, Elevation
from fossilrepo.db.people import PeopleStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import Conflict, Forbidden, FossilrepoError, InvalidInput, NotFound
from fossilrepo.models import Actor, Repository, RepositoryState, User, now
from fossilrepo.rights import Role
from fossilrepo.services.access import Access
from fossilrepo.services.access_keys import AccessKeys
from fossilrepo.services.audit import Audit
from fossilrepo.services.projection import Projection

LASTS = timedelta(minutes=15)
LOOK_EVERY = 5.0  # seconds

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Elevated:
    repository: str
    login: str
    until: datetime


Lasting = list[Elevated]


class Elevations:
    def __init__(
        self,
        store: AccessStore,
        people: PeopleStore,
        repositories: RepositoryStore,
        access: Access,
        projection: Projection,
        audit: Audit,
        keys: AccessKeys,
    ) -> None:
        self._store = store
        self._people = people
        self._repositories = repositories
        self._access = access
        self._projection = projection
        self._audit = audit
        self._keys = keys

    async def elevate(self, actor: Actor, repository_name: str, login: str = "") -> datetime:
        """Give the setup right; until when. Once more begins the time anew."""
        repository = await self._repository(actor, repository_name)
        person = await self._person(actor, login)
        if repository.state is not RepositoryState.ACTIVE:
            raise Conflict(
                f"{repository_name} is {repository.state}: nobody may set it up now",
                hint=repository.reason or f"first: fossilrepo repo unarchive {repository_name}",
            )
        until = now() + LASTS
        await self._store.elevate(repository.id, person.id, until)
        try:
            done = await self._projection.projected(repository)
        except FossilrepoError:
            await self._store.end_elevation(repository.id, person.id)
            raise
        if person.login in done.collisions:
            await self._store.end_elevation(repository.id, person.id)
            raise Conflict(
                f"{repository_name} has a native user {person.login}",
                hint="adopt it first, see `fossilrepo native list`",
            )
        await self._audit.record(
            actor,
            "repository.elevate",
            repository.label,
            login=person.login,
            until=until.isoformat(timespec="seconds"),
        )
        return until

    async def end(self, actor: Actor, repository_name: str, login: str = "") -> None:
        """Take it back at once; NotFound when there is none."""
        repository = await self._repository(actor, repository_name)
        person = await self._person(actor, login)
        lasting = {(one.repository_id, one.user_id) for one in await self._store.elevations()}
        if (repository.id, person.id) not in lasting:
            raise NotFound(f"{person.login} is not elevated in {repository_name}")
        await self._take_back(repository.id, person.id, repository)
        await self._tell_end(actor, repository.label, person.login)

    async def list(self, actor: Actor) -> Lasting:
        """Those that last, of all repositories, soonest end first."""
        _site_admins_only(actor)
        return await self._lasting(None)

    async def of(self, actor: Actor, repository_name: str) -> Lasting:
        """Those of one repository, for its administrators."""
        repository = await self._access.repository(actor, repository_name, Role.ADMIN)
        return await self._lasting(repository.id)

    async def _lasting(self, repository_id: str | None) -> Lasting:
        users = (await self._access.directory()).users
        found = []
        for one in await self._store.elevations():
            repository = await self._repositories.get(one.repository_id)
            known = repository is not None and one.user_id in users
            if known and one.until > now() and repository_id in (None, one.repository_id):
                assert repository is not None  # noqa: S101 - mypy does not see through `known`
                found.append(Elevated(repository.label, users[one.user_id].login, one.until))
        return found

    # The end that nobody asks for

    async def run(self) -> None:
        """Drop all at the start, and later what has expired, access keys too."""
        for one in await self._store.elevations():
            await self._drop(one, "the host started")
        while True:
            await self.drop_expired()
            await self._keys.drop_expired()
            await asyncio.sleep(LOOK_EVERY)

    async def drop_expired(self) -> None:
        for one in await self._store.elevations():
            if one.until <= now():
                await self._drop(one, "its time was over")

    async def _drop(self, one: Elevation, why: str) -> None:
        repository = await self._repositories.get(one.repository_id)
        try:
            await self._take_back(one.repository_id, one.user_id, repository)
        except FossilrepoError as error:  # its row stays, so this is tried again
            log.error("%s: an elevation could not be ended: %s", one.repository_id, error)
            return
        user = (await self._access.directory()).users.get(one.user_id)
        label = repository.label if repository else one.repository_id
        await self._tell_end(Actor.system(), label, user.login if user else "", why)

    async def _take_back(
        self, repository_id: str, user_id: int, repository: Repository | None
    ) -> None:
        """Its time is over, then it leaves the file, then its row: a crash in between is mended."""
        await self._store.elevate(repository_id, user_id, now())
        if repository is not None and repository.state in (
            RepositoryState.ACTIVE,
            RepositoryState.ARCHIVED,
        ):
            await self._projection.project(repository)
        await self._store.end_elevation(repository_id, user_id)

    async def _tell_end(self, actor: Actor, label: str, login: str, why: str = "asked") -> None:
        await self._audit.record(actor, "repository.elevation-end", label, login=login, reason=why)

    # Who

    async def _repository(self, actor: Actor, name: str) -> Repository:
        repository = await self._access.repository(actor, name, Role.READ)
        _site_admins_only(actor)
        return repository

    async def _person(self, actor: Actor, login: str) -> User:
        """Oneself; the host itself names an administrator of the site."""
        if actor.user_id is not None and login not in ("", actor.login):
            raise Forbidden("an administrator takes the setup right for themselves only")
        login = login or actor.login
        person = await self._people.user(login)
        if person is None:
            raise NotFound(
                f"there is no person with the login {login!r}",
                hint="name an administrator of the site",
                field="login",
            )
        if not person.is_admin or person.disabled:
            raise InvalidInput(
                f"{login} is no administrator of the site",
                hint="only they may take the setup right",
                field="login",
            )
        return person


def _site_admins_only(actor: Actor) -> None:
    if not actor.is_admin:
        raise Forbidden("only administrators of the site may take the setup right")
