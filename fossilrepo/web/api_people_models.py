"""The bodies and answers of the API's calls for organizations, teams and grants."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fossilrepo.models import Visibility
from fossilrepo.rights import MemberRole, Role
from fossilrepo.web.api_access_models import AccessKeyAnswer, NativeAnswer
from fossilrepo.web.api_models import Answer, Body


class NewOrganization(Body):
    name: str
    title: str = ""


class OrganizationChanges(Body):
    """What is not given stays. `default_role` none: members may do nothing by being members."""

    title: str | None = None
    default_role: Literal["none", "read", "write", "admin"] | None = None
    members_create: bool | None = None
    skin: bool | None = None


class NewMember(Body):
    role: MemberRole = MemberRole.MEMBER


class NewTeam(Body):
    name: str
    description: str = ""


class TeamChanges(Body):
    name: str | None = None
    description: str | None = None


class NewGrant(Body):
    """To exactly one of `user` (a login) and `team`."""

    role: Role
    user: str | None = None
    team: str | None = None


class GrantAnswer(Answer):
    holder: str
    is_team: bool
    place: str
    role: Role
    granted_by: str
    granted_at: datetime | None


class OrganizationAnswer(Answer):
    name: str
    title: str
    default_role: Role | None
    members_create: bool
    skin: bool
    created_at: datetime


class OrganizationLine(OrganizationAnswer):
    members: int
    teams: int
    repositories: int
    role: MemberRole | None


class Organizations(Answer):
    organizations: list[OrganizationLine]


class MemberAnswer(Answer):
    login: str
    name: str
    role: MemberRole


class TeamAnswer(Answer):
    name: str
    description: str
    members: list[str]


class OneTeam(Answer):
    name: str
    description: str


class OrganizationWhole(OrganizationAnswer):
    members: list[MemberAnswer]
    teams: list[TeamAnswer]
    grants: list[GrantAnswer]
    repositories: list[str]


class ReasonAnswer(Answer):
    role: Role
    why: str


class PersonAccess(Answer):
    login: str
    name: str
    role: Role | None
    reasons: list[ReasonAnswer]


class Elevated(Answer):
    login: str
    until: datetime


class DriftAnswer(Answer):
    """What somebody changed inside Fossil: capabilities found, and those put back."""

    login: str
    at: datetime
    found: str
    repaired: str


class AccessAnswer(Answer):
    repository: str
    visibility: Visibility
    people: list[PersonAccess]
    grants: list[GrantAnswer]
    natives: list[NativeAnswer]
    keys: list[AccessKeyAnswer]
    elevated: list[Elevated]
    drifts: list[DriftAnswer]


class PlaceAccess(Answer):
    repository: str
    role: Role | None
    reasons: list[ReasonAnswer]


class Where(Answer):
    repositories: list[PlaceAccess]
