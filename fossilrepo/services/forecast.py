"""What the replica holds now, and what it will: bytes, objects, requests, days until full.

Owns the arithmetic on a listing of the target; it asks no program and changes nothing.
What was written in the last day is taken for every day. Litestream keeps whole copies
(level 9) for as long as the retention lasts, and what leads from one to the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fossilrepo.tools.target import Stored

SNAPSHOT_LEVEL = 9
TOP = 20
DAYS_PER_MONTH = 30.0
# Counted at the server with the generated configuration: an idle database is listed when
# its objects of level 0 are looked after, every 5 minutes, and a changed one at every
# object of a higher level.
LISTS_PER_REPLICA_PER_DAY = 2 * 86400 / 300
LISTS_PER_OBJECT = 3
_OBJECT = re.compile(
    r"(?P<name>[^/]+)/(?:ltx/)?(?P<level>[0-9a-f]{1,4})/(?P<low>[0-9a-f]{16})-(?P<high>[0-9a-f]{16})\.ltx"
)


@dataclass(frozen=True, slots=True)
class ReplicaSize:
    """What one replica takes; `name` is its folder or prefix in the target."""

    name: str
    label: str
    size_bytes: int
    objects: int
    bytes_per_day: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """A forecast for one target. `replicas` are the largest, `other_…` what is no replica's.

    `room_bytes` and `full_in_days` are None unless the target is a folder here;
    `full_in_days` is None too when it will not be full within the retention.
    """

    at: datetime
    url: str
    total_bytes: int
    total_objects: int
    other_bytes: int
    other_objects: int
    replicas: tuple[ReplicaSize, ...]
    replica_count: int
    changed_per_day: int
    snapshot_bytes_per_day: int
    change_bytes_per_day: int
    bytes_per_day: int
    retained_bytes: int
    retention_days: float
    put_requests_per_month: int
    list_requests_per_month: int
    room_bytes: int | None
    full_in_days: float | None


@dataclass(slots=True)
class _Sum:
    """What a listing says of one replica."""

    size: int = 0
    objects: int = 0
    snapshot: int = 0  # bytes of the newest whole copy
    snapshot_low: int = -1
    day_bytes: int = 0  # levels between, written in the last day
    day_objects: int = 0
    syncs: int = 0  # transactions shipped in the last day, each an object for a while
    covered: int = 0  # the last transaction that a level above 0 holds
    shipped: list[int] = field(default_factory=list)  # transactions of level 0

    def close(self) -> None:
        """Count what no higher level tells of yet."""
        self.syncs += sum(txid > self.covered for txid in self.shipped)


def forecast(
    objects: Iterable[Stored],
    labels: Mapping[str, str],
    *,
    url: str,
    at: datetime,
    snapshot_interval: float,
    retention: float,
    room_bytes: int | None,
    list_requests: bool,
) -> Forecast:
    """Add up the objects; `labels` has the replicas by name, times are in seconds.

    `list_requests`: whether the target counts them, which a folder does not.
    """
    sums: dict[str, _Sum] = {name: _Sum() for name in labels}
    other = _Sum()
    day_ago = at - timedelta(days=1)
    for stored in objects:
        found = _OBJECT.fullmatch(stored.key)
        entry = sums.get(stored.key.partition("/")[0], other)
        entry.size += stored.size
        entry.objects += 1
        if found and entry is not other:
            low, high = int(found["low"], 16), int(found["high"], 16)
            recent = stored.modified >= day_ago
            _add(entry, int(found["level"], 16), low, high, stored.size, recent)
    present = {name: entry for name, entry in sums.items() if entry.objects}
    days, copies_per_day = retention / 86400, 86400 / snapshot_interval
    snapshots = changes = retained = puts = changed = 0
    sizes = []
    for name, entry in present.items():
        entry.close()
        per_day = 0
        if entry.day_objects or entry.syncs:
            changed += 1
            per_day = round(entry.snapshot * copies_per_day) + entry.day_bytes
            snapshots += round(entry.snapshot * copies_per_day)
            changes += entry.day_bytes
            retained += entry.snapshot + round(per_day * days)  # one is always left
            puts += entry.syncs + entry.day_objects + round(copies_per_day)
        else:
            retained += entry.size
        sizes.append(ReplicaSize(name, labels[name], entry.size, entry.objects, per_day))
    objects_per_day = sum(entry.day_objects for entry in present.values())
    lists = len(present) * LISTS_PER_REPLICA_PER_DAY + objects_per_day * LISTS_PER_OBJECT
    total = sum(size.size_bytes for size in sizes) + other.size
    per_day = snapshots + changes
    return Forecast(
        at=at,
        url=url,
        total_bytes=total,
        total_objects=sum(size.objects for size in sizes) + other.objects,
        other_bytes=other.size,
        other_objects=other.objects,
        replicas=tuple(sorted(sizes, key=lambda size: (-size.size_bytes, size.name))[:TOP]),
        replica_count=len(sizes),
        changed_per_day=changed,
        snapshot_bytes_per_day=snapshots,
        change_bytes_per_day=changes,
        bytes_per_day=per_day,
        retained_bytes=retained + other.size,
        retention_days=days,
        put_requests_per_month=round(puts * DAYS_PER_MONTH),
        list_requests_per_month=round(lists * DAYS_PER_MONTH) if list_requests else 0,
        room_bytes=room_bytes,
        full_in_days=_days(room_bytes, per_day, retained + other.size - total),
    )


def _add(entry: _Sum, level: int, low: int, high: int, size: int, recent: bool) -> None:
    if level == SNAPSHOT_LEVEL:
        if high > entry.snapshot_low:
            entry.snapshot, entry.snapshot_low = size, high
        return
    if level == 0:  # gone again in minutes: counts as a request, not as room
        if recent:
            entry.shipped.append(low)
        return
    if recent:
        entry.day_objects += 1
        entry.day_bytes += size
        if level == 1:
            entry.syncs += high - low + 1
    entry.covered = max(entry.covered, high)


def _days(room: int | None, per_day: int, growth: int) -> float | None:
    if room is None or growth <= room or per_day <= 0:
        return None
    return round(max(0.0, room / per_day), 1)
