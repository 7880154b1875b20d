"""The words of the sync bridge: mirrors, upstreams, rules, webhooks, and their states.

Owns the frozen dataclasses and enums that travel between the layers, and the pure rules
for globs. Knows no database, no program and no page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fossilrepo.errors import InvalidInput

_GLOB = re.compile(r"[^\s\0-\x1f\x7f]{1,200}")


class ForgeKind(StrEnum):
    """What serves the remote; `git` is any server without an API that we know."""

    GIT = "git"
    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"  # and Forgejo


class MirrorState(StrEnum):
    """How a mirror (or an upstream) stands. `stopped` needs a person."""

    NEW = "new"
    IN_SYNC = "in-sync"
    BEHIND = "behind"
    RUNNING = "running"
    FAILING = "failing"
    PAUSED = "paused"
    STOPPED = "stopped"


class Direction(StrEnum):
    """Which way an upstream goes, seen from our repository."""

    PULL = "pull"
    PUSH = "push"
    SYNC = "sync"


class Trigger(StrEnum):
    """Why a run was asked for."""

    CHANGE = "change"
    SCHEDULE = "schedule"
    HAND = "hand"
    RETRY = "retry"


class Event(StrEnum):
    """What a webhook can tell of."""

    PUSH = "push"
    TICKET = "ticket"
    WIKI = "wiki"
    FORUM = "forum"
    TECHNOTE = "technote"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the runs of a mirror or an upstream; all of it survives a restart.

    `verified_at`: the last time that both sides were proven equal, and `verified_rcvid` what
    the repository held then. `wanted_at`: a run is owed since then. `failing_since`, `failures`:
    of this row of failures. `next_run`: by schedule or as the next try.
    """

    state: MirrorState = MirrorState.NEW
    verified_at: datetime | None = None
    verified_rcvid: int = 0
    lag_checkins: int = 0
    lag_since: datetime | None = None
    wanted_at: datetime | None = None
    next_run: datetime | None = None
    last_run_at: datetime | None = None
    last_seconds: float | None = None
    last_error: str = ""
    last_hint: str = ""
    failing_since: datetime | None = None
    failures: int = 0
    paused_at: datetime | None = None
    paused_why: str = ""

    def lag_s(self, at: datetime) -> float:
        """Age in seconds of the oldest change that is not there yet."""
        if self.lag_since is None:
            return 0.0
        return max(0.0, round((at - self.lag_since).total_seconds(), 3))


@dataclass(frozen=True, slots=True)
class Mirror:
    """One Git remote of one repository. `url` is without credentials.

    `branches` is a glob; `seen` the remote's refs that a person is to decide about, `taken_over`
    those that may be overwritten as they were seen then.
    """

    id: str
    repository_id: str
    url: str
    kind: ForgeKind
    api_url: str
    user: str
    branches: str
    tags: bool
    schedule: str
    on_change: bool
    wiki: bool
    issues: bool
    has_token: bool
    token_expires_at: datetime | None
    public_key: str
    host_key: str
    rule_id: str | None
    created_by: str
    created_at: datetime
    seen: dict[str, str]
    taken_over: dict[str, str]
    standing: Standing


@dataclass(frozen=True, slots=True)
class Upstream:
    """Another Fossil that a repository exchanges its content with. `url` has no credentials."""

    id: str
    repository_id: str
    url: str
    user: str
    has_password: bool
    direction: Direction
    schedule: str
    on_change: bool
    private: bool
    unversioned: bool
    created_by: str
    created_at: datetime
    standing: Standing


@dataclass(frozen=True, slots=True)
class MirrorRule:
    """Every repository of an organization has a mirror; `{name}` in `url` is its name."""

    id: str
    org: str
    url: str
    kind: ForgeKind
    api_url: str
    user: str
    branches: str
    schedule: str
    on_change: bool
    create: bool
    has_token: bool
    created_by: str
    created_at: datetime
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that is told of events of one repository."""

    id: str
    repository_id: str
    url: str
    events: tuple[Event, ...]
    active: bool
    created_by: str
    created_at: datetime
    last_rcvid: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message of a webhook: `attempts` so far, the next at `next_at` unless it is over."""

    id: str
    webhook_id: str
    event: Event
    body: str
    created_at: datetime
    attempts: int
    next_at: datetime | None
    delivered_at: datetime | None
    status: int | None
    error: str
    answer: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Author:
    """How one Fossil user is called in Git.

    It holds for check-ins that arrived with an rcvid above `since`; of several the highest wins.
    """

    user: str
    name: str
    email: str
    since: int = 0


def check_glob(glob: str) -> str:
    """Comma-separated globs of branch names, like `main,release-*`; InvalidInput otherwise."""
    parts = [part.strip() for part in glob.split(",")]
    if not all(_GLOB.fullmatch(part) for part in parts):
        raise InvalidInput(
            "the branches are globs of names, separated by commas",
            hint="for example: main,release-*",
            field="branches",
        )
    return ",".join(parts)


def check_token(token: str) -> None:
    if len(token) > 4096 or not token.isprintable() or " " in token:
        raise InvalidInput("the token has blanks or line ends in it", field="token")


def check_issues(issues: bool, kind: ForgeKind) -> None:
    """Whether tickets can be written there, when that is wanted."""
    if issues and kind is ForgeKind.GIT:
        raise InvalidInput(
            "tickets can be written to GitHub, GitLab, Gitea and Forgejo only",
            hint="set the kind of the server",
            field="issues",
        )
