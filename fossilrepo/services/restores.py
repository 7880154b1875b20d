"""Back to a moment: to a file, as a new repository, in place, and the undo of that.

Owns what happens to a file that came back from the replica (`bring_back.py`), as jobs
with progress. How a live repository's content is replaced is `replacing.py`'s; which
moments there are is `points.py`'s. What leaves is scrubbed; people are projected anew.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from fossilrepo.config import Settings
from fossilrepo.errors import Conflict, Forbidden, FossilrepoError, InvalidInput, NotFound
from fossilrepo.models import (
    CONTROL_ID,
    Actor,
    Job,
    Repository,
    RepositoryState,
    Trust,
    Visibility,
    iso,
    new_id,
)
from fossilrepo.services.audit import Audit
from fossilrepo.services.bring_back import BringBack
from fossilrepo.services.difference import Difference, compare
from fossilrepo.services.jobs import Jobs, Progress
from fossilrepo.services.points import Points, Subject, Timeline
from fossilrepo.services.replacing import Replacing
from fossilrepo.services.replication import Replication
from fossilrepo.services.repos import Repositories, check_target, deliver
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_write, litestream
from fossilrepo.wording import plural


class Restores:
    def __init__(
        self,
        settings: Settings,
        repos: Repositories,
        points: Points,
        bring_back: BringBack,
        replacing: Replacing,
        replication: Replication,
        shelf: Shelf,
        jobs: Jobs,
        audit: Audit,
    ) -> None:
        self._settings = settings
        self._repos = repos
        self._points = points
        self._bring_back = bring_back
        self._replacing = replacing
        self._replication = replication
        self._shelf = shelf
        self._jobs = jobs
        self._audit = audit

    async def timeline(self, actor: Actor, key: str) -> Timeline:
        """What can be restored of a repository: by its name, or the identity of a deleted one."""
        return await self._points.timeline(actor, key)

    async def may(self, actor: Actor, key: str) -> bool:
        """Whether the actor may have its past now: the same by which a restore begins."""
        return await self._points.may(actor, key)

    # Out of the way of the present

    async def to_file(
        self, actor: Actor, key: str, moment: str, target: Path, *, with_users: bool = False
    ) -> Job:
        """The repository as it was, as a file without cookies and, if not asked, passwords."""
        if with_users and not actor.trusted_files:
            raise Forbidden("passwords leave by the server's own command line only")
        await asyncio.to_thread(check_target, target)
        subject = await self._points.subject(actor, key)
        at = await self._points.moment_of(subject, moment)

        async def work(progress: Progress) -> None:
            progress.repository_id = subject.id
            async with self._bring_back.scratch(
                subject.id, at, progress, size=_size(subject)
            ) as scratch:
                if not with_users:
                    progress.say("taking out what belongs to people")
                    await asyncio.to_thread(fossil_write.scrub, scratch)
                await asyncio.to_thread(partial(deliver, scratch, target, private=with_users))
            await self._audit.record(
                actor,
                "backup.restore.file",
                subject.label,
                id=subject.id,
                at=iso(at),
                with_users=with_users,
            )
            progress.say(f"restored to {target.name}", 1.0)

        return await self._jobs.start("restore to a file", subject.label, actor, work)

    async def as_new(self, actor: Actor, key: str, moment: str, name: str) -> Job:
        """The repository as it was, beside the present, with an identity of its own."""
        subject = await self._points.subject(actor, key)
        at = await self._points.moment_of(subject, moment)
        original = subject.repository
        draft = await self._repos.draft(
            actor,
            name,
            original.title if original else "",
            original.visibility if original else Visibility.PRIVATE,
            original.trust if original else Trust.UNTRUSTED,
            original.description if original else "",
            original.org if original else "",
        )

        async def work(progress: Progress) -> None:
            async with self._bring_back.scratch(
                subject.id, at, progress, size=_size(subject)
            ) as scratch:
                await asyncio.to_thread(fossil_write.scrub, scratch)
                progress.say("giving it its place")
                done = await self._repos.add(actor, draft, scratch, action="backup.restore.new")
            progress.repository_id = done.id
            progress.say(f"restored as {name}: {plural(done.checkins, 'check-in')}", 1.0)

        return await self._jobs.start("restore as a new repository", subject.label, actor, work)

    async def control_to_file(self, actor: Actor, moment: str, target: Path) -> Job:
        """The control database as it was, as a file for its owner alone."""
        if not actor.trusted_files:
            raise Forbidden(
                "the control database leaves by the server's own command line only",
                hint="it holds everybody's password hashes: `fossilrepo backup restore --control`",
            )
        if self._settings.database.url != "sqlite":
            raise InvalidInput(
                "the control data lies in PostgreSQL, which has backups of its own",
                hint="restore it with pg_restore",
            )
        await asyncio.to_thread(check_target, target)
        at = await self._points.moment_of(
            Subject(CONTROL_ID, "control database", None, None), moment
        )

        async def work(progress: Progress) -> None:
            scratch = self._shelf.scratch / f"control-{new_id()}.db"
            progress.say("fetching it from the replica")
            try:
                await litestream.restore(
                    self._replication.target,
                    litestream.CONTROL_DATABASE,
                    scratch,
                    at=at,
                    check="full",
                )
                await asyncio.to_thread(partial(deliver, scratch, target, private=True))
            finally:
                await asyncio.to_thread(self._shelf.discard, scratch)
            await self._audit.record(actor, "backup.restore.file", "control database", at=iso(at))
            progress.say("to use it: stop fossilrepo, put the file in the place of fossilrepo.db")
            progress.say("without -wal and -shm beside it, and start again")
            progress.say(f"restored to {target.name}", 1.0)

        return await self._jobs.start("restore to a file", "control database", actor, work)

    # In place

    async def preview_in_place(self, actor: Actor, name: str, moment: str) -> Difference:
        """What `in_place` would change; nothing is changed."""
        subject, repository = await self._named(actor, name)
        at = await self._points.moment_of(subject, moment)
        async with self._bring_back.scratch(
            subject.id, at, Progress(), size=_size(subject)
        ) as scratch:
            live = self._shelf.file(repository.id)
            try:
                return await asyncio.to_thread(compare, live, scratch, at)
            except FossilrepoError:
                if repository.state is not RepositoryState.BROKEN:
                    raise
                return await asyncio.to_thread(compare, None, scratch, at)

    async def in_place(self, actor: Actor, name: str, moment: str) -> Job:
        """Replace what the repository holds by what it held; can be undone."""
        subject, repository = await self._named(actor, name)
        at = await self._points.moment_of(subject, moment)

        async def work(progress: Progress) -> None:
            async with self._bring_back.scratch(
                subject.id, at, progress, size=_size(subject)
            ) as scratch:
                done = await self._replacing.replace(actor, repository, scratch, at, progress)
            await self._audit.record(
                actor,
                "backup.restore.in-place",
                name,
                id=repository.id,
                at=iso(at),
                before=done.checkins_before,
                after=done.checkins_after,
            )
            progress.repository_id = repository.id
            progress.say(
                f"restored: {plural(done.checkins_after, 'check-in')} now, "
                f"{done.checkins_before} before",
                1.0,
            )

        return await self._jobs.start("restore in place", name, actor, work)

    async def undo(self, actor: Actor, name: str) -> Job:
        """Bring back exactly what the last restore in place replaced."""
        _subject, repository = await self._named(actor, name)
        last = await self._points.undoable(repository.id)
        if last is None:
            raise NotFound(
                f"there is no restore of {name} that could be undone",
                hint="see `fossilrepo backup points` for the moments that can be restored",
            )

        async def work(progress: Progress) -> None:
            done = await self._replacing.take_back(actor, repository, last, progress)
            await self._audit.record(
                actor,
                "backup.undo",
                name,
                id=repository.id,
                before=done.checkins_before,
                after=done.checkins_after,
            )
            progress.repository_id = repository.id
            progress.say(f"undone: {plural(done.checkins_after, 'check-in')} again", 1.0)

        return await self._jobs.start("undo of a restore", name, actor, work)

    async def _named(self, actor: Actor, name: str) -> tuple[Subject, Repository]:
        subject = await self._points.subject(actor, name)
        repository = subject.repository
        if repository is None or repository.name is None:
            raise Conflict(
                f"{subject.label} is deleted, so nothing of it can be replaced",
                hint="bring it back from the trash first, or restore it as a new repository",
            )
        return subject, repository


def _size(subject: Subject) -> int:
    return subject.repository.size_bytes if subject.repository else 0
