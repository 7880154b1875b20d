"""Another target: the new one has to prove itself before the earlier one may go.

Owns the rows of targets. A new target makes every replica unproven and begins new
copies; the earlier one is kept with all that it holds until everything was once
restored from the new one and somebody lets it go. Only what is ours is deleted there:
replicas of repositories that we know, the control database's, and the manifest.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
from datetime import datetime

from fossilrepo.config import Settings
from fossilrepo.db.backups import BackupStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import Conflict, Forbidden, NotFound
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
from fossilrepo.services.jobs import Jobs, Progress
from fossilrepo.services.replication import Replication
from fossilrepo.services.shelf import SUFFIX
from fossilrepo.services.trial_restore import CONTROL_FILE, CONTROL_LABEL
from fossilrepo.tools.targets import Stored, Target, target_of
from fossilrepo.wording import plural, size

log = logging.getLogger(__name__)

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


class TargetChange:
    def __init__(
        self,
        settings: Settings,
        store: RepositoryStore,
        backups: BackupStore,
        replication: Replication,
        jobs: Jobs,
        audit: Audit,
    ) -> None:
        self._settings = settings
        self._store = store
        self._backups = backups
        self._replication = replication
        self._jobs = jobs
        self._audit = audit

    async def all(self) -> list[BackupTarget]:
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
        await self._audit.record(
            Actor.system(), "backup.target", url, before=before[0].url, after=url
        )

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
        count = sum(stored.size for every in found.values() for stored in every)
        replicas = plural(len(found), "replica")
        progress.say(f"{plural(objects, 'object')} of {replicas} go, {size(count)}", 0.0)
        if unknown:
            progress.say(f"left where they are, nobody knows them: {', '.join(unknown)}", 0.0)
        if only_here := await self._only_in(old):
            progress.say(f"purged before the change, restorable from here only: {only_here}", 0.0)
        await self._audit.record(
            actor, "backup.target.clear", old.url, objects=objects, bytes=count
        )
        for number, name in enumerate(found):
            await target.delete(f"{name}/")
            progress.say(f"{name} removed", (number + 1) / (len(found) + 1))
        await target.delete(MANIFEST)
        state = self._settings.litestream_state / target.key
        await asyncio.to_thread(shutil.rmtree, state, True)
        progress.say(f"{plural(objects, 'object')}, {size(count)}, removed from {old.url}", 1.0)

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
        names = [name for name in await target.names() if is_replica(name)]
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

    async def kept(self) -> list[Target]:
        """Earlier places that still hold replicas, each once."""
        in_use = self._replication.target.url
        urls = {
            target.url: None
            for target in await self._backups.targets()
            if target.let_go_at is None and target.url != in_use
        }
        return [earlier(self._settings, url) for url in urls]


def earlier(settings: Settings, url: str) -> Target:
    """The target of this URL; without a server in it Amazon's, not the one configured now."""
    backup = settings.backup.model_copy(update={"endpoint": "", "region": ""})
    return target_of(settings.model_copy(update={"backup": backup}), url)


def is_replica(name: str) -> bool:
    return name == CONTROL_FILE or (name.endswith(SUFFIX) and is_id(name.removesuffix(SUFFIX)))


def _proven_since(row: Replica | None, since: datetime) -> bool:
    return row is not None and row.proven_at is not None and row.proven_at > since


def _admins_only(actor: Actor) -> None:
    if not actor.is_admin:
        raise Forbidden("only an administrator of the site may do this")
