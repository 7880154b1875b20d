"""What people do by hand in the folder: links renamed or removed, files put in or gone bad.

Owns the comparison of the folder with the rows, and what follows from each
difference. The rows decide what is served; the folder decides names when
somebody changed them there. Nothing is ever deleted here. Files that were
dropped in are handed to `adoption.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import Damaged, FossilrepoError, InvalidInput, Unavailable
from fossilrepo.models import (
    Actor,
    DropIn,
    Repository,
    RepositoryState,
    Trust,
    Visibility,
    is_id,
    is_name,
    now,
)
from fossilrepo.services.adoption import Adoption
from fossilrepo.services.audit import Audit
from fossilrepo.services.projection import Projection
from fossilrepo.services.repos import Repositories
from fossilrepo.services.shelf import SUFFIX, Shelf
from fossilrepo.tools import fossil_db, fossil_write

log = logging.getLogger(__name__)

BY_HAND = Actor("by hand in the folder", is_admin=True)
LIVING = (RepositoryState.ACTIVE, RepositoryState.ARCHIVED)


@dataclass(frozen=True, slots=True)
class Seen:
    """What lies in the folder of names: our links (name to identity) and everything else.

    `unreadable` are names that are no text, as they can be shown.
    """

    links: dict[str, str]
    files: tuple[Path, ...]
    unreadable: tuple[str, ...]


class Folder:
    def __init__(
        self,
        store: RepositoryStore,
        shelf: Shelf,
        repos: Repositories,
        adoption: Adoption,
        projection: Projection,
        audit: Audit,
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._repos = repos
        self._adoption = adoption
        self._projection = projection
        self._audit = audit
        self._noted: set[str] = set()
        self.on_change: list[Callable[[Repository], Awaitable[None]]] = []

    # Names

    async def scan(self, *, at_start: bool = False) -> None:
        """Compare the folder with the rows and act on every difference; then offer what is new."""
        async with self._repos.names():
            await asyncio.to_thread(self._shelf.clear_stale_maintenance)
            seen = await asyncio.to_thread(self._look)
            rows = await self._store.all()
            self._noted.clear()
            for shown in seen.unreadable:
                await self._note(shown.removesuffix(SUFFIX), "the name is not allowed: no text")
            await self._follow_names(seen, rows, at_start=at_start)
            if at_start:
                await self._recover_files(rows)
            rows = await self._store.all()
            await asyncio.to_thread(self._serve_what_is_living, rows)
            noted = frozenset(self._noted)
        self._adoption.offer(seen.files, noted)

    def _look(self) -> Seen:
        links: dict[str, str] = {}
        files: list[Path] = []
        unreadable: list[str] = []
        for entry in os.scandir(self._shelf.repos):
            if entry.name.startswith(".") or not entry.name.endswith(SUFFIX):
                continue
            shown = os.fsencode(entry.name).decode("utf-8", "backslashreplace")
            if shown != entry.name:
                unreadable.append(shown)
                continue
            path = Path(entry.path)
            identity = self._shelf.identity_of_link(path)
            if identity is None:
                files.append(path)
            else:
                links[entry.name.removesuffix(SUFFIX)] = identity
        return Seen(links, tuple(sorted(files)), tuple(unreadable))

    async def _follow_names(self, seen: Seen, rows: list[Repository], *, at_start: bool) -> None:
        by_id = {row.id: row for row in rows}
        named = {row.name: row for row in rows if row.name is not None}
        all_gone = at_start and bool(named) and not seen.links
        for name, row in named.items():
            if seen.links.get(name) == row.id or self._shelf.has_plain_file(name):
                continue
            moved = [n for n, i in seen.links.items() if i == row.id and n not in named]
            if moved:
                await self._renamed(row, moved[0])
            elif all_gone or name in seen.links:
                # Without any link the folder was copied without them; a link to another
                # repository's file is a mistake. The rows know better in both cases.
                await asyncio.to_thread(self._shelf.put_name, name, row.id)
            else:
                await self._removed(row)
        for name, identity in seen.links.items():
            known = by_id.get(identity)
            if name not in named and (known is None or known.name is not None):
                await self._foreign_link(name, known, moved_to=await self._store.get(identity))
            elif name not in named and known is not None:
                await self._brought_back(known, name)

    async def _renamed(self, row: Repository, new: str) -> None:
        if not is_name(new):
            await self._note(new, f"the name is not allowed; {row.name} keeps its own")
            await asyncio.to_thread(self._shelf.put_name, row.label, row.id)
            return
        await self._store.update(row.id, name=new)
        await self._repos.former.taken(new)
        await self._repos.former.renamed(row)
        self._shelf.stop_serving(row.label)
        await self._audit.record(
            BY_HAND, "repository.rename", new, before=row.name, after=new, id=row.id
        )

    async def _removed(self, row: Repository) -> None:
        self._shelf.stop_serving(row.label)
        await self._store.update(
            row.id,
            name=None,
            deleted_name=row.name,
            deleted_at=now(),
            state=RepositoryState.TRASHED,
        )
        await self._repos.former.deleted(row)
        await self._audit.record(BY_HAND, "repository.delete", row.label, id=row.id)

    async def _brought_back(self, row: Repository, name: str) -> None:
        """A link to a trashed repository's file was put back by hand."""
        if not is_name(name):
            await self._note(name, "the name is not allowed")
            return
        draft = replace(row, name=name, state=RepositoryState.ACTIVE)
        try:  # before anybody reaches it: rights ended while it lay in the trash
            await self._projection.project(draft)
        except FossilrepoError as error:
            await self._note(name, f"it cannot be served: {error.message}")
            return
        await self._store.update(
            row.id, name=name, state=RepositoryState.ACTIVE, deleted_at=None, deleted_name=None
        )
        await self._projection.project(draft)  # what ended since then
        await self._repos.former.taken(name)
        await self._audit.record(BY_HAND, "repository.restore", name, id=row.id)

    async def _foreign_link(
        self, name: str, known: Repository | None, moved_to: Repository | None
    ) -> None:
        if moved_to is not None and moved_to.name == name:
            return  # it was renamed a moment ago, by this very scan
        reason = (
            f"a second link to {known.label}: a repository has one name"
            if known
            else "a link to a repository that does not exist"
        )
        await self._note(name, reason)

    async def _note(self, stem: str, reason: str) -> None:
        self._noted.add(f"{stem}{SUFFIX}")
        await self._store.set_drop_in(DropIn(f"{stem}{SUFFIX}", "broken", reason, now()))

    async def _recover_files(self, rows: list[Repository]) -> None:
        """Files in the store without a row (a crash, a lost control database) go to the trash."""
        known = {row.id for row in rows}
        for identity in sorted(await asyncio.to_thread(self._shelf.stored_ids) - known):
            try:
                await self._recover(identity)
            except FossilrepoError as error:
                log.error("the file %s%s has no record: %s", identity, SUFFIX, error)

    async def _recover(self, identity: str) -> None:
        path = self._shelf.file(identity)
        facts = await asyncio.to_thread(fossil_db.read_facts, path)
        own = await asyncio.to_thread(fossil_write.read_identity, path)
        await self._store.add(
            Repository(
                id=identity,
                name=None,
                title=own.title if own else facts.project_name,
                description=own.description if own else "",
                org=await self._repos.home(BY_HAND),
                visibility=Visibility.PRIVATE,
                state=RepositoryState.TRASHED,
                trust=Trust.UNTRUSTED,
                created_at=now(),
                created_by="found without a record",
                project_code=facts.project_code,
                size_bytes=self._shelf.size(identity),
                checkins=facts.checkins,
                last_change=facts.last_change,
                deleted_at=now(),
                deleted_name=own.name if own and is_name(own.name) else identity,
            )
        )
        await self._audit.record(Actor.system(), "repository.found", identity)

    def _serve_what_is_living(self, rows: list[Repository]) -> None:
        wanted = {row.name: row.id for row in rows if row.name and row.state in LIVING}
        served = self._shelf.served_names()
        for name in served.keys() - wanted.keys():
            self._shelf.stop_serving(name)
        for name, identity in wanted.items():
            if served.get(name) != identity:
                self._shelf.serve(name, identity)
            if not self._shelf.has_plain_file(name):
                self._shelf.put_name(name, identity)

    # Content

    async def content_changed(self, identities: set[str]) -> None:
        """Read what is new in these repositories, mend drift, and tell who listens."""
        for row in await self._rows(identities):
            try:
                await self._refresh(row)
            except (Damaged, InvalidInput) as error:
                await self._went_bad(row, error.message)
            except Unavailable as error:
                log.warning("%s could not be read just now: %s", row.label, error)

    async def _rows(self, identities: set[str]) -> list[Repository]:
        """Their rows, without those in the trash and those that are as they were last read."""
        if len(identities) > 20:
            rows = [row for row in await self._store.all() if row.id in identities]
        else:
            found = [await self._store.get(i) for i in sorted(identities) if is_id(i)]
            rows = [row for row in found if row is not None]
        return [
            row
            for row in rows
            if row.state is not RepositoryState.TRASHED
            and row.seen != self._shelf.fingerprint(row.id)
        ]

    async def _refresh(self, row: Repository) -> None:
        path = self._shelf.file(row.id)
        seen = self._shelf.fingerprint(row.id)
        if not seen:
            await self._went_bad(row, "its file is gone from the store, or empty")
            return
        facts = await asyncio.to_thread(fossil_db.read_facts, path)
        if facts.project_code != row.project_code:
            # `cp` onto the name writes through the link, into the live file.
            await self._went_bad(row, "its file was overwritten with another project's")
            return
        changes: dict[str, Any] = {
            "checkins": facts.checkins,
            "last_change": facts.last_change,
            "size_bytes": self._shelf.size(row.id),
            "reason": "",
            "seen": seen,
        }
        if row.state is RepositoryState.BROKEN:
            await self._mend(row, path)  # before anybody reaches it: rights ended meanwhile
            still = await self._store.get(row.id)
            if still is None or still.state is not RepositoryState.BROKEN:
                return
            current = await self._store.update(row.id, state=RepositoryState.ACTIVE, **changes)
            self._shelf.serve(row.label, row.id)
        else:  # its state is not written: it may be archived or deleted while this was read
            current = await self._store.update(row.id, **changes)
        await self._mend(current, path)
        for listener in self.on_change:
            await listener(current)

    async def _mend(self, row: Repository, path: Path) -> None:
        """The second line behind the jail: dangerous settings and changed people are put right."""
        removed = await asyncio.to_thread(fossil_write.disarm, path)
        if removed:
            await self._store.update(
                row.id,
                removed=tuple(sorted({*row.removed, *removed})),
                kept_aside={**await self._store.kept_aside(row.id), **removed},
            )
            await self._audit.record(
                Actor.system(), "repository.disarmed", row.label, settings=sorted(removed)
            )
        await self._projection.project(row)

    async def _went_bad(self, row: Repository, reason: str) -> None:
        """Not served any more; the file stays where it is."""
        if row.state is RepositoryState.BROKEN and row.reason == reason:
            return
        await self._store.update(row.id, state=RepositoryState.BROKEN, reason=reason)
        async with self._repos.names():  # a scan that read the row before serves it no more
            self._shelf.stop_serving(row.label)
        await self._audit.record(Actor.system(), "repository.broken", row.label, reason=reason)
