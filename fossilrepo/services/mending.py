"""Mending replication: what Litestream does not get over by itself.

Owns the watch over the child and the target: a child that hangs, a target that
answers again after an outage (its own pauses reach five minutes), credentials that
were renewed, tables that a `fossil rebuild` dropped, a state folder that is gone, a
replica that is gone (of which Litestream still says that all is well). Each is mended,
or said with what to do. Asks the target itself, not Litestream, what is there.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from fossilrepo.config import Settings
from fossilrepo.db.backups import BackupStore
from fossilrepo.errors import FossilrepoError
from fossilrepo.models import CONTROL_ID, Actor, BackupState, Replica, now
from fossilrepo.runtime.supervisor import ChildStatus
from fossilrepo.services.audit import Audit
from fossilrepo.services.replication import NOT_TAKEN, NOTICE_WITHIN, Replication
from fossilrepo.services.shelf import SUFFIX, Shelf
from fossilrepo.tools import litestream
from fossilrepo.tools.litestream import SyncFailed

log = logging.getLogger(__name__)

CHILD = "litestream"
LOOK_EVERY = 5.0
HANGS_AFTER = 3  # looks without an answer
OUTAGE_AFTER = 20.0  # seconds of failing after which the child is started again at the end
LONG_OUTAGE = 600.0  # after this one every repository is proven anew
MEND_AGAIN_AFTER = 30.0  # seconds
TAKE_AGAIN_AFTER = 600.0  # when a start did not help with a file
LIST_EVERY = 300.0  # seconds between two looks at what the target holds


class Children(Protocol):
    def child(self, name: str) -> ChildStatus: ...
    async def restart(self, name: str) -> ChildStatus: ...
    def paused(self, name: str) -> AbstractAsyncContextManager[None]: ...


class Mending:
    def __init__(
        self,
        settings: Settings,
        replication: Replication,
        backups: BackupStore,
        shelf: Shelf,
        audit: Audit,
    ) -> None:
        self.trouble = ""  # what is wrong with the target now, in its own words
        self._settings = settings
        self._replication = replication
        self._backups = backups
        self._shelf = shelf
        self._audit = audit
        self._children: Children | None = None
        self._mended: dict[str, float] = {}
        self._silent = 0
        self._failing_since: float | None = None
        self._stamp = ""
        self._lost_state = False
        self._listed = time.monotonic()
        replication.mend = self.mend

    def attach(self, children: Children) -> None:
        self._children = children

    async def run(self) -> None:
        """Look after the child and the target until cancelled."""
        self._stamp = await asyncio.to_thread(self._replication.target.credentials_stamp)
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self._look()
            except FossilrepoError as error:
                log.warning("replication could not be looked after: %s", error)

    async def mend(self, identity: str, error: SyncFailed) -> bool:
        """Put right what this failure tells of; True when asking again is worth it."""
        if litestream.lost_state(error.message):
            self._lost_state = True  # only a start mends it: at the next look
            return False
        if not litestream.lost_tables(error.message) or not self._may_mend(identity):
            return False
        path = self._shelf.file(identity)
        await asyncio.to_thread(litestream.put_tables, path)
        await self._replication.control.reopen(path)
        await self._record(identity, "tables")
        return True

    def _may_mend(self, identity: str, again_after: float = MEND_AGAIN_AFTER) -> bool:
        last = self._mended.get(identity)
        if last is not None and time.monotonic() - last < again_after:
            return False
        self._mended[identity] = time.monotonic()
        return True

    async def _record(self, identity: str, lost: str) -> None:
        label = self._replication.standing(identity).label or identity
        log.warning("the replica of %s is mended: its %s was lost", label, lost)
        await self._audit.record(Actor.system(), "backup.mended", label, lost=lost)

    async def _look(self) -> None:
        if self._children is None or not self._children.child(CHILD).ready:
            self._silent = 0
            return
        if await self._hangs():
            await self._restart("it did not answer")
            return
        stamp = await asyncio.to_thread(self._replication.target.credentials_stamp)
        if stamp != self._stamp:
            self._stamp = stamp
            await self._restart("the credentials were renewed")
            return
        if self._lost_state:
            self._lost_state = False
            if self._may_mend("state"):
                await self._restart("its state folder was lost")
            return
        if (forgotten := await self._forgotten()) is not None:
            await self._restart(f"it does not take {forgotten} back")
            return
        await self._look_at_target()
        await self._look_for_lost_replicas()

    async def _hangs(self) -> bool:
        try:
            await self._replication.control.info()
        except FossilrepoError:
            self._silent += 1
        else:
            self._silent = 0
        return self._silent >= HANGS_AFTER

    async def _forgotten(self) -> str | None:
        """A file that had gone and is there again: now and then Litestream does not see that."""
        for row in self._replication.statuses().values():
            is_refused = row.state is BackupState.FAILING and row.reason == NOT_TAKEN
            since = row.since or now()
            if not is_refused or (now() - since).total_seconds() < NOTICE_WITHIN:
                continue
            is_there = await asyncio.to_thread(self._shelf.file(row.repository_id).exists)
            if is_there and self._may_mend(f"file {row.repository_id}", TAKE_AGAIN_AFTER):
                return row.label or row.repository_id
        return None

    async def _look_at_target(self) -> None:
        rows = self._replication.statuses().values()
        failing = [row for row in rows if row.state is BackupState.FAILING]
        if not failing:
            self._failing_since = None
            self.trouble = ""
            return
        if self._failing_since is None:
            self._failing_since = time.monotonic()
        try:
            await self._replication.target.reachable()
        except FossilrepoError as error:
            self.trouble = error.message
            return
        away, self.trouble = bool(self.trouble), ""
        lasted = time.monotonic() - self._failing_since
        if away and lasted > OUTAGE_AFTER:
            await self._restart("its target can be reached again")
            if lasted > LONG_OUTAGE:
                await self._backups.note_every(verify_wanted=True)

    async def _look_for_lost_replicas(self) -> None:
        """Of what is gone from the target a new full copy is begun; nothing is lost by that."""
        rows = [row for row in self._replication.statuses().values() if _is_asked(row)]
        suspects = [row for row in rows if row.verify_error]
        if time.monotonic() - self._listed > LIST_EVERY:
            self._listed = time.monotonic()
            there = set(await self._replication.target.names())
            suspects += [row for row in rows if _name(row.repository_id) not in there]
        gone = [
            row.repository_id
            for row in suspects
            if self._may_mend(f"replica {row.repository_id}") and await self._holds_nothing(row)
        ]
        if gone:
            await self._begin_anew(gone)

    async def _holds_nothing(self, row: Replica) -> bool:
        files = await litestream.ltx(self._replication.target, _name(row.repository_id))
        return not litestream.reachable(files)

    async def _begin_anew(self, identities: list[str]) -> None:
        assert self._children is not None  # noqa: S101 - `_look` asked
        target = self._replication.target
        state = self._settings.litestream_state / target.key
        async with self._children.paused(CHILD):
            for identity in identities:
                await target.delete(_name(identity))  # fragments that lead to nothing
                own = state / (_name(identity) if identity == CONTROL_ID else _state(identity))
                await asyncio.to_thread(shutil.rmtree, own, True)
        for identity in identities:
            await self._record(identity, "replica")
            row = await self._backups.note(identity, verify_wanted=True)
            self._replication.refresh(row)
        self._replication.ask_all()

    async def _restart(self, why: str) -> None:
        assert self._children is not None  # noqa: S101 - `_look` asked
        log.warning("Litestream is started again: %s", why)
        self._silent = 0
        self._failing_since = None
        await self._children.restart(CHILD)
        await self._audit.record(Actor.system(), "backup.restarted", CHILD, why=why)
        self._replication.ask_all()


def _is_asked(row: Replica) -> bool:
    return row.purged_at is None and row.state is BackupState.CURRENT and row.txid > 0


def _name(identity: str) -> str:
    """What the replica of an identity is called on the target."""
    return litestream.CONTROL_DATABASE if identity == CONTROL_ID else f"{identity}{SUFFIX}"


def _state(identity: str) -> str:
    return f"{identity}{SUFFIX}-litestream"
