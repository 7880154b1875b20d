"""What leaves the replica and when: purged repositories, old records, targets of before.

Owns the removing of objects (listed before they go, never one of a repository that
lives or lies in the trash), the rows of targets and the proof that a new one needs
before the old one may go, and the forecast's inputs. Nothing that nobody knows is
removed by itself; it is listed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from fossilrepo.config import Settings, effective_retention
from fossilrepo.db.backups import BackupStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import Conflict, Forbidden, FossilrepoError, NotFound
from fossilrepo.models import (
    CONTROL_ID,
    Actor,
    BackupState,
    BackupTarget,
    Job,
    Replica,
    is_id,
    now,
)
from fossilrepo.services.audit import Audit
from fossilrepo.services.forecast import Forecast, forecast
from fossilrepo.services.jobs import Jobs, Progress
from fossilrepo.services.replication import Replication
from fossilrepo.services.shelf import SUFFIX, Shelf
from fossilrepo.services.trial_restore import CONTROL_FILE
from fossilrepo.tools.targets import FileTarget, Stored, Target, target_of

log = logging.getLogger(__name__)

FIRST_AFTER = 300.0  # seconds after the start
EVERY = timedelta(days=1)
LOOK_EVERY = 600.0  # seconds, for the proof of a new target
HISTORY = timedelta(days=400)
FORECAST_FOR = 600.0  # seconds that one is good for
CONTROL_LABEL = "control database"
MANIFEST = "manifest.json"
_UNPROVEN: dict[str, object] = {
    "state": BackupState.UNKNOWN,
    "behind_since": None,
    "synced_at": None,
    "txid": 0,
    "replicated_txid": 0,
    "proven_at": None,
    "proven_seconds": None,
    "proven_checkins": None,
    "verify_at": None,
    "verify_error": "",
    "verify_wanted": True,
}


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
        self._jobs = jobs
        self._audit = audit
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
        for target in await self._kept_targets():
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
            if not _is_replica(name) or name == CONTROL_FILE or identity in known:
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
        return await self._backups.targets()

    async def note_target(self) -> None:
        """At start, before replication runs: another target than the last has proven nothing.

        The earlier one is kept, with all that it holds, until somebody lets it go.
        """
        url = self._replication.target.url
        before = await self._backups.targets()
        if before and before[0].url == url:
            return
        await self._backups.add_target(url)
        if not before:
            return
        for target in before:  # an earlier place that is in use again is no earlier one any more
            if target.url == url and target.let_go_at is None:
                await self._backups.update_target(target.id, let_go_at=now())
        log.warning("backups go to %s from now on; %s is kept as it is", url, before[0].url)
        rows = [row for row in await self._backups.replicas() if row.purged_at is None]
        await self._backups.note_all({row.repository_id: dict(_UNPROVEN) for row in rows})
        await self._replication.load()
        await self._audit.record(Actor.system(), "backup.target", url, before=before[0].url)

    async def note_proof(self) -> bool:
        """Whether the target in use is proven: everything was brought back from it once."""
        targets = await self._backups.targets()
        if not targets:
            return False
        current = targets[0]
        if current.proven_at is not None:
            return True
        if await self.unproven():
            return False
        await self._backups.update_target(current.id, proven_at=now())
        await self._audit.record(Actor.system(), "backup.target.proven", current.url)
        return True

    async def unproven(self) -> list[str]:
        """What was not brought back from the target in use yet, for people."""
        targets = await self._backups.targets()
        rows = {row.repository_id: row for row in await self._backups.replicas()}
        wanted = {r.id: r.label for r in await self._store.all()}
        if self._settings.database.url == "sqlite":
            wanted[CONTROL_ID] = CONTROL_LABEL
        return [
            label
            for identity, label in wanted.items()
            if not targets or not _proven_since(rows.get(identity), targets[0].since)
        ]

    async def let_go(self, actor: Actor, target_id: int, *, leave_objects: bool = False) -> Job:
        """Delete what is ours in an earlier target, once the one in use is proven.

        With `leave_objects` it is only taken off the list, as for a bucket that is gone.
        """
        _admins_only(actor)
        old = await self._check_old(target_id)

        async def work(progress: Progress) -> None:
            await self._check_old(target_id)
            if not leave_objects:
                await self._let_go(actor, old, progress)
            await self._backups.update_target(old.id, let_go_at=now())
            await self._audit.record(actor, "backup.target.let_go", old.url, left=leave_objects)

        return await self._jobs.start("backup.let_go", old.url, actor, work)

    async def _check_old(self, target_id: int) -> BackupTarget:
        targets = await self._backups.targets()
        old = next((target for target in targets if target.id == target_id), None)
        if old is None:
            raise NotFound(
                f"there is no target {target_id}", hint="see `fossilrepo backup targets`"
            )
        if old.let_go_at is not None:
            raise Conflict(f"{old.url} was let go already")
        if old.url in (targets[0].url, self._replication.target.url):
            raise Conflict(
                f"{old.url} is in use", hint="set backup.url to another place and start the host"
            )
        if not await self.note_proof():
            missing = await self.unproven()
            shown = ", ".join(missing[:5]) + (" and others" if len(missing) > 5 else "")
            raise Conflict(
                f"{targets[0].url} is not proven yet: not restored from it on trial: {shown}",
                hint="run `fossilrepo backup verify`, then try again",
            )
        return old

    async def _let_go(self, actor: Actor, old: BackupTarget, progress: Progress) -> None:
        target = earlier(self._settings, old.url)
        await self._refuse_same_place(target, old.url)
        found, unknown = await self._ours(target)
        objects = sum(len(every) for every in found.values())
        size = sum(stored.size for every in found.values() for stored in every)
        progress.say(f"{objects} objects, {size} bytes of {len(found)} replicas go", 0.0)
        if unknown:
            progress.say(f"left where they are, nobody knows them: {', '.join(unknown)}", 0.0)
        if only_here := await self._only_in(old):
            progress.say(f"purged before the change, restorable from here only: {only_here}", 0.0)
        await self._audit.record(actor, "backup.target.clear", old.url, objects=objects, bytes=size)
        for number, name in enumerate(found):
            await target.delete(f"{name}/")
            progress.say(f"{name} removed", (number + 1) / (len(found) + 1))
        await target.delete(MANIFEST)
        state = self._settings.litestream_state / target.key
        await asyncio.to_thread(shutil.rmtree, state, True)
        progress.say(f"{objects} objects, {size} bytes removed from {old.url}", 1.0)

    async def _refuse_same_place(self, target: Target, url: str) -> None:
        """Two addresses can lead to one place: a link, a mount, another name of a server."""
        key = f".fossilrepo-{secrets.token_hex(8)}"
        await self._replication.target.put(key, b"is this the same place?")
        try:
            same = await target.get(key) is not None
        finally:
            await self._replication.target.delete(key)
        if same or target.key == self._replication.target.key:
            raise Conflict(
                f"{url} is the place in use, by another name",
                hint="take it off the list and leave its objects",
            )

    async def _ours(self, target: Target) -> tuple[dict[str, list[Stored]], list[str]]:
        """What we put there, by name of the replica; names of replicas that we do not know."""
        known = {f"{row.repository_id}{SUFFIX}" for row in await self._backups.replicas()}
        known |= {f"{repository.id}{SUFFIX}" for repository in await self._store.all()}
        names = [name for name in await target.names() if _is_replica(name)]
        ours = [name for name in names if name in known or name == CONTROL_FILE]
        found = {name: await target.list(f"{name}/") for name in ours}
        return found, [name for name in names if name not in found]

    async def _only_in(self, old: BackupTarget) -> str:
        """Purged repositories that lie in a target of before, still within their time."""
        targets = await self._backups.targets()
        since = targets[0].since
        return ", ".join(
            row.label or row.repository_id
            for row in await self._backups.replicas()
            if row.purged_at and not row.cleared_at and old.since <= row.purged_at < since
        )

    async def _kept_targets(self) -> list[Target]:
        """Earlier places that still hold replicas, each once."""
        in_use = self._replication.target.url
        urls = {
            target.url: None
            for target in await self._backups.targets()
            if target.let_go_at is None and target.url != in_use
        }
        return [earlier(self._settings, url) for url in urls]

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


def earlier(settings: Settings, url: str) -> Target:
    """The target of this URL; without a server in it Amazon's, not the one configured now."""
    backup = settings.backup.model_copy(update={"endpoint": "", "region": ""})
    return target_of(settings.model_copy(update={"backup": backup}), url)


def _is_replica(name: str) -> bool:
    return name == CONTROL_FILE or (name.endswith(SUFFIX) and is_id(name.removesuffix(SUFFIX)))


def _labels(rows: Iterable[Replica]) -> dict[str, str]:
    found = {f"{row.repository_id}{SUFFIX}": row.label or row.repository_id for row in rows}
    found.pop(f"{CONTROL_ID}{SUFFIX}", None)
    return {**found, CONTROL_FILE: CONTROL_LABEL}


def _proven_since(row: Replica | None, since: datetime) -> bool:
    return row is not None and row.proven_at is not None and row.proven_at > since


def _admins_only(actor: Actor) -> None:
    if not actor.is_admin:
        raise Forbidden("only an administrator of the site may do this")
