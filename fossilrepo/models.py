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
    localhost dev tmp api-docs help assets favicon robots me preview forgot overview
    reset""".split()
)
KEY_LOGIN = re.compile(r"key-[a-z2-7]{6}")  # what Fossil calls an access key
CONTROL_ID = "fossilrepo"  # the control database, where replicas are named by identity
RESERVED_LOGINS = frozenset("nobody anonymous developer reader root admin site fossilrepo".split())
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LOGIN = re.compile(r"[a-z][a-z0-9._-]{0,31}")
_PREVIEW = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?--[a-z2-7]{6}")
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
    has_totp: bool = False  # signing in asks for a second factor


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser. `csrf` goes into forms; the cookie's own value is never stored."""

    user: User
    csrf: str
    created_at: datetime
    expires_at: datetime
    id: str = ""
    last_seen: datetime | None = None
    address: str = ""
    agent: str = ""


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
    target_id: str | None = None  # the mirror or upstream that it is a run of
    trigger: str = ""  # why it was run


@dataclass(frozen=True, slots=True)
class AuditEntry:
    id: int
    at: datetime
    actor: str
    address: str
    action: str
    subject: str
    detail: dict[str, Any]


class BackupState(StrEnum):
    """How a repository's replica stands, measured."""

    CURRENT = "current"
    BEHIND = "behind"
    FAILING = "failing"
    UNKNOWN = "unknown"  # not asked yet, or nobody is there to ask
    OFF = "off"  # nothing to replicate: the file is broken


@dataclass(frozen=True, slots=True)
class Replica:
    """What is known of one repository's replica; it outlives the repository.

    `synced_at`: when the replica was last proven to hold everything. `behind_since`: the
    oldest change that it may not hold. `proven_…`: the last restore that passed its checks.
    `restores` counts in-place restores; `cleared_at`: its objects were removed.
    """

    repository_id: str
    label: str = ""
    project_code: str = ""
    state: BackupState = BackupState.UNKNOWN
    since: datetime | None = None
    reason: str = ""
    hint: str = ""
    behind_since: datetime | None = None
    synced_at: datetime | None = None
    txid: int = 0
    replicated_txid: int = 0
    restores: int = 0
    proven_at: datetime | None = None
    proven_seconds: float | None = None
    proven_checkins: int | None = None
    verify_at: datetime | None = None
    verify_error: str = ""
    verify_wanted: bool = False
    purged_at: datetime | None = None
    cleared_at: datetime | None = None

    def lag_s(self, at: datetime) -> float | None:
        """Age in seconds of the oldest change not proven on the replica; None: not known."""
        if self.behind_since is not None:
            return max(0.0, round((at - self.behind_since).total_seconds(), 3))
        return 0.0 if self.state is BackupState.CURRENT else None


@dataclass(frozen=True, slots=True)
class VerificationRun:
    """One trial restore: whether it passed, what was found, in how many seconds."""

    id: int
    repository_id: str
    label: str
    at: datetime
    seconds: float
    ok: bool
    detail: str
    size_bytes: int
    checkins: int


@dataclass(frozen=True, slots=True)
class Restoration:
    """An in-place restore; `file` is the copy of the state before, by which it can be undone."""

    id: str
    repository_id: str
    at: datetime
    moment: datetime | None  # None: the newest
    by: str
    checkins_before: int
    checkins_after: int
    file: str
    undone_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """A moment of a repository's past, served read-only on a host of its own for a while."""

    id: str
    repository_id: str
    name: str
    moment: datetime | None  # None: the newest
    created_by: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class BackupTarget:
    """A place where replicas were or are kept, the newest being the one in use."""

    id: int
    url: str
    since: datetime
    proven_at: datetime | None = None
    let_go_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A machine's way into one repository, as the Fossil user `login`; its password is derived."""

    id: str
    repository_id: str
    login: str
    label: str
    role: str  # read | write
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used: datetime | None = None


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for a change, for the audit log and the permission checks."""

    login: str
    is_admin: bool = False
    address: str = ""
    trusted_files: bool = False  # the server's own command line
    user_id: int | None = None  # None: no person; what acts for the host itself

    @classmethod
    def command_line(cls) -> Actor:
        return cls("command line", is_admin=True, trusted_files=True)

    @classmethod
    def system(cls) -> Actor:
        return cls("fossilrepo", is_admin=True)


def check_label(name: str, *, what: str) -> str:
    """The name itself when an organization or a team may have it; InvalidInput otherwise."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name[:80]!r} cannot be the name of {what}",
            hint="use 1 to 63 of a-z, 0-9 and hyphens, not starting or ending with a hyphen",
            field="name",
        )
    return name


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


def preview_name(name: str) -> str:
    """A host name for a preview of the repository, which no repository can have."""
    return f"{name[:55].rstrip('-')}--{new_id()[:6]}"


def is_preview_name(name: str) -> bool:
    return bool(_PREVIEW.fullmatch(name)) and len(name) <= 63


def check_login(login: str) -> str:
    """The login itself when a person may have it; InvalidInput with the rule otherwise."""
    if not _LOGIN.fullmatch(login):
        raise InvalidInput(
            f"{login[:80]!r} cannot be a login",
            hint="use 1 to 32 of a-z, 0-9, dot, underscore and hyphen, starting with a letter",
            field="login",
        )
    if login in RESERVED_LOGINS or KEY_LOGIN.fullmatch(login):
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
