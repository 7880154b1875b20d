"""What the API takes and gives of mirrors, upstreams, rules, webhooks and authors."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field, SecretStr

from fossilrepo.bridge import Direction, Event, ForgeKind, MirrorState
from fossilrepo.models import JobState
from fossilrepo.web.api_models import Answer, Body


class _Remote(Body):
    url: str = Field(max_length=1000)
    kind: ForgeKind | None = None
    api_url: str = ""
    user: str = ""
    token: SecretStr = SecretStr("")


class ConnectionTest(_Remote):
    """What a mirror would be added with."""


class NewMirror(_Remote):
    """`create` makes the repository there by its API, a private one unless `private` is false."""

    branches: str = "*"
    tags: bool = True
    schedule: str = ""
    on_change: bool = True
    wiki: bool = False
    issues: bool = False
    create: bool = False
    private: bool = True


class MirrorChanges(Body):
    """What is not given stays."""

    url: str | None = None
    branches: str | None = None
    tags: bool | None = None
    schedule: str | None = None
    on_change: bool | None = None
    wiki: bool | None = None
    issues: bool | None = None
    user: str | None = None
    token: SecretStr | None = None


class _Standing(Answer):
    """`lag_s` is the age of the oldest change that is not there yet."""

    state: MirrorState
    verified_at: datetime | None
    lag_checkins: int
    lag_s: float
    last_error: str
    hint: str
    last_run: datetime | None
    last_seconds: float | None
    next_run: datetime | None
    failing_since: datetime | None
    failures: int
    paused: str


class MirrorAnswer(_Standing):
    """`waits_for_decision`: refs of the remote that would be lost, with what they hold."""

    id: str
    repository: str
    url: str
    kind: ForgeKind
    user: str
    branches: str
    tags: bool
    schedule: str
    schedule_words: str
    on_change: bool
    wiki: bool
    issues: bool
    has_token: bool
    token_expires_at: datetime | None
    public_key: str
    host_key: str
    rule: str | None
    created_by: str
    created_at: datetime
    waits_for_decision: dict[str, str]


class MirrorsAnswer(Answer):
    mirrors: list[MirrorAnswer]


class TokenAnswer(Answer):
    login: str
    scopes: list[str]
    expires_at: datetime | None
    can_push: bool | None
    can_create: bool | None


class ConnectionAnswer(Answer):
    """`missing`: the server says that there is no such repository."""

    refs: int
    branches: list[str]
    host_key: str
    missing: bool
    token: TokenAnswer | None


class UpdateAnswer(Answer):
    ref: str
    from_: str = Field(alias="from")
    to: str


class CommitAnswer(Answer):
    hash: str
    author: str
    subject: str


class LostAnswer(Answer):
    ref: str
    hash: str
    commits: list[CommitAnswer]


class RenamedAnswer(Answer):
    name: str
    ref: str


class MirrorPreview(Answer):
    """What a run would do; when it `stops`, a person is to decide about `would_be_lost`."""

    would_push: list[UpdateAnswer]
    stops: bool
    would_be_lost: list[LostAnswer]
    others: dict[str, str]
    checkins: int
    refs: dict[str, str]
    renamed: list[RenamedAnswer]


class RunAnswer(Answer):
    id: str
    state: JobState
    trigger: str
    requested_by: str
    result: str
    error: str
    hint: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None
    log: str


class RunsAnswer(Answer):
    runs: list[RunAnswer]


class NewUpstream(Body):
    url: str = Field(max_length=1000)
    direction: Direction = Direction.PULL
    user: str = ""
    password: SecretStr | None = None
    schedule: str = ""
    on_change: bool = False
    private: bool = False
    unversioned: bool = False


class UpstreamAnswer(_Standing):
    id: str
    repository: str
    url: str
    user: str
    has_password: bool
    direction: Direction
    schedule: str
    schedule_words: str
    on_change: bool
    private: bool
    unversioned: bool
    created_by: str
    created_at: datetime


class UpstreamsAnswer(Answer):
    upstreams: list[UpstreamAnswer]


class NewRule(_Remote):
    """`{name}` in `url` becomes the name of each repository."""

    branches: str = "*"
    schedule: str = ""
    on_change: bool = True
    create: bool = False


class RuleToken(Body):
    token: SecretStr


class RuleAnswer(Answer):
    id: str
    org: str
    url: str
    kind: ForgeKind
    user: str
    branches: str
    schedule: str
    on_change: bool
    create: bool
    has_token: bool
    created_by: str
    created_at: datetime
    last_error: str


class RulesAnswer(Answer):
    rules: list[RuleAnswer]


class AuthorAnswer(Answer):
    """`since`: for check-ins that arrived with an rcvid above this one."""

    user: str
    name: str
    email: str
    since: int


class AuthorsAnswer(Answer):
    main_branch: str
    authors: list[AuthorAnswer]


class NewAuthor(Body):
    """`rewrite` makes all commits anew, with other hashes."""

    user: str
    name: str
    email: str
    rewrite: bool = False


class MainBranch(Body):
    main_branch: str


class NewWebhook(Body):
    """Without a `secret` one is made."""

    url: SecretStr
    events: list[Event] = Field(default_factory=lambda: list(Event))
    secret: SecretStr = SecretStr("")


class WebhookChanges(Body):
    url: SecretStr | None = None
    events: list[Event] | None = None
    active: bool | None = None
    secret: SecretStr | None = None


class WebhookAnswer(Answer):
    """`url` is shown without what may be secret in it."""

    id: str
    url: str
    events: list[Event]
    active: bool
    created_by: str
    created_at: datetime


class NewWebhookAnswer(WebhookAnswer):
    secret: str


class WebhooksAnswer(Answer):
    webhooks: list[WebhookAnswer]


class DeliveryAnswer(Answer):
    id: str
    webhook: str
    event: str
    created_at: datetime
    attempts: int
    next_at: datetime | None
    delivered_at: datetime | None
    status: int | None
    error: str
    answer: str
    seconds: float | None
    body: str


class DeliveriesAnswer(Answer):
    deliveries: list[DeliveryAnswer]
