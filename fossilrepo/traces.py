"""Where the time of a request goes: named spans, summed up for the one that is handled.

Whoever waits for something says so with `span`; outside of `traced` that costs nothing and is kept
nowhere. Spans that run beside each other count each for itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

CLIENT = "client"  # what the other side took: no slowness of ours


@dataclass(slots=True)
class Trace:
    """`spans`: how often and for how many seconds, by name."""

    began: float = field(default_factory=time.perf_counter)
    spans: dict[str, tuple[int, float]] = field(default_factory=dict)

    def add(self, name: str, seconds: float) -> None:
        count, so_far = self.spans.get(name, (0, 0.0))
        self.spans[name] = (count + 1, so_far + seconds)

    def ours(self) -> float:
        """Seconds since the beginning, without those that the client took."""
        return time.perf_counter() - self.began - self.spans.get(CLIENT, (0, 0.0))[1]

    def words(self) -> str:
        """`database 840 ms (12 times), fossil 300 ms`: the longest first, from a millisecond on."""
        longest = sorted(self.spans.items(), key=lambda one: -one[1][1])
        return ", ".join(
            f"{name} {seconds * 1000:.0f} ms" + (f" ({count} times)" if count > 1 else "")
            for name, (count, seconds) in longest
            if seconds >= 0.001
        )


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


@contextmanager
def traced() -> Iterator[Trace]:
    """What is waited for in here, and in the tasks and threads that begin in here."""
    mark = _current.set(trace := Trace())
    try:
        yield trace
    finally:
        _current.reset(mark)


@contextmanager
def span(name: str) -> Iterator[None]:
    trace = _current.get()
    if trace is None:
        yield
        return
    began = time.perf_counter()
    try:
        yield
    finally:
        trace.add(name, time.perf_counter() - began)
