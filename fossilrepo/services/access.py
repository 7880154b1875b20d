"""Who may do what: asked by every service before it shows or changes something.

Owns the picture of people that rights are computed from, kept in memory and renewed when its
version in the control database is another, and the refusals. What someone may not read is not
there for them: NotFound, and nothing that tells it from a name that is free.
"""

from __future__ import annotations

from dataclasses import dataclass

from fossilrepo.db.access import AccessStore, Inside
from fossilrepo.db.engine import Database
from fossilrepo.db.organizations import OrganizationStore
from fossilrepo.db.repositories import Readable, RepositoryStore
from fossilrepo.db.versions import people_version
from fossilrepo.errors import Forbidden, InvalidInput, NotFound
from fossilrepo.models import Actor, Repository, RepositoryState, User, Visibility
from fossilrepo.rights import (
    Directory,
    Effective,
    MemberRole,
    Organization,
    Reason,
    Role,
    effective,
)

USUAL = "main"  # the organization that a host begins with, unless it was renamed
HOST = Effective(Role.ADMIN, (Reason(Role.ADMIN, "acts for the host itself"),))


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that decides rights and what is written into repositories, at one version."""

    version: int
    directory: Directory
    inside: Inside


class Access:
    def __init__(
        self,
        database: Database,
        organizations: OrganizationStore,
        access: AccessStore,
        repositories: RepositoryStore,
    ) -> None:
        self._database = database
        self._organizations = organizations
        self._access = access
        self._repositories = repositories
        self._picture: Picture | None = None

    async def picture(self) -> Picture:
        """The present state; one small query while nothing has changed."""
        version = await people_version(self._database)
        if self._picture is None or self._picture.version != version:
            # What changes while it is read has a newer version, and is read the next time.
            directory = await self._organizations.directory()
            self._picture = Picture(version, directory, await self._access.inside())
        return self._picture

    @property
    def is_shared(self) -> bool:
        """Whether there was more than one person or organization when it was last looked at."""
        known = self._picture.directory if self._picture else Directory()
        return len(known.users) > 1 or len(known.organizations) > 1

    async def directory(self) -> Directory:
        return (await self.picture()).directory

    async def effective(self, actor: Actor | None, repository: Repository) -> Effective:
        """What the actor may do in the repository, and why."""
        if actor is not None and actor.user_id is None and actor.is_admin:
            return HOST
        user_id = actor.user_id if actor else None
        return effective(user_id, repository, await self.directory())

    async def may(self, actor: Actor | None, repository: Repository, role: Role) -> bool:
        return (await self.effective(actor, repository)).covers(role)

    async def require(self, actor: Actor | None, repository: Repository, role: Role) -> None:
        """NotFound for whoever may not even read it, Forbidden for whoever may do less."""
        found = await self.effective(actor, repository)
        if found.role is None:
            raise no_repository(repository.label)
        if not found.covers(role):
            raise Forbidden(
                f"this needs the role {role} in {repository.label}; yours is {found.role}",
                hint="ask an administrator of the repository or an owner of its organization",
            )

    async def repository(self, actor: Actor | None, name: str, role: Role) -> Repository:
        """That of this name, for who has the role; NotFound and Forbidden as in `require`."""
        repository = await self._repositories.by_name(name)
        if repository is None:
            raise no_repository(name)
        await self.require(actor, repository, role)
        return repository

    async def readable(self, actor: Actor | None) -> Readable | None:
        """What a list may show to the actor; None: everything."""
        if actor is None:
            return Readable(visibilities=(Visibility.PUBLIC,))
        if actor.is_admin:
            return None
        directory = await self.directory()
        user = directory.users.get(actor.user_id or 0)
        if user is None or user.disabled:
            return Readable()
        if user.is_admin:
            return None
        return _readable(user, directory)

    # Organizations

    async def organization(self, actor: Actor, name: str) -> Organization:
        """NotFound unless the actor is a member of it or runs the site."""
        directory = await self.directory()
        org = directory.organizations.get(name)
        if org is None or not (actor.is_admin or (org.id, actor.user_id) in directory.members):
            raise NotFound(f"there is no organization {name[:80]!r}", field="org")
        return org

    async def owned(self, actor: Actor, name: str) -> Organization:
        """The organization, when the actor owns it or runs the site; Forbidden for members."""
        org = await self.organization(actor, name)
        if not await self.owns(actor, name):
            raise Forbidden(f"only an owner of {name} may do this", hint="ask one of its owners")
        return org

    async def owns(self, actor: Actor, name: str) -> bool:
        if actor.is_admin:
            return True
        directory = await self.directory()
        org = directory.organizations.get(name)
        mine = directory.members.get((org.id, actor.user_id or 0)) if org else None
        return mine is MemberRole.OWNER and _is_living(directory, actor)

    async def require_may_create(self, actor: Actor, org_name: str) -> Organization:
        """Who may bring a repository into this organization."""
        try:
            org = await self.organization(actor, org_name)
        except NotFound as error:
            if not await self.creates_in(actor):
                raise Forbidden(
                    "you may not create repositories in any organization",
                    hint="ask an owner of one, or an administrator of the site",
                ) from None
            raise InvalidInput(
                error.message, hint="see `fossilrepo org list`", field="org"
            ) from None
        if await self.owns(actor, org_name):
            return org
        if org.members_create and _is_living(await self.directory(), actor):
            return org
        raise Forbidden(
            f"only owners of {org_name} may create repositories in it",
            hint="ask one of its owners",
        )

    async def home(self, actor: Actor, org_name: str) -> Organization:
        """Where a new repository of the actor goes: the named organization, or the usual one.

        That is `main` as long as there is one where the actor may create, else the first.
        """
        if not org_name:
            names = [org.name for org in await self.creates_in(actor)]
            org_name = USUAL if USUAL in names or not names else names[0]
        return await self.require_may_create(actor, org_name)

    async def creates_in(self, actor: Actor) -> list[Organization]:
        """The organizations where the actor may create a repository, by name."""
        directory = await self.directory()
        found = []
        for name in sorted(directory.organizations):
            org = directory.organizations[name]
            is_member = (org.id, actor.user_id) in directory.members
            if await self.owns(actor, name) or (org.members_create and is_member):
                found.append(org)
        return found

    # Looking from both ends

    async def who(self, repository: Repository) -> list[tuple[User, Effective]]:
        """Everyone who may do anything in the repository, by login."""
        directory = await self.directory()
        grants = directory.grants_on(repository)
        found = [
            (user, effective(user.id, repository, directory, grants))
            for user in directory.users.values()
        ]
        return sorted(
            ((user, what) for user, what in found if what.role), key=lambda pair: pair[0].login
        )

    async def where(self, user: User) -> list[tuple[Repository, Effective]]:
        """Every repository of a name where the person may do anything, by name."""
        directory = await self.directory()
        rows = await self._repositories.all()
        named = [row for row in rows if row.state is not RepositoryState.TRASHED]
        found = [(row, effective(user.id, row, directory)) for row in named]
        return sorted(
            ((row, what) for row, what in found if what.role), key=lambda pair: pair[0].label
        )


def _is_living(directory: Directory, actor: Actor) -> bool:
    user = directory.users.get(actor.user_id or 0)
    return user is not None and not user.disabled


def no_repository(name: str) -> NotFound:
    """The same words for what does not exist and for what the reader may not know of."""
    return NotFound(
        f"there is no repository {name[:80]!r}",
        hint="see the list of repositories, or the trash",
        field="name",
    )


def _readable(user: User, directory: Directory) -> Readable:
    teams = directory.team_members.get(user.id, frozenset())
    names = {org.id: org.name for org in directory.organizations.values()}
    organizations = {
        org.name
        for org in directory.organizations.values()
        if (member := directory.members.get((org.id, user.id)))
        and (member is MemberRole.OWNER or org.default_role)
    }
    repositories: set[str] = set()
    through_teams: set[tuple[str, str]] = set()
    for grant in directory.grants:
        team = directory.teams[grant.team_id] if grant.team_id in teams else None
        if team is None and grant.user_id != user.id:
            continue
        if grant.org_id is not None and (team is None or team.org_id == grant.org_id):
            organizations.add(names[grant.org_id])
        elif grant.repository_id is not None and team is None:
            repositories.add(grant.repository_id)
        elif grant.repository_id is not None and team is not None:
            through_teams.add((grant.repository_id, names[team.org_id]))
    return Readable(
        visibilities=(Visibility.PUBLIC, Visibility.INTERNAL),
        organizations=tuple(sorted(organizations)),
        repositories=tuple(sorted(repositories)),
        through_teams=tuple(sorted(through_teams)),
    )
