"""How counts, sizes and times are worded for people, on pages and on the command line. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from fossilrepo.models import now

_STEPS = (
    (60, 1, "second"),
    (3600, 60, "minute"),
    (86400, 3600, "hour"),
    (30 * 86400, 86400, "day"),
)
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def plural(count: int, word: str, many: str = "") -> str:
    """`1 check-in`, `2,000 check-ins`, `3 repositories`; `many` for words that do more."""
    if count == 1:
        return f"1 {word}"
    return f"{count:,} {many or re.sub(r'(?<![aeiou])y$', 'ie', word) + 's'}"


def size(count: int) -> str:
    """Bytes in binary units: `512 B`, `1.5 MiB`."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS:
        value /= 1024
        if value < 1000 or unit == _UNITS[-1]:
            break
    return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"


def relative(at: datetime, seen_at: datetime | None = None) -> str:
    """`just now`, `5 minutes ago`, `in 2 days`; the date for what is further off than a month."""
    seconds = ((seen_at or now()) - at).total_seconds()
    distance = abs(seconds)
    if distance < 10:
        return "just now"
    for limit, unit, word in _STEPS:
        if distance < limit:
            words = plural(int(distance // unit), word)
            return f"{words} ago" if seconds > 0 else f"in {words}"
    return at.astimezone(UTC).strftime("%Y-%m-%d")


def lasting(seconds: float) -> str:
    """A length of time in its two largest units: `3 days 4 hours`."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return plural(int(seconds), "second")
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [(days, "day"), (hours, "hour"), (minutes, "minute")]
    return " ".join([plural(count, word) for count, word in parts if count][:2])


def span(seconds: float) -> str:
    """A measured length of time, exact while it is short: `0.2 s`, `45 s`, `12 minutes`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return lasting(seconds)
