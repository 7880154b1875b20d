"""What the API takes and gives of who is inside a repository."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fossilrepo.rights import Role
from fossilrepo.web.api_models import Answer, Body


class Adoption(Body):
    """`native` as the repository calls it, `person` as we do."""

    native: str
    person: str


class Adopted(Answer):
    native: str
    person: str
    repositories: int


class NativeAnswer(Answer):
    """Fossil's letters now and before; `collides`: it keeps a person of this login out."""

    login: str
    capabilities: str
    original: str
    role: Role | None
    info: str
    has_password: bool
    collides: bool
    adopted_by: str | None


class NativesAnswer(Answer):
    natives: list[NativeAnswer]


class NativeEverywhere(Answer):
    login: str
    repositories: list[str]
    suggestion: str | None


class NativesEverywhere(Answer):
    natives: list[NativeEverywhere]


class NewAccessKey(Body):
    role: Literal["read", "write"]
    label: str = ""
    days: int | None = None


class AccessKeyAnswer(Answer):
    id: str
    login: str
    label: str
    role: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used: datetime | None


class NewAccessKeyAnswer(AccessKeyAnswer):
    password: str
    clone_url: str


class AccessKeysAnswer(Answer):
    access_keys: list[AccessKeyAnswer]


class AccessKeyPassword(Answer):
    login: str
    password: str


class ElevationAnswer(Answer):
    repository: str
    login: str
    until: datetime


class ElevationsAnswer(Answer):
    elevations: list[ElevationAnswer]
