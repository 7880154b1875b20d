"""What the API of backups takes and gives: one pydantic model per body.

Owns the shapes, which are promises; keys may be added, never changed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field, model_validator

from fossilrepo.models import BackupState
from fossilrepo.web.api_models import Answer, Body


class Moment(Body):
    """`at` as people write it; empty for the newest."""

    at: str = ""


class Restore(Moment):
    """Exactly one of `as` (a new repository's name) and `in_place`."""

    new_name: str | None = Field(default=None, alias="as")
    in_place: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> Restore:
        if bool(self.new_name) == self.in_place:
            raise ValueError("give exactly one of as and in_place")
        return self


class Verify(Body):
    """Names, or identities also from the trash; none for everything."""

    names: list[str] = Field(default_factory=list)


class ReplicaAnswer(Answer):
    id: str
    name: str
    state: BackupState
    lag_s: float | None
    lag_transactions: int
    since: datetime | None
    reason: str | None
    hint: str | None
    synced_at: datetime | None
    proven_at: datetime | None
    proven_seconds: float | None
    verify_error: str | None


class TargetAnswer(Answer):
    id: int
    url: str
    since: datetime
    proven_at: datetime | None
    let_go_at: datetime | None


class LetGo(Body):
    """`leave_objects`: it is taken off the list only."""

    leave_objects: bool = False


class OrphanAnswer(Answer):
    name: str
    objects: int
    size_bytes: int
    newest: datetime


class Orphans(Answer):
    orphans: list[OrphanAnswer]


class Backup(Answer):
    """`control_database` is null where it lies in PostgreSQL."""

    url: str
    place: str
    state: BackupState
    lag_s: float | None
    behind: list[str]
    repositories: list[ReplicaAnswer]
    targets: list[TargetAnswer]
    control_database: ReplicaAnswer | None


class DeletedOne(Answer):
    """`until` is null while its file lies in the trash."""

    id: str
    name: str
    state: str
    deleted_at: datetime | None
    until: datetime | None
    proven_at: datetime | None


class Deleted(Answer):
    deleted: list[DeletedOne]


class Verification(Answer):
    id: int
    repository_id: str
    name: str
    at: datetime
    seconds: float
    ok: bool
    detail: str
    size_bytes: int
    checkins: int


class Verifications(Answer):
    verifications: list[Verification]


class Forecast(Answer):
    """Bytes, objects and requests; `full_in_days` is null when it will not be full."""

    at: datetime
    url: str
    total_bytes: int
    total_objects: int
    bytes_per_day: int
    retained_bytes: int
    retention_days: float
    put_requests_per_month: int
    list_requests_per_month: int
    room_bytes: int | None
    full_in_days: float | None
    replicas: list[dict[str, Any]]


class PreviewAnswer(Answer):
    """`moment` is null for the newest."""

    id: str
    repository_id: str
    name: str
    moment: datetime | None
    created_by: str
    created_at: datetime
    expires_at: datetime
    url: str


class Previews(Answer):
    previews: list[PreviewAnswer]


class PushAnswer(Answer):
    """What was received at once. `before`: the newest moment without it, if one parts them."""

    at: datetime
    login: str
    checkins: int
    changes: int
    comment: str
    checkin: str
    before: datetime | None


class PointAnswer(Answer):
    """One state that can be restored, by `at`; what was pushed since the one before."""

    at: datetime
    txid: int
    level: int
    pushes: list[PushAnswer]


class Points(Answer):
    """One page, newest first; `total` counts all. `undo`: an in-place restore to take back."""

    repository_id: str
    label: str
    total: int
    promise: str
    knows_pushes: bool
    points: list[PointAnswer]
    undo: dict[str, Any] | None


class ChangeAnswer(Answer):
    what: str
    gone: int
    back: int


class CheckInAnswer(Answer):
    hash: str
    comment: str
    user: str
    branch: str
    at: datetime


class DifferenceAnswer(Answer):
    """What restoring in place would change; the lists have the newest check-ins only."""

    at: datetime | None
    checkins_now: int
    checkins_then: int
    changes: list[ChangeAnswer]
    gone: list[CheckInAnswer]
    back: list[CheckInAnswer]
    warning: str
