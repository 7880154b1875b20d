"""Who may do what in a repository: the facts, and the one function that decides.

Owns the words of the people's model (role, organization, team, grant) and the rule that
turns them into what one person may do in one repository, with its reasons. Pure: knows no
database and no file. How a role is enforced is the projection's matter.

What someone may do is the strongest of what applies:

- an administrator of the site: admin everywhere;
- an owner of the repository's organization: admin;
- a member of it: the organization's role for members, if it has one;
- a grant on the repository, or on its organization, to the person or to one of their teams
  of that organization: the granted role;
- an internal repository: read, for everyone who has an account; a public one: read, for all.

Someone disabled or deleted may do nothing, not even what strangers may: they have no session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from fossilrepo.errors import InvalidInput
from fossilrepo.models import Repository, User, Visibility


class Role(StrEnum):
    """What someone may do in a repository; each holds what the one before it does."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def covers(self, other: Role) -> bool:
        return _RANK[self] >= _RANK[other]


_RANK = {Role.READ: 1, Role.WRITE: 2, Role.ADMIN: 3}


class MemberRole(StrEnum):
    """An owner runs the organization and every repository of it."""

    OWNER = "owner"
    MEMBER = "member"


@dataclass(frozen=True, slots=True)
class Organization:
    """Repositories belong to one. `default_role` is what each member may do in all of them."""

    id: int
    name: str
    title: str
    created_at: datetime
    default_role: Role | None = None
    members_create: bool = False  # members may create and import repositories
    skin: bool = False  # its repositories wear the site's look


@dataclass(frozen=True, slots=True)
class Team:
    id: int
    org_id: int
    name: str
    description: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A role on one repository or on all of one organization, to one person or one team."""

    id: int
    role: Role
    repository_id: str | None = None
    org_id: int | None = None
    user_id: int | None = None
    team_id: int | None = None
    granted_by: str = ""
    granted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Directory:
    """A consistent picture of everyone and everything that decides rights.

    It may be narrowed to one person: then only that person can be asked about.
    """

    users: Mapping[int, User] = field(default_factory=dict)
    organizations: Mapping[str, Organization] = field(default_factory=dict)  # by name
    members: Mapping[tuple[int, int], MemberRole] = field(default_factory=dict)  # (org, user)
    teams: Mapping[int, Team] = field(default_factory=dict)
    team_members: Mapping[int, frozenset[int]] = field(default_factory=dict)  # user: teams
    grants: tuple[Grant, ...] = ()

    def grants_on(self, repository: Repository) -> list[Grant]:
        """Those that reach the repository, directly or through its organization."""
        org = self.organizations.get(repository.org)
        return [
            grant
            for grant in self.grants
            if grant.repository_id == repository.id
            or (grant.org_id is not None and org is not None and grant.org_id == org.id)
        ]


@dataclass(frozen=True, slots=True)
class Reason:
    role: Role
    why: str


@dataclass(frozen=True, slots=True)
class Effective:
    """What one person may do in one repository: None is nothing; reasons, strongest first."""

    role: Role | None = None
    reasons: tuple[Reason, ...] = ()

    @property
    def is_by_visibility(self) -> bool:
        """Nothing but the repository's being internal or public gives it."""
        return bool(self.reasons) and all(r.why in _BY_VISIBILITY for r in self.reasons)

    def covers(self, role: Role) -> bool:
        return self.role is not None and self.role.covers(role)


INTERNAL, PUBLIC = "everyone with an account (internal)", "everyone (public)"
_BY_VISIBILITY = (INTERNAL, PUBLIC)


def effective(
    user_id: int | None,
    repository: Repository,
    directory: Directory,
    grants: Iterable[Grant] | None = None,
) -> Effective:
    """What the person may do, and why; `user_id` None is a stranger.

    `grants` are those that reach the repository, when the caller has them at hand.
    """
    reasons: list[Reason] = []
    user = directory.users.get(user_id) if user_id is not None else None
    if user_id is not None and (user is None or user.disabled):
        return Effective()
    if user is not None:
        if user.is_admin:
            reasons.append(Reason(Role.ADMIN, "administrator of the site"))
        reasons += _by_organization(user, repository, directory)
        found = directory.grants_on(repository) if grants is None else grants
        reasons += _by_grants(user, repository, directory, found)
        if repository.visibility is Visibility.INTERNAL:
            reasons.append(Reason(Role.READ, INTERNAL))
    if repository.visibility is Visibility.PUBLIC:
        reasons.append(Reason(Role.READ, PUBLIC))
    if not reasons:
        return Effective()
    reasons.sort(key=lambda reason: -_RANK[reason.role])
    return Effective(reasons[0].role, tuple(reasons))


def _by_organization(user: User, repository: Repository, directory: Directory) -> list[Reason]:
    org = directory.organizations.get(repository.org)
    member = directory.members.get((org.id, user.id)) if org is not None else None
    if org is None or member is None:
        return []
    if member is MemberRole.OWNER:
        return [Reason(Role.ADMIN, f"owner of {org.name}")]
    if org.default_role is not None:
        return [Reason(org.default_role, f"member of {org.name}")]
    return []


def _by_grants(
    user: User, repository: Repository, directory: Directory, grants: Iterable[Grant]
) -> list[Reason]:
    teams = directory.team_members.get(user.id, frozenset())
    org = directory.organizations.get(repository.org)
    reasons = []
    for grant in grants:
        on = f" on all of {repository.org}" if grant.org_id is not None else ""
        if grant.user_id == user.id:
            reasons.append(Reason(grant.role, f"granted{on}"))
        elif grant.team_id in teams and grant.team_id is not None:
            team = directory.teams[grant.team_id]
            # A repository that moved to another organization leaves the old one's teams behind.
            if org is not None and team.org_id == org.id:
                reasons.append(Reason(grant.role, f"team {org.name}/{team.name}{on}"))
    return reasons


def role_of(text: str) -> Role:
    """The role of this word; InvalidInput with those that there are."""
    try:
        return Role(text)
    except ValueError:
        raise InvalidInput(
            f"there is no role {text[:40]!r}", hint="write read, write or admin", field="role"
        ) from None
