"""One child: started, watched, started again, stopped.

Owns the life of a single supervised program: its state, its pauses between
attempts, the last lines that it wrote and its last error in words. Must not
know other children, nor what the program is for.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fossilrepo.errors import ConfigError, FossilrepoError
from fossilrepo.runtime.launch import Command, Launched, launch
from fossilrepo.runtime.lines import Lines
from fossilrepo.runtime.states import State, move

log = logging.getLogger(__name__)

KEPT_LINES = 200
_LAST_WORDS = 0.2
_random = secrets.SystemRandom()


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to keep running. `command` is asked at every start, so it may choose a new port.

    `ready` says whether the program answers; an exception means "not yet". Times are in
    seconds. `on_line` gets every line that it writes.
    """

    name: str
    command: Callable[[], Awaitable[Command]]
    ready: Callable[[], Awaitable[bool]]
    ready_timeout: float = 15.0
    stop_grace: float = 5.0
    needed: bool = True
    on_line: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """A child as people see it. `since` is the time of its last change of state (Unix time)."""

    name: str
    state: State
    pid: int | None
    restarts: int
    last_error: str
    since: float
    ready: bool
    needed: bool
    log: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pace:
    """Pauses before the next attempt: `first` seconds, doubling to `longest`, with jitter.

    After `good` seconds of running the count begins anew.
    """

    first: float = 0.5
    longest: float = 30.0
    good: float = 60.0

    def pause(self, failures: int) -> float:
        doubled: float = min(self.longest, self.first * 2.0 ** min(failures - 1, 20))
        return doubled * _random.uniform(0.75, 1.0)


class Child:
    """The state machine of one child. `start` and `stop` may be called in any state."""

    def __init__(
        self,
        spec: ChildSpec,
        pace: Pace,
        record: Callable[[str, int | None], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self.state = State.STOPPED
        self._pace = pace
        self._record = record
        self._changed = changed
        self._since = time.time()
        self._launched: Launched | None = None
        self._starts = 0
        self._failures = 0
        self._last_error = ""
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._task: asyncio.Task[None] | None = None
        self._order = asyncio.Lock()

    def status(self) -> ChildStatus:
        return ChildStatus(
            name=self.spec.name,
            state=self.state,
            pid=self._launched.pid if self._launched else None,
            restarts=max(0, self._starts - 1),
            last_error=self._last_error,
            since=self._since,
            ready=self.state is State.RUNNING,
            needed=self.spec.needed,
            log=tuple(self._lines),
        )

    def start(self) -> None:
        """Begin to keep it running, without a pause."""
        if self._task is None or self._task.done():
            self._failures = 0
            self._move(State.STARTING)
            self._task = asyncio.create_task(self._live(), name=f"child {self.spec.name}")

    async def stop(self) -> None:
        """End it and wait for that; bounded by its grace and a few seconds."""
        async with self._order:
            await self._stop()

    async def restart(self) -> None:
        async with self._order:
            await self._stop()
            self.start()

    async def _stop(self) -> None:
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task})
        if self.state is not State.STOPPED:
            # It had failed, or was stopped before it began.
            self._move(State.STOPPED)

    async def _live(self) -> None:
        try:
            while True:
                await self._attempt()
                await asyncio.sleep(self._pace.pause(self._failures))
                self._move(State.STARTING)
        except asyncio.CancelledError:
            self._move(State.STOPPED)
            raise
        except ConfigError as error:
            self._fail(error.message)
        except Exception as error:
            log.exception("child %s: a mistake of ours", self.spec.name)
            self._fail(f"{type(error).__name__}: {error}")

    def _fail(self, why: str) -> None:
        self._last_error = why
        self._move(State.FAILED)

    async def _attempt(self) -> None:
        """Start it once and stay with it to its end."""
        self._starts += 1
        output = _Output(self.spec, self._lines)
        try:
            launched = await launch(await self.spec.command(), output.feed)
        except ConfigError:
            raise
        except (FossilrepoError, OSError) as error:
            self._trouble(str(error))
            return
        self._launched = launched
        try:
            await self._record(self.spec.name, launched.pid)
            self._trouble(await self._watch(launched, output))
        except asyncio.CancelledError:
            self._move(State.STOPPING)
            raise
        finally:
            # Also what a program that ended by itself left in its group: it may hold the port.
            try:
                await launched.end(self.spec.stop_grace)
            finally:
                self._launched = None
                await self._record(self.spec.name, None)

    def _trouble(self, words: str) -> None:
        """It is not running any more: say so at once, whatever there is to clean up."""
        self._last_error = words
        self._failures += 1
        self._move(State.BACKOFF)
        log.warning("child %s: %s", self.spec.name, words)

    async def _watch(self, launched: Launched, output: _Output) -> str:
        """Stay with it until it ends or does not get ready; what happened, in words."""
        reason = await self._until_ready(launched)
        if reason:
            return f"{reason}{output.last_words()}"
        began = time.monotonic()
        if launched.returncode is None:
            self._move(State.RUNNING)
        status = await launched.result(_LAST_WORDS)
        output.close()
        if launched.ended - began >= self._pace.good:
            self._failures = 0
        return f"{_ending(status)} after {_seconds(launched)}{output.last_words()}"

    async def _until_ready(self, launched: Launched) -> str:
        """Empty when it answers or has ended; else why it was not waited for longer."""
        probe = asyncio.create_task(self._poll(), name=f"ready? {self.spec.name}")
        exited = asyncio.create_task(launched.exit(), name=f"exited? {self.spec.name}")
        try:
            await asyncio.wait(
                {probe, exited},
                timeout=self.spec.ready_timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if exited.done() or probe.done():
                return ""
            return f"did not answer within {self.spec.ready_timeout:g} s"
        finally:
            probe.cancel()
            exited.cancel()
            await asyncio.wait({probe, exited})

    async def _poll(self) -> None:
        """Return when the program answers."""
        pause = 0.02
        while not await self._answers():
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.25)

    async def _answers(self) -> bool:
        try:
            return await self.spec.ready()
        except Exception as error:
            # Refused, cut off or nonsense: all of it means "not yet", and the limit is ours.
            log.debug("child %s is not ready: %r", self.spec.name, error)
            return False

    def _move(self, new: State) -> None:
        self.state = move(self.state, new)
        self._since = time.time()
        log.info("child %s is %s", self.spec.name, new)
        self._changed()


class _Output:
    """The lines of one attempt, on their way into the kept ones."""

    def __init__(self, spec: ChildSpec, kept: deque[str]) -> None:
        self._spec = spec
        self._kept = kept
        self._last = ""
        self._lines = {fd: Lines(self._take) for fd in (1, 2)}

    def feed(self, fd: int, data: bytes) -> None:
        self._lines[fd].feed(data)

    def close(self) -> None:
        for lines in self._lines.values():
            lines.close()

    def last_words(self) -> str:
        return f": {self._last}" if self._last else ""

    def _take(self, line: str) -> None:
        self._last = line
        self._kept.append(line)
        if self._spec.on_line is not None:
            try:
                self._spec.on_line(line)
            except Exception:
                log.exception("child %s: a line of it could not be handled", self._spec.name)


def _ending(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"ended by signal {-status}"


def _seconds(launched: Launched) -> str:
    return f"{launched.ended - launched.began:.1f} s"
