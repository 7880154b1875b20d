"""One program started in its own session, and ended whole.

Owns the start (limits, account, environment from nothing, death with us), the
output as it comes and the end of the whole process group. Must not know which
program it is. Errors name the program only: its arguments may be private.
Start programs from the main thread's loop: the kernel takes the end of the
starting thread for the end of the parent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from fossilrepo.errors import ToolFailed
from fossilrepo.runtime import proc

log = logging.getLogger(__name__)

GRACE = 2.0
_DRAIN = 1.0
_KILL_WAIT = 5.0


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. `env` is the whole environment; limits are in bytes."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path | None = None
    user: int | None = None
    group: int | None = None
    max_memory: int | None = None
    max_file_size: int | None = None

    @property
    def program(self) -> str:
        """The name of the program: all that may be shown of a command."""
        return os.path.basename(self.argv[0])


class Launched(asyncio.SubprocessProtocol):
    """A running program and its process group. Made by `launch`; end it with `end`."""

    def __init__(self, command: Command, on_output: Callable[[int, bytes], None]) -> None:
        self.program = command.program
        self.pid = 0
        self.began = time.monotonic()
        self.ended = 0.0
        self.error: Exception | None = None
        self._on_output = on_output
        self._transport: asyncio.SubprocessTransport | None = None
        self._returncode: int | None = None
        self._open: set[int] = set()
        self._exited = asyncio.Event()
        self._drained = asyncio.Event()
        self._lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self.pid = self._transport.get_pid()
        _alive.add(self.pid)
        self._open = {fd for fd in (1, 2) if self._transport.get_pipe_transport(fd) is not None}
        if not self._open:
            self._drained.set()

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        if self.error is not None:
            return
        try:
            self._on_output(fd, cast(bytes, data))
        except Exception as error:
            # Whoever listens is at fault: end the program, and let `result` raise it.
            self.error = error
            proc.signal_group(self.pid, signal.SIGKILL)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open.discard(fd)
        if not self._open:
            self._drained.set()

    def process_exited(self) -> None:
        if self._transport is not None:
            self._returncode = self._transport.get_returncode()
        self.ended = time.monotonic()
        _alive.discard(self.pid)
        self._exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()

    @property
    def returncode(self) -> int | None:
        return self._returncode

    async def exit(self) -> int:
        """Wait for the program itself, not for what it left behind."""
        await self._exited.wait()
        return self._returncode if self._returncode is not None else -1

    async def result(self, drain: float = _DRAIN) -> int:
        """Its exit status once its output is read; raises what the listener raised.

        Output that somebody else holds open is waited for `drain` seconds only.
        """
        status = await self.exit()
        with suppress(TimeoutError):
            async with asyncio.timeout(drain):
                await self._drained.wait()
        if self.error is not None:
            raise self.error
        return status

    async def end(self, grace: float = GRACE) -> None:
        """End what is left of the group: TERM, `grace` seconds, KILL. Safe to repeat."""
        try:
            await self._end(grace)
        except asyncio.CancelledError:
            # No more patience, but still nothing is left behind.
            proc.signal_group(self.pid, signal.SIGKILL)
            await self._until_gone(_KILL_WAIT)
            raise
        finally:
            if self._transport is not None:
                self._transport.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN):
                await self._lost.wait()

    async def _end(self, grace: float) -> None:
        for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, _KILL_WAIT)):
            if self._gone():
                return
            proc.signal_group(self.pid, number)
            await self._until_gone(seconds)
        if not self._gone():
            log.error("%s (process group %d) cannot be ended", self.program, self.pid)

    async def _until_gone(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._exited.wait()
                pause = 0.01
                while not self._gone():
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, 0.1)

    def _gone(self) -> bool:
        if not self._exited.is_set():
            return False
        # Orphans of this group came to us when we are a subreaper; the program
        # itself was waited for by the loop, so nobody else's child is taken here.
        with suppress(ChildProcessError):
            while os.waitpid(-self.pid, os.WNOHANG)[0]:
                pass
        return not proc.group_lives(self.pid)


_alive: set[int] = set()
_starting = 0


def ours() -> frozenset[int]:
    """The pids of the programs that are running and waited for."""
    return frozenset(_alive)


def starting() -> bool:
    """Whether a program is being started, whose pid `ours` does not know yet."""
    return _starting > 0


async def launch(
    command: Command,
    on_output: Callable[[int, bytes], None],
    *,
    stdin: bytes | None = None,
    stdin_from: int | BinaryIO = asyncio.subprocess.DEVNULL,
    stdout_to: int = asyncio.subprocess.PIPE,
) -> Launched:
    """Start a program; `on_output` gets (1 or 2, bytes). Raises ToolFailed when it cannot be.

    The caller ends it, whatever happens.
    """
    global _starting
    options: dict[str, Any] = {}
    if command.user is not None:
        options = {"user": command.user, "group": command.group, "extra_groups": []}
    _starting += 1
    try:
        transport, launched = await asyncio.get_running_loop().subprocess_exec(
            lambda: Launched(command, on_output),
            *_argv(command),
            stdin=stdin_from if stdin is None else asyncio.subprocess.PIPE,
            stdout=stdout_to,
            stderr=asyncio.subprocess.PIPE,
            cwd=command.cwd,
            env={**command.env, proc.MARK: proc.TOKEN},
            start_new_session=True,
            **options,
        )
    except OSError as error:
        raise ToolFailed(f"{command.program} cannot be started: {error.strerror}") from error
    finally:
        _starting -= 1
    if stdin is not None:
        pipe = cast(asyncio.WriteTransport, transport.get_pipe_transport(0))
        pipe.write(stdin)
        pipe.close()
    return launched


def _argv(command: Command) -> list[str]:
    """The command behind the programs that put its limits in place and then become it."""
    argv = [_find(command), *command.argv[1:]]
    limits = [
        f"--{name}={value}"
        for name, value in (("as", command.max_memory), ("fsize", command.max_file_size))
        if value is not None
    ]
    if limits:
        prlimit = _wrapper("prlimit")
        if prlimit is None:
            raise ToolFailed("prlimit is not installed", hint="install the package util-linux")
        argv = [prlimit, *limits, "--", *argv]
    setpriv = _wrapper("setpriv")
    return argv if setpriv is None else [setpriv, "--pdeathsig", "KILL", "--", *argv]


def _find(command: Command) -> str:
    """The program's path by the PATH of its own environment."""
    name = command.argv[0]
    if os.sep in name and command.cwd is not None:
        name = os.path.join(command.cwd, name)
    found = shutil.which(name, path=command.env.get("PATH", os.defpath))
    if found is None:
        raise ToolFailed(
            f"{command.program} is not installed", hint=f"install {command.program}, then try again"
        )
    return found


@cache
def _wrapper(name: str) -> str | None:
    return shutil.which(name, path=os.defpath + ":/usr/bin:/usr/sbin:/sbin")
