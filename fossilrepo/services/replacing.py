"""Another content for a repository that people use: nobody sees a mix, no push is lost.

Owns the order: the host says that it is at work, those who have the file open are
waited for, the present is proven replicated and copied aside, people as they are now
go into the new content, SQLite writes it over the live file as one transaction, the
host serves again. A crash at any point leaves the old content or the new one, whole.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace as changed
from datetime import datetime
from pathlib import Path

from fossilrepo.db.backups import BackupStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import Conflict, Damaged, FossilrepoError, InvalidInput, Unavailable
from fossilrepo.models import (
    Actor,
    Repository,
    RepositoryState,
    Restoration,
    new_id,
    now,
)
from fossilrepo.runtime.locks import FileLocks
from fossilrepo.services.jobs import Progress, process_mark
from fossilrepo.services.projection import Projection
from fossilrepo.services.replication import Replication
from fossilrepo.services.shelf import SUFFIX, Shelf
from fossilrepo.tools import fossil_db, fossil_users, fossil_write, litestream, write_over
from fossilrepo.tools.litestream import NotRunning
from fossilrepo.tools.openers import openers

LOCK_WAIT = 60.0  # seconds
DRAIN_WITHIN = 15.0
KEPT_COPIES = 2


class Replacing:
    def __init__(
        self,
        store: RepositoryStore,
        backups: BackupStore,
        replication: Replication,
        projection: Projection,
        shelf: Shelf,
        locks: FileLocks,
    ) -> None:
        self._store = store
        self._backups = backups
        self._replication = replication
        self._projection = projection
        self._shelf = shelf
        self._locks = locks

    async def replace(
        self,
        actor: Actor,
        repository: Repository,
        scratch: Path,
        moment: datetime | None,
        progress: Progress,
    ) -> Restoration:
        """Write the checked, disarmed file over the live one; the record by which it is undone.

        Conflict when some program does not let go of the file, or the repository was
        deleted meanwhile. Unavailable when the present cannot be proven to be replicated.
        """
        async with self._locks.hold(repository.id, timeout=LOCK_WAIT, busy=repository.label):
            current = await self._still_there(repository)
            live = self._shelf.file(current.id)
            self._shelf.require_space(2 * current.size_bytes)
            async with self._nobody_inside(current, progress):
                readable = await asyncio.to_thread(_is_readable, live)
                if readable:
                    await self._prove_present(current, progress)
                restoration = await self._copy_aside(actor, current, moment, readable)
                try:
                    await self._prepare(scratch, current, live if readable else None)
                    if not readable:
                        await asyncio.to_thread(write_over.empty, live)
                    progress.say("writing it")
                    await asyncio.to_thread(write_over.write_over, scratch, live)
                    await asyncio.to_thread(self._shelf.give, live)
                    restoration = await self._settle(current, restoration, live)
                except BaseException:
                    if readable:  # the live file is as it was
                        await asyncio.shield(self._forget(restoration))
                    raise
        await self._tell_replica(current, progress)
        await self._drop_old_copies(current.id)
        return restoration

    async def take_back(
        self, actor: Actor, repository: Repository, last: Restoration, progress: Progress
    ) -> Restoration:
        """The content before `last` again; can be undone itself."""
        kept = self._shelf.undo / last.file
        scratch = self._shelf.scratch_file(f"undo-{new_id()}")
        progress.say("reading the copy of the state before")
        try:
            await asyncio.to_thread(fossil_db.consistent_copy, kept, scratch)
            await asyncio.to_thread(self._shelf.give, scratch)
            done = await self.replace(actor, repository, scratch, last.at, progress)
        finally:
            await asyncio.to_thread(self._shelf.discard, scratch)
        await self._backups.update_restoration(last.id, undone_at=now())
        return done

    async def clear_stale(self) -> None:
        """At start: what a process that is gone left under maintenance is served again."""
        for name, owner in (await asyncio.to_thread(self._shelf.maintenance_owners)).items():
            pid = owner.partition(" ")[0]
            if not pid.isdigit() or process_mark(int(pid)) != owner:
                self._shelf.end_maintenance(name)

    # The steps

    async def _still_there(self, repository: Repository) -> Repository:
        current = await self._store.get(repository.id)
        if current is None or current.name != repository.name or current.name is None:
            raise Conflict(f"{repository.label} was renamed or deleted by somebody just now")
        return current

    @asynccontextmanager
    async def _nobody_inside(
        self, repository: Repository, progress: Progress
    ) -> AsyncIterator[None]:
        """Not served; everybody who had it open is gone. Served again at the end, as it was."""
        name = repository.label
        await asyncio.to_thread(self._shelf.begin_maintenance, name, process_mark(os.getpid()))
        try:
            progress.say("waiting for those who use it")
            await self._drain(repository)
            yield
        finally:
            # What stands in the row decides: it was mended, or deleted, in between.
            current = await asyncio.shield(self._store.get(repository.id))
            self._shelf.end_maintenance(name)
            if (
                current is not None
                and current.name == name
                and current.state
                in (
                    RepositoryState.ACTIVE,
                    RepositoryState.ARCHIVED,
                )
            ):
                await asyncio.to_thread(self._shelf.serve, name, repository.id)

    async def _drain(self, repository: Repository) -> None:
        """Litestream and we may have it open; our own writers wait for the repository's lock."""
        ours = {os.getpid()}
        try:
            ours.add(int((await self._replication.control.info())["pid"]))
        except (NotRunning, KeyError):
            pass  # then it has nothing open
        until = time.monotonic() + DRAIN_WITHIN
        live = self._shelf.file(repository.id)
        while True:
            inside = await asyncio.to_thread(openers, live, but=ours)
            if not inside:
                return
            if time.monotonic() > until:
                who = ", ".join(f"{one.program} (pid {one.pid})" for one in inside[:3])
                raise Conflict(
                    f"{repository.label} is still open in {who}",
                    hint="end that program, or wait until it is done, then try again",
                )
            await asyncio.sleep(0.05)

    async def _prove_present(self, repository: Repository, progress: Progress) -> None:
        progress.say("proving that the present is on the replica")
        try:
            await self._replication.ensure(repository.id)
        except Unavailable:
            try:
                await self._replication.control.info()
            except NotRunning:
                progress.say("no Litestream runs: the copy on this disk is what undoes it")
                return
            raise

    async def _copy_aside(
        self, actor: Actor, repository: Repository, moment: datetime | None, readable: bool
    ) -> Restoration:
        identity = new_id()
        file = f"{repository.id}-{identity}{SUFFIX if readable else '.broken'}"
        live, kept = self._shelf.file(repository.id), self._shelf.undo / file
        if readable:
            await asyncio.to_thread(fossil_db.consistent_copy, live, kept)
        elif await asyncio.to_thread(live.exists):
            await asyncio.to_thread(_copy_bytes, live, kept)
        restoration = Restoration(
            id=identity,
            repository_id=repository.id,
            at=now(),
            moment=moment,
            by=actor.login,
            checkins_before=repository.checkins,
            checkins_after=0,
            file=file,
            # What was no repository any more is kept for people, not for `undo`.
            undone_at=None if readable else now(),
        )
        await asyncio.to_thread(os.chmod, kept, 0o600) if kept.exists() else None
        await self._backups.add_restoration(restoration)
        return restoration

    async def _prepare(self, scratch: Path, repository: Repository, live: Path | None) -> None:
        """People and settings of now into the file, before anybody can reach it."""
        await asyncio.to_thread(litestream.put_tables, scratch)
        if live is not None:
            await asyncio.to_thread(write_over.fit, scratch, live)
            await asyncio.to_thread(write_over.take_over_people, scratch, live)
        else:
            await asyncio.to_thread(fossil_write.scrub, scratch)
        await asyncio.to_thread(_write_identity, scratch, repository)
        active = changed(repository, state=_state_after(repository))
        plan = await self._projection.plan(active)
        await asyncio.to_thread(fossil_users.project, scratch, plan)

    async def _settle(
        self, repository: Repository, restoration: Restoration, live: Path
    ) -> Restoration:
        facts = await asyncio.to_thread(fossil_db.read_facts, live)
        await self._store.update(
            repository.id,
            project_code=facts.project_code,
            checkins=facts.checkins,
            last_change=facts.last_change,
            size_bytes=self._shelf.size(repository.id),
            seen=self._shelf.fingerprint(repository.id),
            state=_state_after(repository),
            reason="",
        )
        await self._backups.update_restoration(restoration.id, checkins_after=facts.checkins)
        known = await self._backups.replica(repository.id)
        row = await self._backups.note(
            repository.id, restores=(known.restores if known else 0) + 1, verify_wanted=True
        )
        self._replication.refresh(row)
        return changed(restoration, checkins_after=facts.checkins)

    async def _tell_replica(self, repository: Repository, progress: Progress) -> None:
        progress.say("bringing the replica up to date")
        try:
            await self._replication.ensure(repository.id)
        except FossilrepoError as error:
            progress.say(f"the replica follows later: {error.message}")

    async def _forget(self, restoration: Restoration) -> None:
        await self._backups.remove_restoration(restoration.id)
        await asyncio.to_thread(self._shelf.discard, self._shelf.undo / restoration.file)

    async def _drop_old_copies(self, repository_id: str) -> None:
        for old in (await self._backups.restorations(repository_id))[KEPT_COPIES:]:
            await self._forget(old)


def _state_after(repository: Repository) -> RepositoryState:
    broken = repository.state is RepositoryState.BROKEN
    return RepositoryState.ACTIVE if broken else repository.state


def _write_identity(path: Path, repository: Repository) -> None:
    fossil_write.write_identity(
        path,
        fossil_write.StoredIdentity(
            id=repository.id,
            name=repository.label,
            title=repository.title,
            description=repository.description,
            visibility=repository.visibility,
        ),
    )


def _is_readable(live: Path) -> bool:
    try:
        fossil_db.read_facts(live)
    except (Damaged, InvalidInput, FileNotFoundError):
        return False
    except Unavailable:
        if live.exists():
            raise
        return False
    return True


def _copy_bytes(source: Path, target: Path) -> None:
    """What is no database: byte by byte, nobody has it open."""
    with source.open("rb") as old, target.open("xb") as new:
        while chunk := old.read(1 << 20):
            new.write(chunk)
        new.flush()
        os.fsync(new.fileno())
