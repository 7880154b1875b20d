"""How the host is doing: status, readiness, disk, and the checks of `doctor`.

Owns the words of these answers. Everything in them was measured when it was
asked for, or says when; nothing is assumed to be well.
"""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import stat
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sqlalchemy import text

from fossilrepo import __version__
from fossilrepo.config import Settings
from fossilrepo.db.engine import Database
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import FossilrepoError
from fossilrepo.models import RepositoryState
from fossilrepo.runtime.supervisor import ChildStatus
from fossilrepo.services.jobs import Jobs
from fossilrepo.services.links import Links
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools.fossil import Fossil
from fossilrepo.tools.jail import Walls

DISK_ASKED_EVERY = 5.0  # seconds


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
        self._children: Children | None = None
        self._walls: Walls | None = None
        self._disk_reason: tuple[float, str | None] = (-DISK_ASKED_EVERY, None)

    def attach(self, children: Children, walls: Walls) -> None:
        """The running host tells of its children; a command line has none."""
        self._children, self._walls = children, walls

    def children(self) -> list[ChildStatus]:
        return self._children.status() if self._children else []

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
            "backup": {"url": None, "state": "none", "lag_s": None, "behind": []},
            "jobs": {"running": running, "failed": failed},
            "read_only": self.read_only_reason(),
        }

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

    async def doctor(self) -> list[Check]:
        """Every check, in the order in which a person would mend them."""
        checks = [_python(), _sqlite(), await self._fossil_program(), _git_program()]
        checks += [await self._database_answers(), self._data_folder(), self._key(), self._space()]
        checks += await self._jail()
        checks += [await self._repositories(), self._backup()]
        return checks

    async def _fossil_program(self) -> Check:
        try:
            return Check("fossil", "ok", f"Fossil {await self._fossil.version()}")
        except (FossilrepoError, OSError) as error:
            return Check(
                "fossil", "fail", str(error), "install Fossil 2.21 or newer: ./run does it"
            )

    async def _database_answers(self) -> Check:
        kind = "SQLite" if self._database.is_sqlite else "PostgreSQL"
        try:
            async with self._database.read() as connection:
                await connection.execute(text("SELECT 1"))
        except FossilrepoError as error:
            return Check("control database", "fail", error.message, error.hint)
        return Check("control database", "ok", f"{kind} answers")

    def _data_folder(self) -> Check:
        data = self._settings.data
        if not os.access(data, os.W_OK | os.X_OK):
            return Check("data folder", "fail", f"{data} cannot be written", f"chown it: {data}")
        return Check("data folder", "ok", f"{data} can be written")

    def _key(self) -> Check:
        path = self._settings.key_file
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            return Check("secret key", "fail", f"{path} can be read by others", f"chmod 600 {path}")
        return Check(
            "secret key",
            "warn",
            f"{path} is well guarded, but nothing tells whether a copy is kept elsewhere",
            "keep a copy of it away from this machine; without it Fossil passwords must be renewed",
        )

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

    def _backup(self) -> Check:
        return Check(
            "backup",
            "warn",
            "this version does not replicate repositories yet",
            "copy them elsewhere with `fossilrepo repo export NAME FILE`",
        )


def _mend_wall(name: str) -> str:
    if name == "ordinary user":
        return "move the data folder to where every account can pass, such as /var/lib/fossilrepo"
    return "allow user namespaces for this account on this machine"


def _python() -> Check:
    return Check("python", "ok", f"Python {platform.python_version()} on {sys.platform}")


def _sqlite() -> Check:
    return Check("sqlite", "ok", f"SQLite {sqlite3.sqlite_version}")


def _git_program() -> Check:
    if shutil.which("git"):
        return Check("git", "ok", "Git is installed")
    return Check("git", "warn", "Git is not installed", "install git to import Git repositories")
