"""Children that misbehave, and the proof that none of their processes is left.

Owns the command lines of `bad_child.py` and what became of every process that
it noted down: by pid and start time, so that a pid in use again is nobody's.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from fossilrepo.runtime import proc
from fossilrepo.runtime.child import ChildSpec
from fossilrepo.runtime.process import Command

SCRIPT = Path(__file__).with_name("bad_child.py")
HOST = Path(__file__).with_name("runtime_host.py")


class Bad:
    """Bad children of one test, with their notes in a folder."""

    def __init__(self, folder: Path) -> None:
        self.pids = folder / "pids"
        self.pids.mkdir(parents=True)

    def argv(self, *flags: object) -> tuple[str, ...]:
        # -S -I: starts in half the time, and sees nothing of ours.
        words = [sys.executable, "-S", "-I", SCRIPT, "--pids", self.pids, *flags]
        return tuple(map(str, words))

    def command(self, *flags: object) -> Command:
        return Command(self.argv(*flags), env={"PATH": os.defpath})

    def spec(
        self,
        *flags: object,
        name: str = "bad",
        ready: Callable[[], Awaitable[bool]] | None = None,
        ready_timeout: float = 10.0,
        stop_grace: float = 5.0,
        needed: bool = True,
        on_line: Callable[[str], None] | None = None,
    ) -> ChildSpec:
        """A child that is ready when it made its file, unless told otherwise."""
        sign = self.pids.parent / f"{name}.ready"

        async def command() -> Command:
            sign.unlink(missing_ok=True)
            return self.command("--ready-file", sign, *flags)

        async def there() -> bool:
            return sign.exists()

        return ChildSpec(name, command, ready or there, ready_timeout, stop_grace, needed, on_line)

    def noted(self) -> dict[int, int]:
        """Start times by the pids of all that ever ran."""
        notes = [note for note in self.pids.iterdir() if note.name.isdigit()]
        return {int(note.name): int(note.read_text()) for note in notes}

    def alive(self) -> set[int]:
        return {pid for pid, start in self.noted().items() if _lives(pid, start)}

    def end_all(self) -> None:
        """Whatever a failed test left."""
        for pid in self.alive():
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        for pid in self.noted():
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _lives(pid: int, start: int) -> bool:
    process = proc.look(pid)
    return process is not None and process.start == start and not process.ended


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def answers(port: int) -> bool:
    """Whether the child on that port says what it says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await reader.readline() == b"here\n"
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
