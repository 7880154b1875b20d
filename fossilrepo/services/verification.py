"""Verification: every replica is brought back on trial, again and again, and what came of it.

Owns the records of trials, and the alert state of one that failed: an error in the log,
an audit entry when it begins and when it ends, and an entry in `problems`. How a trial
is made is `trial_restore`'s, whose turn it is `trial_turn`'s. One at a time over all
processes, with a pause as long as the last one took.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from fossilrepo.config import Settings
from fossilrepo.db.backups import BackupStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import Forbidden, FossilrepoError, NotFound, Unavailable
from fossilrepo.models import (
    CONTROL_ID,
    Actor,
    BackupState,
    Job,
    Replica,
    VerificationRun,
    is_id,
    now,
)
from fossilrepo.runtime.locks import FileLocks
from fossilrepo.services.audit import Audit
from fossilrepo.services.jobs import Jobs, Progress
from fossilrepo.services.replication import Replication
from fossilrepo.services.shelf import Shelf
from fossilrepo.services.trial_restore import CONTROL_LABEL, NoRoom, Proof, Refuted, TrialRestore
from fossilrepo.services.trial_turn import Subject, is_broken, is_due, overdue, stamp, written_at
from fossilrepo.tools.fossil import Fossil
from fossilrepo.wording import plural

log = logging.getLogger(__name__)

LOOK_EVERY = 60.0  # seconds
PUT_OFF_FOR = 600.0  # seconds, when nothing could be found out
LOCK = "verify"
LOCK_WAIT = 2 * 3600.0  # seconds that a request of a person waits for another trial
MEND = (
    "once it changes, the next whole copy (backup.snapshot_interval) replaces what is damaged; "
    "another backup.url gets one at once; then run `fossilrepo backup verify`"
)
FREE_SPACE = "free some space on the server's disk, or lower limits.free_disk"


class Verdict(StrEnum):
    PROVEN = "proven"
    FAILED = "failed"
    PUT_OFF = "put off"  # nothing could be found out: no verdict on the replica


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one trial."""

    verdict: Verdict
    detail: str


class Problem(NamedTuple):
    """A replica that is not proven to be whole, for people."""

    label: str
    what: str
    since: datetime | None
    mend: str


