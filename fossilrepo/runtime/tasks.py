"""Background tasks that cannot get lost.

Owns the references to long-lived tasks, their names and their end. A task that
raises, or dies of a cancellation that nobody asked for, is logged and handed to
the fatal callback: a part of us that is gone must end the process, not leave it
half alive. Must not know what a task does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")
Fatal = Callable[[str, BaseException], None]


class Tasks:
    """Named, strongly held tasks of one running program."""

    def __init__(self, fatal: Fatal) -> None:
        self._fatal = fatal
        self._tasks: set[asyncio.Task[Any]] = set()
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
