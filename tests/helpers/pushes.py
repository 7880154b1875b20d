"""Pushes by the real client, with the times between which the server acknowledged them.

Owns a stream of small commits on one checkout, and what a repository's file holds.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.host import Checkout


@dataclass(frozen=True)
class Push:
    """One check-in; Unix times before the push began and after the client ended."""

    repository: str
    checkin: str
    began: float
    acknowledged: float


@dataclass
class Pusher:
    """Commits and pushes on one checkout; `refused` are check-ins that the server did not take."""

    name: str
    checkout: Checkout
    done: list[Push] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def once(self) -> Push | None:
        """Commit and push; None when the server refused it or was away."""
        count = len(self.done) + len(self.refused)
        # Another size each time: Fossil does not see an edit of equal size within a second.
        checkin = self.checkout.commit("grows.txt", "line\n" * (count + 1))
        began = time.time()
        done = self.checkout.push(check=False)
        if done.returncode != 0 or "rror" in done.stdout + done.stderr:
            self.refused.append(checkin)
            return None
        push = Push(self.name, checkin, began, time.time())
        self.done.append(push)
        return push

    def times(self, count: int) -> None:
        for _ in range(count):
            self.once()

    def start(self) -> None:
        """Push without end, in a thread."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._go_on, name=f"pusher {self.name}")
        self._thread.start()

    def _go_on(self) -> None:
        while not self._stop.is_set():
            self.once()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(60)
            assert not self._thread.is_alive()


NOTICED_WITHIN = 2.0  # seconds after which the host knows of a push, also on a busy machine


def is_noticed(push: Push) -> bool:
    """Before, what the host says of the replica may be of the state before the push."""
    return time.time() > push.acknowledged + NOTICED_WITHIN


def checkins(file: Path) -> set[str]:
    """The hashes of all check-ins in a repository's file, as long as `fossil info` shows them."""
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT uuid FROM event JOIN blob ON rid = objid WHERE type = 'ci'")
        return {uuid[:40] for (uuid,) in rows}


def sqlite_check(file: Path) -> str:
    """`ok`, or what SQLite's full check finds."""
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        return "; ".join(row[0] for row in db.execute("PRAGMA integrity_check"))
