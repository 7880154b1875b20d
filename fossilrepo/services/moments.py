"""Moments as people write them: `2026-11-24 15:04`, `5m ago`, `yesterday 14:00`, `before 3f9a2c`.

Owns the forms and what each means, in UTC. Pure: knows no clock and no repository;
which moment lies before a check-in is for others to find out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fossilrepo.errors import InvalidInput

AHEAD = timedelta(seconds=5)  # another clock may be that much before ours
EXAMPLES = "write 2026-11-24T15:04:05Z, 2026-11-24 15:04, 5m ago, yesterday 14:00, before CHECKIN"
_NEWEST = {"", "now", "latest", "newest"}
_BEFORE = re.compile(r"before\s+([0-9a-f]{4,64})")
_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*([a-z]+)\s+ago", re.ASCII)
_DAY = re.compile(r"(today|yesterday|\d{4}-\d\d-\d\d)(?:[t\s]\s*(.+))?", re.ASCII)
_TIME = re.compile(
    r"(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s*(z|utc|[+-][012]\d:?[0-5]\d)?", re.ASCII
)
_UNITS = {
    "second": 1, "sec": 1, "s": 1,
    "minute": 60, "min": 60, "m": 60,
    "hour": 3600, "hr": 3600, "h": 3600,
    "day": 86400, "d": 86400,
    "week": 7 * 86400, "w": 7 * 86400,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moment:
    """A time, or the last moment `before` a check-in (the beginning of its hash); else the newest.

    Times are UTC.
    """

    at: datetime | None = None
    before: str | None = None

    @property
    def is_newest(self) -> bool:
        return self.at is None and self.before is None


def parse_moment(text: str, now: datetime) -> Moment:
    """What somebody meant who wrote this at `now`; InvalidInput with examples otherwise.

    A time without a zone is UTC, a day without a time its beginning. The future is
    refused, except for what another clock may be ahead: that is the newest.
    """
    words = " ".join(text.lower().split())
    if words in _NEWEST:
        return Moment()
    if found := _BEFORE.fullmatch(words):
        return Moment(before=found[1])
    at = _ago(words, now) or _on_a_day(words, now)
    if at is None:
        raise InvalidInput(f"{text[:80]!r} is no moment", hint=EXAMPLES, field="at")
    if at > now:
        if at <= now + AHEAD:
            return Moment()
        raise InvalidInput(
            f"{write_time(at)} is in the future",
            hint=f"it is {now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} here; times are UTC",
            field="at",
        )
    return Moment(at)


def write_time(at: datetime) -> str:
    """RFC 3339 in UTC to the millisecond, which `parse_moment` reads as the same moment."""
    text = at.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace(".000+00:00", "Z").replace("+00:00", "Z")


def _ago(words: str, now: datetime) -> datetime | None:
    found = _AGO.fullmatch(words)
    if found is None:
        return None
    unit = found[2] if found[2] in _UNITS else found[2].removesuffix("s")
    if unit not in _UNITS:
        return None
    try:
        return now - timedelta(seconds=float(found[1]) * _UNITS[unit])
    except OverflowError:
        return None


def _on_a_day(words: str, now: datetime) -> datetime | None:
    found = _DAY.fullmatch(words)
    if found is None:
        time = _TIME.fullmatch(words)  # of today
        return _at_time(now.astimezone(UTC), time) if time else None
    day = now.astimezone(UTC)
    if found[1] == "yesterday":
        day -= timedelta(days=1)
    elif found[1] != "today":
        try:
            day = datetime.strptime(found[1], "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            return None
    if found[2] is None:
        return day.replace(hour=0, minute=0, second=0, microsecond=0)
    time = _TIME.fullmatch(found[2])
    return _at_time(day, time) if time else None


def _at_time(day: datetime, time: re.Match[str]) -> datetime | None:
    fraction = (time[4] or "").ljust(6, "0")[:6]
    zone = timedelta()
    if time[5] and time[5] not in ("z", "utc"):
        digits = time[5][1:].replace(":", "")
        zone = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        zone = -zone if time[5][0] == "-" else zone
    try:
        local = day.replace(
            hour=int(time[1]),
            minute=int(time[2]),
            second=int(time[3] or 0),
            microsecond=int(fraction),
        )
        return local - zone
    except (ValueError, OverflowError):
        return None
