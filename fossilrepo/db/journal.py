"""The rows of jobs and of the audit log.

Owns the queries on `jobs` and `audit`. Both are written often and read by
people; neither is ever a queue that something waits on. Rows of `audit` are added and
read: nothing here changes or deletes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update

from fossilrepo.db import rows
from fossilrepo.db.engine import Database
from fossilrepo.db.tables import audit, jobs
from fossilrepo.models import AuditEntry, Job, JobState

_LIVE = (JobState.QUEUED, JobState.RUNNING)
_GRANTS = ("grant", "revoke")
_ALL_OF = "all of "  # and an organization's name: the subject of a grant on it
_OF_REPOSITORIES = ("repository.", "backup.", "access-key.", "native.")
_ID = audit.c.detail["id"].as_string()


@dataclass(frozen=True, slots=True)
class Span:
    """While something had this name: from one entry to before another one."""

    name: str
    first: int = 0
    end: int | None = None
    since: datetime | None = None

    def holds(self) -> ColumnElement[bool]:
        conditions = [audit.c.id >= self.first]
        if self.end is not None:
            conditions.append(audit.c.id < self.end)
        if self.since is not None:
            conditions.append(audit.c.at >= self.since)
        return and_(*conditions)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What an entry must have. Each word stands in subject, actor or action.

    `action` and `address` are how they begin. A repository's entries are those with one
    of its names while it had that, an organization's those of its teams too. `identity`:
    entries that name another repository's are left out.
    """

    words: str = ""
    actor: str = ""
    action: str = ""
    address: str = ""
    since: datetime | None = None
    until: datetime | None = None
    repository: tuple[Span, ...] | None = None
    identity: str = ""
    organization: tuple[Span, ...] | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        for word in self.words.lower().split()[:8]:
            columns = (audit.c.subject, audit.c.actor, audit.c.action)
            found.append(or_(*(func.lower(c).contains(word, autoescape=True) for c in columns)))
        if self.actor:
            found.append(audit.c.actor == self.actor)
        if self.action:
            found.append(audit.c.action.startswith(self.action, autoescape=True))
        if self.address:
            found.append(audit.c.address.startswith(self.address, autoescape=True))
        if self.since is not None:
            found.append(audit.c.at >= self.since)
        if self.until is not None:
            found.append(audit.c.at < self.until)
        if self.repository is not None:
            found.append(or_(*(self._of_repository(span) for span in self.repository)))
        if self.organization is not None:
            found.append(or_(*(_of_organization(span) for span in self.organization)))
        return found

    def _of_repository(self, span: Span) -> ColumnElement[bool]:
        actions = or_(
            *(audit.c.action.startswith(word) for word in _OF_REPOSITORIES),
            audit.c.action.in_(_GRANTS),
        )
        conditions = [audit.c.subject == span.name, actions, span.holds()]
        if self.identity:
            conditions.append(or_(_ID.is_(None), _ID == self.identity))
        return and_(*conditions)


def _of_organization(span: Span) -> ColumnElement[bool]:
    own = and_(audit.c.subject == span.name, audit.c.action.startswith("organization."))
    on_all = and_(audit.c.subject == _ALL_OF + span.name, audit.c.action.in_(_GRANTS))
    in_teams = and_(
        audit.c.subject.startswith(f"{span.name}/", autoescape=True),
        audit.c.action.startswith("team."),
    )
    return and_(or_(own, on_all, in_teams), span.holds())


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

    async def of(self, target_id: str, limit: int) -> list[Job]:
        """Runs of a mirror or an upstream, newest first."""
        query = (
            select(jobs)
            .where(jobs.c.target_id == target_id)
            .order_by(jobs.c.created_at.desc())
            .limit(limit)
        )
        async with self._db.read() as connection:
            return [rows.job(row) for row in await connection.execute(query)]

    async def keep(self, target_id: str, most: int) -> None:
        """Forget all but the newest ended runs of a mirror or an upstream."""
        kept = (
            select(jobs.c.id)
            .where(jobs.c.target_id == target_id)
            .order_by(jobs.c.created_at.desc())
            .limit(most)
        )
        old = delete(jobs).where(
            jobs.c.target_id == target_id, jobs.c.id.not_in(kept), jobs.c.state.not_in(_LIVE)
        )
        async with self._db.write() as connection:
            await connection.execute(old)

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

    async def search(
        self, wanted: AuditFilter, *, before: int | None = None, limit: int = 100
    ) -> list[AuditEntry]:
        """Entries, newest first; `before` is the id of the last one that was seen."""
        query = select(audit).where(*wanted.conditions()).order_by(audit.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.id < before)
        async with self._db.read() as connection:
            return [rows.audit_entry(row) for row in await connection.execute(query)]

    async def last(
        self,
        actions: Sequence[str],
        *,
        subject: str = "",
        identity: str = "",
        before: int | None = None,
    ) -> AuditEntry | None:
        """The newest entry of one of the actions, by subject or by the `id` in its detail."""
        query = select(audit).where(audit.c.action.in_(actions))
        if subject:
            query = query.where(audit.c.subject == subject)
        if identity:
            query = query.where(_ID == identity)
        if before is not None:
            query = query.where(audit.c.id < before)
        query = query.order_by(audit.c.id.desc()).limit(1)
        async with self._db.read() as connection:
            row = (await connection.execute(query)).first()
        return rows.audit_entry(row) if row else None

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
