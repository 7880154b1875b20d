"""The life of a repository: create, configure, rename, archive, delete, bring back, purge, export.

Owns the order of steps: a change holds the repository's lock, its row says what
is true, links follow the row, and whatever fails half-way is undone. Imports
and the folder's own changes end here too, in `add`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import Conflict, Forbidden, FossilrepoError, InvalidInput, NotFound
from fossilrepo.models import (
    Actor,
    Repository,
    RepositoryState,
    Trust,
    Visibility,
    check_name,
    check_text,
    is_id,
    new_id,
    now,
)
from fossilrepo.runtime.locks import FileLocks
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.catalog import Catalog
from fossilrepo.services.former_names import FormerNames
from fossilrepo.services.links import Links
from fossilrepo.services.projection import Projection
from fossilrepo.services.shelf import SUFFIX, Shelf
from fossilrepo.tools import fossil_db, fossil_skin, fossil_users, fossil_write
from fossilrepo.tools.fossil import Fossil
from fossilrepo.tools.openers import named, users_of

LOCK_WAIT = 30.0  # seconds that one change waits for another of the same repository


class Repositories(Catalog):
    def __init__(
        self,
        store: RepositoryStore,
        shelf: Shelf,
        fossil: Fossil,
        projection: Projection,
        locks: FileLocks,
        audit: Audit,
        links: Links,
        access: Access,
        former: FormerNames,
    ) -> None:
        super().__init__(store, shelf, links, access)
        self.former = former
        self._fossil = fossil
        self._projection = projection
        self._locks = locks
        self._audit = audit
        self._protect: Callable[[str], Awaitable[None]] = _nothing
        self.before_purge: list[Callable[[Repository], Awaitable[None]]] = []
        self.before_place: list[Callable[[Repository, Path], Awaitable[object]]] = []
        self.after_add: list[Callable[[Repository], Awaitable[None]]] = []
        self.after_move: list[Callable[[Repository], Awaitable[None]]] = []  # name, organization

    def protected_by(self, protect: Callable[[str], Awaitable[None]]) -> None:
        """What is asked of a new file before it is served; nothing without it."""
        self._protect = protect

    # Making

    async def create(
        self,
        actor: Actor,
        name: str,
        *,
        title: str = "",
        description: str = "",
        org: str = "",
        visibility: Visibility = Visibility.PUBLIC,
    ) -> Repository:
        """A new, empty repository, served at once."""
        draft = await self.draft(actor, name, title, visibility, Trust.OWN, description, org)
        scratch = self._shelf.scratch_file(draft.id)
        self._shelf.require_space()
        try:
            await self._fossil.init(scratch, project_name=draft.title or name)
            return await self.add(actor, draft, scratch, action="repository.create")
        finally:
            self._shelf.discard(scratch)

    async def draft(
        self,
        actor: Actor,
        name: str,
        title: str,
        visibility: Visibility,
        trust: Trust,
        description: str = "",
        org: str = "",
    ) -> Repository:
        """Everything checked that can be checked before any work; nothing is written."""
        check_name(name)
        home = await self._access.home(actor, org)
        await self._free_name(actor, name, home.name)
        return Repository(
            id=new_id(),
            name=name,
            title=check_text(title, what="title", most=200),
            description=check_text(description, what="description", most=1000),
            org=home.name,
            visibility=visibility,
            state=RepositoryState.ACTIVE,
            trust=trust,
            created_at=now(),
            created_by=actor.login,
        )

    async def home(self, actor: Actor) -> str:
        """The organization that a repository of the actor belongs to when none is named."""
        return (await self._access.home(actor, "")).name

    async def add(
        self,
        actor: Actor,
        draft: Repository,
        scratch: Path,
        *,
        action: str,
        removed: Mapping[str, str] | None = None,
    ) -> Repository:
        """Make a finished file in the scratch folder the repository of `draft`.

        The file becomes ours (settings, identity, people), then gets its place,
        its row, its links. Conflict when the name was taken meanwhile; nothing
        of it is left then.
        """
        async with self._locks.hold(draft.id, timeout=LOCK_WAIT, busy=draft.label):
            facts = await asyncio.to_thread(self._make_ours, scratch, draft)
            draft = replace(
                draft,
                project_code=facts.project_code,
                checkins=facts.checkins,
                last_change=facts.last_change,
                removed=tuple(sorted(removed or ())),
            )
            people = (await self._access.picture()).version
            plan = await self._projection.plan(draft)
            await asyncio.to_thread(fossil_users.project, scratch, plan)
            for prepare in self.before_place:
                await prepare(draft, scratch)
            # An import takes long: meanwhile rights can end, and organizations too.
            await self._access.require_may_create(actor, draft.org)
            async with self.names():
                await self._free_name(actor, draft.label, draft.org)
                path = await asyncio.to_thread(self._shelf.place, scratch, draft.id)
                draft = replace(
                    draft,
                    size_bytes=self._shelf.size(draft.id),
                    seen=self._shelf.fingerprint(draft.id),
                )
                try:
                    await self._store.add(draft, removed)
                except BaseException:
                    self._shelf.discard(path)
                    raise
                await self.former.taken(draft.label)
                if (await self._access.picture()).version != people:
                    await self._projection.project(draft)
                # Nobody may write to it before nothing of what is written can be missed.
                await self._protect(draft.id)
                await asyncio.to_thread(self._put_links, draft)
        await self._audit.record(
            actor, action, draft.label, id=draft.id, visibility=draft.visibility
        )
        for listener in self.after_add:
            await listener(draft)
        return draft

    def _make_ours(self, path: Path, draft: Repository) -> fossil_db.Facts:
        self._write_identity(path, draft)
        fossil_write.apply_settings(path)
        fossil_write.give_a_front_page(path)
        return fossil_db.read_facts(path)

    def _write_identity(self, path: Path, repository: Repository) -> None:
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

    # Changing

    async def configure(
        self,
        actor: Actor,
        name: str,
        *,
        title: str | None = None,
        description: str | None = None,
        visibility: Visibility | None = None,
        org: str | None = None,
    ) -> Repository:
        """Change what is given; what is None stays."""
        changes: dict[str, Any] = {}
        if title is not None:
            changes["title"] = check_text(title, what="title", most=200)
        if description is not None:
            changes["description"] = check_text(description, what="description", most=1000)
        if visibility is not None:
            changes["visibility"] = visibility
        async with self._changing(actor, name, RepositoryState.BROKEN) as before:
            if org is not None and org != before.org:
                if not actor.is_admin:  # who runs the site can also rescue what has none
                    await self._access.owned(actor, before.org)
                await self._access.require_may_create(actor, org)
                changes["org"] = org
            if not changes:
                return before
            after = await self._store.update(before.id, **changes)
            await self._write_into_file(after, before)
        await self._audit.record(
            actor,
            "repository.configure",
            name,
            before={key: getattr(before, key) for key in changes},
            after=changes,
        )
        if "org" in changes:
            await self._moved(after)
        return after

    async def rename(self, actor: Actor, old: str, new: str) -> Repository:
        """The old name leads to the new one until it is taken; clones in flight end well."""
        check_name(new)
        async with self._changing(actor, old) as before, self.names():
            if new == old:
                return before
            await self._free_name(actor, new, before.org)
            after = await self._store.update(before.id, name=new)
            await self.former.taken(new)
            await self.former.renamed(before)
            await asyncio.to_thread(self._move_links, before, after)
            if after.state is not RepositoryState.BROKEN:
                path = self._shelf.file(after.id)
                await asyncio.to_thread(self._write_identity, path, after)
        await self._audit.record(
            actor, "repository.rename", new, before=old, after=new, id=after.id
        )
        await self._moved(after)
        return after

    async def _moved(self, repository: Repository) -> None:
        for listener in self.after_move:
            await listener(repository)

    async def archive(self, actor: Actor, name: str) -> Repository:
        """Everyone who could read still can; nobody can write."""
        return await self._set_state(actor, name, RepositoryState.ARCHIVED)

    async def unarchive(self, actor: Actor, name: str) -> Repository:
        return await self._set_state(actor, name, RepositoryState.ACTIVE)

    async def _set_state(self, actor: Actor, name: str, state: RepositoryState) -> Repository:
        async with self._changing(actor, name, RepositoryState.BROKEN) as before:
            if before.state is state:
                raise Conflict(f"{name} is {state} already")
            after = await self._store.update(before.id, state=state)
            await self._write_into_file(after, before)
        verb = "archive" if state is RepositoryState.ARCHIVED else "unarchive"
        await self._audit.record(
            actor, f"repository.{verb}", name, before=before.state, after=after.state
        )
        return after

    async def _write_into_file(self, after: Repository, before: Repository) -> None:
        """Make the file say what the row says; the row goes back when the file refuses."""
        path = self._shelf.file(after.id)
        try:
            await asyncio.to_thread(self._write_identity, path, after)
            await self._projection.project(after)
        except FossilrepoError:
            await self._store.update(
                before.id,
                title=before.title,
                description=before.description,
                visibility=before.visibility,
                state=before.state,
                org=before.org,
            )
            raise

    # The trash

    async def delete(self, actor: Actor, name: str) -> Repository:
        """To the trash: not served from the next request on, the name free, the file untouched."""
        async with self._changing(actor, name) as before, self.names():
            self._shelf.stop_serving(name)
            after = await self._store.update(
                before.id,
                name=None,
                deleted_name=name,
                deleted_at=now(),
                state=RepositoryState.TRASHED,
            )
            self._shelf.take_name(name)
            await self.former.deleted(before)
        await self._audit.record(actor, "repository.delete", name, id=after.id)
        return after

    async def trash(self, actor: Actor) -> list[Repository]:
        """What was deleted in the organizations that the actor owns, newest first."""
        trashed = [
            repository
            for repository in await self._store.all(RepositoryState.TRASHED)
            if await self._access.owns(actor, repository.org)
        ]
        return sorted(trashed, key=lambda r: r.deleted_at or r.created_at, reverse=True)

    async def undelete(
        self, actor: Actor, repository_id: str, name: str | None = None
    ) -> Repository:
        """Back from the trash under its old name, or another one."""
        before = await self._trashed(actor, repository_id)
        name = check_name(name or before.deleted_name or "")
        async with self._locks.hold(before.id, timeout=LOCK_WAIT, busy=before.label), self.names():
            before = await self._trashed(actor, repository_id)
            await self._free_name(actor, name, before.org)
            path = self._shelf.file(before.id)
            await asyncio.to_thread(fossil_db.read_facts, path)  # refuses a file that went bad
            draft = replace(before, name=name, state=RepositoryState.ACTIVE)
            await asyncio.to_thread(self._write_identity, path, draft)
            await self._projection.project(draft)
            after = await self._store.update(
                before.id,
                name=name,
                state=RepositoryState.ACTIVE,
                deleted_at=None,
                deleted_name=None,
                reason="",
            )
            await self.former.taken(name)
            # Whose rights ended since they were written above was not looked for in the trash.
            await self._projection.project(after)
            await asyncio.to_thread(self._put_links, after)
        await self._audit.record(actor, "repository.restore", name, id=after.id)
        await self._moved(after)
        return after

    async def purge(self, actor: Actor, repository_id: str) -> None:
        """Delete a trashed repository's file for ever; its replica stays for the retention."""
        before = await self._trashed(actor, repository_id)
        async with self._locks.hold(before.id, timeout=LOCK_WAIT, busy=before.label):
            before = await self._trashed(actor, repository_id)
            path = self._shelf.file(before.id)
            if inside := await asyncio.to_thread(users_of, path, but=self._shelf.own_pids()):
                raise Conflict(
                    f"{before.label} is still open in {named(inside)}",
                    hint="a clone may still run: try again in a moment",
                )
            for prepare in self.before_purge:
                await prepare(before)
            await self._store.remove(before.id)
            await asyncio.to_thread(self._shelf.discard, path)
        await self._audit.record(actor, "repository.purge", before.label, id=before.id)

    async def _trashed(self, actor: Actor, repository_id: str) -> Repository:
        repository = await self._store.get(repository_id) if is_id(repository_id) else None
        if (
            repository is None
            or repository.state is not RepositoryState.TRASHED
            or not await self._access.owns(actor, repository.org)
        ):
            raise NotFound(
                f"there is nothing in the trash with the identity {repository_id[:40]!r}",
                hint="see `fossilrepo repo trash list`",
            )
        return repository

    # Leaving

    async def export(
        self, actor: Actor, name: str, target: Path, *, with_users: bool = False
    ) -> None:
        """A consistent copy of the live repository, without passwords and cookies.

        Conflict when the target exists; nothing is left of a copy that failed.
        """
        await asyncio.to_thread(check_target, target)
        scratch = await self.export_scratch(actor, name, with_users=with_users)
        try:
            await asyncio.to_thread(deliver, scratch, target)
        finally:
            self._shelf.discard(scratch)

    async def export_scratch(self, actor: Actor, name: str, *, with_users: bool = False) -> Path:
        """The same as a file in the scratch folder; the caller deletes it."""
        repository = await self.administered(actor, name)
        if with_users and not actor.trusted_files:
            raise Forbidden("passwords leave by the server's own command line only")
        self._shelf.require_space(repository.size_bytes)
        scratch = self._shelf.scratch_file(f"export-{new_id()}")
        try:
            source = self._shelf.file(repository.id)
            await asyncio.to_thread(fossil_db.consistent_copy, source, scratch)
            await asyncio.to_thread(fossil_skin.wear, scratch, None)
            if not with_users:
                await asyncio.to_thread(fossil_write.scrub, scratch)
        except BaseException:
            self._shelf.discard(scratch)
            raise
        await self._audit.record(actor, "repository.export", name, with_users=with_users)
        return scratch

    # Names and links

    @asynccontextmanager
    async def _changing(
        self, actor: Actor, name: str, *refused: RepositoryState
    ) -> AsyncIterator[Repository]:
        """The repository, held against every other change until the block ends."""
        first = await self.administered(actor, name)
        async with self._locks.hold(first.id, timeout=LOCK_WAIT, busy=name):
            repository = await self.administered(actor, name)  # what changed while we waited
            if repository.id != first.id:
                raise Conflict(f"{name} was changed by somebody else just now")
            if repository.state in refused:
                raise Conflict(f"{name} is {repository.state}: {repository.reason}")
            yield repository

    def names(self) -> Any:
        """Held while names change hands: by us, by other processes, by the folder's scan."""
        return self._locks.hold("names", timeout=LOCK_WAIT, busy="the list of names")

    async def _free_name(self, actor: Actor, name: str, org: str) -> None:
        await self.former.refuse_if_kept(actor, name, org)
        if await self._store.by_name(name):
            raise Conflict(f"the name {name!r} is in use", hint="choose another name", field="name")
        if self._shelf.has_plain_file(name):
            raise Conflict(
                f"a file {name}{SUFFIX} lies in the folder of repositories",
                hint="see the list of repositories for what it waits for, or move it away",
                field="name",
            )

    def _put_links(self, repository: Repository) -> None:
        if repository.name is None:
            return
        self._shelf.put_name(repository.name, repository.id)
        if repository.state in (RepositoryState.ACTIVE, RepositoryState.ARCHIVED):
            self._shelf.serve(repository.name, repository.id)

    def _move_links(self, before: Repository, after: Repository) -> None:
        self._put_links(after)
        if before.name is not None:
            self._shelf.stop_serving(before.name)
            self._shelf.take_name(before.name)


async def _nothing(_repository_id: str) -> None:
    return None


def check_target(target: Path) -> None:
    """Refuse a file that is there already, or a folder that is not."""
    if os.path.lexists(target):
        raise Conflict(f"{target} exists already", hint="choose another file name")
    if not target.parent.is_dir():
        raise InvalidInput(f"there is no folder {target.parent}", field="file")


def deliver(scratch: Path, target: Path, *, private: bool = False) -> None:
    """Copy next to the target, then link: never half a file, never over another one.

    `private`: for its owner's eyes only, from the first byte.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if private:
            os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        shutil.copyfile(scratch, partial)
        os.link(partial, target)
    except OSError as error:
        raise FossilrepoError(f"{target} cannot be written: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
