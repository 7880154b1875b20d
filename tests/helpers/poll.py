"""Waiting for a state with a deadline, in place of sleeping.

Owns the two ways to wait: `until` in a coroutine, `until_sync` elsewhere. Both
give back what the condition gave once it is true, and fail naming what was
waited for and what was seen last.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")
SELDOM = 0.25  # seconds between two looks in a long wait


@overload
async def until(
    condition: Callable[[], Awaitable[T]], timeout: float = ..., every: float = ..., what: str = ...
) -> T: ...


@overload
async def until(
    condition: Callable[[], T], timeout: float = ..., every: float = ..., what: str = ...
) -> T: ...


async def until(
    condition: Callable[[], Any],
    timeout: float = 10.0,
    every: float = 0.02,
    what: str = "the condition",
) -> Any:
    """What `condition` (a function or a coroutine function) gave when it was first true."""
    deadline = time.monotonic() + timeout
    while True:
        outcome = condition()
        seen = await outcome if inspect.isawaitable(outcome) else outcome
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(_late(what, timeout, seen))
        await asyncio.sleep(every)


def until_sync(
    condition: Callable[[], T],
    timeout: float = 10.0,
    every: float = 0.02,
    what: str = "the condition",
) -> T:
    """The same without an event loop; the longer it waits, the less often it looks."""
    deadline = time.monotonic() + timeout
    while True:
        seen = condition()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(_late(what, timeout, seen))
        time.sleep(every)
        every = max(every, min(every * 1.5, SELDOM))


def _late(what: str, timeout: float, seen: object) -> str:
    return f"waited {timeout:g} s for {what}; last seen: {seen!r}"
