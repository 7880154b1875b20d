"""What can be known of repositories: lists, one by name, check-ins, the JSON form.

Owns reading, and who may know of what. Changes nothing; `repos.py` builds on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fossilrepo.db.repositories import Listed, RepositoryStore
from fossilrepo.errors import NotFound
from fossilrepo.models import (
    Actor,
    DropIn,
    Replica,
    Repository,
    RepositoryState,
    iso,
    now,
)
from fossilrepo.rights import Role
from fossilrepo.services.access import Access
from fossilrepo.services.links import Links
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_db, fossil_users
from fossilrepo.tools.fossil_db import CheckIn


class Catalog:
    def __init__(self, store: RepositoryStore, shelf: Shelf, links: Links, access: Access) -> None:
        self._store = store
        self._access = access
        self._shelf = shelf
        self._links = links
        self._standing: Callable[[str], Replica] = Replica

    def backed_by(self, standing: Callable[[str], Replica]) -> None:
        """What tells how the replica of an identity stands; unknown without it."""
        self._standing = standing

    async def search(
        self,
        actor: Actor | None,
        words: str = "",
        *,
        sort: str = "name",
        offset: int = 0,
        limit: int = 50,
    ) -> Listed:
        """One page of what the reader may know of, by name, change or size."""
        readable = await self._access.readable(actor)
        return await self._store.search(
            words, sort=sort, offset=offset, limit=limit, readable=readable
        )

    async def get(self, actor: Actor | None, name: str) -> Repository:
        """The repository of this name; NotFound also when the reader may not know of it."""
        return await self._access.repository(actor, name, Role.READ)

    async def administered(self, actor: Actor, name: str) -> Repository:
        """The same for its administrators; Forbidden for those who may only use it."""
        return await self._access.repository(actor, name, Role.ADMIN)

    async def administered_all(self, actor: Actor) -> list[Repository]:
        """Every one that the actor may administer, in any state."""
        return [
            row for row in await self._store.all() if await self._access.may(actor, row, Role.ADMIN)
        ]

    async def by_identity(self, actor: Actor | None, identity: str) -> Repository:
        """The repository of this identity, also in the trash; NotFound as in `get`."""
        repository = await self._store.get(identity)
        if repository is None or not await self._access.may(actor, repository, Role.READ):
            raise NotFound(f"there is no repository of the identity {identity[:40]!r}")
        return repository

    async def checkins(self, repository: Repository, limit: int = 20) -> list[CheckIn]:
        """The newest check-ins, newest first; none of a broken repository."""
        if repository.state is RepositoryState.BROKEN:
            return []
        path = self._shelf.file(repository.id)
        return await asyncio.to_thread(fossil_db.recent_checkins, path, limit)

    async def drop_ins(self) -> list[DropIn]:
        return await self._store.drop_ins()

    async def kept_aside(self, repository: Repository) -> dict[str, str]:
        return await self._store.kept_aside(repository.id)

    async def native_users(self, repository: Repository) -> dict[str, str]:
        """Logins that the repository brought along, with what each may do in it."""
        if repository.state is RepositoryState.BROKEN:
            return {}
        path = self._shelf.file(repository.id)
        return await asyncio.to_thread(fossil_users.read_natives, path)

    def describe(self, repository: Repository) -> dict[str, Any]:
        """The JSON form of a repository; keys are promised by the interface."""
        name = repository.name
        return {
            "id": repository.id,
            "name": name or repository.deleted_name,
            "title": repository.title,
            "description": repository.description,
            "org": repository.org,
            "visibility": repository.visibility,
            "state": repository.state,
            "reason": repository.reason or None,
            "size_bytes": repository.size_bytes,
            "checkins": repository.checkins,
            "created_at": iso(repository.created_at),
            "last_change": iso(repository.last_change),
            "deleted_at": iso(repository.deleted_at),
            "url": self._links.repo_url(name) if name else None,
            "clone_url": self._links.clone_url(name) if name else None,
            "path_clone_url": self._links.path_clone_url(name) if name else None,
            "clone_command": f"fossil clone {self._links.sure_clone_url(name)}" if name else None,
            "backup": self._describe_replica(repository.id),
            "mirrors": [],
            "removed": list(repository.removed),
        }

    def _describe_replica(self, repository_id: str) -> dict[str, Any]:
        row = self._standing(repository_id)
        return {
            "state": row.state,
            "lag_s": row.lag_s(now()),
            "synced_at": iso(row.synced_at),
            "proven_at": iso(row.proven_at),
        }
