"""Mending replication: what Litestream does not get over by itself.

Owns the watch over the child and the target: a child that hangs, a target that
answers again after an outage (its own pauses reach five minutes), credentials that
were renewed, tables that a `fossil rebuild` dropped. Each is mended, or said with
what to do. Asks the target itself, not Litestream, whether it can be reached.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

from fossilrepo.db.backups import BackupStore
from fossilrepo.errors import FossilrepoError
from fossilrepo.models import Actor, BackupState
from fossilrepo.runtime.supervisor import ChildStatus
from fossilrepo.services.audit import Audit
from fossilrepo.services.replication import Replication
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import litestream
from fossilrepo.tools.litestream import SyncFailed

log = logging.getLogger(__name__)

CHILD = "litestream"
LOOK_EVERY = 5.0
HANGS_AFTER = 3  # looks without an answer
OUTAGE_AFTER = 20.0  # seconds of failing after which the child is started again at the end
LONG_OUTAGE = 600.0  # after this one every repository is proven anew
MEND_AGAIN_AFTER = 30.0  # seconds


class Children(Protocol):
    def child(self, name: str) -> ChildStatus: ...
    async def restart(self, name: str) -> ChildStatus: ...


class Mending:
    def __init__(
        self, replication: Replication, backups: BackupStore, shelf: Shelf, audit: Audit
    ) -> None:
        self.trouble = ""  # what is wrong with the target now, in its own words
        self._replication = replication
        self._backups = backups
        self._shelf = shelf
        self._audit = audit
        self._children: Children | None = None
        self._mended: dict[str, float] = {}
        self._silent = 0
        self._failing_since: float | None = None
        self._stamp = ""
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
        if not litestream.lost_tables(error.message):
            return False
        last = self._mended.get(identity, -MEND_AGAIN_AFTER)
        if time.monotonic() - last < MEND_AGAIN_AFTER:
            return False
        self._mended[identity] = time.monotonic()
        path = self._shelf.file(identity)
        await asyncio.to_thread(litestream.put_tables, path)
        await self._replication.control.reopen(path)
        label = self._replication.standing(identity).label or identity
        await self._audit.record(Actor.system(), "backup.mended", label, lost="tables")
        return True

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
        await self._look_at_target()

    async def _hangs(self) -> bool:
        try:
            await self._replication.control.info()
        except FossilrepoError:
            self._silent += 1
        else:
            self._silent = 0
        return self._silent >= HANGS_AFTER

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

    async def _restart(self, why: str) -> None:
        assert self._children is not None  # noqa: S101 - `_look` asked
        log.warning("Litestream is started again: %s", why)
        self._silent = 0
        self._failing_since = None
        await self._children.restart(CHILD)
        await self._audit.record(Actor.system(), "backup.restarted", CHILD, why=why)
        self._replication.ask_all()
