"""What the kernel says about processes, and signals to whole groups.

Owns the reading of /proc and the mark by which our children are known again:
a random value in their environment. A pid alone proves nothing (it is used
again), so everything here goes by pid and start time, or by the mark. Must not
start or wait for programs. Where there is no /proc, nobody is found.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MARK = "SUPERVISED_BY"
TOKEN = secrets.token_hex(16)
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True, slots=True)
class Process:
    """A line of /proc/PID/stat (see proc_pid_stat(5)); `start` is in ticks since boot."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    start: int

    @property
    def ended(self) -> bool:
        """Dead, though somebody may still have to wait for it."""
        return self.state in ("Z", "X")


def look(pid: int) -> Process | None:
    """The process, or None when there is none by that pid."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except _GONE:
        return None
    # The name of the program stands in parentheses and may itself contain some.
    fields = text[text.rindex(")") + 2 :].split()
    return Process(pid, fields[0], int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def everyone() -> Iterator[Process]:
    """All processes that we may see."""
    if not _has_proc():
        return
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (process := look(int(entry))) is not None:
            yield process


@cache
def _has_proc() -> bool:
    return os.path.isdir("/proc/self")


def children(pid: int) -> list[int]:
    """The pids of the children of a process, ended ones included."""
    if not _lists_children():
        return [process.pid for process in everyone() if process.parent == pid]
    found: list[int] = []
    with suppress(*_GONE):
        for thread in os.listdir(f"/proc/{pid}/task"):
            # A thread may end while we look; its children go to another one.
            with suppress(*_GONE):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


@cache
def _lists_children() -> bool:
    """Kernels may be built without that file."""
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def descendants(pid: int, without: frozenset[int] = frozenset()) -> list[Process]:
    """Everything below a process, except `without` and what is below those."""
    found: list[Process] = []
    waiting = [pid]
    while waiting:
        for child in children(waiting.pop()):
            if child not in without and (process := look(child)) is not None:
                found.append(process)
                waiting.append(child)
    return found


def marked(pid: int, token: str) -> bool:
    """Whether the process was started by the supervisor with that token, or from below it."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except _GONE:
        return False
    return f"{MARK}={token}".encode() in environment.split(b"\0")


@cache
def boot_id() -> str:
    """Tells one boot of the machine from another; empty where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def signal_group(group: int, number: signal.Signals) -> bool:
    """Signal every process of a group; False when there is none."""
    if group <= 1 or group == os.getpgrp():
        raise ValueError(f"not the process group of a child: {group}")
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Somebody is there who is not ours to signal.
        return True
    return True


def group_lives(group: int) -> bool:
    """Whether any process of the group still runs; the kernel alone would count ended ones."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    if not _has_proc():
        return True
    return any(process.group == group and not process.ended for process in everyone())


def signal_process(process: Process, number: signal.Signals) -> None:
    """Signal one process, if it is still the one that was looked at."""
    now = look(process.pid)
    if now is not None and now.start == process.start:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, number)


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process and all below it: resident memory in bytes, time on the processor in seconds."""

    memory: int
    cpu_s: float


def usage(pid: int, *, alone: bool = False) -> Usage:
    """As it is now; what ended meanwhile is left out. `alone`: without what is below it."""
    pages, ticks = 0, 0
    below = [] if alone else [process.pid for process in descendants(pid)]
    for one in (pid, *below):
        with suppress(*_GONE):
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return Usage(pages * os.sysconf("SC_PAGE_SIZE"), ticks / os.sysconf("SC_CLK_TCK"))
