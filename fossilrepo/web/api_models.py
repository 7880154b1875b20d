"""What the API takes and gives: one pydantic model per body.

Owns the shapes, which are promises; keys may be added, never changed. What a
value may be is checked by the services, in the same words as everywhere.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from fossilrepo.models import JobState, RepositoryState, Visibility


class Body(BaseModel):
    """Strict: a number is no truth value, and a text is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(BaseModel):
    model_config = ConfigDict(extra="allow")


class NewRepository(Body):
    name: str
    title: str = ""
    description: str = ""
    org: str = ""
    visibility: Visibility = Visibility.PUBLIC


class Changes(Body):
    """Only what is given is changed."""

    title: str | None = None
    description: str | None = None
    org: str | None = None
    visibility: Visibility | None = None


class NewName(Body):
    name: str


class BackAs(Body):
    """Another name than the one that it had."""

    name: str | None = None


class NewImport(Body):
    """Exactly one of `clone` (a Fossil) and `git`, with the address.

    `follow`: what is new at the Fossil is pulled from then on.
    """

    name: str
    title: str = ""
    visibility: Visibility = Visibility.PUBLIC
    org: str = ""
    clone: str | None = None
    git: str | None = None
    login: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")
    follow: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> NewImport:
        if bool(self.clone) == bool(self.git):
            raise ValueError("give exactly one of clone and git")
        return self


class RepositoryAnswer(Answer):
    id: str
    name: str | None
    title: str
    description: str
    org: str
    visibility: Visibility
    state: RepositoryState
    reason: str | None
    size_bytes: int
    checkins: int
    created_at: datetime
    last_change: datetime | None
    deleted_at: datetime | None
    url: str | None
    clone_url: str | None
    path_clone_url: str | None
    clone_command: str | None
    backup: dict[str, Any]
    mirrors: list[dict[str, Any]]
    removed: list[str]


class Repositories(Answer):
    """One page; `total` counts all that match."""

    repositories: list[RepositoryAnswer]
    total: int


class Trash(Answer):
    repositories: list[RepositoryAnswer]


class JobAnswer(Answer):
    id: str
    kind: str
    subject: str
    state: JobState
    progress: str
    fraction: float | None
    error: str | None
    hint: str | None
    requested_by: str
    repository_id: str | None
    created_at: datetime
    finished_at: datetime | None
    url: str


class JobsAnswer(Answer):
    jobs: list[JobAnswer]


class SyncPassword(Answer):
    """What the caller types for this repository in Fossil."""

    login: str
    password: str


class Child(Answer):
    name: str
    state: str
    pid: int | None
    restarts: int
    last_error: str | None


class FailingDuty(Answer):
    """A part of the host that failed and is tried again: how often in a row, its last error."""

    name: str
    times: int
    error: str


class SlowRequest(Answer):
    """A request that took longer than `log.slow`; `spent` is where its time went."""

    at: datetime
    asked: str
    status: int
    seconds: float
    spent: str


class CheckAnswer(Answer):
    name: str
    result: Literal["ok", "warn", "fail"]
    found: str
    mend: str


class Doctor(Answer):
    checks: list[CheckAnswer]


class Status(Answer):
    version: str
    url: str
    pid: int
    uptime_s: float
    children: list[Child]
    repositories: int
    backup: dict[str, Any]
    jobs: dict[str, int]
    read_only: str | None
    failing: list[FailingDuty]
    slow: list[SlowRequest]


class Problem(Answer):
    """Every error. `field` names the input at fault, where one is."""

    error: str
    hint: str = Field(default="")
    field: str = Field(default="")
