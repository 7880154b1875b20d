"""The time line of a repository: which of its past states can be restored, and what was pushed.

Owns the computation from the files of a replica and the pushes that the live file knows,
whose past somebody means by a name or an identity, and which moment by their words.
Only what a chain without a gap leads to is a point. Changes nothing.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fossilrepo.db.backups import BackupStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import Damaged, Forbidden, InvalidInput, NotFound, Unavailable
from fossilrepo.models import (
    Actor,
    Replica,
    Repository,
    RepositoryState,
    Restoration,
    is_id,
    now,
)
from fossilrepo.rights import Role
from fossilrepo.services.access import Access
from fossilrepo.services.bring_back import BringBack
from fossilrepo.services.jobs import Progress
from fossilrepo.services.moments import parse_moment
from fossilrepo.services.replication import Replication
from fossilrepo.services.shelf import SUFFIX, Shelf
from fossilrepo.tools import fossil_received, litestream
from fossilrepo.tools.fossil_received import Arrival, Received
from fossilrepo.tools.litestream import Ltx
from fossilrepo.tools.litestream_restore import reachable

OLD_PUSHES = 20  # of those that no point parts from what came before, that many are told
_INSTANT = timedelta(milliseconds=1)

PROMISE = (
    "every change of the last 5 minutes, and before that one state for each 30 seconds in which"
    " something changed"
)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose past it is. `repository` is None when it was purged, `replica` before its first row."""

    id: str
    label: str
    repository: Repository | None
    replica: Replica | None


@dataclass(frozen=True, slots=True)
class Push:
    """What was received at once, by a push or on the web.

    `checkin` is the hash of its first check-in, empty without one; `changes` counts
    check-ins, wiki edits, tickets and forum posts. `before` is the newest point without
    it: None when no point parts it from what came before.
    """

    at: datetime
    login: str
    checkins: int
    changes: int
    comment: str
    checkin: str
    before: datetime | None

    @property
    def can_be_left_out(self) -> bool:
        return self.before is not None


