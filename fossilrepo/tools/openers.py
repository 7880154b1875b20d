"""Which processes have a file open now.

Owns the look through `/proc/PID/fd`, by device and inode, so that links and jails do
not hide anybody. Processes of other accounts are seen by root only. Blocks.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LITESTREAM = "litestream"


@dataclass(frozen=True, slots=True)
class Opener:
    pid: int
    program: str


def openers(path: Path, *, but: Collection[int] = ()) -> list[Opener]:
    """Everybody who has the file or its write-ahead log open, without the processes `but`."""
    wanted = set()
    for name in (path, path.with_name(path.name + "-wal")):
        with suppress(OSError):
            found = name.stat()
            wanted.add((found.st_dev, found.st_ino))
    if not wanted:
        return []
    return [
        Opener(pid, _program(pid))
        for entry in os.scandir("/proc")
        if entry.name.isdigit() and (pid := int(entry.name)) not in but and _has(pid, wanted)
    ]


def users_of(path: Path, *, but: Collection[int] = ()) -> list[Opener]:
    """The openers without Litestream, which follows what becomes of the file."""
    return [one for one in openers(path, but=but) if one.program != LITESTREAM]


def named(openers: Sequence[Opener]) -> str:
    """The first few of them, for people."""
    return ", ".join(f"{one.program} (pid {one.pid})" for one in openers[:3])


def _has(pid: int, wanted: set[tuple[int, int]]) -> bool:
    with suppress(OSError):
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with suppress(OSError):
                    found = entry.stat()
                    if (found.st_dev, found.st_ino) in wanted:
                        return True
    return False


def _program(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "a program"
