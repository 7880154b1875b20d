"""The runs of mirrors and upstreams: when each is due, in what order, and what comes of it.

Owns the time at which each runs (a change, the clock, by hand, once more after a failure),
one run for each repository at a time, the limit on all, and their standing in the control
database. What a run does is its target's. All that is owed is in rows, so a restart loses
nothing; in memory is only what runs or waits in this process.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from fossilrepo.bridge import Mirror, MirrorState, Trigger, Upstream
from fossilrepo.config import Settings
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import Conflict, FossilrepoError, NotFound, ToolFailed, Unavailable
from fossilrepo.models import Actor, Job, Repository, RepositoryState, now
from fossilrepo.runtime import schedule
from fossilrepo.runtime.locks import FileLocks
from fossilrepo.services.jobs import Jobs, Progress
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_db

LOOK_EVERY = 2.0  # seconds; other processes may have asked for a run
LONGEST_SETTLE = 10  # times sync.settle: somebody who never rests is mirrored all the same
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 6 * 3600.0  # seconds after a failure
GIVE_UP_AFTER = timedelta(days=7)
KEPT = 100  # runs that are remembered of each
LOOK_PATIENCE = 20.0  # seconds that somebody who only looks waits for a run
REST_AGAIN = 60.0  # seconds until what lies in the trash, or is broken, is looked at again
BUSY_AGAIN = 5.0  # seconds until a repository is tried again that another process works on
LIVING = (RepositoryState.ACTIVE, RepositoryState.ARCHIVED)

log = logging.getLogger(__name__)
One = Mirror | Upstream


class Stopped(Conflict):
    """Going on needs a person: it is not tried again by itself."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run that succeeded did, in words, and the newest rcvid that it saw."""

    text: str
    rcvid: int


@dataclass(frozen=True, slots=True)
class Transition:
    """A change that people should hear of."""

    kind: str
    id: str
    repository: Repository
    url: str
    before: MirrorState
    after: MirrorState
    text: str
    hint: str = ""


class Target(Protocol):
    """What has runs; `update` writes columns of its row, None when it is gone."""

    kind: str

    async def due(self, at: datetime) -> Sequence[One]: ...
    async def of(self, repository_id: str) -> Sequence[One]: ...
    async def all(self) -> Sequence[One]: ...
    async def one(self, one_id: str) -> One | None: ...
    async def update(self, one_id: str, **changes: Any) -> One | None: ...
    def follows(self, one: One) -> bool:
        """Whether it owes a run when the repository changes."""

    async def perform(self, one: One, repository: Repository, progress: Progress) -> Outcome: ...


