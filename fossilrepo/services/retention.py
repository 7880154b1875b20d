"""What leaves the replica and when: purged repositories, undo copies, old records.

Owns the removing of objects, listed before they go, never one of a repository that
lives or lies in the trash, and the forecast's inputs. Nothing that nobody knows is
removed by itself; it is listed. Other targets are `target_change`'s.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from fossilrepo.config import Settings, effective_retention
from fossilrepo.db.backups import BackupStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import FossilrepoError
from fossilrepo.models import (
    CONTROL_ID,
    Actor,
    BackupTarget,
    Job,
    Replica,
    is_id,
    now,
)
from fossilrepo.services.audit import Audit
from fossilrepo.services.forecast import Forecast, forecast
from fossilrepo.services.jobs import Jobs
from fossilrepo.services.replication import Replication
from fossilrepo.services.shelf import SUFFIX, Shelf
from fossilrepo.services.target_change import TargetChange, is_replica
from fossilrepo.services.trial_restore import CONTROL_FILE, CONTROL_LABEL
from fossilrepo.tools.targets import FileTarget, Target

log = logging.getLogger(__name__)

FIRST_AFTER = 300.0  # seconds after the start
EVERY = timedelta(days=1)
LOOK_EVERY = 600.0  # seconds, for the proof of a new target
HISTORY = timedelta(days=400)
FORECAST_FOR = 600.0  # seconds that one is good for


@dataclass(frozen=True, slots=True)
class Orphan:
    """Objects shaped like a replica of ours that no repository knows of."""

    name: str
    objects: int
    size_bytes: int
    newest: datetime


class Retention:
    def __init__(
        self,
        settings: Settings,
        store: RepositoryStore,
        backups: BackupStore,
        replication: Replication,
        shelf: Shelf,
        jobs: Jobs,
        audit: Audit,
    ) -> None:
        self._settings = settings
        self._store = store
        self._backups = backups
        self._replication = replication
        self._shelf = shelf
        self._audit = audit
        self._change = TargetChange(settings, store, backups, replication, jobs, audit)
        self._forecast: tuple[float, Forecast] | None = None
        self._forecasting = asyncio.Lock()

    @property
    def keeps_for(self) -> timedelta:
        """How far back the replica reaches, also for what was purged."""
        return timedelta(seconds=effective_retention(self._settings))

    async def run(self, first_after: float = FIRST_AFTER, every: float = LOOK_EVERY) -> None:
        """Clear daily, and look for the proof of a new target, until cancelled."""
        next_time = time.monotonic() + first_after
        while True:
            await asyncio.sleep(min(first_after, every))
            try:
                await self.note_proof()
                if time.monotonic() >= next_time:
                    next_time = time.monotonic() + EVERY.total_seconds()
                    await self.clear()
            except FossilrepoError as error:
                log.warning("the replica could not be tidied: %s", error)

    async def clear(self) -> None:
        """Everything that is past its time goes."""
        await self.clear_undo()
        await self._backups.forget_verifications(now() - HISTORY)
        await self.clear_purged()

    # What was purged

    async def clear_purged(self) -> list[str]:
        """Remove the objects of repositories whose retention ended after their purge; their ids.

        From earlier targets too, as far as they answer.
        """
        gone = []
        for row in await self._backups.replicas():
            if await self._may_go(row):
                await self._clear(row)
                gone.append(row.repository_id)
        return gone

    async def _may_go(self, row: Replica) -> bool:
        if row.purged_at is None or row.cleared_at is not None or not is_id(row.repository_id):
            return False
        if now() < row.purged_at + self.keeps_for:
            return False
        if await self._store.get(row.repository_id) is not None:
            return False
        return not await asyncio.to_thread(self._shelf.file(row.repository_id).exists)

    async def _clear(self, row: Replica) -> None:
        label = row.label or row.repository_id
        objects, size = await self._remove(self._replication.target, row)
        for target in await self._change.kept():
            try:
                more, more_size = await self._remove(target, row)
            except FossilrepoError as error:
                log.warning("%s is not cleared of %s: %s", target.url, label, error)
            else:
                objects, size = objects + more, size + more_size
        await self._audit.record(
            Actor.system(),
            "backup.cleared",
            label,
            id=row.repository_id,
            objects=objects,
            bytes=size,
        )
        self._replication.refresh(await self._backups.note(row.repository_id, cleared_at=now()))

    async def _remove(self, target: Target, row: Replica) -> tuple[int, int]:
        prefix = f"{row.repository_id}{SUFFIX}/"
        found = await target.list(prefix)
        size = sum(stored.size for stored in found)
        log.info(
            "%s: %d objects, %d bytes of %s go: purged on %s, kept for %.1f days",
            target.url,
            len(found),
            size,
            row.label or row.repository_id,
            f"{row.purged_at:%Y-%m-%d}",
            self.keeps_for.total_seconds() / 86400,
        )
        if found:
            await target.delete(prefix)
        return len(found), size

    async def orphans(self) -> list[Orphan]:
        """What lies in the target under an identity that nobody knows; left alone."""
        known = {row.repository_id for row in await self._backups.replicas() if not row.cleared_at}
        known |= {repository.id for repository in await self._store.all()}
        found = []
        for name in await self._replication.target.names():
            identity = name.removesuffix(SUFFIX)
            if not is_replica(name) or name == CONTROL_FILE or identity in known:
                continue
            if objects := await self._replication.target.list(f"{name}/"):
                newest = max(stored.modified for stored in objects)
                size = sum(stored.size for stored in objects)
                found.append(Orphan(name, len(objects), size, newest))
        return found

    async def clear_undo(self) -> list[str]:
        """Forget undo points past the retention, with their files; their identities."""
        oldest = now() - self.keeps_for
        gone = []
        kept = set()
        for restoration in await self._backups.restorations():
            path = self._settings.undo / (Path(restoration.file).name or "-")
            if restoration.at >= oldest:
                kept.add(path)
                continue
            await asyncio.to_thread(self._shelf.discard, path)
            await self._backups.remove_restoration(restoration.id)
            gone.append(restoration.id)
        await asyncio.to_thread(self._sweep_undo, kept, oldest)
        return gone

    def _sweep_undo(self, kept: set[Path], oldest: datetime) -> None:
        """Copies without a row, as old; what a restore under way writes is new."""
        if not self._settings.undo.is_dir():
            return
        for path in self._settings.undo.glob(f"*{SUFFIX}"):
            if path not in kept and path.stat().st_mtime < oldest.timestamp():
                self._shelf.discard(path)

    # Targets

    async def targets(self) -> list[BackupTarget]:
        """Every place where replicas are or were, the one in use first."""
        return await self._change.all()

    async def note_target(self) -> None:
        """At start, before replication runs: see `TargetChange`."""
        await self._change.note_target()

    async def note_proof(self) -> bool:
        """Whether the target in use is proven: everything was brought back from it once."""
        return await self._change.note_proof()

    async def unproven(self) -> list[str]:
        """What was not brought back from the target in use yet, for people."""
        return await self._change.unproven()

    async def let_go(self, actor: Actor, target_id: int, *, leave_objects: bool = False) -> Job:
        """Delete what is ours in an earlier target, once the one in use is proven.

        With `leave_objects` it is only taken off the list, as for a bucket that is gone.
        """
        return await self._change.let_go(actor, target_id, leave_objects=leave_objects)

    # Forecast

    async def forecast(self) -> Forecast:
        """Bytes, objects and requests, now and to come; at most ten minutes old."""
        async with self._forecasting:
            if self._forecast and time.monotonic() - self._forecast[0] < FORECAST_FOR:
                return self._forecast[1]
            made = await self._make_forecast()
            self._forecast = (time.monotonic(), made)
            return made

    async def _make_forecast(self) -> Forecast:
        target = self._replication.target
        objects = await target.list()
        labels = _labels(await self._backups.replicas())
        for repository in await self._store.all():
            labels[f"{repository.id}{SUFFIX}"] = repository.label
        room = None
        if isinstance(target, FileTarget):
            room = await asyncio.to_thread(self._room, target.folder)
        return await asyncio.to_thread(
            forecast,
            objects,
            labels,
            url=target.url,
            at=now(),
            snapshot_interval=self._settings.backup.snapshot_interval,
            retention=self.keeps_for.total_seconds(),
            room_bytes=room,
            list_requests=not target.is_local,
        )

    def _room(self, folder: Path) -> int:
        """Bytes until the disk of the folder has no more than limits.free_disk free."""
        while not folder.exists():
            folder = folder.parent
        disk = os.statvfs(folder)
        least = self._settings.limits.free_disk * disk.f_blocks
        return max(0, int((disk.f_bavail - least) * disk.f_frsize))


def _labels(rows: Iterable[Replica]) -> dict[str, str]:
    found = {f"{row.repository_id}{SUFFIX}": row.label or row.repository_id for row in rows}
    found.pop(f"{CONTROL_ID}{SUFFIX}", None)
    return {**found, CONTROL_FILE: CONTROL_LABEL}
