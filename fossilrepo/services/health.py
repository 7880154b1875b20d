"""How the host is doing: status, readiness, disk, and the checks of `doctor`.

Owns the words of these answers. Everything in them was measured when it was
asked for, or says when; nothing is assumed to be well.
"""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import shutil
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol

from sqlalchemy import text

from fossilrepo import __version__
from fossilrepo.config import Settings
from fossilrepo.db.engine import Database
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import FossilrepoError
from fossilrepo.models import BackupState, Replica, RepositoryState, now
from fossilrepo.runtime.proc import Usage, usage
from fossilrepo.runtime.supervisor import ChildStatus
from fossilrepo.runtime.tasks import Trouble
from fossilrepo.services.backup_report import LATE_AFTER, LOCAL_ONLY, LOCAL_ONLY_HINT
from fossilrepo.services.jobs import Jobs
from fossilrepo.services.links import Links
from fossilrepo.services.mail import Mail
from fossilrepo.services.replication import Replication
from fossilrepo.services.shelf import Shelf
from fossilrepo.services.timings import Timings
from fossilrepo.services.verification import MEND
from fossilrepo.tools.fossil import Fossil
from fossilrepo.tools.jail import Walls

DISK_ASKED_EVERY = 5.0  # seconds
PROBE_WITHIN = 30.0  # seconds for everything that is tried at the target
PROVEN_WITHIN = timedelta(days=8)  # each is restored on trial at least weekly
HANDLES_FOR_ALL, HANDLES_FOR_EACH = 200, 5  # files that Litestream has open


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes; `free` is what ordinary processes may use."""

    total: int
    free: int
    least_free: int


@dataclass(frozen=True, slots=True)
class Check:
    """One check of `doctor`: what was found, and how to mend it when it is not ok."""

    name: str
    result: Literal["ok", "warn", "fail"]
    found: str
    mend: str = ""


class Children(Protocol):
    def status(self) -> list[ChildStatus]: ...


class Health:
    def __init__(
        self,
        settings: Settings,
        database: Database,
        store: RepositoryStore,
        shelf: Shelf,
        fossil: Fossil,
        jobs: Jobs,
        links: Links,
        probe_walls: Callable[[], Awaitable[Walls]],
    ) -> None:
        self._settings = settings
        self._database = database
        self._store = store
        self._shelf = shelf
        self._fossil = fossil
        self._jobs = jobs
        self._links = links
        self._probe_walls = probe_walls
        self._began = time.monotonic()
        self.timings = Timings(settings.log.slow)
        self._children: Children | None = None
        self._walls: Walls | None = None
        self._troubles: Callable[[], list[Trouble]] = list
        self._replication: Replication | None = None
        self._mail: Mail | None = None
        self.more_checks: list[Callable[[bool], Awaitable[list[Check]]]] = []
        self._disk_reason: tuple[float, str | None] = (-DISK_ASKED_EVERY, None)

    def attach(
        self, children: Children, walls: Walls, troubles: Callable[[], list[Trouble]]
    ) -> None:
        """The running host tells of its children and duties; a command line has none."""
        self._children, self._walls, self._troubles = children, walls, troubles

    def backed_by(self, replication: Replication) -> None:
        """What tells of the replicas; without it nothing is claimed of them."""
        self._replication = replication

    def mailed_by(self, mail: Mail) -> None:
        self._mail = mail

    def children(self) -> list[ChildStatus]:
        return self._children.status() if self._children else []

    def usage(self) -> dict[str, Usage]:
        """Of each program that runs, by its name, and of this process; asks the kernel."""
        found = {one.name: usage(one.pid) for one in self.children() if one.pid}
        # What is below us are the programs, which are told of by themselves.
        return {"fossilrepo": usage(os.getpid(), alone=True), **found}

    def ready(self) -> tuple[bool, list[str]]:
        """Whether every needed child answers, and the names of those that do not."""
        missing = [child.name for child in self.children() if child.needed and not child.ready]
        return not missing, missing

    async def status(self) -> dict[str, Any]:
        """The JSON of `status`; keys are promised by the interface."""
        running, failed = await self._jobs.counts()
        return {
            "version": __version__,
            "url": self._links.public_url,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._began, 1),
            "children": [
                {
                    "name": child.name,
                    "state": str(child.state),
                    "pid": child.pid,
                    "restarts": child.restarts,
                    "last_error": child.last_error or None,
                }
                for child in self.children()
            ],
            "repositories": await self._store.count(),
            "backup": self._backup_summary(),
            "jobs": {"running": running, "failed": failed},
            "read_only": self.read_only_reason(),
            "failing": [
                {"name": trouble.name, "times": trouble.count, "error": trouble.error}
                for trouble in self._troubles()
            ],
            "slow": [one.as_dict() for one in self.timings.slow()],
        }

    def _backup_summary(self) -> dict[str, Any]:
        if self._replication is not None:
            return self._replication.summary()
        unknown = str(BackupState.UNKNOWN)
        return {"url": None, "place": None, "state": unknown, "lag_s": None, "behind": []}

    def disk(self) -> Disk:
        usage = os.statvfs(self._settings.data)
        total = usage.f_blocks * usage.f_frsize
        least = int(total * self._settings.limits.free_disk)
        return Disk(total, usage.f_bavail * usage.f_frsize, least)

    def read_only_reason(self) -> str | None:
        """Why nothing may be written now, or None; the disk is asked every few seconds."""
        asked, reason = self._disk_reason
        if time.monotonic() - asked > DISK_ASKED_EVERY:
            reason = self._shelf.low_disk_reason()
            self._disk_reason = (time.monotonic(), reason)
        return reason

    # Doctor

    async def doctor(self, *, thorough: bool = True) -> list[Check]:
        """Every check, in the order in which a person would mend them.

        Thorough: the place of the replicas is written to, which may take seconds.
        """
        checks = [_python(), _sqlite(), await self._fossil_program(), _git_program()]
        checks += [await self._database_answers(), self._data_folder(), self._space()]
        checks += await self._jail()
        checks += [await self._repositories()]
        checks += [_duty(trouble) for trouble in self._troubles()]
        if self._replication is not None:
            checks += await _backup(self._replication, thorough)
        if self._mail is not None and self._mail.configured and thorough:
            checks.append(await _mail_server(self._mail))
        for more in self.more_checks:
            checks += await more(thorough)
        return checks

    async def _fossil_program(self) -> Check:
        try:
            return Check("fossil", "ok", f"Fossil {await self._fossil.version()}")
        except (FossilrepoError, OSError) as error:
            return Check(
                "fossil", "fail", str(error), "install Fossil 2.21 or newer: ./run does it"
            )

    async def _database_answers(self) -> Check:
        name, is_sqlite = "control database", self._database.is_sqlite
        try:
            async with self._database.read() as connection:
                lowered = (await connection.execute(text("SELECT lower('\u00c4')"))).scalar()
        except FossilrepoError as error:
            return Check(name, "fail", error.message, error.hint)
        if not is_sqlite and lowered != "\u00e4":
            words = "PostgreSQL answers, but with the locale C: the search tells \u00c4 from \u00e4"
            return Check(name, "warn", words, "make the database with a UTF-8 locale, like C.UTF-8")
        return Check(name, "ok", f"{'SQLite' if is_sqlite else 'PostgreSQL'} answers")

    def _data_folder(self) -> Check:
        data = self._settings.data
        if not os.access(data, os.W_OK | os.X_OK):
            return Check("data folder", "fail", f"{data} cannot be written", f"chown it: {data}")
        return Check("data folder", "ok", f"{data} can be written")

    def _space(self) -> Check:
        reason = self._shelf.low_disk_reason()
        if reason:
            return Check("disk", "fail", f"{reason}: everything is read-only", "free some space")
        disk = self.disk()
        return Check("disk", "ok", f"{disk.free / disk.total:.0%} of the disk is free")

    async def _jail(self) -> list[Check]:
        walls = self._walls or await self._probe_walls()
        return [
            Check(f"wall: {wall.name}", "ok", wall.why)
            if wall.stands
            else Check(f"wall: {wall.name}", "warn", wall.why, _mend_wall(wall.name))
            for wall in walls.details
        ]

    async def _repositories(self) -> Check:
        broken = await self._store.all(RepositoryState.BROKEN)
        dropped = [d for d in await self._store.drop_ins() if d.state == "broken"]
        if broken or dropped:
            names = [r.label for r in broken] + [d.filename for d in dropped]
            return Check(
                "repositories",
                "warn",
                f"not served: {', '.join(names[:10])}",
                "see `fossilrepo repo list` for the reason of each",
            )
        return Check("repositories", "ok", f"{await self._store.count()} and none is broken")


async def _mail_server(mail: Mail) -> Check:
    try:
        await mail.check()
    except FossilrepoError as error:
        return Check("mail", "fail", error.message, error.hint)
    return Check("mail", "ok", f"{mail.server} takes mail from us")


def _mend_wall(name: str) -> str:
    if name == "ordinary user":
        return "move the data folder to where every account can pass, such as /var/lib/fossilrepo"
    return "allow user namespaces for this account on this machine"


def _duty(trouble: Trouble) -> Check:
    found = f"failed {trouble.count} times in a row: {trouble.error}"
    return Check(trouble.name, "fail", found, "see the log for where; it is tried again by itself")


def _python() -> Check:
    return Check("python", "ok", f"Python {platform.python_version()} on {sys.platform}")


def _sqlite() -> Check:
    return Check("sqlite", "ok", f"SQLite {sqlite3.sqlite_version}")


def _git_program() -> Check:
    if shutil.which("git"):
        return Check("git", "ok", "Git is installed")
    return Check("git", "warn", "Git is not installed", "install git to import Git repositories")


# Doctor's checks of the replicas


async def _backup(replication: Replication, thorough: bool) -> list[Check]:
    rows = [
        row
        for row in replication.statuses().values()
        if row.purged_at is None and row.state is not BackupState.OFF
    ]
    return [
        await _target(replication, thorough),
        _place(replication),
        _replicas(rows),
        _proofs(rows),
        _handles(len(rows)),
    ]


async def _target(replication: Replication, thorough: bool) -> Check:
    target = replication.target
    try:
        async with asyncio.timeout(PROBE_WITHIN):
            await (target.probe() if thorough else target.reachable())
    except TimeoutError:
        return Check(
            "backup target",
            "fail",
            f"{target.url} did not answer within {PROBE_WITHIN:.0f} seconds",
            "see that this machine reaches it; backup.url and backup.endpoint say where it is",
        )
    except FossilrepoError as error:
        return Check("backup target", "fail", error.message, error.hint)
    does = "can be written, read and listed" if thorough else "answers"
    return Check("backup target", "ok", f"{target.url} {does}")


def _place(replication: Replication) -> Check:
    if replication.place == "this disk":
        return Check("backup place", "warn", LOCAL_ONLY, LOCAL_ONLY_HINT)
    where = "in a bucket" if replication.place == "s3" else "on another disk"
    return Check("backup place", "ok", f"the replicas are {where}")


def _replicas(rows: list[Replica]) -> Check:
    at = now()
    failing = [row for row in rows if row.state is BackupState.FAILING]
    late = [row for row in rows if (row.lag_s(at) or 0.0) > LATE_AFTER]
    unknown = [row for row in rows if row.state is BackupState.UNKNOWN]
    if failing:
        first = failing[0]
        return Check("replicas", "fail", f"failing: {_names(failing)}: {first.reason}", first.hint)
    if late:
        return Check(
            "replicas",
            "warn",
            f"more than {LATE_AFTER:.0f} seconds behind: {_names(late)}",
            "see `fossilrepo backup status`",
        )
    if unknown:
        return Check(
            "replicas",
            "warn",
            f"how {len(unknown)} of {len(rows)} replicas stand is not known now",
            "only a running host measures it: start it with `fossilrepo serve`",
        )
    return Check("replicas", "ok", f"everything of all {len(rows)} is on the replica")


def _proofs(rows: list[Replica]) -> Check:
    failed = [row for row in rows if row.verify_error]
    never = [row for row in rows if row.proven_at is None]
    old = [row for row in rows if row.proven_at and now() - row.proven_at > PROVEN_WITHIN]
    verify = "run `fossilrepo backup verify`"
    if failed:
        found = f"did not pass: {_names(failed)}: {failed[0].verify_error}"
        return Check("trial restores", "fail", found, MEND)
    if never:
        found = f"not restored on trial yet: {_names(never)}"
        return Check("trial restores", "warn", found, verify)
    if old:
        found = f"last proven more than {PROVEN_WITHIN.days} days ago: {_names(old)}"
        return Check("trial restores", "warn", found, verify)
    return Check("trial restores", "ok", f"each of {len(rows)} was restored and checked")


def _handles(count: int) -> Check:
    needed = HANDLES_FOR_ALL + HANDLES_FOR_EACH * count
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        return Check(
            "open files",
            "fail",
            f"Litestream needs {needed:,} for {count} databases and may have {allowed:,}",
            f"raise the limit of this account (LimitNOFILE={2 * needed} in its systemd unit)",
        )
    return Check("open files", "ok", f"enough for {count} replicated databases")


def _names(rows: list[Replica], most: int = 10) -> str:
    names = [row.label or row.repository_id for row in rows]
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
