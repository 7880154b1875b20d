"""The gate that every repository file passes before it becomes one of ours.

Owns the starting of `gate_child.py` (a process without rights, bounded in
memory, time and size, which opens the file) and the list of what Fossil's
schema holds. Nothing here opens a stranger's file itself. What was refused is
an InvalidInput that says why.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import stat
import sys
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fossilrepo.errors import InvalidInput, ToolFailed
from fossilrepo.runtime import process
from fossilrepo.runtime.process import Command
from fossilrepo.tools.fossil import Fossil
from fossilrepo.tools.identity import Identity, give

# Made by Fossil in the course of its work, or by Litestream, beside what `fossil init` makes.
EXTRA_TABLES = frozenset(
    """accesslog admin_log chat concealed cherrypick email emailblob emailbox emailroute
    forumpost fx_git fx_log fx_message ftsdocs modreq pending_alert purgeevent purgeitem
    selftest subscriber synclog unversioned hook sqlar _litestream_seq _litestream_lock
    ftsidx_data ftsidx_idx ftsidx_docsize ftsidx_config ftsidx_content ftsidx_segments
    ftsidx_segdir ftsidx_stat""".split()
)
_CHILD = Path(__file__).with_name("gate_child.py")
VIRTUAL_TABLES = frozenset({"ftsidx"})


@dataclass(frozen=True, slots=True)
class CheckedFacts:
    project_code: str
    project_name: str
    description: str
    public: bool  # strangers may clone it
    checkins: int
    artifacts: int


@dataclass(frozen=True, slots=True)
class Checked:
    """What a file is that passed; `admins` are the logins in it that hold `a` or `s`."""

    facts: CheckedFacts
    admins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Copied:
    """What stayed behind of a stranger's settings: names and values."""

    removed: dict[str, str]


class Gate:
    """`scratch` is a folder that the account may write; limits are in bytes and seconds."""

    def __init__(
        self,
        identity: Identity | None,
        scratch: Path,
        *,
        largest: int = 2 * 2**30,
        memory: int = 2**30,
        seconds: float = 900.0,
    ) -> None:
        self._identity = identity
        self._scratch = scratch
        self._fossil = Fossil(scratch, identity)
        self._largest = largest
        self._memory = memory
        self._seconds = seconds
        self._schema: dict[str, list[str]] | None = None

    async def check_file(self, path: Path) -> Checked:
        """Read-only look at a file that nobody writes to; InvalidInput says what is wrong."""
        found = await self._ask("check", path)
        admins = tuple(found.pop("admins"))
        return Checked(CheckedFacts(**found), admins)

    async def copy_untrusted(self, source: Path, target: Path) -> Copied:
        """Make `target` a fresh repository with the content of `source` and nothing else of it.

        `fossil rebuild` must follow. Nothing is left of the target when it fails.
        """
        await self._fossil.init(target)
        try:
            found = await self._ask("copy", source, target)
        except BaseException:
            await asyncio.to_thread(_remove, target)
            raise
        return Copied(dict(found["removed"]))

    async def _ask(self, job: str, source: Path, target: Path | None = None) -> dict[str, Any]:
        await asyncio.to_thread(_make_readable, source, self._identity)
        order = {
            "job": job,
            "source": str(source),
            "target": str(target),
            "largest": self._largest,
            "memory": self._memory,
            "seconds": self._seconds,
            "account": [self._identity.uid, self._identity.gid] if self._identity else None,
            "schema": await self._known_schema(),
        }
        # Started as ourselves: the account may have no way to Python. The child drops at once.
        command = Command(
            (sys.executable, "-I", "-S", str(_CHILD)),
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            cwd=Path("/"),
        )
        done = await process.run(
            command, timeout=self._seconds + 10, stdin=json.dumps(order).encode(), max_output=2**26
        )
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            raise ToolFailed(
                f"the check of {source.name} ended without an answer (status {done.returncode})"
            ) from None
        if "ok" not in answer:
            raise InvalidInput(str(answer["refused"]), hint=str(answer.get("hint", "")))
        return dict(answer["ok"])

    async def _known_schema(self) -> dict[str, list[str]]:
        if self._schema is None:
            folder = Path(await asyncio.to_thread(tempfile.mkdtemp, "", "schema-", self._scratch))
            try:
                await asyncio.to_thread(give, folder, self._identity)
                fresh = folder / "fresh.fossil"
                await self._fossil.init(fresh)
                tables = await asyncio.to_thread(_tables, fresh)
            finally:
                await asyncio.to_thread(shutil.rmtree, folder, True)
            self._schema = {
                "tables": sorted(tables | EXTRA_TABLES),
                "virtual": sorted(VIRTUAL_TABLES),
            }
        return self._schema


def _tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as db:
        names = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    return {str(name).lower() for (name,) in names}


def _make_readable(path: Path, identity: Identity | None) -> None:
    """Hand a private file of ours to the account that looks at it; only a plain file, by one name.

    Missing files and links are left for the child to refuse.
    """
    if identity is None:
        return
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            closed = status.st_uid != identity.uid and not status.st_mode & stat.S_IROTH
            if closed and stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                os.fchown(descriptor, identity.uid, identity.gid)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
