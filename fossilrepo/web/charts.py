"""Pictures of numbers: SVG made here, with a table of the same numbers for who cannot see them.

Owns shapes and scales only. Colours come from the style sheet, by class, so that they fit light
and dark; every mark has its words as a title. Days are ordinals of the calendar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from markupsafe import Markup, escape

WEEKS = 53
_CELL, _GAP = 11, 3
_LEFT, _TOP = 30, 18
_STEPS = 4  # shades above none


@dataclass(frozen=True, slots=True)
class Chart:
    """`rows` are the numbers of the picture, under `heads`; the first column names the row."""

    svg: Markup
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def calendar(counts: Mapping[int, int], today: date, word: str) -> Chart:
    """A year of days, a column for each week from Monday on: the more, the stronger."""
    first = today - timedelta(days=today.weekday() + 7 * (WEEKS - 1))
    days = [first + timedelta(days=n) for n in range((today - first).days + 1)]
    step = _CELL + _GAP
    most = max((counts.get(one.toordinal(), 0) for one in days), default=0)
    cells, months, shown = _ground(len(days), step), [], 0
    for index, one in enumerate(days):
        count = counts.get(one.toordinal(), 0)
        x, y = _LEFT + index // 7 * step, _TOP + one.weekday() * step
        if count:
            cells.append(
                f'<rect class="s{_shade(count, most)}" x="{x}" y="{y}" width="{_CELL}"'
                f' height="{_CELL}" rx="2"><title>{count:,} {_many(word, count)} on {one}'
                "</title></rect>"
            )
        if one.day <= 7 and one.weekday() == 0 and index // 7 < WEEKS - 1:
            months.append(f'<text x="{x}" y="11">{one:%b}</text>')
        shown += count
    names = "".join(
        f'<text x="0" y="{_TOP + row * step + 9}">{name}</text>'
        for row, name in ((0, "Mon"), (2, "Wed"), (4, "Fri"))
    )
    width, height = _LEFT + WEEKS * step, _TOP + 7 * step
    label = f"{shown:,} {_many(word, shown)} in the last year"
    by_month: dict[str, int] = {}
    for one in days:
        key = f"{one:%Y-%m}"
        by_month[key] = by_month.get(key, 0) + counts.get(one.toordinal(), 0)
    return Chart(
        _svg("calendar", width, height, label, [*months, names, *cells]),
        ("Month", _many(word, 2).capitalize()),
        tuple((month, f"{count:,}") for month, count in by_month.items()),
    )


def _ground(days: int, step: int) -> list[str]:
    """Days without anything, all in one shape: most pictures are mostly that."""
    cell = f"h{_CELL}v{_CELL}h-{_CELL}z"
    squares = "".join(
        f"M{_LEFT + index // 7 * step} {_TOP + index % 7 * step}{cell}" for index in range(days)
    )
    return [f'<path class="s0" d="{squares}"/>']


def bars(
    values: Sequence[tuple[str, float]],
    label: str,
    *,
    heads: tuple[str, str],
    height: int = 90,
    told: Callable[[float], str] = lambda value: f"{value:,.0f}",
    every: int = 1,
) -> Chart:
    """One bar for each value; every so many has its name below."""
    most = max((value for _, value in values), default=0) or 1
    wide = 600 / max(1, len(values))
    marks = []
    for index, (name, value) in enumerate(values):
        tall = round(value / most * height, 1)
        tall = max(tall, 1.5) if value else 0
        x = round(index * wide, 1)
        marks.append(
            f'<rect class="column" x="{x}" y="{height - tall}" width="{round(wide * 0.8, 1)}"'
            f' height="{tall}"><title>{escape(name)}: {escape(told(value))}</title></rect>'
        )
        if index % every == 0:
            where = f'x="{x}"' if index == 0 else f'class="mid" x="{round(x + wide * 0.4, 1)}"'
            marks.append(f'<text {where} y="{height + 16}">{escape(name)}</text>')
    marks.append(f'<line class="axis" x1="0" x2="600" y1="{height}" y2="{height}"/>')
    rows = tuple((name, told(value)) for name, value in values)
    return Chart(_svg("bars", 600, height + 20, label, marks), heads, rows)


def line(
    values: Sequence[tuple[str, float]],
    label: str,
    *,
    heads: tuple[str, str],
    height: int = 90,
    told: Callable[[float], str] = lambda value: f"{value:,.0f}",
) -> Chart:
    """A line through values that are each as far from the next; from nothing up."""
    most = max((value for _, value in values), default=0) or 1
    step = 600 / max(1, len(values) - 1)
    points = [
        (round(index * step, 1), round(height - value / most * (height - 4), 1))
        for index, (_, value) in enumerate(values)
    ]
    if len(points) == 1:
        points.append((600.0, points[0][1]))
    path = " ".join(f"{x},{y}" for x, y in points)
    marks = [
        f'<polygon class="area" points="0,{height} {path} 600,{height}"/>',
        f'<polyline class="line" points="{path}"/>',
        f'<line class="axis" x1="0" x2="600" y1="{height}" y2="{height}"/>',
    ]
    if values:
        marks.append(f'<text x="0" y="{height + 16}">{escape(values[0][0])}</text>')
        marks.append(f'<text class="end" x="600" y="{height + 16}">{escape(values[-1][0])}</text>')
    rows = tuple((name, told(value)) for name, value in values)
    return Chart(_svg("lines", 600, height + 20, label, marks), heads, rows)


def week(hours: Sequence[int], label: str) -> Chart:
    """The 168 hours of a week, a row for each day: when work is done."""
    most = max(hours, default=0)
    names = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    wide, step = 22, 16
    marks = []
    for day, name in enumerate(names):
        marks.append(f'<text x="0" y="{14 + day * step + 10}">{name}</text>')
        for hour in range(24):
            count = hours[day * 24 + hour]
            marks.append(
                f'<rect class="s{_shade(count, most)}" x="{_LEFT + hour * (wide + 2)}"'
                f' y="{14 + day * step}" width="{wide}" height="{step - 3}" rx="2">'
                f"<title>{name} {hour:02}:00 UTC: {count:,}</title></rect>"
            )
    for hour in range(0, 24, 3):
        marks.append(f'<text x="{_LEFT + hour * (wide + 2)}" y="10">{hour:02}</text>')
    rows = tuple(
        (name, *(f"{hours[day * 24 + hour]:,}" for hour in range(24)))
        for day, name in enumerate(names)
    )
    heads = ("Day", *(f"{hour:02}" for hour in range(24)))
    return Chart(_svg("week", _LEFT + 24 * (wide + 2), 14 + 7 * step, label, marks), heads, rows)


def by_week(counts: Mapping[int, int], today: date, weeks: int = 26) -> list[tuple[str, float]]:
    """The sums of whole weeks up to this one, named by their Mondays."""
    monday = today - timedelta(days=today.weekday())
    found = []
    for back in range(weeks - 1, -1, -1):
        begin = monday - timedelta(weeks=back)
        total = sum(counts.get(begin.toordinal() + n, 0) for n in range(7))
        found.append((f"{begin:%d %b}", float(total)))
    return found


def running(
    changes: Iterable[Mapping[int, int]], signs: Sequence[int], today: date, weeks: int = 26
) -> list[tuple[str, float]]:
    """What was there at the end of each week: everything that came less everything that went."""
    monday = today - timedelta(days=today.weekday())
    found = []
    for back in range(weeks - 1, -1, -1):
        end = (monday - timedelta(weeks=back)).toordinal() + 6
        total = sum(
            sign * sum(count for day, count in days.items() if day <= end)
            for sign, days in zip(signs, changes, strict=True)
        )
        found.append((f"{date.fromordinal(end - 6):%d %b}", float(total)))
    return found


def _shade(count: int, most: int) -> int:
    """By the logarithm: one very busy day leaves the others their differences."""
    if count <= 0:
        return 0
    return min(_STEPS, 1 + int(_STEPS * math.log(count + 1) / math.log(most + 2)))


def _many(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _svg(kind: str, width: float, height: float, label: str, marks: Sequence[str]) -> Markup:
    return Markup(  # noqa: S704 - our numbers, and names that were escaped
        f'<svg class="chart {kind}" viewBox="0 0 {width:g} {height:g}" role="img"'
        f' aria-label="{escape(label)}">{"".join(marks)}</svg>'
    )
