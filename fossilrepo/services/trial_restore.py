"""One trial restore: a replica brought back into the scratch folder, checked and compared.

Owns the checks of what came back (SQLite's full one, `fossil test-integrity`, the facts
between what the live file said before and after) and the scratch file, which never
outlives a trial. Writes no row and changes no live file. Refuted says what is not whole;
Unavailable that nothing could be found out now.
"""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

from fossilrepo.config import Settings
from fossilrepo.db.backups import BackupStore
from fossilrepo.errors import (
    Damaged,
    FossilrepoError,
    InvalidInput,
    NotFound,
    ToolFailed,
    Unavailable,
)
from fossilrepo.models import CONTROL_ID, Repository, RepositoryState, new_id
from fossilrepo.services.replication import Replication
from fossilrepo.services.shelf import SUFFIX, Shelf
from fossilrepo.tools import fossil_db, litestream
from fossilrepo.tools.fossil import Fossil, Limits
from fossilrepo.tools.fossil_db import Facts
from fossilrepo.wording import plural

CONTROL_FILE = "fossilrepo.db"  # of the control database, in the replica
CONTROL_LABEL = "control database"
SECONDS = 3600.0  # for the restore, and for Fossil's check, each
TRIES = 3  # when somebody restored the live file in place meanwhile
ROOM = 1.25  # of the live file's size that must be free
_SPARE = 64 * 2**20  # bytes that Fossil's check may write beyond the file's size


class Refuted(FossilrepoError):
    """What came back is not what it should be; the message says in which way."""


class NoRoom(Unavailable):
    """The scratch folder has no room for the restored file."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a trial restore brought back whole."""

    seconds: float
    size_bytes: int
    checkins: int
    detail: str


@dataclass(frozen=True, slots=True)
class ControlFacts:
    """What the control database says of itself."""

    tables: frozenset[str]
    version: str
    newest_entry: int  # of the audit log
    repositories: int


class TrialRestore:
    def __init__(
        self,
        settings: Settings,
        backups: BackupStore,
        replication: Replication,
        shelf: Shelf,
        fossil: Fossil,
    ) -> None:
        self._settings = settings
        self._backups = backups
        self._replication = replication
        self._shelf = shelf
        self._fossil = fossil

    async def repository(self, repository: Repository) -> Proof:
        """Bring the newest of a repository back and hold it against the live file.

        A broken one has no live file to compare with. Raises Refuted or Unavailable.
        """
        began = time.monotonic()
        for _ in range(TRIES):
            restores = await self._restores(repository.id)
            before = await self._live(repository)
            if before is not None:
                await self._ensure(repository.id)
            size, found = await self._brought_back(repository)
            after = await self._live(repository) if before is not None else None
            if await self._restores(repository.id) != restores:
                continue
            wrong = differences(found, before, after, repository.project_code)
            if wrong:
                raise Refuted(f"what came back differs: {'; '.join(wrong)}")
            text = f"{plural(found.checkins, 'check-in')}, {plural(found.artifacts, 'artifact')}"
            if before is None:
                text += "; not compared, the live file cannot be read"
            return Proof(time.monotonic() - began, size, found.checkins, text)
        raise Unavailable(
            f"{repository.label} was restored in place again and again meanwhile",
            hint="it is verified when that is over",
        )

    async def control_database(self) -> Proof:
        """The same for the control database: its tables and its newest audit entry."""
        began = time.monotonic()
        path = self._settings.database_file
        before = await asyncio.to_thread(control_facts, path)
        await self._ensure(CONTROL_ID)
        size = await asyncio.to_thread(_size, path)
        async with self._restored(CONTROL_FILE, size) as scratch:
            size = await asyncio.to_thread(_size, scratch)
            found = await asyncio.to_thread(control_facts, scratch)
        after = await asyncio.to_thread(control_facts, path)
        wrong = []
        if missing := sorted((before.tables & after.tables) - found.tables):
            wrong.append(f"no table {', '.join(missing)}")
        if found.version not in (before.version, after.version):
            wrong.append(f"schema {found.version or 'unknown'} instead of {after.version}")
        if not _between(before.newest_entry, found.newest_entry, after.newest_entry):
            wrong.append(f"newest audit entry {found.newest_entry} instead of {after.newest_entry}")
        if wrong:
            raise Refuted(f"what came back differs: {'; '.join(wrong)}")
        told = plural(found.repositories, "repository")
        text = f"{told}, audit log up to entry {found.newest_entry}"
        return Proof(time.monotonic() - began, size, 0, text)

    async def _ensure(self, identity: str) -> None:
        await self._replication.control.info()  # says at once that Litestream does not run
        await self._replication.ensure(identity)

    async def _restores(self, repository_id: str) -> int:
        row = await self._backups.replica(repository_id)
        return row.restores if row else 0

    async def _live(self, repository: Repository) -> Facts | None:
        """What the live file says; None when it is not whole itself."""
        if repository.state is RepositoryState.BROKEN:
            return None
        path = self._shelf.file(repository.id)
        try:
            return await asyncio.to_thread(fossil_db.read_facts, path)
        except (Damaged, InvalidInput):
            return None

    async def _brought_back(self, repository: Repository) -> tuple[int, Facts]:
        size = max(self._shelf.size(repository.id), repository.size_bytes)
        async with self._restored(f"{repository.id}{SUFFIX}", size) as scratch:
            await asyncio.to_thread(self._shelf.give, scratch)
            size = await asyncio.to_thread(_size, scratch)
            # First this, which refuses triggers and views: Fossil would run them.
            facts = await asyncio.to_thread(fossil_db.read_facts, scratch)
            limits = Limits(seconds=SECONDS, file_size=size + _SPARE)
            await self._fossil.test_integrity(scratch, limits)
            return size, facts

    @asynccontextmanager
    async def _restored(self, name: str, size: int) -> AsyncIterator[Path]:
        """The newest of a replica as a scratch file; what fails inside refutes it."""
        try:
            self._shelf.require_space(int(size * ROOM))
        except Unavailable as error:
            raise NoRoom(f"no room to verify: {error.message}", hint=error.hint) from error
        scratch = self._shelf.scratch_file(f"verify-{new_id()}")
        try:
            await litestream.restore(
                self._replication.target, name, scratch, check="full", timeout=SECONDS
            )
            yield scratch
        except NotFound as error:
            raise Refuted("there is nothing of it on the replica", hint=error.hint) from error
        except (ToolFailed, Damaged, InvalidInput) as error:
            if "no space left" in error.message.lower():
                raise NoRoom(f"no room to verify: {error.message}", hint=error.hint) from error
            words = error.message.replace(scratch.name, "the restored file")
            raise Refuted(words, hint=error.hint) from error
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise NoRoom(f"no room to verify: {error.strerror}") from error
            raise Unavailable(f"the scratch folder cannot be used: {error.strerror}") from error
        finally:
            self._shelf.discard(scratch)


