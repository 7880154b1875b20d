"""Long work with a record that people can watch: imports now, backups and mirrors on it too.

Owns running, progress, the ends of jobs, and the recognition of jobs that a
crash cut off. A job runs as a task of the process that started it; its row in
the control database shows it to every other process.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from fossilrepo.db.journal import JobStore
from fossilrepo.errors import FossilrepoError, NotFound
from fossilrepo.models import Actor, Job, JobState, new_id, now
from fossilrepo.runtime.tasks import Tasks

log = logging.getLogger(__name__)

LOG_LINES = 200
WRITE_EVERY = 0.5  # seconds between two writes of a job's progress


class Progress:
    """What a running job tells of itself; written to its row at most twice a second."""

    def __init__(self) -> None:
        self.text = ""
        self.fraction: float | None = None
        self.repository_id: str | None = None
        self._lines: list[str] = []
        self.dirty = False

    def say(self, text: str, fraction: float | None = None) -> None:
        """One line of progress; `fraction` is between 0 and 1 where it is known."""
        self.text, self.fraction, self.dirty = text[:500], fraction, True
        if not self._lines or self._lines[-1] != text:
            self._lines.append(text[:500])
            del self._lines[:-LOG_LINES]

    @property
    def log(self) -> str:
        return "\n".join(self._lines)


Work = Callable[[Progress], Awaitable[None]]


class Jobs:
    def __init__(self, store: JobStore, tasks: Tasks) -> None:
        self._store = store
        self._tasks = tasks
        self._running: dict[str, asyncio.Task[None]] = {}

    async def start(self, kind: str, subject: str, actor: Actor, work: Work) -> Job:
        """Record the job and run it; errors of the work end in its row, never here."""
        return await self.begin(await self.queue(kind, subject, actor), work)

    async def queue(self, kind: str, subject: str, actor: Actor, **of: str | None) -> Job:
        """Record a job that waits for its turn; `of`: target_id, trigger, repository_id."""
        return await self._store.add(
            id=new_id(),
            kind=kind,
            subject=subject,
            requested_by=actor.login,
            state=JobState.QUEUED,
            owner=process_mark(os.getpid()),
            created_at=now(),
            **of,
        )

    async def begin(self, job: Job, work: Work) -> Job:
        """Run a job that was queued by this process."""
        job = replace(job, state=JobState.RUNNING, started_at=now())
        await self._store.update(job.id, state=job.state, started_at=job.started_at)
        task = self._tasks.spawn(f"job {job.kind} {job.subject}", self._run(job, work))
        self._running[job.id] = task
        task.add_done_callback(lambda _: self._running.pop(job.id, None))
        return job

    async def _run(self, job: Job, work: Work) -> None:
        progress = Progress()
        progress.repository_id = job.repository_id
        writer = asyncio.ensure_future(self._write_progress(job.id, progress))
        state, error, hint = JobState.DONE, "", ""
        try:
            await work(progress)
        except FossilrepoError as failure:
            state, error, hint = JobState.FAILED, failure.message, failure.hint
            log.warning("%s of %s failed: %s", job.kind, job.subject, failure.message)
        except asyncio.CancelledError:
            state, error = JobState.INTERRUPTED, "fossilrepo was stopped before it was done"
            hint = "start it again"
            raise
        except Exception:
            state, error = JobState.FAILED, "it failed for a reason that is in the log"
            log.exception("%s of %s failed", job.kind, job.subject)
        finally:
            writer.cancel()
            await asyncio.shield(self._end(job.id, progress, state, error, hint))

    async def _end(
        self, job_id: str, progress: Progress, state: JobState, error: str, hint: str
    ) -> None:
        await self._store.update(
            job_id,
            state=state,
            error=error,
            hint=hint,
            progress=progress.text,
            fraction=1.0 if state is JobState.DONE else progress.fraction,
            log=progress.log,
            repository_id=progress.repository_id,
            finished_at=now(),
        )

    async def _write_progress(self, job_id: str, progress: Progress) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY)
            if progress.dirty:
                progress.dirty = False
                await self._store.update(
                    job_id,
                    progress=progress.text,
                    fraction=progress.fraction,
                    log=progress.log,
                    repository_id=progress.repository_id,
                )

    async def get(self, job_id: str) -> Job:
        job = await self._store.get(job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id}")
        return job

    async def recent(self, actor: Actor, limit: int = 50) -> list[Job]:
        """The newest: everybody's for administrators of the site, else the actor's own."""
        return await self._store.recent(limit, "" if actor.is_admin else actor.login)

    async def of(self, target_id: str, limit: int = 50) -> list[Job]:
        """The runs of a mirror or an upstream, newest first."""
        return await self._store.of(target_id, limit)

    async def keep(self, target_id: str, most: int) -> None:
        """Forget all but the newest runs of a mirror or an upstream."""
        await self._store.keep(target_id, most)

    async def give_up(self, job: Job, why: str) -> None:
        """A queued job that will not be run."""
        await self._store.update(job.id, state=JobState.FAILED, error=why, finished_at=now())

    def is_here(self, job_id: str) -> bool:
        """Whether this process runs the job now."""
        return job_id in self._running

    async def ended(self, job_id: str) -> None:
        """Wait for the end of a job of this process."""
        task = self._running.get(job_id)
        if task is not None:
            await asyncio.wait({task})

    async def counts(self) -> tuple[int, int]:
        """(running, failed)."""
        return await self._store.counts()

    async def wait(self, job_id: str, on_progress: Callable[[Job], None] | None = None) -> Job:
        """The job once it has ended; `on_progress` sees its row when that changed."""
        seen: tuple[str, float | None] | None = None
        while True:
            job = await self.get(job_id)
            if job.state.ended:
                return job
            if on_progress and (job.progress, job.fraction) != seen:
                seen = (job.progress, job.fraction)
                on_progress(job)
            task = self._running.get(job_id)
            if task is None:
                await asyncio.sleep(WRITE_EVERY)
            else:
                await asyncio.wait({task}, timeout=WRITE_EVERY)

    async def recognise_interrupted(self) -> None:
        """Mark jobs whose process is gone, and forget those that ended 90 days ago."""
        for job, owner in await self._store.live():
            pid = owner.partition(" ")[0]
            if not pid.isdigit() or process_mark(int(pid)) != owner:
                await self._store.update(
                    job.id,
                    state=JobState.INTERRUPTED,
                    error="fossilrepo ended before it was done",
                    hint="start it again; nothing of it was left behind",
                    finished_at=now(),
                )
        await self._store.forget(now() - timedelta(days=90))


def process_mark(pid: int) -> str:
    """`PID START BOOT`: a process that cannot be taken for a later one with the same number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{pid} gone"
    return f"{pid} {stat.rpartition(')')[2].split()[19]} {boot}"