@dataclass(frozen=True, slots=True)
class Point:
    """One state that can be restored: by `at`, to the millisecond. Pushes newest first.

    `level` is Litestream's: 0 every change, 1 to 3 the last of 30 s, 5 min, 1 h, 9 a whole copy.
    """

    at: datetime
    txid: int
    level: int
    pushes: tuple[Push, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """What one repository can go back to, newest first; empty when nothing is on the replica.

    `knows_pushes` is false when no file of it is there to tell. `undo` is the in-place
    restore that can be taken back.
    """

    repository_id: str
    label: str
    points: tuple[Point, ...]
    promise: str
    knows_pushes: bool
    undo: Restoration | None = None

    @property
    def newest(self) -> datetime | None:
        return self.points[0].at if self.points else None

    @property
    def oldest(self) -> datetime | None:
        return self.points[-1].at if self.points else None

    def page(self, offset: int = 0, limit: int = 50) -> tuple[Point, ...]:
        return self.points[offset : offset + limit]


def _end_of_second(at: datetime) -> datetime:
    """A bucket lists times without the fraction; what is in the file may be that much later."""
    return at if at.microsecond else at.replace(microsecond=999_000)


def points(files: Sequence[Ltx], pushes: Iterable[Received] = ()) -> tuple[Point, ...]:
    """Every state that can be restored, newest first, each with the pushes that are new in it.

    Of states with the same time only the last one can be named, so only that is a point.
    """
    times = reachable(files)
    levels: dict[int, int] = {}
    for file in files:
        levels[file.max_txid] = min(file.level, levels.get(file.max_txid, file.level))
    by_time = {at: txid for txid, at in sorted(times.items())}
    ends = sorted(by_time)
    gathered: dict[int, list[Received]] = {}
    for push in pushes:
        place = bisect_left(ends, push.at)
        if place < len(ends):  # else it is not on the replica yet
            gathered.setdefault(place, []).append(push)
    found = []
    for place, at in enumerate(ends):
        txid = by_time[at]
        before = ends[place - 1] if place else None
        came = sorted(gathered.get(place, []), key=lambda one: one.at)
        came = came if place else came[-OLD_PUSHES:]
        found.append(Point(at, txid, levels[txid], _parted(came, before)))
    return tuple(reversed(found))


def _parted(received: list[Received], before: datetime | None) -> tuple[Push, ...]:
    """Only the first that came since the point before can be left out by going there."""
    parted = []
    for number, one in enumerate(received):
        parted.append(
            Push(
                at=one.at,
                login=one.login,
                checkins=one.checkins,
                changes=one.changes,
                comment=one.comment,
                checkin=one.checkin,
                before=None if number else before,
            )
        )
    return tuple(reversed(parted))


class Points:
    def __init__(
        self,
        store: RepositoryStore,
        backups: BackupStore,
        replication: Replication,
        shelf: Shelf,
        bring_back: BringBack,
        access: Access,
    ) -> None:
        self._store = store
        self._access = access
        self._backups = backups
        self._replication = replication
        self._shelf = shelf
        self._bring_back = bring_back

    async def subject(self, actor: Actor, key: str) -> Subject:
        """By the name of a repository, or the identity of a living, trashed or purged one."""
        repository = await self._store.by_name(key)
        if repository is None and is_id(key):
            repository = await self._store.get(key)
        identity = repository.id if repository else key
        replica = await self._backups.replica(identity) if is_id(identity) else None
        if repository is not None and await self._may_know(actor, repository):
            return Subject(identity, repository.label, repository, replica)
        # Of a purged one nothing is known any more that could tell whose it was.
        if repository is None and replica is not None and replica.cleared_at is None:
            if actor.is_admin:
                return Subject(identity, replica.label or identity, None, replica)
        raise NotFound(
            f"there is no repository {key[:80]!r}, and none of that identity was deleted",
            hint="see the list of repositories, or `fossilrepo backup deleted`",
            field="name",
        )

    async def may(self, actor: Actor, key: str) -> bool:
        """Whether the actor may look at its past, without a word why not."""
        try:
            await self.subject(actor, key)
        except (NotFound, Forbidden):
            return False
        return True

    async def _may_know(self, actor: Actor, repository: Repository) -> bool:
        """Its administrators; of what lies in the trash the owners of its organization."""
        if repository.state is RepositoryState.TRASHED:
            return await self._access.owns(actor, repository.org)
        if await self._access.may(actor, repository, Role.READ):
            await self._access.require(actor, repository, Role.ADMIN)
            return True
        return False

    async def timeline(self, actor: Actor, key: str) -> Timeline:
        """What can be restored; Unavailable when the replica cannot be asked now."""
        subject = await self.subject(actor, key)
        target = self._replication.target
        files = await litestream.ltx(target, f"{subject.id}{SUFFIX}")
        if not target.is_local:
            files = [replace(file, at=_end_of_second(file.at)) for file in files]
        pushes = await self._pushes(subject.id)
        return Timeline(
            repository_id=subject.id,
            label=subject.label,
            points=await asyncio.to_thread(points, files, pushes or ()),
            promise=PROMISE,
            knows_pushes=pushes is not None,
            undo=await self.undoable(subject.id),
        )

    async def _pushes(self, repository_id: str) -> list[Received] | None:
        """What the live file, or the one in the trash, tells; None when there is none whole."""
        path = self._shelf.file(repository_id)
        try:
            return await asyncio.to_thread(fossil_received.received, path)
        except (Damaged, InvalidInput, Unavailable):
            return None

    async def undoable(self, repository_id: str) -> Restoration | None:
        """The restore in place that can be taken back now."""
        for restoration in await self._backups.restorations(repository_id):
            if restoration.undone_at is None:
                there = await asyncio.to_thread((self._shelf.undo / restoration.file).exists)
                return restoration if there else None
        return None

    # Moments

    async def moment_of(self, subject: Subject, text: str) -> datetime | None:
        """The moment that somebody means who writes this; None is the newest."""
        moment = parse_moment(text, now())
        if moment.before is None:
            return moment.at
        if not is_id(subject.id):
            raise InvalidInput(
                f"the {subject.label} has no check-ins", hint="give a time", field="at"
            )
        return (await self._arrival(subject, moment.before)).at - _INSTANT

    async def _arrival(self, subject: Subject, prefix: str) -> Arrival:
        """In the live file, or else in what the replica has of it."""
        found = await self._arrivals(subject, prefix)
        if not found:
            raise NotFound(
                f"{subject.label} has no check-in {prefix}",
                hint="give the beginning of the hash of one of its check-ins",
                field="at",
            )
        if len(found) > 1:
            raise InvalidInput(
                f"more than one check-in of {subject.label} begins with {prefix}",
                hint="give more characters of its hash",
                field="at",
            )
        return found[0]

    async def _arrivals(self, subject: Subject, prefix: str) -> list[Arrival]:
        live = self._shelf.file(subject.id)
        try:
            if found := await asyncio.to_thread(fossil_received.arrivals, live, prefix):
                return found
        except (Damaged, InvalidInput, Unavailable):
            pass  # gone, or not whole
        else:
            # What went by a restore in place is in the state before that.
            taken = await self._backups.restorations(subject.id)
            return await self._restored(subject, prefix, taken[0].at) if taken else []
        return await self._restored(subject, prefix, None)

    async def _restored(self, subject: Subject, prefix: str, at: datetime | None) -> list[Arrival]:
        size = subject.repository.size_bytes if subject.repository else 0
        async with self._bring_back.scratch(subject.id, at, Progress(), size=size) as scratch:
            return await asyncio.to_thread(fossil_received.arrivals, scratch, prefix)
