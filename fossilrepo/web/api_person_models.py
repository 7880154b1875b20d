"""What the API takes and gives about people, invitations and mail.

Owns the shapes, which are promises; keys may be added, never changed.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import SecretStr

from fossilrepo.rights import MemberRole
from fossilrepo.web.api_models import Answer, Body


class NewUser(Body):
    login: str
    name: str = ""
    email: str = ""
    is_admin: bool = False
    password: SecretStr = SecretStr("")


class NewPassword(Body):
    password: SecretStr


class UserChanges(Body):
    """Only what is given is changed."""

    name: str | None = None
    email: str | None = None


class NewLogin(Body):
    login: str


class SiteRole(Body):
    is_admin: bool


class NewInvitation(Body):
    """Without `login` the person chooses one; owners of an organization must name it."""

    login: str = ""
    name: str = ""
    email: str = ""
    org: str = ""
    org_role: MemberRole = MemberRole.MEMBER
    teams: tuple[str, ...] = ()
    days: int = 7


class PeopleFile(Body):
    """CSV with a head line: login and, if wanted, name, email, org, teams."""

    csv: str
    mail: bool = False


class TrialMail(Body):
    to: str


class UserAnswer(Answer):
    login: str
    name: str
    email: str
    is_admin: bool
    disabled: bool
    created_at: datetime
    last_seen: datetime | None


class UsersAnswer(Answer):
    users: list[UserAnswer]


class MembershipAnswer(Answer):
    org: str
    role: MemberRole
    teams: list[str]


class ProfileAnswer(UserAnswer):
    """`native_elsewhere`: repositories where a native user has this login."""

    second_factor: bool
    former_logins: list[str]
    memberships: list[MembershipAnswer]
    native_elsewhere: list[str]


class LinkAnswer(Answer):
    """Good once; it is not shown again."""

    url: str


class InvitedAnswer(Answer):
    id: str
    url: str
    mailed: bool
    mail_error: str


class InvitationAnswer(Answer):
    id: str
    login: str
    name: str
    email: str
    org: str
    org_role: str
    teams: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime


class InvitationsAnswer(Answer):
    invitations: list[InvitationAnswer]


class ImportedAnswer(Answer):
    login: str
    email: str
    url: str
    mailed: bool
    mail_error: str
    collides: list[str]


class ImportedPeople(Answer):
    users: list[ImportedAnswer]
