"""The words of insights: events of Fossil's timeline, and what is counted of a repository.

Owns shapes only. Days are ordinals of the calendar in UTC, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

KINDS = ("ci", "w", "t", "e", "f", "g")
KIND_WORDS: Mapping[str, str] = {
    "ci": "check-in",
    "w": "wiki edit",
    "t": "ticket change",
    "e": "technote",
    "f": "forum post",
    "g": "tag change",
}

# What finds words in the timeline on SQLite, in one place: a database that comes from a replica
# may have this one virtual table and no other.
WORDS = "timeline_words"
WORDS_SQL = (
    f"CREATE VIRTUAL TABLE {WORDS} USING fts5(text, \"user\", content='timeline', "
    "content_rowid='id', tokenize='unicode61 remove_diacritics 2', prefix='2 3')"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of the timeline; `text` is plain, `branch` is that of a check-in."""

    hash: str
    kind: str
    at: datetime
    user: str
    text: str
    branch: str


@dataclass(frozen=True, slots=True)
class Known:
    """What the last reading ended with."""

    rcvid: int
    counts: Mapping[str, int]
    restored: str


@dataclass(frozen=True, slots=True)
class Big:
    name: str
    hash: str
    size: int


@dataclass(frozen=True, slots=True)
class Readme:
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Tickets:
    """How many are open and closed, and by day (its ordinal) how many were opened and closed.

    A ticket was closed on the day of its last change: Fossil keeps no other.
    """

    open: int = 0
    closed: int = 0
    opened_on: Mapping[int, int] = field(default_factory=dict)
    closed_on: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Read:
    """`whole`: the entries are all there are; else those that are new or have changed.

    `languages`: ending of a file's name to (files, bytes), of the newest check-in of the main
    branch. `pushes`: day (its ordinal) to how often something was sent here. `contacts`: login to
    e-mail address, where the repository knows one. `open_branches`: those with an open leaf.
    """

    known: Known
    whole: bool
    entries: tuple[Entry, ...]
    head: str
    open_branches: frozenset[str]
    contacts: Mapping[str, str]
    tickets: Tickets
    languages: Mapping[str, tuple[int, int]]
    biggest: tuple[Big, ...]
    pushes: Mapping[int, int]
    wiki_pages: int
    readme: Readme | None


@dataclass(frozen=True, slots=True)
class Event:
    """One event as people read it; `repository` is the name of the repository it is in."""

    id: int
    repository: str
    org: str
    kind: str
    hash: str
    at: datetime
    user: str
    text: str
    branch: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the timeline is wanted; empty: all. `before`: older than this event of the list."""

    repository: str = ""
    org: str = ""
    user: str = ""
    users: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    before: tuple[datetime, int] | None = None


@dataclass(frozen=True, slots=True)
class Contributor:
    """Somebody under all the names that are theirs, the usual one first."""

    names: tuple[str, ...]
    checkins: int
    others: int
    first_at: datetime
    last_at: datetime

    @property
    def name(self) -> str:
        return self.names[0]


@dataclass(frozen=True, slots=True)
class Branch:
    name: str
    checkins: int
    first_at: datetime
    last_at: datetime
    is_open: bool


@dataclass(frozen=True, slots=True)
class DiskDay:
    """Bytes, as last seen on that day: all repositories together, and the disk they are on."""

    day: int
    repositories: int
    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Kept:
    """All that is known of one repository without opening it; see `Read` for the words."""

    head: str
    counts: Mapping[str, int]
    contacts: Mapping[str, str]
    tickets: Tickets
    languages: Mapping[str, tuple[int, int]]
    biggest: tuple[Big, ...]
    pushes: Mapping[int, int]
    hours: tuple[int, ...]  # check-ins in each hour of the week, from Monday 00:00 UTC on
    wiki_pages: int
    readme: Readme | None
    read_at: datetime
    seconds: float
    contributors: tuple[Contributor, ...]
    branches: tuple[Branch, ...]
    days: Mapping[int, Mapping[str, int]]
    sizes: Mapping[int, int]


def merged(contributors: Iterable[Contributor], contacts: Mapping[str, str]) -> list[Contributor]:
    """The same person's names made one by their e-mail address; who did most comes first.

    A name that is an address, as imports from Git have them, is its own; capitals do not count.
    """
    found: dict[str, list[Contributor]] = {}
    for one in contributors:
        known = contacts.get(one.name, one.name if "@" in one.name else "")
        found.setdefault((known or one.name).lower(), []).append(one)
    people = [_one_person(same) for same in found.values()]
    return sorted(people, key=lambda p: (-p.checkins, -p.others, p.name))


def _one_person(same: list[Contributor]) -> Contributor:
    same = sorted(same, key=lambda one: (-one.checkins, -one.others, one.name))
    return Contributor(
        names=tuple(name for one in same for name in one.names),
        checkins=sum(one.checkins for one in same),
        others=sum(one.others for one in same),
        first_at=min(one.first_at for one in same),
        last_at=max(one.last_at for one in same),
    )


def days_until_full(days: Sequence[DiskDay]) -> int | None:
    """In how many days the disk is full if it goes on as in these; None: it does not fill.

    The straight line through what was free on each day (least squares); three days are too few
    to tell.
    """
    if len(days) < 4:
        return None
    n = len(days)
    mean_day = sum(one.day for one in days) / n
    mean_free = sum(one.free for one in days) / n
    spread = sum((one.day - mean_day) ** 2 for one in days)
    slope = sum((one.day - mean_day) * (one.free - mean_free) for one in days) / spread
    if slope >= 0:
        return None
    return max(0, int(days[-1].free / -slope))
