"""How long requests took since the start: counted by what was asked, and the slow ones of late.

Kept in memory, within bounds. Who answers requests reports them; pages, status and metrics read.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from fossilrepo.models import iso, now

log = logging.getLogger(__name__)

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
KEPT = 20
_LONGEST_PATH = 200
Kind = Literal["site", "api", "repository"]
KINDS: tuple[Kind, ...] = ("site", "api", "repository")


@dataclass(frozen=True, slots=True)
class Slow:
    """One that took longer than `log.slow`; `spent`: where the time went, in words."""

    at: datetime
    asked: str
    status: int
    seconds: float
    spent: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "at": iso(self.at),
            "asked": self.asked,
            "status": self.status,
            "seconds": round(self.seconds, 3),
            "spent": self.spent,
        }


@dataclass(slots=True)
class Counted:
    """`buckets`: how many were within each of BOUNDS, and beyond the last, each counted once."""

    seconds: float = 0.0
    slow: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))


class Timings:
    def __init__(self, slow: float) -> None:
        """`slow`: seconds from which a request is told of by itself."""
        self._slow = slow
        self._latest: deque[Slow] = deque(maxlen=KEPT)
        self.counted: dict[Kind, Counted] = {kind: Counted() for kind in KINDS}

    def add(self, kind: Kind, asked: str, status: int, seconds: float, spent: str) -> None:
        """`asked`: method, host where it is not the site, and path, without any secret in it."""
        counted = self.counted[kind]
        counted.seconds += seconds
        counted.buckets[bisect_left(BOUNDS, seconds)] += 1
        if seconds < self._slow:
            return
        counted.slow += 1
        asked = asked if len(asked) <= _LONGEST_PATH else f"{asked[:_LONGEST_PATH]}…"
        self._latest.appendleft(Slow(now(), asked, status, seconds, spent))
        log.warning("slow: %s %d took %.0f ms%s", asked, status, seconds * 1000,
                    f": {spent}" if spent else "")  # fmt: skip

    def slow(self) -> list[Slow]:
        """The latest first."""
        return list(self._latest)
