"""What happens in the repositories: read from their files as they change, kept, and told.

Owns when a repository is read and who may see what came of it. The files are the truth: what is
kept can be made anew from them at any time, and nothing is written into them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fossilrepo.db.insights import InsightStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.db.timeline import Timeline
from fossilrepo.errors import FossilrepoError
from fossilrepo.insight import Asked, Contributor, DiskDay, Event, Kept, days_until_full, merged
from fossilrepo.models import Actor, Repository, RepositoryState, now
from fossilrepo.runtime.locks import FileLocks
from fossilrepo.services.access import Access
from fossilrepo.services.health import Check, Health
from fossilrepo.services.pulse import Pulse
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_insights

log = logging.getLogger(__name__)

LOOK_EVERY = 60.0  # seconds; what the watcher told of is read at once
DISK_EVERY = 3600.0  # seconds
FORECAST_DAYS = 30
LIVING = (RepositoryState.ACTIVE, RepositoryState.ARCHIVED)
MOST_WORDS = 8
PATIENCE = 120.0  # seconds for another process that reads the same one
MOST_AT_ONCE = 2000  # new events; more are kept as a whole history is: in parts


@dataclass(frozen=True, slots=True)
class Storage:
    """The disk as it is, its last days (oldest first), and in how many days it is full."""

    days: tuple[DiskDay, ...]
    full_in: int | None


@dataclass(frozen=True, slots=True)
class Unread:
    label: str
    why: str


class Insights:
    def __init__(
        self,
        store: InsightStore,
        timeline: Timeline,
        repositories: RepositoryStore,
        shelf: Shelf,
        access: Access,
        health: Health,
        locks: FileLocks,
    ) -> None:
        self._store = store
        self._timeline = timeline
        self._repositories = repositories
        self._shelf = shelf
        self._access = access
        self._health = health
        self._locks = locks
        self._due: dict[str, None] = {}
        self._asked = asyncio.Event()
        self.pulse = Pulse()
        self._unread: dict[str, Unread] = {}  # by identity

    # Reading repositories

    async def changed(self, repository: Repository) -> None:
        """It is read soon."""
        self._due[repository.id] = None
        self._asked.set()

    async def run(self) -> None:
        """Read what changed, for ever; what changed while nobody looked comes first."""
        noted = -DISK_EVERY
        while True:
            for identity in await self._store.unread():
                self._due[identity] = None
            if time.monotonic() - noted > DISK_EVERY:
                await self._note_disk()
                noted = time.monotonic()
            until = time.monotonic() + LOOK_EVERY
            while (left := until - time.monotonic()) > 0:
                await self._read_due()
                try:
                    async with asyncio.timeout(left):
                        await self._asked.wait()
                except TimeoutError:
                    break

    async def _read_due(self) -> None:
        self._asked.clear()
        while self._due:
            identity = next(iter(self._due))
            del self._due[identity]
            repository = await self._repositories.get(identity)
            if repository is not None and repository.state in LIVING:
                await self._try(repository)
            else:
                self._unread.pop(identity, None)

    async def _try(self, repository: Repository) -> None:
        """What one file does wrong is told, and holds up no other."""
        try:
            await self.refresh(repository)
        except FossilrepoError as error:
            why = error.message
        except Exception as error:
            log.exception("insights: %s", repository.label)
            why = f"{type(error).__name__}: see the log"
        else:
            self._unread.pop(repository.id, None)
            return
        told = Unread(repository.label, why)
        if self._unread.get(repository.id) != told:
            log.warning("insights: %s could not be read: %s", repository.label, why)
        self._unread[repository.id] = told

    async def doctor(self, _thorough: bool) -> list[Check]:
        """Whether every history was read; only a running host tries."""
        if bad := self.unread():
            found = f"the history of {bad[0].label} cannot be read: {bad[0].why}"
            found += f", and {len(bad) - 1} more" if len(bad) > 1 else ""
            return [Check("insights", "warn", found, "restore the repository, or see the log")]
        waiting = len(await self._store.unread())
        found = f"{waiting} wait to be read" if waiting else "every repository was read"
        return [Check("insights", "ok", found)]

    def unread(self) -> list[Unread]:
        """Repositories that could not be read the last time; each is tried again every minute."""
        return list(self._unread.values())

    async def refresh(self, repository: Repository, *, whole: bool = False) -> None:
        """Read what is new in it, or everything; raises what reading a file can raise."""
        busy = f"the history of {repository.label}"
        async with self._locks.hold(f"insights-{repository.id}", timeout=PATIENCE, busy=busy):
            await self._refresh(repository, whole=whole)

    async def _refresh(self, repository: Repository, *, whole: bool) -> None:
        began = time.monotonic()
        known = None if whole else await self._store.known(repository.id)
        path = self._shelf.file(repository.id)
        read = await asyncio.to_thread(fossil_insights.read, path, known)
        if not read.whole and len(read.entries) > MOST_AT_ONCE:
            read = await asyncio.to_thread(fossil_insights.read, path, None)
        changed = await self._store.keep(
            repository.id,
            read,
            seen=repository.seen,
            size=repository.size_bytes,
            at=now(),
            seconds=time.monotonic() - began,
        )
        if changed:
            self.pulse.beat()

    async def forget(self, repository: Repository) -> None:
        """Before it is purged."""
        async with self._locks.hold(f"insights-{repository.id}", timeout=PATIENCE):
            await self._store.forget(repository.id)

    async def _note_disk(self) -> None:
        await self._store.keep_disk(await self._disk_now())

    async def _disk_now(self) -> DiskDay:
        disk, size = self._health.disk(), await self._store.size_of_all()
        return DiskDay(now().toordinal(), size, disk.free, disk.total)

    # Telling

    async def of(self, repository: Repository) -> Kept | None:
        """What is known of a repository that the caller was let to; None: not read yet.

        The addresses of our own people count beside those that the repository knows.
        """
        kept = await self._store.of(repository.id)
        if kept is None:
            return None
        users = (await self._access.directory()).users.values()
        ours = {user.login: user.email.lower() for user in users if user.email}
        return replace(kept, contacts={**kept.contacts, **ours})

    async def days(
        self, actor: Actor | None, since: int, *, org: str = ""
    ) -> dict[int, dict[str, int]]:
        """Day to kind to number of events, in what the actor may read."""
        return await self._store.days(await self._access.readable(actor), since, org=org)

    async def events(self, actor: Actor | None, asked: Asked, limit: int = 50) -> list[Event]:
        """Newest first, of what the actor may read."""
        return await self._timeline.events(await self._access.readable(actor), asked, limit)

    async def search(
        self, actor: Actor | None, words: str, asked: Asked | None = None, limit: int = 50
    ) -> list[Event]:
        """Events that have every one of the words; newest first."""
        wanted = words_of(words)
        if not wanted:
            return []
        readable = await self._access.readable(actor)
        return await self._timeline.search(readable, wanted, asked or Asked(), limit)

    async def storage(self) -> Storage:
        today = await self._disk_now()
        before = await self._store.disk(today.day - FORECAST_DAYS)
        days = (*(one for one in before if one.day != today.day), today)
        return Storage(days, days_until_full(days))


def contributors(kept: Kept) -> list[Contributor]:
    """Whoever did something, each once."""
    return merged(kept.contributors, kept.contacts)


def words_of(typed: str) -> Sequence[str]:
    """What a search looks for: words of letters and digits, in small letters, each once."""
    only = "".join(one if one.isalnum() else " " for one in typed.lower())
    return list(dict.fromkeys(only.split()))[:MOST_WORDS]