def differences(
    found: Facts, before: Facts | None, after: Facts | None, project_code: str
) -> list[str]:
    """In which ways the restored repository is neither of the live one's states nor between."""
    if before is None or after is None:
        known = not project_code or found.project_code == project_code
        return [] if known else [f"project code {found.project_code} instead of {project_code}"]
    wrong = []
    if found.project_code not in (before.project_code, after.project_code):
        wrong.append(f"project code {found.project_code} instead of {after.project_code}")
    for words, name in (
        ("check-ins", "checkins"),
        ("artifacts", "artifacts"),
        ("newest push (rcvid)", "newest_rcvid"),
    ):
        earlier, here, later = (getattr(facts, name) for facts in (before, found, after))
        if not _between(earlier, here, later):
            wrong.append(f"{words} {here} instead of {_span(earlier, later)}")
    if before == after and found.head != before.head:
        wrong.append(f"newest check-in {found.head} instead of {before.head}")
    return wrong


def control_facts(path: Path) -> ControlFacts:
    """Read from the file without writing; Damaged when it is no control database."""
    try:
        with closing(sqlite3.connect(fossil_db.address(path, mode="ro"), uri=True)) as db:
            db.execute("BEGIN")
            names = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            version = db.execute("SELECT version_num FROM alembic_version").fetchone()
            newest = db.execute("SELECT max(id) FROM audit").fetchone()[0]
            count = db.execute("SELECT count(*) FROM repositories").fetchone()[0]
    except sqlite3.Error as error:
        raise fossil_db.explain(path, error) from error
    tables = frozenset(str(name) for (name,) in names)
    return ControlFacts(tables, str(version[0]) if version else "", int(newest or 0), int(count))


def _between(one: int, here: int, other: int) -> bool:
    """Either way round: a rebuild that shuns artifacts makes numbers smaller."""
    return min(one, other) <= here <= max(one, other)


def _span(one: int, other: int) -> str:
    return str(one) if one == other else f"{min(one, other)} to {max(one, other)}"


def _size(path: Path) -> int:
    return path.stat().st_size
