"""Whose turn it is to be brought back on trial.

Owns what is verified, and the rules of when: after what makes a proof doubtful at once,
after a change daily (as configured), in any case weekly, and an hour after a failure.
Reads no more than the times of files; the records are `verification`'s.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from fossilrepo.models import Replica, Repository, RepositoryState, now

AT_THE_LATEST = timedelta(days=7)
OVERDUE = AT_THE_LATEST + timedelta(days=1)
FAILED_AGAIN_AFTER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is verified: a repository, or the control database when there is none."""

    id: str
    label: str
    repository: Repository | None


def is_due(row: Replica, changed_at: float | None, at: datetime, verify: float) -> bool:
    """Whether a trial is due; `verify` is in seconds, `changed_at` a time of a file."""
    tried = row.verify_at
    if tried is not None and (row.proven_at is None or tried > row.proven_at):
        return not timedelta(0) <= at - tried < FAILED_AGAIN_AFTER  # the last one failed
    if row.verify_wanted or row.proven_at is None:
        return True
    age = at - row.proven_at
    if age >= AT_THE_LATEST or age < timedelta(0):  # or the clock was set back
        return True
    changed = changed_at is not None and changed_at > row.proven_at.timestamp()
    return changed and age.total_seconds() >= verify


def overdue(subject: Subject, row: Replica, target_since: datetime | None) -> datetime | None:
    """Since when it should have been proven, when that is too long ago."""
    created = subject.repository.created_at if subject.repository else None
    last = row.proven_at or max(filter(None, (created, target_since)), default=None)
    return last if last is not None and now() - last > OVERDUE else None


def is_broken(subject: Subject) -> bool:
    return subject.repository is not None and subject.repository.state is RepositoryState.BROKEN


def written_at(path: Path) -> float | None:
    """An empty log is no change: reading a database makes one."""
    times = []
    for name in (path, path.with_name(path.name + "-wal")):
        with suppress(FileNotFoundError):
            status = name.stat()
            if status.st_size:
                times.append(status.st_mtime)
    return max(times, default=None)


def stamp(at: datetime | None) -> float:
    return at.timestamp() if at else 0.0
