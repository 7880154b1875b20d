"""Processes that left their group and outlived their parent.

Owns the subreaper bit (see prctl(2)), by which such processes become our
children instead of init's, their end when we stop, and the waiting for those
that ended. Signals only descendants of ours that carry our mark; waits only for
single pids that nothing else in this process waits for.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
import time
from contextlib import suppress

from fossilrepo.runtime import launch, proc

log = logging.getLogger(__name__)

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper(on: bool = True) -> bool:
    """Whether the kernel agreed."""
    if not sys.platform.startswith("linux"):
        return False
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return bool(prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0) == 0)


def orphans() -> list[proc.Process]:
    """What runs below us with our mark, without the programs that are being waited for."""
    below = proc.descendants(os.getpid(), without=launch.ours())
    return [each for each in below if not each.ended and proc.marked(each.pid, proc.TOKEN)]


async def end_orphans(grace: float = 1.0, kill_wait: float = 2.0) -> int:
    """TERM, `grace` seconds, KILL to every orphan; how many there were."""
    ended = await _signal_until(signal.SIGTERM, grace)
    ended |= await _signal_until(signal.SIGKILL, kill_wait)
    for pid in ended & set(proc.children(os.getpid())):
        _reap(pid)
    if left := orphans():
        log.error("orphans that cannot be ended: %s", [process.pid for process in left])
    return len(ended)


async def _signal_until(number: signal.Signals, seconds: float) -> set[int]:
    """Signal each orphan once, new ones too, until none is left or the time is over."""
    signalled: set[int] = set()
    deadline = time.monotonic() + seconds
    # While a program is being started it looks like an orphan, so that has to end first.
    while (starting := launch.starting()) or (left := orphans()):
        for process in [] if starting else left:
            if process.pid not in signalled:
                signalled.add(process.pid)
                proc.signal_process(process, number)
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.02)
    return signalled


class Reaper:
    """Waits for ended orphans, so that they do not pile up while we run.

    An ended child in a session of its own that nothing waits for between two looks is
    taken to be one. A child of this session is never touched.
    """

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()

    async def run(self, every: float = 10.0) -> None:
        while True:
            await asyncio.sleep(every)
            self.look()

    def look(self) -> list[int]:
        """The pids that were waited for at this look."""
        ended = set()
        session = os.getsid(0)
        for pid in set(proc.children(os.getpid())) - launch.ours():
            process = proc.look(pid)
            if process is not None and process.ended and process.session != session:
                ended.add((pid, process.start))
        reaped = [pid for pid, _ in ended & self._seen if _reap(pid)]
        self._seen = ended
        return reaped


def _reap(pid: int) -> bool:
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return False
