"""The `fossil` program: making, cloning, importing and checking repository files.

Owns its command lines, its environment and what its words mean. The program
runs as the account of the repository files, with a home that is empty and thrown
away, so no setting of anybody reaches it. Passwords never stand in an argument:
`--args -` reads arguments from standard input. Files of strangers belong to the
gate before any of this touches them.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fossilrepo.errors import InvalidInput, ToolFailed
from fossilrepo.runtime import process
from fossilrepo.runtime.process import Command, Finished
from fossilrepo.tools import fossil_users, fossil_write
from fossilrepo.tools.fossil_db import read_made_by
from fossilrepo.tools.identity import Identity, give
from fossilrepo.tools.jail import environment

FIRST_USER = fossil_users.FIRST_USER
OLDEST = (2, 21)
OnLine = Callable[[str], None]
_PASSWORD = re.compile(r"(password(?: is)? \"?)[^\"\s)]+")
_CREDENTIALS = re.compile(r"//[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one run; None is no bound. Bytes and seconds."""

    seconds: float = 600.0
    memory: int | None = None
    file_size: int | None = None


class Fossil:
    """The installed program, run as `identity` with throw-away homes below `home`."""

    def __init__(self, home: Path, identity: Identity | None) -> None:
        self.home = home
        self.identity = identity

    async def version(self) -> str:
        """Like `2.21`; ToolFailed when the program is missing or too old."""
        done = await self._run(["version"], Limits(seconds=10))
        found = re.search(r"version (\d+)\.(\d+)", done.stdout.decode(errors="replace"))
        if done.returncode != 0 or found is None:
            raise ToolFailed(
                "fossil does not tell its version", hint="install Fossil 2.21 or newer"
            )
        if (int(found[1]), int(found[2])) < OLDEST:
            raise ToolFailed(
                f"fossil {found[1]}.{found[2]} is too old", hint="install Fossil 2.21 or newer"
            )
        return f"{found[1]}.{found[2]}"

    async def init(self, path: Path, project_name: str = "", description: str = "") -> None:
        """Make a new repository that is ready to be served; nobody can sign in to it yet.

        The password that Fossil invents for the first user is dropped unread, and the
        user keeps no right: people are projected from outside.
        """
        self._refuse_existing(path)
        done = await self._run(["init", "--admin-user", FIRST_USER, "--", str(path)], Limits())
        _expect(done, f"the repository {path.name} could not be made")
        await asyncio.to_thread(_settle, path, project_name, description)

    async def clone(
        self,
        url: str,
        path: Path,
        *,
        proxy: str | None = None,
        private: bool = False,
        limits: Limits | None = None,
        on_line: OnLine | None = None,
    ) -> None:
        """Clone `url`, which may carry `user:password@`; both it and `proxy` stay out of argv.

        The result is a stranger's file: its settings came from the remote.
        """
        self._refuse_existing(path)
        arguments = [url, str(path)]
        if any(character in url for character in "\r\n\t \0"):
            raise InvalidInput("the address has blanks or line ends in it", field="url")
        if proxy is not None:
            arguments += ["--proxy", proxy]
        argv = ["clone", "--once", "--no-open", "--unversioned", "--admin-user", FIRST_USER]
        argv += ["--private"] if private else []
        done = await self._run(
            [*argv, "--args", "-"],
            limits or Limits(seconds=6 * 3600),
            stdin="".join(f"{argument}\n" for argument in arguments).encode(),
            on_line=on_line,
        )
        _expect(done, "the clone failed")
        if not await asyncio.to_thread(path.is_file):
            raise ToolFailed(f"the clone gave no repository: {_last_words(done)}")

    async def import_git(
        self, source: Command, path: Path, *, limits: Limits, on_line: OnLine | None = None
    ) -> None:
        """Make `path` from what `source` prints in Git's fast-export format."""
        self._refuse_existing(path)
        home = await asyncio.to_thread(self._new_home)
        argv = ["import", "--git", "--admin-user", FIRST_USER, "--", str(path)]
        try:
            done = await process.pipe(
                source,
                self._command(argv, home, limits),
                timeout=limits.seconds,
                on_line=_hiding(on_line),
            )
        finally:
            await asyncio.to_thread(shutil.rmtree, home, True)
        _expect(done, "the Git history could not be imported")
        await asyncio.to_thread(_settle, path, "", "")

    async def exchange(
        self,
        verb: str,
        options: Sequence[str],
        url: str,
        limits: Limits,
        on_line: OnLine | None = None,
    ) -> Finished:
        """`fossil pull`, `push` or `sync`; `url` stays out of argv. See `fossil_sync`."""
        return await self._run(
            [verb, *options, "--args", "-"], limits, stdin=f"{url}\n".encode(), on_line=on_line
        )

    async def on_file(self, path: Path, login: str, *words: str, stdin: bytes = b"") -> None:
        """One of Fossil's own commands on a repository, as this user of it."""
        argv = [*words[:3], *(["-"] if stdin else []), *words[3:]]
        done = await self._run([*argv, "-R", str(path), "--user", login], Limits(), stdin=stdin)
        _expect(done, f"fossil {words[0]} {words[1]} failed on {path.name}")

    async def schema(self) -> str:
        """What the installed program wants of repositories, as `fossil_db.read_made_by` has it."""
        home = await asyncio.to_thread(self._new_home)
        try:
            await self.init(home / "empty.fossil")
            return (await asyncio.to_thread(read_made_by, home / "empty.fossil")).schema
        finally:
            await asyncio.to_thread(shutil.rmtree, home, True)

    async def opens(self, path: Path) -> bool:
        """Whether the installed program takes the repository as it is."""
        done = await self._run(["info", "-R", str(path)], Limits())
        return done.returncode == 0

    async def page(self, path: Path, target: str) -> str:
        """One of Fossil's pages, as its administrator sees it; for files of our own making only:
        whatever the repository's settings run is run."""
        asked = f"GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
        done = await self._run(["test-http", str(path)], Limits(), stdin=asked)
        _expect(done, f"{target} of {path.name} could not be had")
        return done.stdout.decode(errors="replace")

    async def rebuild(self, path: Path, limits: Limits | None = None) -> None:
        """Derive everything again from the artifacts. Drops tables that are not Fossil's."""
        done = await self._run(["rebuild", str(path)], limits or Limits(seconds=3600))
        _expect(done, f"{path.name} could not be rebuilt")

    async def test_integrity(self, path: Path, limits: Limits | None = None) -> None:
        """ToolFailed, with Fossil's words, when an artifact is not what its hash says."""
        done = await self._run(["test-integrity", "-R", str(path)], limits or Limits(seconds=3600))
        _expect(done, f"{path.name} failed Fossil's integrity check")
        if not re.search(rb"\b0 errors", done.stdout):
            raise ToolFailed(f"{path.name} failed Fossil's integrity check: {_last_words(done)}")

    async def _run(
        self,
        argv: Sequence[str],
        limits: Limits,
        *,
        stdin: bytes | None = None,
        on_line: OnLine | None = None,
    ) -> Finished:
        home = await asyncio.to_thread(self._new_home)
        try:
            return await process.run(
                self._command(argv, home, limits),
                timeout=limits.seconds,
                stdin=stdin,
                on_line=_hiding(on_line),
            )
        finally:
            await asyncio.to_thread(shutil.rmtree, home, True)

    def _command(self, argv: Sequence[str], home: Path, limits: Limits) -> Command:
        return Command(
            ("fossil", *argv),
            env={**environment(), "HOME": str(home), "USER": FIRST_USER, "TMPDIR": str(home)},
            cwd=home,
            user=self.identity.uid if self.identity else None,
            group=self.identity.gid if self.identity else None,
            max_memory=limits.memory,
            max_file_size=limits.file_size,
        )

    def _new_home(self) -> Path:
        self.home.mkdir(mode=0o755, parents=True, exist_ok=True)
        home = Path(tempfile.mkdtemp(prefix="fossil-", dir=self.home))
        give(home, self.identity)
        return home

    @staticmethod
    def _refuse_existing(path: Path) -> None:
        if path.exists() or path.is_symlink():
            raise ToolFailed(f"{path.name} exists already")


def _settle(path: Path, project_name: str, description: str) -> None:
    fossil_users.close_first_user(path)
    settings = dict(fossil_write.SETTINGS)
    if project_name:
        settings |= {"project-name": project_name, "project-description": description}
    fossil_write.apply_settings(path, settings)


def _hiding(on_line: OnLine | None) -> OnLine | None:
    """Fossil prints the first user's password and addresses with credentials."""
    return None if on_line is None else lambda line: on_line(without_secrets(line))


def without_secrets(line: str) -> str:
    return _CREDENTIALS.sub("//", _PASSWORD.sub(r"\1********", line))


def _expect(done: Finished, what: str) -> None:
    if done.returncode != 0:
        raise ToolFailed(f"{what}: {_last_words(done)}")


def _last_words(done: Finished) -> str:
    """What Fossil said last; its progress is overwritten with carriage returns."""
    text = done.stderr or done.stdout.decode(errors="replace")
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    errors = [line for line in lines if "rror" in line or "denied" in line]
    shown = (errors or lines or [f"exit status {done.returncode}"])[-1]
    return without_secrets(shown)[:500]
