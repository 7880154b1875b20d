"""Grants: a role on a repository or on all of an organization, to a person or to a team.

Owns giving and taking them, and who can do what here and why. The administrators of a
repository grant on it, the owners of an organization on all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fossilrepo.db.access import AccessStore, Drift
from fossilrepo.db.organizations import OrganizationStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.errors import Conflict, Forbidden, InvalidInput, NotFound
from fossilrepo.models import AccessKey, Actor, Repository, RepositoryState, User, now
from fossilrepo.rights import Effective, Organization, Role, Team
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.natives import Natives, NativeView
from fossilrepo.services.organizations import GrantView, no_team, view
from fossilrepo.services.projection import Projection


@dataclass(frozen=True, slots=True)
class AccessReport:
    """Who can do what in one repository, and why. `elevated`: logins, each until when."""

    repository: Repository
    people: tuple[tuple[User, Effective], ...]
    grants: tuple[GrantView, ...]
    natives: tuple[NativeView, ...]
    keys: tuple[AccessKey, ...]
    elevated: tuple[tuple[str, datetime], ...]
    drifts: tuple[Drift, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a grant is: on a repository, or on all of an organization."""

    name: str
    org: Organization
    repository: Repository | None = None

    @property
    def keys(self) -> dict[str, str | int]:
        return {"repository_id": self.repository.id} if self.repository else {"org_id": self.org.id}


