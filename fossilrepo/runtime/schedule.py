"""When something that repeats is due next: cron expressions and intervals, in UTC.

Owns how people write a schedule and the time that follows another one. UTC has no summer
time, so nothing runs twice or never when clocks are changed; the time of the last run is
the caller's to keep.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

from fossilrepo.errors import InvalidInput
from fossilrepo.values import format_duration, parse_duration

SHORTEST = timedelta(seconds=30)
_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
_HINT = "write an interval like 15m or 6h, @daily, or five fields of cron in UTC: 30 3 * * *"


def check(text: str) -> str:
    """The schedule itself, tidied, or "" for none; InvalidInput with what may be written."""
    text = " ".join(text.split())
    if not text:
        return ""
    if len(text) > 100 or not text.isprintable():
        raise InvalidInput("this is no schedule", hint=_HINT, field="schedule")
    interval = _interval(text)
    if interval is not None:
        if interval < SHORTEST:
            raise InvalidInput(
                f"{text} is too often", hint="the shortest interval is 30s", field="schedule"
            )
        return text
    if following(text, datetime.now(UTC)) is None:
        raise InvalidInput(f"{text!r} never comes", hint=_HINT, field="schedule")
    return text


def following(text: str, after: datetime) -> datetime | None:
    """The first time after `after`; None without a schedule or when it never comes."""
    if not text:
        return None
    interval = _interval(text)
    if interval is not None:
        return after.astimezone(UTC) + interval
    try:
        return next(CronSim(_NAMED.get(text, text), after.astimezone(UTC)), None)
    except CronSimError:
        raise InvalidInput(f"{text!r} is no schedule", hint=_HINT, field="schedule") from None


def described(text: str) -> str:
    """In words where they are shorter than the fields."""
    if not text:
        return "not by the clock"
    interval = _interval(text)
    if interval is not None:
        return f"every {format_duration(interval.total_seconds())}"
    words = CronSim(_NAMED.get(text, text), datetime.now(UTC)).explain()
    return f"{words[:1].lower()}{words[1:]} (UTC)"


def _interval(text: str) -> timedelta | None:
    try:
        return timedelta(seconds=parse_duration(text))
    except ValueError:
        return None
