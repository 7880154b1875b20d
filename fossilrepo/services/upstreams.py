"""Upstreams: another Fossil of the same project that a repository exchanges its content with.

Owns their rows, who may change them (a repository's administrators), and one run. The login and
the password are kept here, encrypted, and never inside the repository. What arrives is seen by
the watcher like any push: mirrors and webhooks follow by themselves.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from fossilrepo.bridge import Direction, Upstream
from fossilrepo.config import Settings, format_size
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.db.upstreams import UpstreamStore
from fossilrepo.errors import Conflict, InvalidInput, NotFound, TooLarge
from fossilrepo.models import Actor, Job, Repository, RepositoryState, new_id, now
from fossilrepo.rights import Role
from fossilrepo.runtime import schedule as schedules
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.jobs import Progress
from fossilrepo.services.keys import Keys
from fossilrepo.services.runs import One, Outcome, Runs, Stopped
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_db, fossil_sync
from fossilrepo.tools.fossil import Fossil, Limits
from fossilrepo.tools.git import check_url


class Upstreams:
    """Also what `runs` knows of upstreams."""

    kind = "upstream"

    def __init__(
        self,
        settings: Settings,
        store: UpstreamStore,
        repositories: RepositoryStore,
        access: Access,
        runs: Runs,
        fossil: Fossil,
        shelf: Shelf,
        keys: Keys,
        audit: Audit,
    ) -> None:
        self._settings = settings
        self._store = store
        self._repositories = repositories
        self._access = access
        self._runs = runs
        self._fossil = fossil
        self._shelf = shelf
        self._keys = keys
        self._audit = audit
        runs.register(self)

    # Looking

    async def get(self, actor: Actor, repository_name: str) -> Upstream | None:
        repository = await self._access.repository(actor, repository_name, Role.READ)
        return await self._store.of(repository.id)

    async def list(self, actor: Actor) -> builtins.list[tuple[Repository, Upstream]]:
        """Those of repositories that the actor may read."""
        found = []
        for upstream in await self._store.list():
            repository = await self._repositories.get(upstream.repository_id)
            if repository is None or repository.state is RepositoryState.TRASHED:
                continue
            if await self._access.may(actor, repository, Role.READ):
                found.append((repository, upstream))
        return found

    async def history(
        self, actor: Actor, repository_name: str, limit: int = 50
    ) -> builtins.list[Job]:
        upstream, _ = await self._existing(actor, repository_name, Role.READ)
        return await self._runs.history(upstream.id, limit)

    # Changing

    async def set(
        self,
        actor: Actor,
        repository_name: str,
        url: str,
        *,
        direction: Direction = Direction.PULL,
        user: str = "",
        password: str | None = None,
        schedule: str = "",
        on_change: bool = False,
        private: bool = False,
        unversioned: bool = False,
    ) -> Upstream:
        """In place of the one before; its first run is owed at once.

        Without `password` the one that is kept for the same address and user stays.
        """
        repository = await self._access.repository(actor, repository_name, Role.ADMIN)
        address = _address(url)
        if repository.state is RepositoryState.ARCHIVED and direction is not Direction.PUSH:
            raise Conflict(
                f"{repository_name} is archived: nothing is written into it",
                hint=f"first: fossilrepo repo unarchive {repository_name}",
            )
        await fossil_sync.require_way(address, self._settings.sync.allowed_networks)
        before = await self._store.of(repository.id)
        secret = await self._locked(password) if password else None
        if password is None and before and (before.url, before.user) == (address, user):
            secret = await self._store.password(before.id)
        made = await self._store.add(
            id=before.id if before else new_id(),
            repository_id=repository.id,
            url=address,
            user=_login(user),
            password=secret,
            direction=str(direction),
            schedule=schedules.check(schedule),
            on_change=on_change,
            private=private,
            unversioned=unversioned,
            created_by=actor.login,
            created_at=now(),
            wanted_at=now(),
            next_run=schedules.following(schedules.check(schedule), now()),
        )
        self._runs.wake()
        await self._record(actor, "set", repository, made, direction=str(direction))
        return made

    async def follow(
        self, actor: Actor, repository: Repository, url: str, login: str, password: str
    ) -> None:
        """Pull from where a repository was cloned, four times an hour."""
        parts = urlsplit(url)
        plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        login, password = login or parts.username or "", password or parts.password or ""
        name = repository.label
        await self.set(actor, name, plain, user=login, password=password or None, schedule="15m")

    async def test(
        self,
        actor: Actor,
        repository_name: str,
        url: str,
        *,
        user: str = "",
        password: str = "",
        direction: Direction = Direction.PULL,
    ) -> str:
        """What the other side answers, in words; an error when it would not take part."""
        repository = await self._access.repository(actor, repository_name, Role.ADMIN)
        await fossil_sync.ask(
            _address(url),
            repository.project_code,
            direction=direction,
            user=_login(user),
            password=password,
            networks=self._settings.sync.allowed_networks,
        )
        return "the other Fossil knows this project and lets us in"

    async def run(self, actor: Actor, repository_name: str, *, here: bool = False) -> Job:
        """A run by hand; `here`: in this process, for the command line."""
        upstream, _ = await self._existing(actor, repository_name, Role.ADMIN)
        if here:
            return await self._runs.now(self.kind, upstream, actor)
        return await self._runs.ask(self.kind, upstream, actor)

    async def pause(self, actor: Actor, repository_name: str) -> None:
        upstream, repository = await self._existing(actor, repository_name, Role.ADMIN)
        await self._runs.pause(self.kind, upstream.id, f"paused by {actor.login}")
        await self._record(actor, "pause", repository, upstream)

    async def resume(self, actor: Actor, repository_name: str) -> None:
        upstream, repository = await self._existing(actor, repository_name, Role.ADMIN)
        await self._runs.resume(self.kind, upstream.id)
        await self._record(actor, "resume", repository, upstream)

    async def remove(self, actor: Actor, repository_name: str) -> None:
        """All content stays, here and there."""
        upstream, repository = await self._existing(actor, repository_name, Role.ADMIN)
        await self._store.remove(upstream.id)
        await self._record(actor, "remove", repository, upstream)

    # For `runs`

    async def due(self, at: datetime) -> Sequence[Upstream]:
        return await self._store.due(at)

    async def of(self, repository_id: str) -> Sequence[Upstream]:
        found = await self._store.of(repository_id)
        return [found] if found else []

    async def all(self) -> Sequence[Upstream]:
        return await self._store.list()

    async def one(self, one_id: str) -> Upstream | None:
        return await self._store.get(one_id)

    async def update(self, one_id: str, **changes: Any) -> Upstream | None:
        return await self._store.update(one_id, **changes)

    def follows(self, one: One) -> bool:
        return isinstance(one, Upstream) and one.direction is not Direction.PULL

    async def perform(self, one: One, repository: Repository, progress: Progress) -> Outcome:
        """One exchange, after which another one would find nothing to do."""
        assert isinstance(one, Upstream)  # noqa: S101 - what `one` gives
        if repository.state is RepositoryState.ARCHIVED and one.direction is not Direction.PUSH:
            raise Stopped(f"{repository.label} is archived: nothing is written into it")
        path = self._shelf.file(repository.id)
        self._shelf.require_space()
        progress.say(f"{one.direction} with {one.url}")
        secret = await self._store.password(one.id)
        done = await fossil_sync.exchange(
            self._fossil,
            path,
            one.url,
            direction=one.direction,
            user=one.user,
            password=await self._opened(secret),
            private=one.private,
            unversioned=one.unversioned,
            networks=self._settings.sync.allowed_networks,
            limits=Limits(
                seconds=self._settings.sync.job_time,
                file_size=self._settings.limits.repository + self._settings.limits.push,
            ),
            on_line=progress.say,
        )
        size = self._shelf.size(repository.id)
        if done.received and size > self._settings.limits.repository:
            raise TooLarge(
                f"it is {format_size(size)} now, and may have "
                f"{format_size(self._settings.limits.repository)}",
                hint="an administrator of the server can raise limits.repository",
            )
        found = await asyncio.to_thread(fossil_db.waiting, path, 0)
        told = [f"{done.received} received"] if done.received else []
        told += [f"{done.sent} sent"] if done.sent else []
        words = ", ".join(told) or "nothing new"
        return Outcome(f"{words}; asked again, and both have the same", found.newest_rcvid)

    # Helpers

    async def _locked(self, secret: str) -> bytes:
        return await asyncio.to_thread(self._keys.encrypt, secret.encode())

    async def _opened(self, secret: bytes | None) -> str:
        return (
            "" if secret is None else (await asyncio.to_thread(self._keys.decrypt, secret)).decode()
        )

    async def _existing(self, actor: Actor, name: str, role: Role) -> tuple[Upstream, Repository]:
        repository = await self._access.repository(actor, name, role)
        upstream = await self._store.of(repository.id)
        if upstream is None:
            raise NotFound(f"{name} has no upstream", hint="see `fossilrepo upstream set`")
        return upstream, repository

    async def _record(
        self, actor: Actor, verb: str, repository: Repository, upstream: Upstream, **detail: Any
    ) -> None:
        await self._audit.record(
            actor,
            f"repository.upstream-{verb}",
            repository.label,
            id=repository.id,
            url=upstream.url,
            **detail,
        )


def _address(url: str) -> str:
    check_url(url, ("https", "http"))
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise InvalidInput(
            "a login or password may not stand in the address",
            hint="give them apart: --login, and the password when it is asked for",
            field="url",
        )
    return url


def _login(user: str) -> str:
    if len(user) > 100 or not user.isprintable():
        raise InvalidInput("this is no login", field="user")
    return user