class Grants:
    def __init__(
        self,
        store: OrganizationStore,
        inside: AccessStore,
        people: PeopleStore,
        access: Access,
        natives: Natives,
        projection: Projection,
        audit: Audit,
    ) -> None:
        self._store = store
        self._inside = inside
        self._people = people
        self._access = access
        self._natives = natives
        self._projection = projection
        self._audit = audit

    async def grant(
        self,
        actor: Actor,
        role: Role,
        *,
        repository: str | None = None,
        org: str | None = None,
        user: str | None = None,
        team: str | None = None,
    ) -> GrantView:
        """Give the role, in place of one given before, on one place to one holder.

        `team` is TEAM or ORG/TEAM and must belong to the repository's organization.
        """
        place = await self._place(actor, repository, org)
        holder, keys = await self._holder(place, user, team, living=True)
        try:
            before = await self._store.grant(role, granted_by=actor.login, **place.keys, **keys)  # type: ignore[arg-type]
        except Conflict:  # the rows that it names
            raise Conflict(f"{holder} or {place.name} was deleted meanwhile") from None
        await self._audit.record(
            actor, "grant", place.name, to=holder, before=before, after=role, **_id_of(place)
        )
        await self._project(place)
        directory = await self._access.directory()
        wanted = {**place.keys, **keys}
        for found in directory.grants:
            if all(getattr(found, key) == value for key, value in wanted.items()):
                return view(found, directory, place.name)
        raise Conflict(f"the grant to {holder} was taken away again meanwhile")

    async def revoke(
        self,
        actor: Actor,
        *,
        repository: str | None = None,
        org: str | None = None,
        user: str | None = None,
        team: str | None = None,
    ) -> None:
        """Take it away; NotFound when there was none. Other grants may still give a role."""
        place = await self._place(actor, repository, org)
        holder, keys = await self._holder(place, user, team, living=False)
        before = await self._store.revoke(**place.keys, **keys)  # type: ignore[arg-type]
        if before is None:
            raise NotFound(
                f"{holder} has no grant on {place.name}",
                hint="`fossilrepo access NAME` says where a role comes from",
                field="team" if team else "user",
            )
        await self._audit.record(
            actor, "revoke", place.name, to=holder, before=before.role, after=None, **_id_of(place)
        )
        await self._project(place)

    async def access(self, actor: Actor, name: str) -> AccessReport:
        """For the repository's administrators."""
        repository = await self._access.repository(actor, name, Role.ADMIN)
        directory = await self._access.directory()
        elevated = [
            (directory.users[one.user_id].login, one.until)
            for one in await self._inside.elevations()
            if one.repository_id == repository.id
            and one.until > now()
            and one.user_id in directory.users
        ]
        return AccessReport(
            repository=repository,
            people=tuple(await self._access.who(repository)),
            grants=tuple(view(g, directory, name) for g in directory.grants_on(repository)),
            natives=await self._natives_of(actor, repository),
            keys=tuple(await self._inside.keys(repository.id)),
            elevated=tuple(elevated),
            drifts=tuple(await self._inside.drifts(repository.id)),
        )

    async def where(self, actor: Actor, login: str) -> list[tuple[Repository, Effective]]:
        """Every repository where the person may do anything: for themselves and for who runs
        the site."""
        if not actor.is_admin and actor.login != login:
            raise Forbidden("only an administrator of the site may look at other people")
        user = await self._people.user(login)
        if user is None:
            raise NotFound(f"there is no person with the login {login[:40]!r}", field="login")
        return await self._access.where(user)

    # Within

    async def _natives_of(self, actor: Actor, repository: Repository) -> tuple[NativeView, ...]:
        if repository.state is RepositoryState.BROKEN:
            return ()
        return await self._natives.list(actor, repository.label)

    async def _place(self, actor: Actor, repository: str | None, org: str | None) -> _Place:
        if (repository is None) == (org is None):
            raise InvalidInput(
                "a grant is on one repository or on one organization",
                hint="name the repository, or give --org",
            )
        if org is not None:
            found = await self._access.owned(actor, org)
            return _Place(f"all of {org}", found)
        row = await self._access.repository(actor, repository or "", Role.ADMIN)
        directory = await self._access.directory()
        owner = directory.organizations.get(row.org)
        if owner is None:
            raise NotFound(f"the organization {row.org!r} of {row.label} is gone")
        return _Place(row.label, owner, row)

    async def _holder(
        self, place: _Place, user: str | None, team: str | None, *, living: bool
    ) -> tuple[str, dict[str, int]]:
        """In words and as the grant's key; `living`: somebody disabled gets nothing."""
        if (user is None) == (team is None):
            raise InvalidInput(
                "a grant is to one person or to one team", hint="give --user or --team"
            )
        if user is not None:
            person = await self._people.user(user)
            if person is None or (living and person.disabled):
                raise NotFound(
                    f"there is no person with the login {user[:40]!r} who can sign in",
                    hint="see `fossilrepo user list`",
                    field="user",
                )
            return person.login, {"user_id": person.id}
        found = await self._team(place, team or "", living=living)
        return f"{found[0]}/{found[1].name}", {"team_id": found[1].id}

    async def _team(self, place: _Place, text: str, *, living: bool) -> tuple[str, Team]:
        """Of the organization; what was granted before a repository moved can be taken away too."""
        org_name, _, name = text.rpartition("/")
        directory = await self._access.directory()
        names = {org.id: org.name for org in directory.organizations.values()}
        for team in directory.teams.values():
            if team.name == name and names[team.org_id] == (org_name or place.org.name):
                is_here = team.org_id == place.org.id
                left_behind = not living and any(
                    grant.team_id == team.id
                    and place.repository is not None
                    and grant.repository_id == place.repository.id
                    for grant in directory.grants
                )
                if is_here or left_behind:
                    return names[team.org_id], team
        if org_name and org_name != place.org.name:
            raise InvalidInput(
                f"the team {text[:80]} belongs to another organization than {place.name}",
                hint=f"use a team of {place.org.name}, or grant to the person",
                field="team",
            )
        raise no_team(place.org.name, name)

    async def _project(self, place: _Place) -> None:
        if place.repository is not None:
            await self._projection.project_all([place.repository.id])
            return
        await self._projection.project_all(await self._store.repositories_of(place.org.id))


def _id_of(place: _Place) -> dict[str, str]:
    return {"id": place.repository.id} if place.repository else {}