class Runs:
    def __init__(
        self,
        settings: Settings,
        store: RepositoryStore,
        shelf: Shelf,
        jobs: Jobs,
        locks: FileLocks,
    ) -> None:
        self._settings = settings
        self._store = store
        self._shelf = shelf
        self._jobs = jobs
        self._locks = locks
        self._targets: dict[str, Target] = {}
        self._queued: dict[str, Job] = {}  # by the identity of what is to run
        self._running: dict[str, str] = {}  # repository to the identity of what runs
        self._quiet: dict[str, tuple[float, float]] = {}  # repository: settled at, at latest
        self._busy_until: dict[str, float] = {}
        self._woken = asyncio.Event()
        self.on_transition: list[Callable[[Transition], Awaitable[None]]] = []

    def register(self, target: Target) -> None:
        self._targets[target.kind] = target

    # Asking for a run

    async def ask(self, kind: str, one: One, actor: Actor, trigger: Trigger = Trigger.HAND) -> Job:
        """A run as soon as it can be; with one that waits already it becomes the same job."""
        waiting = self._queued.get(one.id)
        if waiting is not None:
            return waiting
        job = await self._queue(kind, one, actor, trigger)
        self._queued[one.id] = job
        await self._targets[kind].update(one.id, wanted_at=now(), paused_at=None, paused_why="")
        self._woken.set()
        return job

    async def now(self, kind: str, one: One, actor: Actor) -> Job:
        """The run itself, in this process, after whatever works on the repository now."""
        job = await self._queue(kind, one, actor, Trigger.HAND)
        await self._targets[kind].update(one.id, paused_at=None, paused_why="")
        return await self._jobs.begin(job, self._work(kind, one))

    async def pause(self, kind: str, one_id: str, why: str) -> None:
        await self._targets[kind].update(
            one_id, state=MirrorState.PAUSED, paused_at=now(), paused_why=why, wanted_at=None
        )

    async def resume(self, kind: str, one_id: str) -> None:
        """Runs again, at once; failures before do not count any more."""
        await self._targets[kind].update(
            one_id,
            state=MirrorState.BEHIND,
            paused_at=None,
            paused_why="",
            failures=0,
            failing_since=None,
            wanted_at=now(),
        )
        self._woken.set()

    def wake(self) -> None:
        """Something was asked for in the rows."""
        self._woken.set()

    async def history(self, one_id: str, limit: int = 50) -> builtins.list[Job]:
        return await self._jobs.of(one_id, limit)

    async def _queue(self, kind: str, one: One, actor: Actor, trigger: Trigger) -> Job:
        repository = await self._store.get(one.repository_id)
        label = repository.label if repository else one.repository_id
        return await self._jobs.queue(
            kind,
            label,
            actor,
            target_id=one.id,
            trigger=str(trigger),
            repository_id=one.repository_id,
        )

    # Changes of repositories

    async def changed(self, repository: Repository) -> None:
        """Measure what is owed now, and run it when the repository has been quiet for a moment."""
        owed = False
        for target in self._targets.values():
            for one in await target.of(repository.id):
                owed = await self._measure(target, one, repository) or owed
        if not owed:
            return
        settle, at = self._settings.sync.settle, time.monotonic()
        _, latest = self._quiet.get(repository.id, (0.0, at + LONGEST_SETTLE * settle))
        ready = min(at + settle, latest)
        self._quiet[repository.id] = (ready, latest)
        asyncio.get_running_loop().call_later(max(0.0, ready - at) + 0.01, self._woken.set)

    async def _measure(self, target: Target, one: One, repository: Repository) -> bool:
        """Write how far behind it is; True when it owes a run now."""
        if not target.follows(one) or repository.state not in LIVING:
            return False
        known = one.standing
        try:
            found = await asyncio.to_thread(
                fossil_db.waiting, self._shelf.file(repository.id), known.verified_rcvid
            )
        except FossilrepoError as error:
            log.warning("%s: what is to be mirrored is not known: %s", repository.label, error)
            return False
        replaced = (
            found.restored is not None
            and known.verified_at is not None
            and found.restored > known.verified_at
        )
        if found.newest_rcvid == known.verified_rcvid and not replaced:
            return False
        changes: dict[str, Any] = {"lag_checkins": found.checkins, "lag_since": found.since}
        if known.state in (MirrorState.IN_SYNC, MirrorState.BEHIND, MirrorState.NEW):
            is_new = known.state is MirrorState.NEW
            changes["state"] = MirrorState.NEW if is_new else MirrorState.BEHIND
        # What fails has its next try, and what is stopped or paused its person.
        wanted = one.on_change and known.state in (
            MirrorState.IN_SYNC,
            MirrorState.BEHIND,
            MirrorState.NEW,
            MirrorState.RUNNING,
        )
        if wanted:
            changes["wanted_at"] = known.wanted_at or now()
        current = await target.one(one.id)
        if current is None or current.standing.verified_rcvid != known.verified_rcvid:
            return False  # a run ended meanwhile, and looks itself for what came after it
        await target.update(one.id, **changes)
        return wanted

    # The duty of a running host

    async def run(self) -> None:
        """Begin what is due, until cancelled."""
        await self._catch_up()
        while True:
            self._woken.clear()
            await self._begin_due()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._woken.wait()

    async def _catch_up(self) -> None:
        """What a host that is gone was doing is done again, and what happened meanwhile."""
        for target in self._targets.values():
            for one in await target.all():
                if one.standing.state is MirrorState.RUNNING:
                    state = MirrorState.FAILING if one.standing.failures else MirrorState.BEHIND
                    await target.update(one.id, state=state, wanted_at=now())
                    continue
                repository = await self._store.get(one.repository_id)
                if repository is not None:
                    await self._measure(target, one, repository)

    async def _begin_due(self) -> None:
        at, moment = time.monotonic(), now()
        due = [
            (one.standing.wanted_at or one.standing.next_run or moment, kind, one)
            for kind, target in self._targets.items()
            for one in await target.due(moment)
        ]
        for _, kind, one in sorted(due, key=lambda entry: (entry[0], entry[2].id)):
            if len(self._running) >= self._settings.sync.workers:
                return
            place = one.repository_id
            asked = one.id in self._queued
            if place in self._running or at < self._busy_until.get(place, 0.0):
                continue
            if not asked and at < self._quiet.get(place, (0.0, 0.0))[0]:
                continue
            if one.standing.state is MirrorState.STOPPED and not asked:
                await self._targets[kind].update(one.id, wanted_at=None, next_run=None)
                continue
            await self._begin(kind, one, moment)

    async def _begin(self, kind: str, one: One, moment: datetime) -> None:
        repository = await self._store.get(one.repository_id)
        if repository is None or repository.state not in LIVING:
            job = self._queued.pop(one.id, None)
            if job is not None:
                await self._jobs.give_up(job, "the repository is not served at the moment")
            self._busy_until[one.repository_id] = time.monotonic() + REST_AGAIN
            return
        if await self._is_busy(repository.id):
            self._busy_until[repository.id] = time.monotonic() + BUSY_AGAIN
            return
        self._quiet.pop(repository.id, None)
        job = self._queued.pop(one.id, None)
        if job is None:
            job = await self._queue(kind, one, Actor.system(), _why(one, moment))
        self._running[repository.id] = one.id
        work = self._work(kind, one)

        async def and_then(progress: Progress) -> None:
            try:
                await work(progress)
            finally:
                self._running.pop(one.repository_id, None)
                self._woken.set()

        await self._jobs.begin(job, and_then)

    async def _is_busy(self, repository_id: str) -> bool:
        """Whether another process works on it, like a command."""
        try:
            async with self._locks.hold(_lock(repository_id), timeout=0.05):
                return False
        except Unavailable:
            return True

    @asynccontextmanager
    async def alone(self, repository: Repository) -> AsyncIterator[None]:
        """While nothing else exchanges content of the repository with others."""
        lock = self._locks.hold(
            _lock(repository.id), timeout=LOOK_PATIENCE, busy=f"the bridge of {repository.label}"
        )
        async with lock:
            yield

    # One run

    def _work(self, kind: str, one: One) -> Callable[[Progress], Awaitable[None]]:
        async def work(progress: Progress) -> None:
            patience = self._settings.sync.job_time
            async with self._locks.hold(_lock(one.repository_id), timeout=patience):
                await self._perform(kind, one.id, progress)

        return work

    async def _perform(self, kind: str, one_id: str, progress: Progress) -> None:
        target = self._targets[kind]
        one = await target.one(one_id)
        repository = await self._store.get(one.repository_id) if one else None
        if one is None or repository is None:
            raise NotFound(f"the {kind} was removed meanwhile")
        before, began, started = _told(one), time.monotonic(), now()
        await target.update(one_id, state=MirrorState.RUNNING, wanted_at=None, last_run_at=started)
        try:
            outcome = await self._in_time(target, one, repository, progress)
        except asyncio.CancelledError:
            await asyncio.shield(target.update(one_id, state=before, wanted_at=now()))
            raise
        except Exception as error:
            failure = error if isinstance(error, FossilrepoError) else _unforeseen(error)
            await self._failed(target, one, repository, before, failure, began)
            raise
        finally:
            await asyncio.shield(self._jobs.keep(one_id, KEPT))
        await self._succeeded(target, one, repository, before, outcome, began)
        progress.say(outcome.text, 1.0)

    async def _in_time(
        self, target: Target, one: One, repository: Repository, progress: Progress
    ) -> Outcome:
        limit = asyncio.timeout(self._settings.sync.job_time)
        try:
            async with limit:
                return await target.perform(one, repository, progress)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ToolFailed(
                f"it took longer than {self._settings.sync.job_time:g} s and was ended",
                hint="an administrator of the server can raise sync.job_time",
            ) from error

    async def _succeeded(
        self,
        target: Target,
        one: One,
        repository: Repository,
        before: MirrorState,
        outcome: Outcome,
        began: float,
    ) -> None:
        done = await target.update(
            one.id,
            state=MirrorState.IN_SYNC,
            verified_at=now(),
            verified_rcvid=outcome.rcvid,
            lag_checkins=0,
            lag_since=None,
            last_seconds=round(time.monotonic() - began, 3),
            last_error="",
            last_hint="",
            failing_since=None,
            failures=0,
            next_run=schedule.following(one.schedule, now()),
        )
        if done is None or await self._stays_paused(target, done):
            return
        await self._tell(target, one, repository, before, MirrorState.IN_SYNC, outcome.text, "")
        await self._measure(target, done, repository)  # what arrived while it ran

    async def _failed(
        self,
        target: Target,
        one: One,
        repository: Repository,
        before: MirrorState,
        error: FossilrepoError,
        began: float,
    ) -> None:
        known, moment = one.standing, now()
        since = known.failing_since or moment
        failures = known.failures + 1
        state, changes = MirrorState.FAILING, dict[str, Any]()
        if isinstance(error, Stopped):
            state, changes = MirrorState.STOPPED, {"next_run": None, "wanted_at": None}
        elif moment - since >= GIVE_UP_AFTER:
            state = MirrorState.PAUSED
            why = f"it has failed since {since:%Y-%m-%d %H:%M} UTC"
            changes = {"paused_at": moment, "paused_why": why, "next_run": None, "wanted_at": None}
        else:
            changes = {"next_run": moment + timedelta(seconds=self._pause(failures, error))}
        done = await target.update(
            one.id,
            state=state,
            last_error=error.message[:1000],
            last_hint=error.hint[:500],
            last_seconds=round(time.monotonic() - began, 3),
            failing_since=since,
            failures=failures,
            **changes,
        )
        if done is None or (
            state is not MirrorState.PAUSED and await self._stays_paused(target, done)
        ):
            return
        await self._tell(target, one, repository, before, state, error.message, error.hint)

    async def _stays_paused(self, target: Target, one: One) -> bool:
        """Whether somebody paused it while it ran: then it rests, whatever came of the run."""
        if one.standing.paused_at is None:
            return False
        await target.update(one.id, state=MirrorState.PAUSED, wanted_at=None)
        return True

    def _pause(self, failures: int, error: FossilrepoError) -> float:
        """Seconds until the next try; what the other side asks for is kept."""
        pause = min(FIRST_PAUSE * 2 ** min(failures - 1, 20), LONGEST_PAUSE)
        asked = float(getattr(error, "retry_after", 0.0) or 0.0)
        return max(float(pause) * random.uniform(0.8, 1.2), asked)  # noqa: S311 - no secret

    async def _tell(
        self,
        target: Target,
        one: One,
        repository: Repository,
        before: MirrorState,
        after: MirrorState,
        text: str,
        hint: str,
    ) -> None:
        told = Transition(target.kind, one.id, repository, one.url, before, after, text, hint)
        for listener in self.on_transition:
            try:
                await listener(told)
            except FossilrepoError as error:
                log.warning("%s: a change of a %s was not told: %s", told.id, told.kind, error)


def _lock(repository_id: str) -> str:
    """Held by whatever exchanges content of the repository with others, in any process."""
    return f"sync-{repository_id}"


def _told(one: One) -> MirrorState:
    """What people know of it: a run in between is no change."""
    known = one.standing
    if known.state is MirrorState.RUNNING:
        return MirrorState.FAILING if known.failures else MirrorState.BEHIND
    return known.state


def _why(one: One, moment: datetime) -> Trigger:
    known = one.standing
    if known.failures and known.state is MirrorState.FAILING:
        return Trigger.RETRY
    if known.next_run is not None and known.next_run <= moment:
        return Trigger.SCHEDULE
    return Trigger.CHANGE


def _unforeseen(error: Exception) -> FossilrepoError:
    return FossilrepoError(
        f"it failed for a reason that nobody foresaw ({type(error).__name__})",
        hint="the log of the host has the details",
    )
