"""Organizations: who is in them, their teams, and what they let their members do.

Owns the rules of who runs an organization. Every change is written into the repositories that
it can reach before the call returns.
"""

from __future__ import annotations

import builtins
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from fossilrepo.db.organizations import OrganizationStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import Conflict, Forbidden, InvalidInput, NotFound
from fossilrepo.models import Actor, Repository, User, check_label, check_text, now
from fossilrepo.rights import Directory, Grant, MemberRole, Organization, Role, Team
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.projection import Projection
from fossilrepo.services.skins import Skins
from fossilrepo.wording import plural


class Unset(Enum):
    """What is not given, where None means something."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
EVERY = 1_000_000  # repositories; no host has more


@dataclass(frozen=True, slots=True)
class OrganizationSummary:
    """One line of the list; `role` is the actor's own, `repositories` counts what they may read."""

    org: Organization
    members: int
    teams: int
    repositories: int
    role: MemberRole | None


@dataclass(frozen=True, slots=True)
class TeamDetail:
    team: Team
    members: tuple[User, ...]


@dataclass(frozen=True, slots=True)
class GrantView:
    """A grant in words: `holder` is a login or ORG/TEAM, `place` a name or "all of ORG"."""

    grant: Grant
    holder: str
    place: str
    is_team: bool


@dataclass(frozen=True, slots=True)
class OrganizationDetail:
    """`repositories` are those that the actor may read; `owns`: the actor may change it."""

    org: Organization
    members: tuple[tuple[User, MemberRole], ...]
    teams: tuple[TeamDetail, ...]
    grants: tuple[GrantView, ...]
    repositories: tuple[Repository, ...]
    owns: bool

    def team(self, name: str) -> TeamDetail:
        for one in self.teams:
            if one.team.name == name:
                return one
        raise no_team(self.org.name, name)


