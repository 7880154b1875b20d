"""The values that travel between the layers, and the rules for names.

Owns the frozen dataclasses and enums of the field's own words (repository,
check-in, person, job) and the pure functions that say which names are
acceptable. Knows no database, no program and no page.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from fossilrepo.errors import InvalidInput

RESERVED_NAMES = frozenset(
    """www api admin app login logout setup internal static repos people orgs teams mirrors
    backups activity events search badge invite audit jobs docs system status account metrics
    health healthz readyz mail smtp imap ns ns1 ns2 ftp wpad autodiscover autoconfig mta-sts
    localhost dev tmp api-docs help assets favicon robots me preview""".split()
)
RESERVED_LOGINS = frozenset("nobody anonymous developer reader root admin site fossilrepo".split())
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LOGIN = re.compile(r"[a-z][a-z0-9._-]{0,31}")
_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


class Visibility(StrEnum):
    PUBLIC = "public"
    INTERNAL = "internal"
    PRIVATE = "private"


class RepositoryState(StrEnum):
    ACTIVE = "active"
    ARCHIVED = "archived"
    TRASHED = "trashed"
    BROKEN = "broken"


class Trust(StrEnum):
    """How a repository's file came to us; decides what of it was kept."""

    OWN = "own"
    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def ended(self) -> bool:
        return self in (JobState.DONE, JobState.FAILED, JobState.INTERRUPTED)


class HostState(StrEnum):
    """What a repository's host name answers with."""

    SERVED = "served"
    MAINTENANCE = "maintenance"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository for its whole life; `name` is None while it lies in the trash."""

    id: str
    name: str | None
    title: str
    description: str
    org: str
    visibility: Visibility
    state: RepositoryState
    trust: Trust
    created_at: datetime
    created_by: str
    project_code: str = ""
    size_bytes: int = 0
    checkins: int = 0
    last_change: datetime | None = None
    deleted_at: datetime | None = None
    deleted_name: str | None = None
    reason: str = ""  # why it is broken
    removed: tuple[str, ...] = ()  # what the gate took out of it
    seen: str = ""  # size and time of the file when it was last read

    @property
    def label(self) -> str:
        """What people call it, also in the trash."""
        return self.name or self.deleted_name or self.id

    @property
    def shown_title(self) -> str:
        return self.title or self.label


@dataclass(frozen=True, slots=True)
class DropIn:
    """A file in the folder of repositories that is not (yet) one: waiting, broken or a conflict."""

    filename: str
    state: str  # waiting | broken
    reason: str
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class User:
    id: int
    login: str
    name: str
    email: str
    is_admin: bool
    disabled: bool
    created_at: datetime
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser. `csrf` goes into forms; the cookie's own value is never stored."""

    user: User
    csrf: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Job:
    id: str
    kind: str
    repository_id: str | None
    subject: str  # the name that the job is about, for people
    requested_by: str
    state: JobState
    progress: str
    fraction: float | None
    error: str
    hint: str
    log: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    id: int
    at: datetime
    actor: str
    address: str
    action: str
    subject: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for a change, for the audit log and the permission checks."""

    login: str
    is_admin: bool = False
    address: str = ""
    trusted_files: bool = False  # the server's own command line

    @classmethod
    def command_line(cls) -> Actor:
        return cls("command line", is_admin=True, trusted_files=True)

    @classmethod
    def system(cls) -> Actor:
        return cls("fossilrepo", is_admin=True)


def check_name(name: str) -> str:
    """The name itself when it may be a repository's; InvalidInput with the rule otherwise."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name[:80]!r} cannot be a repository name",
            hint="use 1 to 63 of a-z, 0-9 and single hyphens, not starting or ending with a hyphen",
            field="name",
        )
    if name in RESERVED_NAMES:
        raise InvalidInput(
            f"the name {name!r} is reserved for the site itself",
            hint="choose another name",
            field="name",
        )
    if "--" in name:
        raise InvalidInput(
            f"the name {name!r} has two hyphens in a row; such names are kept for previews",
            hint="use single hyphens",
            field="name",
        )
    return name


def is_name(name: str) -> bool:
    """True when `check_name` would accept it."""
    return bool(_NAME.fullmatch(name)) and name not in RESERVED_NAMES and "--" not in name


def check_login(login: str) -> str:
    """The login itself when a person may have it; InvalidInput with the rule otherwise."""
    if not _LOGIN.fullmatch(login):
        raise InvalidInput(
            f"{login[:80]!r} cannot be a login",
            hint="use 1 to 32 of a-z, 0-9, dot, underscore and hyphen, starting with a letter",
            field="login",
        )
    if login in RESERVED_LOGINS:
        raise InvalidInput(
            f"the login {login!r} is reserved", hint="choose another login", field="login"
        )
    return login


def check_text(value: str, *, what: str, most: int) -> str:
    """Text of one line without control characters, stripped; InvalidInput otherwise."""
    value = value.strip()
    if len(value) > most:
        raise InvalidInput(f"the {what} is longer than {most} characters", field=what)
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in value):
        raise InvalidInput(f"the {what} has control characters in it", field=what)
    return value


def new_id() -> str:
    """12 random lower-case base32 characters: a repository's identity for ever."""
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(12))


def is_id(value: str) -> bool:
    return len(value) == 12 and all(c in _ID_ALPHABET for c in value)


def now() -> datetime:
    """The time, in UTC, to the microsecond."""
    return datetime.now(UTC)


def iso(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the second, or None."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if at else None
