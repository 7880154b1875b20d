"""How one replica stands, as the running host knows it, and what of that is worth a write.

Owns the value beside the row, the comparison of two rows, and the sum over all. Asks
nobody.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fossilrepo.models import BackupState, Replica, now
from fossilrepo.wording import size

LARGE = 64 * 2**20  # bytes that may take longer than one question to Litestream
SLOWEST = 2**20  # bytes a second, below which a copy has failed
KEEP_SYNCED_EVERY = timedelta(hours=1)  # an unchanged standing is written this often


@dataclass(slots=True)
class Standing:
    """What the running host knows of one replica, beside its row."""

    row: Replica
    first_seen: float = field(default_factory=time.monotonic)
    changed_at: float = field(default_factory=time.monotonic)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # one question at a time
    failures: int = 0
    retry: asyncio.TimerHandle | None = None
    written: Replica | None = None


async def host_answers(socket: Path) -> bool:
    """Whether a host runs here: something listens on its socket, whatever the path's length."""
    try:
        folder = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        async with asyncio.timeout(2):
            _, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/{socket.name}")
    except (OSError, TimeoutError):
        return False
    finally:
        os.close(folder)
    writer.close()
    return True


_MEASURED = (
    "label", "project_code", "state", "since", "reason", "hint", "behind_since", "synced_at",
    "txid", "replicated_txid",
)  # fmt: skip


def measured(row: Replica) -> dict[str, Any]:
    """What is written. A name not known yet does not take away the one that a purge wrote."""
    columns = {name: getattr(row, name) for name in _MEASURED}
    unknown = [name for name in ("label", "project_code") if not columns[name]]
    for name in unknown:
        del columns[name]
    return columns


def worth_writing(row: Replica, written: Replica) -> bool:
    """A mere "still so" is written once an hour: every write is replicated itself."""
    if any(getattr(row, n) != getattr(written, n) for n in _MEASURED if n != "synced_at"):
        return True
    if row.synced_at == written.synced_at or row.synced_at is None:
        return False
    return written.synced_at is None or row.synced_at - written.synced_at > KEEP_SYNCED_EVERY


def worst(rows: list[Replica]) -> BackupState:
    states = {row.state for row in rows}
    for state in (BackupState.FAILING, BackupState.BEHIND, BackupState.UNKNOWN):
        if state in states:
            return state
    return BackupState.CURRENT


def over_all(rows: list[Replica]) -> dict[str, Any]:
    """State, lag in seconds (None: not known) and the names of those that are behind."""
    asked = [row for row in rows if row.state is not BackupState.OFF]
    late = sorted(
        row.label or row.repository_id
        for row in asked
        if row.behind_since is not None or row.state is BackupState.FAILING
    )
    at = now()
    lags = [lag for row in asked if (lag := row.lag_s(at)) is not None]
    unknown = any(row.state is BackupState.UNKNOWN for row in asked)
    return {
        "state": str(worst(asked)),
        "lag_s": None if unknown and not late else max(lags, default=0.0),
        "behind": late,
    }


def large_copy(row: Replica, left: int, at: datetime) -> str:
    """What is said of bytes that are under way, in words; "" when they are few, or take too long.

    Litestream tells nothing between the beginning of a copy and its end.
    """
    since = row.behind_since or at
    if left < LARGE or (at - since).total_seconds() > left / SLOWEST:
        return ""
    return f"{size(left)} are on their way to the replica"
