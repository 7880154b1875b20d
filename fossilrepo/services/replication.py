"""Replication, driven by changes and measured: is everything on the replica, and since when not.

Owns the questions to Litestream (one at a time for each repository, a few at once),
how each replica stands, and the pauses after a failure. What Litestream says of
itself is not asked: it looks well through an outage. Truth is an answer to `sync`
that names the same transaction on both sides, with our own clock. What has to be
mended is `mending.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from fossilrepo.config import Settings
from fossilrepo.db.backups import BackupStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import FossilrepoError, Unavailable
from fossilrepo.models import CONTROL_ID, BackupState, Replica, RepositoryState, is_id, now
from fossilrepo.services.folding import Folding, prepare
from fossilrepo.services.shelf import SUFFIX, Shelf
from fossilrepo.services.standing import (
    Standing,
    host_answers,
    large_copy,
    measured,
    over_all,
    worth_writing,
)
from fossilrepo.tools import litestream
from fossilrepo.tools.litestream import Control, NotKnown, NotRunning, SyncFailed
from fossilrepo.tools.targets import Target
from fossilrepo.tools.wal_guard import WalGuard, is_guarded

log = logging.getLogger(__name__)

CALLS = 8  # questions to Litestream in flight
PATIENCE = 10.0  # seconds for one answer
SWEEP = 600.0  # seconds in which every repository is asked about once
CONTROL_EVERY = 10.0
FLUSH_EVERY = 2.0
NOT_TAKEN = "Litestream does not take this file for a database"
NOTICE_WITHIN = 15.0  # seconds in which Litestream may find a new file
START_WITHIN = 5.0  # seconds in which it is no failure that Litestream does not answer yet
PROTECTED_WITHIN = 3.0  # seconds in which a running host holds the log of a new file
QUIET = 60.0  # seconds without a change
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0

Place = Literal["this disk", "another disk", "s3"]
Mend = Callable[[str, SyncFailed], Awaitable[bool]]


class Replication:
    def __init__(
        self,
        settings: Settings,
        target: Target,
        control: Control,
        guard: WalGuard,
        store: RepositoryStore,
        backups: BackupStore,
        shelf: Shelf,
    ) -> None:
        self.target = target
        self.control = control
        self.mend: Mend | None = None
        self.refusal: FossilrepoError | None = None  # why Litestream is not started
        self._settings = settings
        self._guard = guard
        self._store = store
        self._backups = backups
        self._shelf = shelf
        self._known: dict[str, Standing] = {}
        self._queue: deque[str] = deque()
        self._queued: set[str] = set()
        self._in_flight: set[str] = set()
        self._some = asyncio.Event()
        self._folding = Folding(guard, control)
        self._holding: set[asyncio.Future[bool]] = set()
        self._measuring = False
        self._answers_yet = False
        self._stamp: tuple[Any, ...] = ()

    # What is known

    async def load(self) -> None:
        """Take over what the rows say: the state now when a host runs, else what was last known."""
        running = await host_answers(self._settings.control_socket)
        for row in await self._backups.replicas():
            if not running and row.state is not BackupState.OFF:
                row = replace(row, state=BackupState.UNKNOWN, behind_since=None)
            self._known[row.repository_id] = Standing(row, written=row)

    def standing(self, repository_id: str) -> Replica:
        known = self._known.get(repository_id)
        return known.row if known else Replica(repository_id)

    def statuses(self) -> dict[str, Replica]:
        """Every replica by identity, purged ones too, and the control database's."""
        return {identity: standing.row for identity, standing in self._known.items()}

    def forget(self, repository_id: str) -> None:
        """The repository was purged: nothing is asked about it any more."""
        known = self._known.pop(repository_id, None)
        if known and known.retry:
            known.retry.cancel()
        self._guard.release(self._shelf.file(repository_id))

    @property
    def place(self) -> Place:
        if not self.target.is_local:
            return "s3"
        return "this disk" if self.target.on_same_disk(self._settings.data) else "another disk"

    def summary(self) -> dict[str, Any]:
        """The `backup` of `status`: url, place, state, lag in seconds, names that are behind."""
        rows = [row for row in self.statuses().values() if row.purged_at is None]
        return {"url": self.target.url, "place": self.place, **over_all(rows)}

    # Changes

    def changed(self, identities: set[str]) -> None:
        """These files changed a moment ago: have each replicated, at once."""
        for identity in identities:
            standing = self._of(identity)
            standing.changed_at = time.monotonic()
            self._hold_soon(identity)
            if standing.row.behind_since is None:
                self._set(standing, behind_since=now())
            self._ask_soon(identity)

    def _hold_soon(self, identity: str) -> None:
        """Not when a worker is free: others may write to a new file already."""
        if not self._measuring or self._guard.holds(self._path(identity)):
            return
        holding = asyncio.ensure_future(asyncio.to_thread(self._guard.hold, self._path(identity)))
        self._holding.add(holding)
        holding.add_done_callback(self._holding.discard)

    def ask_all(self) -> None:
        """Ask about every repository now, as after the child was started."""
        for identity, standing in self._known.items():
            if standing.row.purged_at is None:
                self._ask_soon(identity)

    async def guard_all(self) -> None:
        """Before anybody may write, and Litestream starts: no commit may be missed from now on."""
        identities = await asyncio.to_thread(self._shelf.stored_ids)
        state = self._settings.litestream_state / self.target.key
        places = {self._shelf.file(i): state / f"{i}{SUFFIX}-litestream" for i in identities}
        if self._settings.database.url == "sqlite":
            places[self._settings.database_file] = state / litestream.CONTROL_DATABASE
        self._measuring = True

        def guard() -> None:
            for path, own in places.items():
                prepare(path, own)
                self._guard.hold(path)

        await asyncio.to_thread(guard)

    async def protect(self, repository_id: str) -> None:
        """Before a new file may be written to by others: see to it that its log is held."""
        path = self._shelf.file(repository_id)
        if self._measuring:
            await asyncio.to_thread(self._guard.hold, path)
            return
        until = time.monotonic() + PROTECTED_WITHIN
        while await host_answers(self._settings.control_socket) and time.monotonic() < until:
            if await asyncio.to_thread(is_guarded, path):
                return
            await asyncio.sleep(0.03)
        if time.monotonic() >= until:
            log.warning("the running host did not take %s in time; it will", path.name)

    async def ensure(self, repository_id: str, seconds: float = 20.0) -> int:
        """The transaction up to which the replica holds the repository, everything of now.

        Unavailable, with the reason, when that cannot be proven within `seconds`.
        """
        standing = self._of(repository_id)
        until = time.monotonic() + seconds
        while True:
            await self._ask(standing, patience=max(0.5, until - time.monotonic()))
            if standing.row.state is BackupState.CURRENT:
                return standing.row.replicated_txid
            if time.monotonic() > until:
                raise Unavailable(
                    f"{standing.row.label or repository_id} is not proven to be on the replica: "
                    f"{standing.row.reason or 'Litestream has not caught up'}",
                    hint=standing.row.hint or "see `fossilrepo backup status`",
                )
            await asyncio.sleep(0.2)

    # The running host

    async def run(self) -> None:
        """Ask about what changed, and about everything now and then, until cancelled."""
        self._measuring = True
        await self._follow_rows()
        for standing in self._known.values():
            if standing.row.state is not BackupState.OFF:
                standing.row = replace(standing.row, state=BackupState.UNKNOWN, since=now())
        self.ask_all()
        self._start_ends_at = asyncio.get_running_loop().call_later(
            START_WITHIN, self._expect_answers
        )
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(CALLS):
                    group.create_task(self._worker())
                group.create_task(self._sweep())
                group.create_task(self._control_database())
                group.create_task(self._flush_now_and_then())
        finally:
            self._start_ends_at.cancel()
            for standing in self._known.values():
                if standing.retry:
                    standing.retry.cancel()

    def _expect_answers(self) -> None:
        self._answers_yet = True

    async def flush(self) -> None:
        """Write the rows that differ from what was last written."""
        changes: dict[str, dict[str, Any]] = {}
        for identity, standing in self._known.items():
            if standing.written is None or worth_writing(standing.row, standing.written):
                changes[identity] = measured(standing.row)
                standing.written = standing.row
        await self._backups.note_all(changes)

    def refresh(self, row: Replica) -> None:
        """Somebody else wrote this row (a proof, a purge): keep what was measured here."""
        standing = self._known.get(row.repository_id)
        if standing is None:  # nothing was measured here yet, not even its name
            self._known[row.repository_id] = Standing(row, written=row)
        else:
            standing.row = replace(row, **measured(standing.row))

    async def take_in(self) -> None:
        """What others wrote into the rows, as the command line does beside a running host."""
        stamp = await self._backups.stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            for row in await self._backups.replicas():
                self.refresh(row)

    async def _follow_rows(self) -> None:
        """Take in new repositories, other names, broken ones, and what others wrote."""
        await self.take_in()
        for repository in await self._store.all():
            standing = self._of(repository.id)
            self._set(standing, label=repository.label, project_code=repository.project_code)
            if repository.state is RepositoryState.BROKEN:
                self._set(
                    standing,
                    state=BackupState.OFF,
                    reason=f"it is broken: {repository.reason}",
                    hint="what was replicated before can be restored",
                    behind_since=None,
                )
            elif standing.row.state is BackupState.OFF:
                self._set(standing, state=BackupState.UNKNOWN, reason="", hint="")
        if self._settings.database.url == "sqlite":
            self._set(self._of(CONTROL_ID), label="control database")

    async def _worker(self) -> None:
        while True:
            while not self._queue:
                self._some.clear()
                await self._some.wait()
            identity = self._queue.popleft()
            self._queued.discard(identity)
            if identity in self._in_flight:  # one more question after the one under way
                self._ask_soon(identity, after=0.05)
                continue
            standing = self._known.get(identity)
            if standing is not None:
                await self._ask(standing)

    async def _sweep(self) -> None:
        while True:
            identities = [i for i, s in self._known.items() if s.row.purged_at is None]
            for identity in identities:
                await asyncio.sleep(SWEEP / len(identities))
                self._ask_soon(identity)
            if not identities:
                await asyncio.sleep(SWEEP)
            try:
                await self._follow_rows()
            except FossilrepoError as error:
                log.warning("the repositories could not be looked through: %s", error)

    async def _control_database(self) -> None:
        while CONTROL_ID in self._known:
            self._ask_soon(CONTROL_ID)
            await asyncio.sleep(CONTROL_EVERY)

    async def _flush_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            try:
                await self._name_the_new()
                await self.flush()
                await self.take_in()
            except FossilrepoError as error:
                log.warning("how the replicas stand could not be written: %s", error)

    async def _name_the_new(self) -> None:
        for identity, standing in list(self._known.items()):
            if not standing.row.label and is_id(identity):
                repository = await self._store.get(identity)
                if repository is not None:
                    self._set(
                        standing, label=repository.label, project_code=repository.project_code
                    )

    # One question

    def _ask_soon(self, identity: str, after: float = 0.0) -> None:
        if not self._measuring or identity in self._queued:
            return
        if after:
            standing = self._of(identity)
            if standing.retry:
                standing.retry.cancel()
            loop = asyncio.get_running_loop()
            standing.retry = loop.call_later(after, self._ask_soon, identity)
            return
        self._queued.add(identity)
        self._queue.append(identity)
        self._some.set()

    async def _ask(self, standing: Standing, patience: float = PATIENCE) -> None:
        identity = standing.row.repository_id
        async with standing.turn:
            self._in_flight.add(identity)
            try:
                await self._ask_now(standing, self._path(identity), min(patience, PATIENCE))
            except (FossilrepoError, OSError, sqlite3.Error) as error:
                # Of the store, the disk or the database: no failure of a part of us.
                self._failed(standing, str(error), getattr(error, "hint", ""))
            finally:
                self._in_flight.discard(identity)

    async def _ask_now(self, standing: Standing, path: Path, patience: float) -> None:
        identity, began = standing.row.repository_id, now()
        if not await asyncio.to_thread(path.exists):
            self._gone(standing)
            return
        if standing.row.state is BackupState.OFF:
            await self._perhaps_again(standing)
        if self._measuring and not self._guard.holds(path):
            await asyncio.to_thread(self._guard.hold, path)
        try:
            answer = await self.control.sync(path, timeout=patience)
        except NotKnown:
            self._not_known(standing)
            return
        except NotRunning as error:
            self._not_running(standing, error)
        except SyncFailed as error:
            if self.mend and self._measuring and await self.mend(identity, error):
                self._ask_soon(identity, after=0.2)
            on_its_way = ""
            if litestream.out_of_time(error.message):
                left = await asyncio.to_thread(self._unsent, standing, path)
                on_its_way = large_copy(standing.row, left, now())
            if on_its_way:
                self._behind(standing, began, on_its_way, ask_after=1.0)
            else:
                self._failed(standing, *litestream.explain(error.message))
        else:
            self._answered(standing, answer, began)
        if self._measuring and self._guard.holds(path):
            quiet = time.monotonic() - standing.changed_at > QUIET
            await self._folding.fold(path, quiet=quiet)

    def _not_running(self, standing: Standing, error: NotRunning) -> None:
        starting = self._measuring and not self._answers_yet
        if starting and self.refusal is None and error.kind == "away":
            self._ask_soon(standing.row.repository_id, after=0.5)  # it is starting
            return
        why = self.refusal or error
        self._failed(standing, why.message, why.hint)

    async def _perhaps_again(self, standing: Standing) -> None:
        """What was gone or broken may be back, restored in place."""
        repository = await self._store.get(standing.row.repository_id)
        if repository is not None and repository.state is not RepositoryState.BROKEN:
            self._set(standing, state=BackupState.UNKNOWN, reason="", hint="")

    def _answered(self, standing: Standing, answer: litestream.Synced, began: datetime) -> None:
        self._set(standing, txid=answer.txid, replicated_txid=answer.replicated_txid)
        if standing.row.state is BackupState.OFF:
            return
        if answer.replicated_txid < answer.txid:
            self._behind(standing, began, "", ask_after=0.3)
            return
        if self._measuring and not self._guard.holds(self._path(standing.row.repository_id)):
            self._failed(
                standing,
                "its write-ahead log cannot be held, so commits could be missed",
                "end other programs that have the file open",
            )
            return
        standing.failures = 0
        changed_meanwhile = standing.row.repository_id in self._queued
        self._set(
            standing,
            state=BackupState.CURRENT,
            synced_at=began,
            behind_since=standing.row.behind_since if changed_meanwhile else None,
            reason="",
            hint="",
        )

    def _unsent(self, standing: Standing, path: Path) -> int:
        """Bytes that are not on the replica yet, about: all of a new file, else its log."""
        return self._guard.unfolded(path) if standing.row.synced_at else path.stat().st_size

    def _behind(self, standing: Standing, began: datetime, why: str, *, ask_after: float) -> None:
        since = standing.row.behind_since or began
        self._set(standing, state=BackupState.BEHIND, behind_since=since, reason=why, hint="")
        self._ask_soon(standing.row.repository_id, after=ask_after)

    def _not_known(self, standing: Standing) -> None:
        """Litestream finds new files by itself, in a fraction of a second."""
        if standing.row.state is BackupState.CURRENT:  # another file than the one that was
            self._set(standing, state=BackupState.UNKNOWN)
        if time.monotonic() - standing.first_seen < NOTICE_WITHIN:
            self._ask_soon(standing.row.repository_id, after=0.2)
            return
        self._failed(
            standing,
            NOT_TAKEN,
            "see `fossilrepo repo list` for what is wrong with it",
        )

    def _failed(self, standing: Standing, reason: str, hint: str) -> None:
        standing.failures += 1
        label = standing.row.label or standing.row.repository_id
        if standing.row.state not in (BackupState.FAILING, BackupState.OFF):
            log.warning("the replica of %s cannot be brought up to date: %s", label, reason)
        if standing.row.state is not BackupState.OFF:
            behind = standing.row.behind_since or standing.row.synced_at or now()
            self._set(
                standing,
                state=BackupState.FAILING,
                behind_since=behind,
                reason=reason,
                hint=hint,
            )
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(standing.failures - 1, 10))
        self._ask_soon(standing.row.repository_id, after=pause)

    def _gone(self, standing: Standing) -> None:
        """Purged, or taken away by hand: its replica stays, nothing is left to copy."""
        self._guard.release(self._path(standing.row.repository_id))
        if not standing.row.label and standing.row.synced_at is None:
            self.forget(standing.row.repository_id)  # an import that failed at the last step
            return
        self._set(
            standing,
            state=BackupState.OFF,
            behind_since=None,
            reason="its file is gone",
            hint="restore it from the replica",
        )

    def _of(self, identity: str) -> Standing:
        standing = self._known.get(identity)
        if standing is None:
            standing = self._known[identity] = Standing(Replica(identity))
        return standing

    def _set(self, standing: Standing, **changes: Any) -> None:
        before = standing.row
        if all(getattr(before, key) == value for key, value in changes.items()):
            return
        if "state" in changes and changes["state"] is not before.state:
            changes["since"] = now()
        standing.row = replace(before, **changes)

    def _path(self, identity: str) -> Path:
        if identity == CONTROL_ID:
            return self._settings.database_file
        return self._shelf.file(identity)