class Verification:
    def __init__(
        self,
        settings: Settings,
        store: RepositoryStore,
        backups: BackupStore,
        replication: Replication,
        shelf: Shelf,
        fossil: Fossil,
        jobs: Jobs,
        audit: Audit,
        locks: FileLocks,
    ) -> None:
        self._settings = settings
        self._store = store
        self._backups = backups
        self._replication = replication
        self._shelf = shelf
        self._jobs = jobs
        self._audit = audit
        self._locks = locks
        self._trial = TrialRestore(settings, backups, replication, shelf, fossil)
        self._put_off: dict[str, float] = {}

    # The rotating task of the host

    async def run(self, every: float = LOOK_EVERY) -> None:
        """Verify the most due, about once in `every` seconds, until cancelled."""
        while True:
            pause = every
            try:
                pause = await self.turn(every)
            except FossilrepoError as error:
                log.warning("nothing could be verified: %s", error)
            await asyncio.sleep(pause)

    async def turn(self, every: float = LOOK_EVERY) -> float:
        """Verify the one that is most due; the seconds to wait before the next turn."""
        due = await self.due()
        if not due:
            return every
        began = time.monotonic()
        try:
            async with self._locks.hold(LOCK, timeout=1.0, busy="verification"):
                began = time.monotonic()
                await self._verify(Actor.system(), due[0])
        except Unavailable:
            return every  # another process is at it
        took = time.monotonic() - began
        rows = self._replication.statuses()
        if any(rows[s.id].verify_wanted for s in due[1:] if s.id in rows):
            return max(1.0, took)
        return max(took, min(every, self._settings.backup.verify / (2 * len(due))))

    async def due(self) -> list[Subject]:
        """Who is due now, the most due first, of those whose replica could be proven now."""
        rows = {row.repository_id: row for row in await self._backups.replicas()}
        waiting = []
        at = now()
        for subject in await self._subjects():
            row = rows.get(subject.id)
            if row is None or not self._can_be_tried(subject):
                continue
            changed = await asyncio.to_thread(self._changed_at, subject)
            if is_due(row, changed, at, self._settings.backup.verify):
                waiting.append((not row.verify_wanted, stamp(row.proven_at), subject))
        waiting.sort(key=lambda entry: entry[:2])
        return [subject for _, _, subject in waiting]

    def _can_be_tried(self, subject: Subject) -> bool:
        """A failing replication has its own alert; a broken file has no live one to compare."""
        put_off = self._put_off.get(subject.id)
        if put_off is not None and time.monotonic() - put_off < PUT_OFF_FOR:
            return False
        state = self._replication.standing(subject.id).state
        return state in (BackupState.CURRENT, BackupState.BEHIND) or is_broken(subject)

    async def _subjects(self) -> list[Subject]:
        """Every repository, also in the trash, and the control database."""
        found = [Subject(r.id, r.label, r) for r in await self._store.all()]
        if self._settings.database.url == "sqlite":
            found.append(Subject(CONTROL_ID, CONTROL_LABEL, None))
        return found

    def _changed_at(self, subject: Subject) -> float | None:
        """When its file was last written, by the file's own time; None without a file."""
        path = self._settings.database_file
        if subject.repository is not None:
            path = self._shelf.file(subject.id)
        return written_at(path)

    # One trial and its record

    async def _verify(self, actor: Actor, subject: Subject) -> Outcome:
        at = now()
        began = time.monotonic()
        try:
            proof = await self._tried(subject)
        except Refuted as error:
            if subject.repository and await self._store.get(subject.id) is None:
                return self._not_now(subject, "it was purged meanwhile")
            seconds = time.monotonic() - began
            return await self._failed(actor, subject, at, seconds, error.message)
        except NoRoom as error:
            await self._note_no_room(subject, at, error.message)
            return self._not_now(subject, error.message)
        except FossilrepoError as error:
            return self._not_now(subject, error.message)
        return await self._proven(actor, subject, at, proof)

    async def _tried(self, subject: Subject) -> Proof:
        """A second trial when the first fails: what it read may have been compacted meanwhile."""
        targets = await self._backups.targets()
        if targets and targets[0].url != self._replication.target.url:
            raise Unavailable(
                f"{self._replication.target.url} is not in use yet",
                hint="start the host again: it has another backup.url",
            )
        with suppress(Refuted):
            return await self._once(subject)
        return await self._once(subject)

    async def _once(self, subject: Subject) -> Proof:
        if subject.repository is None:
            return await self._trial.control_database()
        return await self._trial.repository(subject.repository)

    def _not_now(self, subject: Subject, reason: str) -> Outcome:
        self._put_off[subject.id] = time.monotonic()
        log.info("%s could not be verified now: %s", subject.label, reason)
        return Outcome(Verdict.PUT_OFF, reason)

    async def _proven(self, actor: Actor, subject: Subject, at: datetime, proof: Proof) -> Outcome:
        before = await self._backups.replica(subject.id)
        self._put_off.pop(subject.id, None)
        await self._record(
            subject, at, proof.seconds, True, proof.detail, proof.size_bytes, proof.checkins
        )
        await self._note(
            subject,
            proven_at=at,
            proven_seconds=round(proof.seconds, 3),
            proven_checkins=proof.checkins if subject.repository else None,
            verify_at=at,
            verify_error="",
            verify_wanted=False,
        )
        if before and before.verify_error:
            log.info("%s is proven restorable again", subject.label)
            await self._audit.record(actor, "backup.verify.passed", subject.label, id=subject.id)
        return Outcome(Verdict.PROVEN, proof.detail)

    async def _failed(
        self, actor: Actor, subject: Subject, at: datetime, seconds: float, words: str
    ) -> Outcome:
        before = await self._backups.replica(subject.id)
        log.error("the replica of %s is not proven: %s", subject.label, words)
        await self._record(subject, at, seconds, False, words, 0, 0)
        await self._note(subject, verify_at=at, verify_error=words, verify_wanted=False)
        if before is None or not before.verify_error:
            await self._audit.record(
                actor, "backup.verify.failed", subject.label, id=subject.id, reason=words
            )
        return Outcome(Verdict.FAILED, words)

    async def _note_no_room(self, subject: Subject, at: datetime, words: str) -> None:
        """In the history once, until something else comes of it; no failure of the replica."""
        last = await self._backups.verifications(subject.id, limit=1)
        if not last or last[0].detail != words:
            log.warning("%s: %s", subject.label, words)
            await self._record(subject, at, 0.0, False, words, 0, 0)

    async def _record(
        self,
        subject: Subject,
        at: datetime,
        seconds: float,
        ok: bool,
        detail: str,
        size_bytes: int,
        checkins: int,
    ) -> None:
        await self._backups.add_verification(
            repository_id=subject.id,
            label=subject.label,
            at=at,
            seconds=round(seconds, 3),
            ok=ok,
            detail=detail[:2000],
            size_bytes=size_bytes,
            checkins=checkins,
        )

    async def _note(self, subject: Subject, **changes: object) -> None:
        self._replication.refresh(await self._backups.note(subject.id, **changes))

    # On request

    async def verify(self, actor: Actor, names: Iterable[str] = ()) -> Job:
        """Verify these now (names, or identities also from the trash), or everything."""
        _admins_only(actor)
        wanted = list(dict.fromkeys(names))
        subjects = [await self._subject(name) for name in wanted] or await self._subjects()
        label = ", ".join(wanted) if 0 < len(wanted) < 4 else plural(len(subjects), "replica")

        async def work(progress: Progress) -> None:
            await self._verify_all(actor, subjects, progress)

        return await self._jobs.start("backup.verify", label, actor, work)

    async def _verify_all(self, actor: Actor, subjects: list[Subject], progress: Progress) -> None:
        bad: list[str] = []
        began = time.monotonic()
        for number, subject in enumerate(subjects):
            progress.say(f"{subject.label}: restoring and checking", number / len(subjects))
            async with self._locks.hold(LOCK, timeout=LOCK_WAIT, busy="verification"):
                outcome = await self._verify(actor, subject)
            progress.say(
                f"{subject.label}: {outcome.verdict}: {outcome.detail}",
                (number + 1) / len(subjects),
            )
            if outcome.verdict is not Verdict.PROVEN:
                bad.append(f"{subject.label} ({outcome.detail})")
        seconds = time.monotonic() - began
        good = len(subjects) - len(bad)
        progress.say(f"{good} of {len(subjects)} proven restorable in {seconds:.1f} s", 1.0)
        if bad:
            raise FossilrepoError(
                f"{len(bad)} of {len(subjects)} not proven restorable: {'; '.join(bad)}"[:2000],
                hint="see `fossilrepo backup status` for what to do",
            )

    async def _subject(self, name: str) -> Subject:
        repository = await self._store.by_name(name)
        if repository is None and is_id(name):
            repository = await self._store.get(name)
        if repository is not None:
            return Subject(repository.id, repository.label, repository)
        if name == CONTROL_ID and self._settings.database.url == "sqlite":
            return Subject(CONTROL_ID, CONTROL_LABEL, None)
        raise NotFound(
            f"there is no repository {name[:80]!r}",
            hint="see `fossilrepo repo list` and `fossilrepo repo trash list`",
            field="name",
        )

    # What is known

    async def history(self, name: str = "", limit: int = 50) -> list[VerificationRun]:
        """Trials, newest first: of one repository by name or identity, or of all."""
        if not name:
            return await self._backups.verifications(limit=limit)
        if is_id(name) and await self._backups.replica(name):
            return await self._backups.verifications(name, limit)
        return await self._backups.verifications((await self._subject(name)).id, limit)

    async def problems(self) -> list[Problem]:
        """What is not proven to be whole: failed trials first, then those long without one."""
        rows = {row.repository_id: row for row in await self._backups.replicas()}
        targets = await self._backups.targets()
        began = targets[0].since if targets else None
        failed, late = [], []
        for subject in await self._subjects():
            row = rows.get(subject.id)
            if row is not None and row.verify_error:
                what = f"its trial restore failed: {row.verify_error}"
                failed.append(Problem(subject.label, what, await self._failing_since(row), MEND))
            elif row is not None and (since := overdue(subject, row, began)):
                what, mend = await self._why_late(subject)
                late.append(Problem(subject.label, what, since, mend))
        return failed + late

    async def _failing_since(self, row: Replica) -> datetime | None:
        """When the failures in a row began, as far back as the history shows."""
        since = row.verify_at
        for run in await self._backups.verifications(row.repository_id, limit=500):
            if run.ok:
                break
            since = run.at
        return since

    async def _why_late(self, subject: Subject) -> tuple[str, str]:
        last = await self._backups.verifications(subject.id, limit=1)
        if last and not last[0].ok:
            return last[0].detail, FREE_SPACE
        return "not restored on trial for a long time", "see `fossilrepo backup status`"


def _admins_only(actor: Actor) -> None:
    if not actor.is_admin:
        raise Forbidden("only an administrator of the site may do this")
