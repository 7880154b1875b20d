"""After another Fossil was installed: which repositories it cannot use as they are, and their turn.

Owns what is compared (the schema of the derived tables, and which Fossil derived them last) and
how one is rebuilt while people use the others: on a copy first, then for a moment without
visitors, undone like a restore. Nothing of the history changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import FossilrepoError, NotFound, ToolFailed
from fossilrepo.models import Actor, Job, Repository, RepositoryState, new_id
from fossilrepo.services.audit import Audit
from fossilrepo.services.health import Check
from fossilrepo.services.jobs import Jobs, Progress
from fossilrepo.services.replacing import Replacing
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_db
from fossilrepo.tools.fossil import Fossil

_SERVED = (RepositoryState.ACTIVE, RepositoryState.ARCHIVED)
_NAMES = 5


@dataclass(frozen=True, slots=True)
class Found:
    """One repository: `version` is of the Fossil that derived its tables last.

    `must`: the installed Fossil does not open it as it is.
    """

    repository: Repository
    version: str
    must: bool


class Upgrade:
    def __init__(
        self,
        fossil: Fossil,
        store: RepositoryStore,
        shelf: Shelf,
        replacing: Replacing,
        jobs: Jobs,
        audit: Audit,
    ) -> None:
        self._fossil = fossil
        self._store = store
        self._shelf = shelf
        self._replacing = replacing
        self._jobs = jobs
        self._audit = audit

    async def found(self, names: Sequence[str] = ()) -> list[Found]:
        """What is served, or these; files that cannot be read are told of elsewhere."""
        schema = await self._fossil.schema()
        rows = await self._store.all(*_SERVED)
        if names:
            rows = [_named(rows, name) for name in names]
        return [one for row in rows if (one := await self._look(row, schema))]

    async def _look(self, row: Repository, schema: str) -> Found | None:
        file = self._shelf.file(row.id)
        try:
            made = await asyncio.to_thread(fossil_db.read_made_by, file)
        except FossilrepoError:
            return None
        # It opens some older ones too.
        must = made.schema != schema and not await self._fossil.opens(file)
        return Found(row, made.version, must)

    async def version(self) -> str:
        """Of the installed Fossil."""
        return await self._fossil.version()

    async def rebuild(self, actor: Actor, repository: Repository) -> Job:
        """Have the installed Fossil derive everything in the repository again."""

        async def work(progress: Progress) -> None:
            async with self._rebuilt(repository, progress) as made:
                await self._replacing.replace(
                    actor, repository, made.scratch, None, progress, remake=made.again
                )
            await self._audit.record(
                actor, "repository.rebuild", repository.label, id=repository.id
            )
            progress.repository_id = repository.id
            progress.say(f"rebuilt by Fossil {await self.version()}", 1.0)

        return await self._jobs.start("rebuild", repository.label, actor, work)

    @asynccontextmanager
    async def _rebuilt(self, repository: Repository, progress: Progress) -> AsyncIterator[_Copy]:
        scratch = self._shelf.scratch_file(f"rebuild-{new_id()}")
        self._shelf.require_space(2 * self._shelf.size(repository.id))
        copy = _Copy(self._fossil, self._shelf, repository, scratch, progress)
        try:
            await copy.make()
            yield copy
        finally:
            await asyncio.to_thread(self._shelf.discard, scratch)

    async def doctor(self, thorough: bool) -> list[Check]:
        if not thorough:
            return []
        name = "schema of repositories"
        try:
            must = [one.repository.label for one in await self.found() if one.must]
        except ToolFailed as error:
            return [Check(name, "warn", f"not known: {error.message}", error.hint)]
        if not must:
            return [Check(name, "ok", "as the installed Fossil wants it")]
        some = ", ".join(must[:_NAMES]) + (" and more" if len(must) > _NAMES else "")
        words = f"{len(must)} are not as the installed Fossil wants them: {some}"
        return [Check(name, "fail", words, "`fossilrepo upgrade`")]


class _Copy:
    """A copy of a repository that the installed Fossil rebuilt."""

    def __init__(
        self,
        fossil: Fossil,
        shelf: Shelf,
        repository: Repository,
        scratch: Path,
        progress: Progress,
    ) -> None:
        self._fossil = fossil
        self._shelf = shelf
        self._repository = repository
        self.scratch = scratch
        self._progress = progress
        self._of = ""

    async def make(self) -> None:
        self._progress.say("rebuilding a copy")
        await asyncio.to_thread(self._shelf.discard, self.scratch)
        # Before the copy is made: what changes during it is seen as a change.
        self._of = await asyncio.to_thread(self._shelf.fingerprint, self._repository.id)
        live = self._shelf.file(self._repository.id)
        await asyncio.to_thread(fossil_db.consistent_copy, live, self.scratch)
        await asyncio.to_thread(self._shelf.give, self.scratch)
        await self._fossil.rebuild(self.scratch)
        await self._fossil.test_integrity(self.scratch)

    async def again(self) -> bool:
        """Once more, when the repository is another one since; whether it was so."""
        if await asyncio.to_thread(self._shelf.fingerprint, self._repository.id) == self._of:
            return False
        self._progress.say("something came meanwhile")
        await self.make()
        return True


def _named(rows: Sequence[Repository], name: str) -> Repository:
    for row in rows:
        if row.name == name:
            return row
    raise NotFound(f"there is no repository {name[:80]!r} that is served", field="name")
