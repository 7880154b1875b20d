"""The services with Litestream around them, in the test's own process and without a site.

Owns the child, the replication task and their end. What changes a file tells
replication of it (`changed`), since no watcher runs.
"""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fossilrepo.config import Backup, Limits, Settings
from fossilrepo.core import Core, open_core
from fossilrepo.db.backups import BackupStore
from fossilrepo.db.engine import Database
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.models import CONTROL_ID, Actor, Job, Repository
from fossilrepo.runtime.locks import FileLocks
from fossilrepo.runtime.process import Command
from fossilrepo.runtime.supervisor import ChildSpec, Supervisor
from fossilrepo.services.replication import Replication
from fossilrepo.services.retention import Retention
from fossilrepo.services.verification import Verification
from fossilrepo.tools import litestream
from fossilrepo.tools.fossil import FIRST_USER, Fossil
from fossilrepo.tools.identity import service_identity
from fossilrepo.tools.targets import FileTarget
from tests.helpers.poll import until

ADMIN = Actor("ada", is_admin=True)


@dataclass
class Replicated:
    settings: Settings
    core: Core
    store: RepositoryStore
    backups: BackupStore
    verification: Verification
    retention: Retention
    locks: FileLocks

    @property
    def replication(self) -> Replication:
        return self.core.services.replication

    async def create(self, name: str, pages: int = 1) -> Repository:
        """A new repository with some wiki pages, replicated."""
        repository = await self.core.services.repos.create(ADMIN, name)
        for number in range(pages):
            await self.write(repository, f"page {number}")
        await self.replicate(repository.id)
        return repository

    async def write(self, repository: Repository, title: str) -> None:
        """One more wiki page, by the real program, in the live file."""
        await asyncio.to_thread(write_page, self.file(repository), title)

    async def replicate(self, repository_id: str) -> None:
        """All of it is on the replica, and its row is there."""
        await until(lambda: self._is_known(repository_id), what="Litestream to find the file")
        await self.replication.ensure(repository_id)
        await self.replication.flush()

    async def whole_copy(self, name: str) -> Path:
        """The folder of a replica, once Litestream has put its first whole copy there.

        Before, that copy would put right what a test spoils.
        """
        target = self.replication.target
        assert isinstance(target, FileTarget)
        copies = target.folder / name / "ltx" / "9"
        await until(lambda: list(copies.glob("*.ltx")), what="the first whole copy")
        return target.folder / name

    async def _is_known(self, repository_id: str) -> bool:
        path = self.core.shelf.file(repository_id)
        if repository_id == CONTROL_ID:
            path = self.settings.database_file
        return any(str(path) in str(entry) for entry in await self.replication.control.databases())

    def file(self, repository: Repository) -> Path:
        return self.core.shelf.file(repository.id)

    async def ended(self, job: Job) -> Job:
        return await self.core.services.jobs.wait(job.id)

    async def actions(self, *wanted: str) -> list[str]:
        """Actions of the audit log, oldest first, of those named."""
        entries = await self.core.services.audit.recent(limit=1000)
        return [entry.action for entry in reversed(entries) if entry.action in wanted]


def replicated_settings(settings: Settings, backup: dict[str, Any] | None = None) -> Settings:
    """No disk is too full for these, and the replica is where `backup` says."""
    return settings.model_copy(
        update={
            "limits": Limits.model_validate({"free_disk": "0%"}),
            "backup": Backup.model_validate(backup or {}),
        }
    )


@asynccontextmanager
async def replicated(settings: Settings, *, running: bool = True) -> AsyncIterator[Replicated]:
    """Everything up, with Litestream's first answer; `running`: or without Litestream."""

    def fatal(name: str, error: BaseException) -> None:
        raise AssertionError(f"{name} died: {error}")

    async with open_core(settings, fatal) as core:
        database = Database(settings)
        host = _assembled(settings, core, database)
        await host.retention.note_target()
        children = [_child(settings, core.services.replication)] if running else []
        supervisor = Supervisor(children, state_file=settings.run_dir / "children.json")
        await supervisor.start()
        task: asyncio.Task[None] | None = None
        try:
            if running:
                await until(lambda: supervisor.child("litestream").ready, what="Litestream")
                task = asyncio.create_task(core.services.replication.run())
            yield host
        finally:
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
                await core.services.replication.flush()
            await supervisor.stop()
            await database.close()


def _child(settings: Settings, replication: Replication) -> ChildSpec:
    async def command() -> Command:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        target, file = replication.target, settings.run_dir / "litestream.yml"
        state = settings.litestream_state / target.key
        where = replication.control.socket
        text = litestream.configuration(settings, target, port=port, socket=where, state_dir=state)
        litestream.write_configuration(file, text)
        return litestream.server_command(settings, target, file)

    async def ready() -> bool:
        await replication.control.info()
        return True

    return ChildSpec(name="litestream", command=command, ready=ready, needed=False)


def _assembled(settings: Settings, core: Core, database: Database) -> Replicated:
    store, backups = RepositoryStore(database), BackupStore(database)
    services, shelf = core.services, core.shelf
    replication, jobs, audit = services.replication, services.jobs, services.audit
    locks = FileLocks(settings.run_dir / "locks")
    fossil = Fossil(settings.scratch, service_identity(settings.data))
    verification = Verification(
        settings, store, backups, replication, shelf, fossil, jobs, audit, locks
    )
    retention = Retention(settings, store, backups, replication, shelf, jobs, audit)
    return Replicated(settings, core, store, backups, verification, retention, locks)


def write_page(path: Path, title: str) -> None:
    """A wiki page of this title, committed to the repository's own file."""
    subprocess.run(
        ["fossil", "wiki", "create", title, "-", "-R", str(path), "--user", FIRST_USER],
        input=f"The page {title}.\n".encode(),
        check=True,
        capture_output=True,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(path.parent), "USER": FIRST_USER},
        timeout=30,
    )


def count(path: Path, query: str) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return int(db.execute(query).fetchone()[0])


def damage(folder: Path) -> Callable[[], None]:
    """Flip bytes in the middle of every file of a replica; the function returned repairs it."""
    kept = {path: path.read_bytes() for path in folder.rglob("*.ltx")}
    assert kept
    for path, content in kept.items():
        spoilt = bytearray(content)
        middle = len(spoilt) // 2
        for at in range(middle, min(middle + 16, len(spoilt))):
            spoilt[at] ^= 0xFF
        path.write_bytes(spoilt)

    def repair() -> None:
        for path, content in kept.items():
            if path.parent.is_dir():
                path.write_bytes(content)

    return repair
