"""Schedules: what is understood, and that clocks that are changed run nothing twice."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest

from fossilrepo.errors import InvalidInput
from fossilrepo.runtime import schedule

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "next_one"),
    [
        ("15m", NOON + timedelta(minutes=15)),
        ("6h", NOON + timedelta(hours=6)),
        ("30 3 * * *", datetime(2026, 3, 11, 3, 30, tzinfo=UTC)),
        ("@hourly", NOON + timedelta(hours=1)),
        ("@weekly", datetime(2026, 3, 15, tzinfo=UTC)),
        ("0 12 * * *", NOON + timedelta(days=1)),  # after, never at
    ],
)
def test_the_time_that_follows(text: str, next_one: datetime) -> None:
    assert schedule.check(text) == text
    assert schedule.following(text, NOON) == next_one


@pytest.mark.parametrize(
    "text", ["soon", "61 * * * *", "* * * *", "1s", "0 0 31 2 *", "* * * * * *;rm", "x" * 200]
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        schedule.check(text)
    assert caught.value.field == "schedule" and caught.value.hint


def test_no_schedule_never_comes() -> None:
    assert schedule.check("  ") == ""
    assert schedule.following("", NOON) is None


def test_a_day_with_a_changed_clock_has_each_hour_once() -> None:
    """Europe's clocks go back on 2026-10-25, at 01:00 UTC; here every hour comes once."""
    at = datetime(2026, 10, 25, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    seen = []
    for _ in range(6):
        following = schedule.following("30 * * * *", at)
        assert following is not None
        seen.append(following)
        at = following
    gaps = {later - earlier for earlier, later in pairwise(seen)}
    assert gaps == {timedelta(hours=1)}


def test_schedules_are_told_in_words() -> None:
    assert schedule.described("90m") == "every 90m"
    assert "03:30" in schedule.described("30 3 * * *")
    assert "UTC" in schedule.described("@daily")
    assert schedule.described("") == "not by the clock"
