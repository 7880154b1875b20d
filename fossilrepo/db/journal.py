"""The rows of jobs and of the audit log.

Owns the queries on `jobs` and `audit`. Both are written often and read by
people; neither is ever a queue that something waits on.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from fossilrepo.db import rows
from fossilrepo.db.engine import Database
from fossilrepo.db.tables import audit, jobs
from fossilrepo.models import AuditEntry, Job, JobState

_LIVE = (JobState.QUEUED, JobState.RUNNING)


class JobStore:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, **values: Any) -> Job:
        query = insert(jobs).values(**values).returning(jobs)
        async with self._db.write() as connection:
            return rows.job((await connection.execute(query)).one())

    async def get(self, job_id: str) -> Job | None:
        async with self._db.read() as connection:
            row = (await connection.execute(select(jobs).where(jobs.c.id == job_id))).first()
        return rows.job(row) if row else None

    async def update(self, job_id: str, **changes: Any) -> None:
        async with self._db.write() as connection:
            await connection.execute(update(jobs).where(jobs.c.id == job_id).values(**changes))

    async def recent(self, limit: int = 50, requested_by: str = "") -> list[Job]:
        query = select(jobs).order_by(jobs.c.created_at.desc()).limit(limit)
        if requested_by:
            query = query.where(jobs.c.requested_by == requested_by)
        async with self._db.read() as connection:
            return [rows.job(row) for row in await connection.execute(query)]

    async def live(self) -> list[tuple[Job, str]]:
        """Jobs not ended, each with the process that runs it."""
        query = select(jobs).where(jobs.c.state.in_(_LIVE))
        async with self._db.read() as connection:
            return [(rows.job(row), row.owner) for row in await connection.execute(query)]

    async def counts(self) -> tuple[int, int]:
        """(running, failed)."""
        query = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        async with self._db.read() as connection:
            by_state = {state: count for state, count in await connection.execute(query)}
        return sum(by_state.get(s, 0) for s in _LIVE), by_state.get(JobState.FAILED, 0)

    async def forget(self, before: datetime) -> None:
        async with self._db.write() as connection:
            await connection.execute(delete(jobs).where(jobs.c.finished_at < before))


class AuditStore:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, **values: Any) -> None:
        async with self._db.write() as connection:
            await connection.execute(insert(audit).values(**values))

    async def recent(
        self, *, subject: str = "", actor: str = "", since: datetime | None = None, limit: int = 100
    ) -> list[AuditEntry]:
        query = select(audit).order_by(audit.c.id.desc()).limit(limit)
        if subject:
            query = query.where(audit.c.subject == subject)
        if actor:
            query = query.where(audit.c.actor == actor)
        if since:
            query = query.where(audit.c.at >= since)
        async with self._db.read() as connection:
            return [rows.audit_entry(row) for row in await connection.execute(query)]
