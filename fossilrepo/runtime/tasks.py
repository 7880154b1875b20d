"""Background tasks that cannot get lost.

Owns the references to long-lived tasks, their names and their end. A task that
raises, or dies of a cancellation that nobody asked for, is logged and handed to
the fatal callback: a part of us that is gone must end the process, not leave it
half alive. A duty that can be begun again is (`keep`), and its failures are told.
Must not know what a task does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

AGAIN_AFTER, AGAIN_AT_LATEST = 1.0, 60.0  # seconds until a duty that failed is begun again
GOOD_AFTER = 600.0  # seconds of running after which it counts as mended

log = logging.getLogger(__name__)
T = TypeVar("T")
Fatal = Callable[[str, BaseException], None]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A duty that failed: how often in a row, its last error, when (seconds, monotonic)."""

    name: str
    count: int
    error: str
    at: float


class Tasks:
    """Named, strongly held tasks of one running program."""

    def __init__(self, fatal: Fatal) -> None:
        self._fatal = fatal
        self._tasks: set[asyncio.Task[Any]] = set()
        self._troubles: dict[str, Trouble] = {}
        self._closed = False

    def spawn(self, name: str, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task; whoever wants to may cancel it. RuntimeError after `close`."""
        if self._closed:
            coro.close()
            raise RuntimeError(f"cannot start {name}: already stopping")
        task = asyncio.create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def keep(self, name: str, duty: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Start a duty that is begun again after an error, with growing pauses."""
        return self.spawn(name, self._kept(name, duty))

    async def _kept(self, name: str, duty: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            began = time.monotonic()
            try:
                return await duty()
            except Exception as error:
                log.exception("%s failed and is begun again", name)
                before = self._troubles.get(name)
                lasting = before is not None and time.monotonic() - began < GOOD_AFTER
                count = before.count + 1 if before is not None and lasting else 1
                self._troubles[name] = Trouble(name, count, str(error), time.monotonic())
            await asyncio.sleep(min(AGAIN_AFTER * 2 ** (count - 1), AGAIN_AT_LATEST))

    def troubles(self) -> list[Trouble]:
        """The duties that failed within the last minutes."""
        at = time.monotonic()
        return [trouble for trouble in self._troubles.values() if at - trouble.at < GOOD_AFTER]

    def names(self) -> list[str]:
        """The tasks that are running now."""
        return sorted(task.get_name() for task in self._tasks)

    async def close(self, seconds: float = 5.0) -> list[str]:
        """Cancel all and wait for them; the names of those that did not end in time."""
        self._closed = True
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if not tasks:
            return []
        _, pending = await asyncio.wait(tasks, timeout=seconds)
        late = sorted(task.get_name() for task in pending)
        if late:
            log.error("tasks that did not end within %g s: %s", seconds, ", ".join(late))
        return late

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error: BaseException | None
        if task.cancelled():
            if task.cancelling():
                return
            error = RuntimeError("cancelled by something that it waited for")
        else:
            error = task.exception()
        if error is not None:
            log.critical("task %s failed", task.get_name(), exc_info=error)
            self._fatal(task.get_name(), error)
