"""Previews: a moment of a repository's past, read-only, on a host of its own, for an hour.

Owns their files, links and rows, and that they end: by hand, by the clock, at a start.
A preview is a copy that was scrubbed; who may read the repository may read it, with the
password that they have in the repository itself. It is no repository: it is never
replicated, listed or recovered.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
from datetime import datetime, timedelta
from pathlib import Path

from fossilrepo.db.backups import BackupStore
from fossilrepo.errors import Conflict, FossilrepoError, NotFound
from fossilrepo.models import (
    Actor,
    Job,
    Preview,
    Repository,
    is_name,
    iso,
    new_id,
    now,
    preview_name,
)
from fossilrepo.runtime.locks import FileLocks
from fossilrepo.services.audit import Audit
from fossilrepo.services.bring_back import BringBack
from fossilrepo.services.jobs import Jobs, Progress
from fossilrepo.services.links import Links
from fossilrepo.services.points import Points, Subject
from fossilrepo.services.projection import Projection
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_users, fossil_write

log = logging.getLogger(__name__)

LASTS = timedelta(hours=1)
MOST = 5  # open at once
SWEEP_EVERY = 30.0  # seconds
LOCK = "previews"  # held while their files, rows and links change, in all processes


class Previews:
    def __init__(
        self,
        backups: BackupStore,
        points: Points,
        bring_back: BringBack,
        projection: Projection,
        shelf: Shelf,
        links: Links,
        jobs: Jobs,
        audit: Audit,
        locks: FileLocks,
    ) -> None:
        self._backups = backups
        self._points = points
        self._bring_back = bring_back
        self._projection = projection
        self._shelf = shelf
        self._links = links
        self._jobs = jobs
        self._audit = audit
        self._locks = locks
        projection.on_people.append(self.people_changed)

    async def open(self, actor: Actor, key: str, moment: str) -> Job:
        """Serve the repository (by name, or the identity of a deleted one) as it was."""
        subject = await self._points.subject(actor, key)
        at = await self._points.moment_of(subject, moment)
        await self._require_place()

        async def work(progress: Progress) -> None:
            preview = await self._made(actor, subject, at, progress)
            await self._audit.record(
                actor,
                "backup.preview.open",
                subject.label,
                id=subject.id,
                name=preview.name,
                at=iso(at),
            )
            progress.repository_id = subject.id
            url = self._links.repo_url(preview.name)
            progress.say(f"open until {preview.expires_at:%H:%M} UTC: {url}", 1.0)

        return await self._jobs.start("preview", subject.label, actor, work)

    async def close(self, actor: Actor, name: str) -> None:
        """End a preview now: for those who may open one of its repository."""
        async with self._locks.hold(LOCK, busy="the list of previews"):
            preview = await self._backups.preview_by_name(name)
            if preview is None or not await self._points.may(actor, preview.repository_id):
                raise NotFound(
                    f"there is no preview {name[:80]!r}", hint="it may have ended by itself"
                )
            await self._end(preview)
        await self._audit.record(actor, "backup.preview.close", name)

    async def list(self, actor: Actor) -> builtins.list[Preview]:
        """Those that are open and that the actor may end, oldest first."""
        at = now()
        return [
            one
            for one in await self._backups.previews()
            if one.expires_at > at and await self._points.may(actor, one.repository_id)
        ]

    def is_open(self, name: str) -> bool:
        """Whether a preview of this name is served; two system calls."""
        return self._shelf.serves_preview(name)

    # Making one

    async def _require_place(self) -> None:
        if len(await self._backups.previews()) >= MOST:
            raise Conflict(
                f"{MOST} previews are open already, and there may be no more",
                hint="close one, or wait: each ends an hour after it was opened",
            )

    async def _made(
        self, actor: Actor, subject: Subject, at: datetime | None, progress: Progress
    ) -> Preview:
        size = subject.repository.size_bytes if subject.repository else 0
        async with self._bring_back.scratch(subject.id, at, progress, size=size) as scratch:
            progress.say("taking out what belongs to people")
            plan = await self._projection.reading_plan(subject.id)
            await asyncio.to_thread(_prepare, scratch, subject.label, at, plan)
            progress.say("serving it")
            async with self._locks.hold(LOCK, busy="the list of previews"):
                await self._require_place()
                return await self._served(actor, subject, at, scratch)

    async def _served(
        self, actor: Actor, subject: Subject, at: datetime | None, scratch: Path
    ) -> Preview:
        preview = Preview(
            id=new_id(),
            repository_id=subject.id,
            name=preview_name(subject.label if is_name(subject.label) else subject.id),
            moment=at,
            created_by=actor.login,
            created_at=now(),
            expires_at=now() + LASTS,
        )
        try:
            await asyncio.to_thread(self._shelf.place_preview, scratch, preview.id)
            await self._backups.add_preview(preview)
            await asyncio.to_thread(self._shelf.serve_preview, preview.name, preview.id)
        except BaseException:
            await asyncio.shield(self._end(preview))
            raise
        return preview

    # Their end

    async def run(self) -> None:
        """Sweep now and then until cancelled; what fails is tried again."""
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            try:
                await self.sweep()
            except FossilrepoError as error:
                log.warning("previews could not be looked after: %s", error)
            except OSError as error:
                log.warning("previews could not be looked after: %s", error.strerror)

    async def sweep(self) -> None:
        """End what expired; who may read the others is as now."""
        async with self._locks.hold(LOCK, busy="the list of previews"):
            at, living = now(), []
            for preview in await self._backups.previews():
                if preview.expires_at <= at:
                    await self._end(preview)
                else:
                    living.append(preview)
            kept = {preview.name: preview.id for preview in living}
            await asyncio.to_thread(self._shelf.keep_previews, kept)
            for preview in living:
                await self._project(preview)

    async def people_changed(self) -> None:
        """Who lost their role sees none of them from the next request on."""
        for preview in await self._backups.previews():
            await self._project(preview)

    async def _project(self, preview: Preview) -> None:
        plan = await self._projection.reading_plan(preview.repository_id)
        path = self._shelf.preview_file(preview.id)
        try:
            await asyncio.to_thread(fossil_users.project, path, plan)
        except FossilrepoError as error:
            log.warning("%s: people could not be written: %s", preview.name, error)

    async def before_purge(self, repository: Repository) -> None:
        """What is ended for good is not looked at any more."""
        async with self._locks.hold(LOCK, busy="the list of previews"):
            for preview in await self._backups.previews():
                if preview.repository_id == repository.id:
                    await self._end(preview)

    async def clear_at_start(self) -> None:
        """What a host that is gone left open: every file, link and row."""
        async with self._locks.hold(LOCK, busy="the list of previews"):
            for preview in await self._backups.previews():
                await self._end(preview)
            await asyncio.to_thread(self._shelf.keep_previews, {})

    async def _end(self, preview: Preview) -> None:
        """The row goes last: while it is there, the rest is tried again."""
        await asyncio.to_thread(self._shelf.remove_preview, preview.name, preview.id)
        await self._backups.remove_preview(preview.id)


def _prepare(scratch: Path, label: str, at: datetime | None, plan: fossil_users.Plan) -> None:
    fossil_write.scrub(scratch)
    fossil_users.project(scratch, plan)
    when = f"as of {at:%Y-%m-%d %H:%M:%S} UTC" if at else "the newest moment"
    fossil_write.apply_settings(scratch, {"project-name": f"{label}, {when} (preview)"})
    fossil_write.give_a_front_page(scratch)
