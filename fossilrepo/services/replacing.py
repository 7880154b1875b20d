"""Another content for a repository that people use: nobody sees a mix, no push is lost.

Owns the order: the host says that it is at work, those who have the file open are
waited for, the present is proven replicated and copied aside, people as they are now
go into the new content, SQLite writes it over the live file as one transaction, the
host serves again. A crash at any point leaves the old content or the new one, whole.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace as changed
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

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
from fossilrepo.services.jobs import Progress
from fossilrepo.services.projection import Projection
from fossilrepo.services.replication import Replication
from fossilrepo.services.shelf import SUFFIX, Shelf
from fossilrepo.tools import fossil_db, fossil_users, fossil_write, litestream, write_over
from fossilrepo.tools.fossil_db import Facts
from fossilrepo.tools.litestream import NotKnown, NotRunning, SyncFailed
from fossilrepo.tools.openers import named, openers, users_of

log = logging.getLogger(__name__)

LOCK_WAIT = 60.0  # seconds
DRAIN_WITHIN = 15.0
LET_GO_WITHIN = 5.0
LOOKS = 2
PROVE_WITHIN = 20.0  # while it is served
PROVE_AGAIN_WITHIN = 10.0  # while it is not
TELL_WITHIN = 20.0
LIVING = (RepositoryState.ACTIVE, RepositoryState.ARCHIVED)
KEPT_COPIES = 2
T = TypeVar("T")
Remake = Callable[[], Awaitable[bool]]


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
        *,
        remake: Remake | None = None,
    ) -> Restoration:
        """Write the checked, disarmed file over the live one; the record by which it is undone.

        `remake` is for a file that was made of the present: asked once nobody is inside, it makes
        it anew if the present is another one meanwhile, and says whether it did.
        Conflict when some program does not let go of the file, the repository was deleted
        meanwhile, or the file holds another project. Unavailable when the present cannot be
        proven to be replicated while Litestream runs. Ends what it began when cancelled.
        """
        then = await asyncio.to_thread(fossil_db.read_facts, scratch)
        if repository.project_code and then.project_code != repository.project_code:
            raise Conflict(
                f"at that moment the file of {repository.label} held another project",
                hint=f"choose an earlier moment: `fossilrepo backup points {repository.label}`",
            )
        async with self._locks.hold(repository.id, timeout=LOCK_WAIT, busy=repository.label):
            current = await self._still_there(repository)
            live = self._shelf.file(current.id)
            size = (await asyncio.to_thread(scratch.stat)).st_size
            self._shelf.require_space(self._shelf.size(current.id) + size)
            await asyncio.to_thread(litestream.put_tables, scratch)
            if await asyncio.to_thread(_facts, live) is not None:  # before anybody is turned away
                await self._prove_present(current, progress, PROVE_WITHIN)
                await asyncio.to_thread(write_over.fit, scratch, live)
            done = await _to_its_end(
                self._replace_unserved(actor, current, scratch, then, moment, progress, remake)
            )
        await self._tell_replica(current, progress, is_placed=done.undone_at is not None)
        await self._drop_old_copies(current.id)
        return done

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
        await asyncio.to_thread(self._shelf.discard, kept)  # the live file holds it again
        return done

    async def clear_stale(self) -> None:
        """At start: what a process that is gone left under maintenance is served again."""
        await asyncio.to_thread(self._shelf.clear_stale_maintenance)

    async def before_purge(self, repository: Repository) -> None:
        """Its replica is all that will be left of it: bring that up to date, and say so."""
        with suppress(FossilrepoError):
            await self._replication.control.info()
            await self._replication.ensure(repository.id, PROVE_AGAIN_WITHIN)
        row = await self._backups.note(
            repository.id,
            label=repository.label,
            project_code=repository.project_code,
            purged_at=now(),
        )
        self._replication.refresh(row)
        for restoration in await self._backups.restorations(repository.id):
            await self._forget(restoration)

    # The steps

    async def _still_there(self, repository: Repository) -> Repository:
        current = await self._store.get(repository.id)
        if current is None or current.name != repository.name or current.name is None:
            raise Conflict(f"{repository.label} was renamed or deleted by somebody just now")
        return current

    async def _replace_unserved(
        self,
        actor: Actor,
        repository: Repository,
        scratch: Path,
        then: Facts,
        moment: datetime | None,
        progress: Progress,
        remake: Remake | None,
    ) -> Restoration:
        live = self._shelf.file(repository.id)
        async with self._nobody_inside(repository, progress):
            present = await asyncio.to_thread(_facts, live)
            if present is not None:
                await self._prove_present(repository, progress, PROVE_AGAIN_WITHIN)
            if remake is not None and await remake():
                await asyncio.to_thread(litestream.put_tables, scratch)
                then = await asyncio.to_thread(fossil_db.read_facts, scratch)
            restoration = await self._copy_aside(actor, repository, moment, present, then)
            try:
                await self._people_of_now(scratch, repository, present)
                await self._count(repository)
                progress.say("writing it")
                if present is not None:
                    await asyncio.to_thread(write_over.write_over, scratch, live)
                else:
                    await self._place_anew(scratch, repository)
            except BaseException:
                if present is not None:  # the live file is as it was
                    await self._forget(restoration)
                raise
            await self._settle(repository, live)
        return restoration

    @asynccontextmanager
    async def _nobody_inside(
        self, repository: Repository, progress: Progress
    ) -> AsyncIterator[None]:
        """Not served; everybody who had it open is gone. Served again at the end, as it was."""
        name = repository.label
        async with self._locks.hold("names", timeout=LOCK_WAIT, busy="the list of names"):
            await asyncio.to_thread(self._shelf.begin_maintenance, name, repository.id)
        try:
            progress.say("waiting for those who use it")
            await self._drain(repository)
            yield
        finally:
            # What stands in the row decides: it was mended, renamed or deleted in between.
            current = await self._store.get(repository.id)
            is_living = current is not None and current.state in LIVING
            served_as = current.name if current is not None and is_living else None
            await asyncio.to_thread(self._shelf.end_maintenance, name, served_as, repository.id)

    async def _drain(self, repository: Repository) -> None:
        """Until two looks saw nobody: a request may have found the file and not opened it yet.

        Litestream and we may have it open; our own writers wait for the repository's lock.
        """
        until = time.monotonic() + DRAIN_WITHIN
        live = self._shelf.file(repository.id)
        empty = 0
        while True:
            inside = await asyncio.to_thread(users_of, live, but=self._shelf.own_pids())
            empty = 0 if inside else empty + 1
            if empty == LOOKS:
                return
            if inside and time.monotonic() > until:
                raise Conflict(
                    f"{repository.label} is still open in {named(inside)}",
                    hint="end that program, or wait until it is done, then try again",
                )
            await asyncio.sleep(0.05)

    async def _prove_present(
        self, repository: Repository, progress: Progress, seconds: float
    ) -> None:
        progress.say("proving that the present is on the replica")
        try:
            await self._replication.control.info()
        except NotRunning as error:
            if error.kind != "away":
                raise
            progress.say("no Litestream runs: the copy on this disk is what undoes it")
            return
        await self._replication.ensure(repository.id, seconds)

    async def _copy_aside(
        self,
        actor: Actor,
        repository: Repository,
        moment: datetime | None,
        present: Facts | None,
        then: Facts,
    ) -> Restoration:
        identity = new_id()
        file = f"{repository.id}-{identity}{SUFFIX if present else '.broken'}"
        live, kept = self._shelf.file(repository.id), self._shelf.undo / file
        copy = fossil_db.consistent_copy if present else _copy_bytes
        is_there = present is not None or await asyncio.to_thread(live.exists)
        if is_there:
            await asyncio.to_thread(copy, live, kept)
            await asyncio.to_thread(kept.chmod, 0o600)
        restoration = Restoration(
            id=identity,
            repository_id=repository.id,
            at=now(),
            moment=moment,
            by=actor.login,
            checkins_before=present.checkins if present else 0,
            checkins_after=then.checkins,
            file=file,
            # What was no repository any more is kept for people, not for `undo`.
            undone_at=None if present else now(),
        )
        await self._backups.add_restoration(restoration)
        return restoration

    async def _people_of_now(
        self, scratch: Path, repository: Repository, present: Facts | None
    ) -> None:
        """People and settings of now into the file, before anybody can reach it.

        A file that cannot be read, or is another project's, tells nothing about people:
        then those of the past lose their passwords.
        """
        known = present is not None and present.project_code == repository.project_code
        if known:
            live = self._shelf.file(repository.id)
            await asyncio.to_thread(write_over.take_over_people, scratch, live)
        else:
            await asyncio.to_thread(fossil_write.scrub, scratch)
        await asyncio.to_thread(_write_identity, scratch, repository)
        active = changed(repository, state=_state_after(repository))
        plan = await self._projection.plan(active)
        await asyncio.to_thread(fossil_users.project, scratch, plan)

    async def _count(self, repository: Repository) -> None:
        """Before the write, so that a trial restore meanwhile knows why it compares badly."""
        known = await self._backups.replica(repository.id)
        restores = (known.restores if known else 0) + 1
        self._replication.refresh(await self._backups.note(repository.id, restores=restores))

    async def _place_anew(self, scratch: Path, repository: Repository) -> None:
        """In the place of what SQLite cannot read, which nobody has open.

        Litestream must see the old file go: of one that was swapped it believes that it
        replicated it already, and says so. (Stopped and started around a swap it does, too.)
        """
        live, control = self._shelf.file(repository.id), self._replication.control
        with suppress(NotRunning, SyncFailed, NotKnown):
            await control.stop(live)
        if inside := await asyncio.to_thread(openers, live, but=self._shelf.own_pids()):
            with suppress(NotRunning, SyncFailed, NotKnown):
                await control.start(live)
            raise Conflict(
                f"the file of {repository.label} is still open in {named(inside)}",
                hint="end that program, or stop fossilrepo, then try again",
            )
        await asyncio.to_thread(self._shelf.discard, live)
        await self._until_let_go(live)
        await asyncio.to_thread(self._shelf.place, scratch, repository.id)
        await self._replication.protect(repository.id)

    async def _until_let_go(self, live: Path) -> None:
        """It takes a few milliseconds; a trial restore finds what went wrong after that."""
        until = time.monotonic() + LET_GO_WITHIN
        with suppress(NotRunning, SyncFailed):
            while time.monotonic() < until:
                known = await self._replication.control.databases()
                if str(live) not in {entry.get("path") for entry in known}:
                    return
                await asyncio.sleep(0.05)

    async def _settle(self, repository: Repository, live: Path) -> None:
        facts = await asyncio.to_thread(fossil_db.read_facts, live)
        state = _state_after(repository)
        # Who was let in or out while it was written.
        await self._projection.project(changed(repository, state=state))
        await self._store.update(
            repository.id,
            project_code=facts.project_code,
            checkins=facts.checkins,
            last_change=facts.last_change,
            size_bytes=self._shelf.size(repository.id),
            seen=self._shelf.fingerprint(repository.id),
            state=state,
            reason="",
        )
        self._replication.refresh(await self._backups.note(repository.id, verify_wanted=True))

    async def _tell_replica(
        self, repository: Repository, progress: Progress, *, is_placed: bool
    ) -> None:
        progress.say("bringing the replica up to date")
        try:
            await self._replication.control.info()
            await self._replication.ensure(repository.id, TELL_WITHIN)
            if is_placed:  # Litestream takes another file for the old one until it is written
                live = self._shelf.file(repository.id)
                await asyncio.to_thread(fossil_write.mark_restored, live, now())
                await self._replication.ensure(repository.id, TELL_WITHIN)
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


def _facts(live: Path) -> Facts | None:
    """What the live file says of itself; None when it is no repository that may be read."""
    try:
        return fossil_db.read_facts(live)
    except (Damaged, InvalidInput, FileNotFoundError):
        return None
    except Unavailable:
        if live.exists():
            raise
        return None


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What it gives; also when we are cancelled it is waited for, or a thread would go on alone."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()):
            log.warning("a restore in place failed while it was stopped: %s", error)
        raise


def _copy_bytes(source: Path, target: Path) -> None:
    """What is no database: byte by byte, nobody has it open."""
    with source.open("rb") as old, target.open("xb") as new:
        while chunk := old.read(1 << 20):
            new.write(chunk)
        new.flush()
        os.fsync(new.fileno())
