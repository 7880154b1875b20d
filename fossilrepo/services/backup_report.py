"""How the replicas stand, as one document: for `backup status`, the API and the pages.

Owns the keys, which the interface promises, and what can still be brought back. It
measures nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from fossilrepo.models import (
    CONTROL_ID,
    BackupState,
    BackupTarget,
    Replica,
    Repository,
    iso,
    now,
)

if TYPE_CHECKING:
    from fossilrepo.services.replication import Replication

LATE_AFTER = 60.0  # seconds behind, before it is worth a word
LOCAL_ONLY = "copied on this disk only: protects from mistakes, not from losing the machine"
LOCAL_ONLY_HINT = "set backup.url to another disk (file:///FOLDER) or to s3://BUCKET/PREFIX"


def report(replication: Replication, targets: Iterable[BackupTarget]) -> dict[str, Any]:
    """The whole document; lags are in seconds, times RFC 3339. Purged repositories are not in it.

    `control_database` is None where it lies in PostgreSQL, which has backups of its own.
    """
    at = now()
    rows = dict(replication.statuses())
    control = rows.pop(CONTROL_ID, None)
    living = sorted(
        (row for row in rows.values() if row.purged_at is None),
        key=lambda row: (row.label or row.repository_id, row.repository_id),
    )
    return {
        **replication.summary(),
        "repositories": [described(row, at) for row in living],
        "targets": [described_target(target) for target in targets],
        "control_database": described(control, at) if control else None,
    }


def described(row: Replica, at: datetime) -> dict[str, Any]:
    """One replica. `lag_transactions`: how many it is behind by Litestream's own count."""
    return {
        "id": row.repository_id,
        "name": row.label or row.repository_id,
        "state": str(row.state),
        "lag_s": row.lag_s(at),
        "lag_transactions": max(0, row.txid - row.replicated_txid),
        "since": iso(row.since),
        "reason": row.reason or None,
        "hint": row.hint or None,
        "synced_at": iso(row.synced_at),
        "proven_at": iso(row.proven_at),
        "proven_seconds": row.proven_seconds,
        "verify_error": row.verify_error or None,
    }


def described_target(target: BackupTarget) -> dict[str, Any]:
    return {
        "id": target.id,
        "url": target.url,
        "since": iso(target.since),
        "proven_at": iso(target.proven_at),
        "let_go_at": iso(target.let_go_at),
    }


def is_bad(document: dict[str, Any]) -> bool:
    """Whether something of it needs a person: a replica that fails, or a failed trial restore."""
    rows = [*document["repositories"], document["control_database"] or {}]
    return any(r.get("state") == BackupState.FAILING or r.get("verify_error") for r in rows)


@dataclass(frozen=True, slots=True)
class Gone:
    """A deleted repository; `until` is None while its file lies in the trash."""

    id: str
    label: str
    deleted_at: datetime | None
    purged_at: datetime | None = None
    until: datetime | None = None


def gone(replication: Replication, trashed: Iterable[Repository], retention: float) -> list[Gone]:
    """What is deleted and can come back, newest first; purged ones for `retention` seconds."""
    found = [Gone(one.id, one.label, one.deleted_at) for one in trashed]
    for row in replication.statuses().values():
        if row.purged_at is not None and row.cleared_at is None:
            label = row.label or row.repository_id
            until = row.purged_at + timedelta(seconds=retention)
            found.append(Gone(row.repository_id, label, row.purged_at, row.purged_at, until))
    return sorted(found, key=lambda one: one.deleted_at or now(), reverse=True)


def described_gone(one: Gone, replication: Replication) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.label,
        "state": "purged" if one.purged_at else "trashed",
        "deleted_at": iso(one.deleted_at),
        "until": iso(one.until),
        "proven_at": iso(replication.standing(one.id).proven_at),
    }
