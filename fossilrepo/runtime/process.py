"""Programs run to their end, with a bound on time and output.

Owns one-off runs and pipes of two; `launch` owns how a program is started and
ended. Any exit status is a result; what did not come to one is an error.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fossilrepo.errors import ToolFailed
from fossilrepo.runtime.launch import Command, Launched, launch
from fossilrepo.runtime.lines import Lines
from fossilrepo.traces import span

__all__ = ["Command", "Finished", "Launched", "launch", "pipe", "run"]


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended. A negative `returncode` is the signal that ended it.

    Of output past `max_output`, `stdout` keeps the beginning and `stderr` the end,
    and `truncated` is set. `program` is the one that this is about.
    """

    returncode: int
    stdout: bytes
    stderr: str
    seconds: float
    truncated: bool = False
    program: str = ""


class _Capture:
    """Output kept within a bound, and its lines handed out as they come."""

    def __init__(self, limit: int, on_line: Callable[[str], None] | None) -> None:
        self._limit = limit
        self._kept = {1: bytearray(), 2: bytearray()}
        self._lines = {1: Lines(on_line), 2: Lines(on_line)} if on_line else {}
        self.truncated = False

    def feed(self, fd: int, data: bytes) -> None:
        kept = self._kept[fd]
        if len(kept) + len(data) > self._limit:
            self.truncated = True
        if fd == 1:
            kept += data[: self._limit - len(kept)]
        else:
            kept += data
            del kept[: -self._limit]
        if self._lines:
            self._lines[fd].feed(data)

    def finish(self) -> None:
        for lines in self._lines.values():
            lines.close()

    @property
    def stdout(self) -> bytes:
        return bytes(self._kept[1])

    @property
    def stderr(self) -> str:
        return self._kept[2].decode("utf-8", errors="replace")


@asynccontextmanager
async def _running(command: Command, capture: _Capture, **streams: Any) -> AsyncIterator[Launched]:
    launched = await launch(command, capture.feed, **streams)
    try:
        yield launched
    finally:
        await launched.end()


@asynccontextmanager
async def _within(seconds: float, name: str) -> AsyncIterator[None]:
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise ToolFailed(f"{name} did not finish within {seconds:g} s and was ended") from error


async def run(
    command: Command,
    *,
    timeout: float,  # noqa: ASYNC109 - it ends a process group and becomes ToolFailed
    stdin: bytes | None = None,
    stdin_file: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    max_output: int = 1 << 20,
) -> Finished:
    """Run a program to its end; any exit status is a result, not an error.

    `on_line` gets the lines of both outputs as they come, and what it raises ends
    the program. Raises ToolFailed when the program is missing, cannot be started
    or takes longer than `timeout` seconds.
    """
    capture = _Capture(max_output, on_line)
    streams: dict[str, Any] = {"stdin": stdin}
    async with AsyncExitStack() as stack:
        stack.enter_context(span(command.program))
        if stdin_file is not None:
            source = await asyncio.to_thread(stdin_file.open, "rb")
            streams["stdin_from"] = stack.enter_context(source)
        await stack.enter_async_context(_within(timeout, command.program))
        launched = await stack.enter_async_context(_running(command, capture, **streams))
        status = await launched.result()
    capture.finish()
    seconds = launched.ended - launched.began
    return Finished(
        status, capture.stdout, capture.stderr, seconds, capture.truncated, command.program
    )


async def pipe(
    first: Command,
    second: Command,
    *,
    timeout: float,  # noqa: ASYNC109 - it ends a process group and becomes ToolFailed
    on_line: Callable[[str], None] | None = None,
    max_output: int = 1 << 20,
) -> Finished:
    """Run `first | second` to the end of both; `stdout` is the second's.

    The result is that of the program that failed: the first one's failure counts even
    when the second was content with what it got; when the second ended before it, the
    first could only fail. With no failure it is the second's.
    """
    captures = _Capture(max_output, on_line), _Capture(max_output, on_line)
    async with _within(timeout, f"{first.program} | {second.program}"), AsyncExitStack() as stack:
        stack.enter_context(span(second.program))
        reading, writing = os.pipe()
        try:
            source = await stack.enter_async_context(
                _running(first, captures[0], stdout_to=writing)
            )
            sink = await stack.enter_async_context(
                _running(second, captures[1], stdin_from=reading)
            )
        finally:
            # Each end belongs to its program alone, or neither would see the other one's end.
            os.close(writing)
            os.close(reading)
        await source.result()
        await sink.result()
    for capture in captures:
        capture.finish()
    return _blame(source, sink, *captures)


def _blame(source: Launched, sink: Launched, said: _Capture, answered: _Capture) -> Finished:
    first, second = source.returncode or 0, sink.returncode or 0
    # A shell tells of a signal by 128 and its number.
    by_pipe = first in (-signal.SIGPIPE, 128 + signal.SIGPIPE)
    cut_off = by_pipe or sink.ended < source.ended
    at_source = first != 0 and not (second != 0 and cut_off)
    words = [said.stderr, answered.stderr] if at_source else [answered.stderr, said.stderr]
    return Finished(
        returncode=first if at_source else second,
        stdout=answered.stdout,
        stderr="\n".join(words) if first and second else words[0],
        seconds=max(source.ended, sink.ended) - source.began,
        truncated=said.truncated or answered.truncated,
        program=source.program if at_source else sink.program,
    )
