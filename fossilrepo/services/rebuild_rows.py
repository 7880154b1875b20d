"""The rows of a rebuilt host: from the control database, the manifest, or the file itself.

Owns which of the three is believed for a repository, who gets a name that two claim,
and what a row says of a file that is not there. The files' own words and a manifest
come from the replica, so every name is checked before it becomes a link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fossilrepo.db.inventory import Entry
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import FossilrepoError, Unavailable
from fossilrepo.models import (
    Repository,
    RepositoryState,
    Trust,
    Visibility,
    is_id,
    is_name,
    now,
)
from fossilrepo.services.projection import Projection
from fossilrepo.services.rebuild_report import Brought, Result
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_db, fossil_write
from fossilrepo.tools.fossil_db import Facts
from fossilrepo.tools.fossil_write import StoredIdentity

MAKER = "rebuilt from the replica"
LIVING = (RepositoryState.ACTIVE, RepositoryState.ARCHIVED)


@dataclass(frozen=True, slots=True)
class Found:
    """What a file that is back says of itself."""

    facts: Facts
    own: StoredIdentity | None


class Rows:
    def __init__(
        self,
        store: RepositoryStore,
        shelf: Shelf,
        projection: Projection,
        manifest: Mapping[str, Entry],
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._projection = projection
        self._manifest = manifest

    async def known(self) -> dict[str, Repository]:
        """The rows of the control database by identity, those that cannot be ours made harmless."""
        known = {}
        for row in await self._store.all():
            if not is_id(row.id):
                await self._store.remove(row.id)
            elif row.name is not None and not is_name(row.name):
                known[row.id] = await self._store.update(row.id, **_into_trash(row.id))
            else:
                known[row.id] = row
        return known

    async def settle(
        self, known: Mapping[str, Repository], outcomes: Iterable[Brought]
    ) -> list[Brought]:
        """Write every row and what each file must say, put the links; how each came out."""
        ended, strangers = [], []
        for brought in outcomes:
            row = known.get(brought.id)
            found = await self._read(brought)
            if isinstance(found, FossilrepoError):
                brought, found = _failed(brought, found.message), None
            if row is None and brought.id in self._manifest:
                row = _of_manifest(self._manifest[brought.id], found)
            if row is None and found is None:
                ended.append(brought)  # nothing at all is known of it: there can be no row
            elif row is None and found is not None:
                strangers.append((brought, found))
            elif row is not None:
                ended.append(
                    await self._settle(row, brought, found, is_new=brought.id not in known)
                )
        strangers.sort(key=lambda pair: _newest(pair[1]), reverse=True)  # the newest gets the name
        for brought, found in strangers:
            row = _of_file(brought.id, found)
            ended.append(await self._settle(row, brought, found, is_new=True))
        await asyncio.to_thread(self._put_links, await self._store.all())
        return sorted(ended, key=lambda one: (one.name, one.id))

    async def _read(self, brought: Brought) -> Found | FossilrepoError | None:
        if not brought.is_back:
            return None
        path = self._shelf.file(brought.id)
        try:
            facts = await asyncio.to_thread(fossil_db.read_facts, path)
            return Found(facts, await asyncio.to_thread(fossil_write.read_identity, path))
        except Unavailable:
            raise  # a full disk and the like: the next run goes on
        except FossilrepoError as error:
            return error

    async def _settle(
        self, row: Repository, brought: Brought, found: Found | None, *, is_new: bool
    ) -> Brought:
        if is_new and row.name is not None and await self._store.by_name(row.name):
            row = replace(row, **_into_trash(row.name))
        if found is not None:
            try:
                row = await self._as_found(row, brought, found)
            except Unavailable:
                raise
            except FossilrepoError as error:
                brought = _failed(brought, error.message)
        if not brought.is_back:
            row = _not_back(row, brought)
        if is_new:
            await self._store.add(row)
        else:
            changes = {name: getattr(row, name) for name in _CHANGED}
            row = await self._store.update(row.id, **changes)
        return replace(brought, name=row.label, state=str(row.state))

    async def _as_found(self, row: Repository, brought: Brought, found: Found) -> Repository:
        """The row of a file that is back, and the file with its name and people in it."""
        if row.state is RepositoryState.BROKEN:
            row = replace(row, state=RepositoryState.ACTIVE)
        path = self._shelf.file(row.id)
        own = StoredIdentity(row.id, row.label, row.title, row.description, row.visibility)
        await asyncio.to_thread(fossil_write.write_identity, path, own)
        await asyncio.to_thread(fossil_write.apply_settings, path)
        await self._projection.project(row)
        return replace(
            row,
            project_code=found.facts.project_code,
            checkins=found.facts.checkins,
            last_change=found.facts.last_change,
            size_bytes=self._shelf.size(row.id),
            removed=tuple(sorted({*row.removed, *brought.removed})),
            reason="",
            seen=self._shelf.fingerprint(row.id),
        )

    def _put_links(self, rows: Iterable[Repository]) -> None:
        """A broken one keeps its name too: a name without a link counts as deleted."""
        for row in rows:
            if row.name is None:
                continue
            self._shelf.put_name(row.name, row.id)
            if row.state in LIVING:
                self._shelf.serve(row.name, row.id)


_CHANGED = (
    "state", "project_code", "checkins", "last_change", "size_bytes", "removed", "reason", "seen",
)  # fmt: skip


def _failed(brought: Brought, reason: str) -> Brought:
    return replace(brought, result=Result.FAILED, reason=reason)


def _not_back(row: Repository, brought: Brought) -> Repository:
    trashed = row.state is RepositoryState.TRASHED
    state = RepositoryState.TRASHED if trashed else RepositoryState.BROKEN
    reason = f"it could not be brought back from the replica: {brought.reason}"
    return replace(row, state=state, reason=reason, seen="")


def _into_trash(name: str) -> dict[str, Any]:
    return {
        "name": None,
        "deleted_name": name,
        "deleted_at": now(),
        "state": RepositoryState.TRASHED,
    }


def _of_manifest(entry: Entry, found: Found | None) -> Repository:
    state = RepositoryState(entry.state)
    name = entry.name
    if state is RepositoryState.TRASHED or name is None:
        state, name = RepositoryState.TRASHED, None
    own = found.own if found else None
    return Repository(
        id=entry.id,
        name=name,
        title=entry.title,
        description=own.description if own else "",
        org="main",
        visibility=Visibility(entry.visibility),
        state=state,
        trust=Trust(entry.trust),
        created_at=entry.created_at or now(),
        created_by=MAKER,
        project_code=entry.project_code,
        deleted_at=(entry.deleted_at or now()) if name is None else None,
        deleted_name=(entry.deleted_name or entry.id) if name is None else None,
    )


def _of_file(identity: str, found: Found) -> Repository:
    """What the file says of itself; what is not one of ours, or says nothing, is in the trash."""
    own = found.own if found.own and found.own.id == identity else None
    name = own.name if own and is_name(own.name) else None
    seen = own.visibility if own and own.visibility in set(Visibility) else Visibility.PRIVATE
    return Repository(
        id=identity,
        name=name,
        title=own.title[:200] if own else found.facts.project_name[:200],
        description=own.description[:1000] if own else "",
        org="main",
        visibility=Visibility(seen),
        state=RepositoryState.ACTIVE if name else RepositoryState.TRASHED,
        trust=Trust.UNTRUSTED,
        created_at=now(),
        created_by=MAKER,
        deleted_at=None if name else now(),
        deleted_name=None if name else identity,
    )


def _newest(found: Found) -> float:
    return found.facts.last_change.timestamp() if found.facts.last_change else 0.0
