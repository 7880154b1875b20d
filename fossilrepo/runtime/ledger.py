"""What was running when we ended without stopping it.

Owns the state file (pid, start time and boot of every child, and the mark that
its processes carry) and the end of what a crashed run left behind. A process is
signalled only when its start time is the recorded one, or when it carries the
recorded mark: a pid that is in use again is somebody else's.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from fossilrepo.runtime import proc

log = logging.getLogger(__name__)

_KILL_WAIT = 5.0


@dataclass(frozen=True, slots=True)
class Entry:
    pid: int
    start: int
    boot: str
    token: str


class Ledger:
    """The state file; only one supervisor may use it at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, Entry] = {}
        self._lock = asyncio.Lock()

    async def record(self, name: str, pid: int | None) -> None:
        """Note that a child runs as `pid`, or no more. A full disk is logged, not raised."""
        process = proc.look(pid) if pid is not None else None
        if process is not None:
            entry = Entry(process.pid, process.start, proc.boot_id(), proc.TOKEN)
            self._entries[name] = entry
        elif self._entries.pop(name, None) is None:
            return
        async with self._lock:
            try:
                await asyncio.to_thread(self._write, dict(self._entries))
            except OSError as error:
                log.error("%s cannot be written: %s", self._path, error.strerror)

    async def end_leftovers(self, grace: float) -> list[str]:
        """End what the last run left; the names of the children that had left something."""
        entries = await asyncio.to_thread(self._read)
        found = await asyncio.to_thread(_leftovers, entries)
        names = sorted(found)
        for name in names:
            log.warning("ending what the last run left of %s", name)
        for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, _KILL_WAIT)):
            for name, processes in found.items():
                _signal(entries[name], processes, number)
            deadline = time.monotonic() + seconds
            while found and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
                found = await asyncio.to_thread(_leftovers, entries)
            if not found:
                break
        if found:
            log.error("could not be ended, left by the last run: %s", ", ".join(sorted(found)))
        return names

    def _write(self, entries: dict[str, Entry]) -> None:
        """Whole or not at all. Not synced: after a power cut none of it matters."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_name(self._path.name + ".new")
        text = json.dumps({name: asdict(entry) for name, entry in entries.items()}, indent=1)
        new.write_text(text + "\n", encoding="utf-8")
        os.replace(new, self._path)

    def _read(self) -> dict[str, Entry]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except OSError as error:
            log.error("%s cannot be read: %s", self._path, error.strerror)
            return {}
        try:
            entries = {name: Entry(**entry) for name, entry in json.loads(text).items()}
        except (ValueError, TypeError, AttributeError):
            log.warning("%s is damaged; nothing can be recognised by it", self._path)
            return {}
        return {
            name: entry
            for name, entry in entries.items()
            if type(entry.pid) is int and entry.pid > 1 and entry.boot == proc.boot_id()
        }


def _leftovers(entries: dict[str, Entry]) -> dict[str, list[proc.Process]]:
    """The living processes of each entry: the child itself, and whoever carries its mark."""
    found: dict[str, list[proc.Process]] = {}
    if not entries:
        return found
    alive = [process for process in proc.everyone() if not process.ended]
    for name, entry in entries.items():
        theirs = [process for process in alive if _is_left(process, entry)]
        if theirs:
            found[name] = theirs
    return found


def _is_left(process: proc.Process, entry: Entry) -> bool:
    if process.pid == os.getpid() or entry.token == proc.TOKEN:
        return False
    if process.pid == entry.pid:
        return process.start == entry.start
    return proc.marked(process.pid, entry.token)


def _signal(entry: Entry, processes: list[proc.Process], number: signal.Signals) -> None:
    for process in processes:
        proc.signal_process(process, number)
        if process.pid == process.group == entry.pid and process.pid != os.getpgrp():
            # The recorded leader itself is there, so the group is its own.
            proc.signal_group(process.group, number)