class Organizations:
    def __init__(
        self,
        store: OrganizationStore,
        people: PeopleStore,
        repositories: RepositoryStore,
        access: Access,
        projection: Projection,
        skins: Skins,
        audit: Audit,
    ) -> None:
        self._store = store
        self._people = people
        self._repositories = repositories
        self._access = access
        self._projection = projection
        self._skins = skins
        self._audit = audit

    # Looking

    async def list(self, actor: Actor) -> builtins.list[OrganizationSummary]:
        """Those that the actor is in, all for who runs the site; by name."""
        directory = await self._access.directory()
        counts = Counter(row.org for row in await self._readable(actor))
        found = []
        for name in sorted(directory.organizations):
            org = directory.organizations[name]
            role = directory.members.get((org.id, actor.user_id or 0))
            if actor.is_admin or role is not None:
                found.append(
                    OrganizationSummary(
                        org,
                        members=sum(1 for org_id, _ in directory.members if org_id == org.id),
                        teams=sum(1 for team in directory.teams.values() if team.org_id == org.id),
                        repositories=counts[name],
                        role=role,
                    )
                )
        return found

    async def show(self, actor: Actor, name: str) -> OrganizationDetail:
        """Everything of one organization; NotFound for who is not in it."""
        org = await self._access.organization(actor, name)
        directory = await self._access.directory()
        members = [
            (directory.users[user_id], role)
            for (org_id, user_id), role in directory.members.items()
            if org_id == org.id and user_id in directory.users
        ]
        teams = [
            TeamDetail(team, _in_team(directory, team.id))
            for team in directory.teams.values()
            if team.org_id == org.id
        ]
        repositories = [row for row in await self._readable(actor) if row.org == name]
        return OrganizationDetail(
            org=org,
            members=tuple(sorted(members, key=lambda pair: pair[0].login)),
            teams=tuple(sorted(teams, key=lambda one: one.team.name)),
            grants=tuple(
                view(grant, directory) for grant in directory.grants if grant.org_id == org.id
            ),
            repositories=tuple(repositories),
            owns=await self._access.owns(actor, name),
        )

    # The organization itself

    async def create(self, actor: Actor, name: str, *, title: str = "") -> Organization:
        """Conflict when the name is taken."""
        if not actor.is_admin:
            raise Forbidden("only an administrator of the site may create organizations")
        check_label(name, what="an organization")
        title = check_text(title, what="title", most=200)
        if await self._store.by_name(name):
            raise Conflict(f"the organization {name!r} exists already", field="name")
        org = await self._store.add(name=name, title=title, created_at=now())
        await self._audit.record(actor, "organization.create", name)
        return org

    async def configure(
        self,
        actor: Actor,
        name: str,
        *,
        title: str | None = None,
        default_role: Role | Unset | None = UNSET,
        members_create: bool | None = None,
        skin: bool | None = None,
    ) -> Organization:
        """Change what is given. `default_role`: what members may do in every repository of it.

        `skin`: its repositories wear the site's look; those that have one of their own keep it.
        """
        before = await self._access.owned(actor, name)
        changes: dict[str, Any] = {}
        if title is not None:
            changes["title"] = check_text(title, what="title", most=200)
        if not isinstance(default_role, Unset):
            changes["default_role"] = default_role
        if members_create is not None:
            changes["members_create"] = members_create
        if skin is not None:
            changes["skin"] = skin
        if not changes:
            return before
        after = await self._store.update(before.id, **changes)
        await self._audit.record(
            actor,
            "organization.configure",
            name,
            before={key: getattr(before, key) for key in changes},
            after=changes,
        )
        if "default_role" in changes:
            await self._write_into(before)
        if "skin" in changes:
            await self._skins.dress_all(name)
        return after

    async def rename(self, actor: Actor, old: str, new: str) -> Organization:
        """Its repositories follow; Conflict when the name is taken."""
        org = await self._access.owned(actor, old)
        check_label(new, what="an organization")
        if new == old:
            return org
        if await self._store.by_name(new):
            raise Conflict(f"the organization {new!r} exists already", field="name")
        after = await self._store.update(org.id, name=new)
        await self._audit.record(actor, "organization.rename", new, before=old, after=new)
        return after

    async def delete(self, actor: Actor, name: str) -> None:
        """Conflict while it has repositories, in the trash too, or is the only one."""
        org = await self._access.owned(actor, name)
        held = [row.label for row in await self._repositories.all() if row.org == name]
        if held:
            raise Conflict(
                f"{name} has {plural(len(held), 'repository')}, those in the trash counted: "
                f"{', '.join(held[:5])}",
                hint="move them with `fossilrepo repo configure NAME --org OTHER`, or purge them",
            )
        if len(await self._store.all()) == 1:
            raise Conflict(f"{name} is the only organization", hint="create another one first")
        await self._store.remove(org.id)
        await self._audit.record(actor, "organization.delete", name)

    # Members

    async def set_member(self, actor: Actor, name: str, login: str, role: MemberRole) -> None:
        """Make the person an owner or a member; whoever is one already is changed."""
        org = await self._access.owned(actor, name)
        user = await self._person(login)
        directory = await self._access.directory()
        before = directory.members.get((org.id, user.id))
        await self._store.set_member(org.id, user.id, role)
        await self._audit.record(
            actor, "organization.member", name, login=login, before=before, after=role
        )
        await self._write_into(org)

    async def remove_member(self, actor: Actor, name: str, login: str) -> None:
        """Out of the organization and its teams; everyone may leave by themselves."""
        org = await self._access.organization(actor, name)
        if actor.login != login or actor.user_id is None:
            await self._access.owned(actor, name)
        user = await self._people.user(login)
        members = (await self._access.directory()).members
        if user is None or not await self._store.remove_member(org.id, user.id):
            raise NotFound(f"{login[:40]!r} is not in {name}", field="login")
        before = members.get((org.id, user.id))
        await self._audit.record(
            actor, "organization.member-removed", name, login=login, before=before, after=None
        )
        await self._write_into(org)

    # Teams

    async def create_team(
        self, actor: Actor, org_name: str, name: str, *, description: str = ""
    ) -> Team:
        org = await self._access.owned(actor, org_name)
        check_label(name, what="a team")
        if await self._find_team(org, name) is not None:
            raise Conflict(f"{org_name} has a team {name!r} already", field="name")
        description = check_text(description, what="description", most=1000)
        team = await self._store.add_team(org.id, name, description)
        await self._audit.record(actor, "team.create", f"{org_name}/{name}")
        return team

    async def configure_team(
        self,
        actor: Actor,
        org_name: str,
        team_name: str,
        *,
        name: str | None = None,
        description: str | None = None,
    ) -> Team:
        """Rename it or describe it; its members and grants stay."""
        org, team = await self._team(actor, org_name, team_name)
        changes: dict[str, Any] = {}
        if name is not None and name != team_name:
            changes["name"] = check_label(name, what="a team")
            if await self._find_team(org, name) is not None:
                raise Conflict(f"{org_name} has a team {name!r} already", field="name")
        if description is not None:
            changes["description"] = check_text(description, what="description", most=1000)
        if not changes:
            return team
        after = await self._store.update_team(team.id, **changes)
        await self._audit.record(
            actor,
            "team.configure",
            f"{org_name}/{after.name}",
            before={key: getattr(team, key) for key in changes},
            after=changes,
        )
        return after

    async def delete_team(self, actor: Actor, org_name: str, name: str) -> None:
        """Its grants end with it."""
        _org, team = await self._team(actor, org_name, name)
        ended = await self._store.remove_team(team.id)
        await self._audit.record(actor, "team.delete", f"{org_name}/{name}")
        await self._projection.project_all(await self._reached_by(team, ended))

    async def add_to_team(self, actor: Actor, org_name: str, name: str, login: str) -> None:
        """Only members of the organization can be in its teams."""
        org, team = await self._team(actor, org_name, name)
        user = await self._person(login)
        directory = await self._access.directory()
        if (org.id, user.id) not in directory.members:
            raise InvalidInput(
                f"{login} is not a member of {org_name}",
                hint=f"add them first: `fossilrepo org member add {org_name} {login}`",
                field="login",
            )
        if not await self._store.add_to_team(team.id, user.id):
            raise Conflict(f"{login} is in {org_name}/{name} already", field="login")
        await self._audit.record(actor, "team.member", f"{org_name}/{name}", login=login)
        await self._write_for(team)

    async def remove_from_team(self, actor: Actor, org_name: str, name: str, login: str) -> None:
        _org, team = await self._team(actor, org_name, name)
        user = await self._people.user(login)
        if user is None or not await self._store.remove_from_team(team.id, user.id):
            raise NotFound(f"{login[:40]!r} is not in {org_name}/{name}", field="login")
        await self._audit.record(actor, "team.member-removed", f"{org_name}/{name}", login=login)
        await self._write_for(team)

    # Within

    async def _person(self, login: str) -> User:
        user = await self._people.user(login)
        if user is None or user.disabled:
            raise NotFound(
                f"there is no person with the login {login[:40]!r} who can sign in",
                hint="see `fossilrepo user list`",
                field="login",
            )
        return user

    async def _find_team(self, org: Organization, name: str) -> Team | None:
        directory = await self._access.directory()
        teams = directory.teams.values()
        return next((one for one in teams if one.org_id == org.id and one.name == name), None)

    async def _team(self, actor: Actor, org_name: str, name: str) -> tuple[Organization, Team]:
        org = await self._access.owned(actor, org_name)
        team = await self._find_team(org, name)
        if team is None:
            raise no_team(org_name, name)
        return org, team

    async def _readable(self, actor: Actor) -> builtins.list[Repository]:
        readable = await self._access.readable(actor)
        return (await self._repositories.search("", limit=EVERY, readable=readable)).repositories

    async def _reached_by(self, team: Team, grants: Sequence[Grant]) -> builtins.list[str]:
        """The repositories where these grants give the team a role."""
        named = {grant.repository_id for grant in grants}
        on_all = any(grant.org_id == team.org_id for grant in grants)
        owned = await self._store.repositories_of(team.org_id)
        return [identity for identity in owned if on_all or identity in named]

    async def _write_for(self, team: Team) -> None:
        directory = await self._access.directory()
        grants = [grant for grant in directory.grants if grant.team_id == team.id]
        await self._projection.project_all(await self._reached_by(team, grants))

    async def _write_into(self, org: Organization) -> None:
        await self._projection.project_all(await self._store.repositories_of(org.id))


def view(grant: Grant, directory: Directory, place: str = "") -> GrantView:
    """The grant in words; `place` is the repository's name, where it is on one."""
    by_id = {org.id: org.name for org in directory.organizations.values()}
    if grant.org_id is not None:
        place = f"all of {by_id[grant.org_id]}"
    if grant.team_id is not None:
        team = directory.teams[grant.team_id]
        return GrantView(grant, f"{by_id[team.org_id]}/{team.name}", place, is_team=True)
    user = directory.users.get(grant.user_id or 0)
    return GrantView(grant, user.login if user else "(somebody who left)", place, is_team=False)


def no_team(org_name: str, name: str) -> NotFound:
    return NotFound(
        f"there is no team {name[:40]!r} in {org_name}",
        hint="see `fossilrepo team list`",
        field="team",
    )


def _in_team(directory: Directory, team_id: int) -> tuple[User, ...]:
    found = [
        directory.users[user_id]
        for user_id, teams in directory.team_members.items()
        if team_id in teams and user_id in directory.users
    ]
    return tuple(sorted(found, key=lambda user: user.login))
