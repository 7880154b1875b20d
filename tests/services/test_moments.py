"""Moments as people write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from fossilrepo.errors import InvalidInput
from fossilrepo.services.moments import Moment, parse_moment, write_time

NOW = datetime(2026, 11, 24, 15, 30, 12, 345678, tzinfo=UTC)


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-24T15:04:05Z", at(2026, 11, 24, 15, 4, 5)),
        ("2026-11-24t15:04:05z", at(2026, 11, 24, 15, 4, 5)),
        ("2026-11-24T15:04:05.678Z", at(2026, 11, 24, 15, 4, 5, 678000)),
        ("2026-11-24T15:04:05.6789012Z", at(2026, 11, 24, 15, 4, 5, 678901)),
        ("2026-11-24T15:04:05+01:00", at(2026, 11, 24, 14, 4, 5)),
        ("2026-11-23T23:30:00-0200", at(2026, 11, 24, 1, 30)),
        ("2026-11-24T15:04:05", at(2026, 11, 24, 15, 4, 5)),
        ("2026-11-24 15:04", at(2026, 11, 24, 15, 4)),
        ("  2026-11-24   15:04 UTC ", at(2026, 11, 24, 15, 4)),
        ("2026-11-24", at(2026, 11, 24)),
        ("5m ago", NOW - timedelta(minutes=5)),
        ("90s ago", NOW - timedelta(seconds=90)),
        ("2 hours ago", NOW - timedelta(hours=2)),
        ("1 hour ago", NOW - timedelta(hours=1)),
        ("1.5h ago", NOW - timedelta(minutes=90)),
        ("3 days ago", NOW - timedelta(days=3)),
        ("1 week ago", NOW - timedelta(days=7)),
        ("0 s ago", NOW),
        ("yesterday", at(2026, 11, 23)),
        ("Yesterday 14:00", at(2026, 11, 23, 14)),
        ("today 14:00", at(2026, 11, 24, 14)),
        ("today", at(2026, 11, 24)),
        ("14:00", at(2026, 11, 24, 14)),
        ("2024-02-29", at(2024, 2, 29)),
    ],
)
def test_what_people_write_is_understood_as_utc(text: str, meant: datetime) -> None:
    assert parse_moment(text, NOW) == Moment(at=meant)
    elsewhere = NOW.astimezone(timezone(timedelta(hours=11)))
    assert parse_moment(text, elsewhere) == Moment(at=meant)


@pytest.mark.parametrize("text", ["", "  ", "now", "Latest", "2026-11-24T15:30:17.345Z"])
def test_the_newest_also_when_another_clock_is_a_little_ahead(text: str) -> None:
    assert parse_moment(text, NOW).is_newest


@pytest.mark.parametrize("prefix", ["3f9a", "3f9a2c" * 4, "a" * 64])
def test_before_a_check_in_names_the_beginning_of_its_hash(prefix: str) -> None:
    assert parse_moment(f"before {prefix}", NOW) == Moment(before=prefix)
    assert parse_moment(f" BEFORE  {prefix.upper()} ", NOW) == Moment(before=prefix)


@pytest.mark.parametrize(
    "text",
    [
        "soon", "tomorrow", "5m", "ago", "5 x ago", "-5m ago", "5m ago 14:00", "before",
        "before 3f9", "before " + "a" * 65, "before main", "before 3f9g", "2026-11-24 25:00",
        "2026-11-24 15:61", "2026-02-30", "2026-13-01", "26-11-24", "2026-11-24T15", "24/11/2026",
        "2026-11-24 15:04+99:99", "999999999 weeks ago", "0000-00-00", "٢٠٢٦-11-24", "15:04; ls",
        "0001-01-01 00:00+01:00",
    ],
)  # fmt: skip
def test_everything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_moment(text, NOW)
    assert "5m ago" in refused.value.hint and refused.value.field == "at"


@pytest.mark.parametrize("text", ["2026-11-24T15:30:18Z", "2027-01-01", "today 23:00"])
def test_the_future_is_refused_and_what_time_it_is_here_is_told(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_moment(text, NOW)
    assert "future" in refused.value.message and "2026-11-24T15:30:12Z" in refused.value.hint


def test_a_time_that_was_written_is_read_as_the_same_moment() -> None:
    for moment in (at(2026, 11, 24, 1, 2, 3), at(2026, 11, 24, 1, 2, 3, 4000)):
        assert parse_moment(write_time(moment), NOW) == Moment(at=moment)
