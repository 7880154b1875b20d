"""The Git export of a repository: one bare Git repository that all of its mirrors share.

Owns the starting of `git_export_child.py`. `fossil git export` is not used, for what it does (2.21,
export.c): it takes check-ins by their time, so that one which arrives late with an older time is
never mirrored; it keeps everybody else from writing while it runs, and writes a setting into
the repository; it does not look how `git fast-import` ended; names of strangers reach that
unquoted. The commits are the same, hash by hash, where names are the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fossilrepo.bridge import Author
from fossilrepo.errors import ToolFailed, Unavailable
from fossilrepo.runtime import process
from fossilrepo.runtime.process import Command
from fossilrepo.tools import git
from fossilrepo.tools.fossil import Limits
from fossilrepo.tools.git_names import is_legal
from fossilrepo.tools.identity import Identity, give

_CHILD = Path(__file__).with_name("git_export_child.py")
_SETTINGS = {"gc.auto": "0", "core.fsync": "all", "core.logAllRefUpdates": "false"}
_LONGEST_ANSWER = 1 << 26  # bytes

__all__ = ["Author", "Export", "export", "forget", "git_dir", "known", "legal_branch"]


@dataclass(frozen=True, slots=True)
class Export:
    """What is in the Git repository after an export.

    `refs`: full names and commits. `rcvid`: the newest that the snapshot held. `renamed`: names
    that Git cannot have, with their refs. `left_out`: check-ins that are not there, or not whole,
    and why. `waiting`: check-ins whose files have not arrived yet; they come with a later run.
    """

    refs: dict[str, str]
    head: str
    checkins: int
    added: int
    rcvid: int
    renamed: tuple[tuple[str, str], ...]
    left_out: tuple[tuple[str, str], ...]
    rebuilt: bool
    waiting: int = 0


def git_dir(folder: Path) -> Path:
    return folder / "export.git"


def legal_branch(name: str) -> bool:
    """Whether the main branch may be called so."""
    return is_legal(name)


async def export(
    source: Path,
    folder: Path,
    *,
    main_branch: str = "main",
    authors: Sequence[Author] = (),
    identity: Identity | None,
    limits: Limits,
    on_progress: Callable[[int, int], None] | None = None,
) -> Export:
    """Bring the export in `folder` up to date with the repository `source`.

    Raises Unavailable when there is no room, ToolFailed for everything else; the next run goes on
    from what was there before. Only one at a time may run on a folder.
    """
    await asyncio.to_thread(_prepare, folder, identity)
    environment = git.command((), folder, {}, identity, limits, settings=_SETTINGS).env
    order = {
        "source": str(source),
        "folder": str(folder),
        "main_branch": main_branch,
        "authors": [[one.user, one.name, one.email, one.since] for one in authors],
        "environment": dict(environment),
        "account": [identity.uid, identity.gid] if identity else None,
    }

    def on_line(line: str) -> None:
        if on_progress is not None and line.startswith('{"done"'):
            told = json.loads(line)
            on_progress(told["done"], told["of"])

    # Started as ourselves: the account may have no way to Python. The child drops at once.
    command = Command(
        (sys.executable, "-I", "-S", str(_CHILD)),
        env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
        cwd=Path("/"),
        max_file_size=limits.file_size,
    )
    done = await process.run(
        command,
        timeout=limits.seconds,
        stdin=json.dumps(order).encode(),
        on_line=on_line,
        max_output=_LONGEST_ANSWER,
    )
    answer = _answer(done.stdout)
    if "ok" not in answer:
        raise _failure(answer, done.stderr, done.returncode)
    given = answer["ok"]
    for key in ("renamed", "left_out"):
        given[key] = tuple((one, two) for one, two in given[key])
    return Export(**given)


def _answer(said: bytes) -> dict[str, Any]:
    """The last line; empty when the child ended without one."""
    with suppress(ValueError, IndexError):
        return dict(json.loads(said.splitlines()[-1]))
    return {}


def _failure(answer: dict[str, Any], said: str, status: int) -> ToolFailed | Unavailable:
    words = str(answer.get("failed", "")).strip().splitlines()
    last = words[-1] if words else (said.strip().splitlines() or [f"it ended with {status}"])[-1]
    if answer.get("full"):
        return Unavailable(
            f"the Git export has no room: {last[:300]}", hint="make room on the disk"
        )
    return ToolFailed(f"the Git export failed: {last[:300]}", hint="it is tried again by itself")


def _prepare(folder: Path, identity: Identity | None) -> None:
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        give(folder, identity)


async def known(folder: Path, commits: Sequence[str]) -> set[str]:
    """Which of these Git commits are check-ins that the repository had at the last export."""
    return await asyncio.to_thread(_known, folder, commits)


def _known(folder: Path, commits: Sequence[str]) -> set[str]:
    state = folder / "state.db"
    if not commits or not state.exists():
        return set()
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as db:
        query = "SELECT 1 FROM checkins WHERE hash = ?"
        return {one for one in commits if db.execute(query, (one,)).fetchone()}


async def forget(folder: Path) -> None:
    """Throw the export away: the next one makes every commit anew."""
    await asyncio.to_thread(shutil.rmtree, folder, True)
