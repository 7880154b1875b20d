"""What would change if a repository went back to a moment: counts, and the newest names.

Owns the comparison of two repository files by their artifacts. Opens files that have
passed the gate, read-only. Blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fossilrepo.tools import fossil_db
from fossilrepo.tools.fossil_db import CheckIn

KINDS = {
    "ci": "check-ins",
    "w": "wiki changes",
    "t": "ticket changes",
    "f": "forum posts",
    "e": "technical notes",
    "g": "tag changes",
}
UNVERSIONED = "unversioned files"
SHOWN = 20
WARNING = (
    "What goes comes back with the next push of anybody who still has it. "
    "To keep a check-in out, shun it in Fossil, or take the right to push away from who has it."
)
UNREADABLE = (
    "What it holds now cannot be read, so nobody can say what goes. It is kept aside, and people "
    "that the repository brought along lose their passwords."
)


@dataclass(frozen=True, slots=True)
class Change:
    """How many of one kind would go, and how many would come back."""

    what: str
    gone: int
    back: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Between the present and a moment; `at` None is the newest. Check-ins newest first."""

    at: datetime | None
    checkins_now: int
    checkins_then: int
    changes: tuple[Change, ...]
    gone: tuple[CheckIn, ...]
    back: tuple[CheckIn, ...]
    warning: str = WARNING

    @property
    def nothing(self) -> bool:
        return not any(change.gone or change.back for change in self.changes)


def compare(live: Path | None, then: Path, at: datetime | None) -> Difference:
    """What is in `live` and not in `then`, and the other way round; None: it cannot be read."""
    now_holds = fossil_db.held(live) if live else {}
    then_holds = fossil_db.held(then)
    changes = [
        _change(what, now_holds.get(kind, {}), then_holds.get(kind, {}))
        for kind, what in {**KINDS, "uv": UNVERSIONED}.items()
    ]
    ours, theirs = now_holds.get("ci", {}), then_holds.get("ci", {})
    return Difference(
        at=at,
        checkins_now=len(ours),
        checkins_then=len(theirs),
        changes=tuple(change for change in changes if change.gone or change.back),
        gone=_newest(live, ours, theirs) if live else (),
        back=_newest(then, theirs, ours),
        warning=WARNING if live else UNREADABLE,
    )


def _change(what: str, ours: Mapping[str, float], theirs: Mapping[str, float]) -> Change:
    return Change(what, len(ours.keys() - theirs.keys()), len(theirs.keys() - ours.keys()))


def _newest(
    path: Path, held: Mapping[str, float], other: Mapping[str, float]
) -> tuple[CheckIn, ...]:
    only = sorted(held.keys() - other.keys(), key=lambda uuid: held[uuid], reverse=True)[:SHOWN]
    return tuple(fossil_db.checkins_named(path, only))
