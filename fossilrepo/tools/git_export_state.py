"""What of a repository is in Git, and the Git repository itself, for the export's child.

Owns `state.db` and the command lines of git on `export.git`. Uses the standard library only and
blocks.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

VERSION = "1"
MOST_PACKS, MOST_LOOSE = 50, 3000


class GitFailed(Exception):
    """git ended otherwise than it should; carries its own words.

    `by_signal`: it was ended from outside, which says nothing about what it worked on.
    """

    def __init__(self, words: str, *, by_signal: bool = False) -> None:
        super().__init__(words)
        self.by_signal = by_signal

    @classmethod
    def of(cls, status: int, words: str) -> GitFailed:
        """For an exit status as `subprocess` gives it, and what was said on stderr."""
        if status == -signal.SIGXFSZ:
            return cls("File too large", by_signal=True)
        told = words.strip()[-500:] or f"git ended with {status}"
        return cls(told, by_signal=status < 0)


class State:
    """What of the repository is in Git: `state.db` beside it."""

    def __init__(self, folder: Path) -> None:
        self.db = sqlite3.connect(folder / "state.db", isolation_level=None)
        self.db.executescript(
            """PRAGMA synchronous=FULL;
               CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT);
               CREATE TABLE IF NOT EXISTS blobs(uuid TEXT PRIMARY KEY, hash TEXT) WITHOUT ROWID;
               CREATE TABLE IF NOT EXISTS checkins(uuid TEXT PRIMARY KEY, hash TEXT)
                 WITHOUT ROWID;
               CREATE INDEX IF NOT EXISTS checkins_hash ON checkins(hash);"""
        )
        self.checkins: dict[str, str] = dict(self.db.execute("SELECT uuid, hash FROM checkins"))

    def meta(self, key: str) -> str | None:
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

    def blob(self, uuid: str) -> str | None:
        row = self.db.execute("SELECT hash FROM blobs WHERE uuid = ?", (uuid,)).fetchone()
        return str(row[0]) if row else None

    def write(
        self, blobs: dict[str, str], checkins: dict[str, str], gone: set[str], packs: str
    ) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany("INSERT OR REPLACE INTO blobs VALUES (?, ?)", blobs.items())
        self.db.executemany("INSERT OR REPLACE INTO checkins VALUES (?, ?)", checkins.items())
        self.db.executemany("DELETE FROM checkins WHERE uuid = ?", ((one,) for one in gone))
        meta = {"version": VERSION, "packs": packs}
        self.db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
        self.db.execute("COMMIT")


class Git:
    """git on the export's bare repository, with the environment of the order."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.path = folder / "export.git"
        self._environment = environment

    def run(self, *words: str, stdin: bytes | None = None) -> bytes:
        done = subprocess.run(
            ["git", f"--git-dir={self.path}", *words],
            input=stdin,
            capture_output=True,
            env=self._environment,
            check=False,
        )
        if done.returncode != 0:
            raise GitFailed.of(done.returncode, done.stderr.decode(errors="replace"))
        return done.stdout

    def fast_import(self, write: Callable[[IO[bytes]], None]) -> dict[int, str]:
        """The hash of what came of each mark in the stream that `write` writes; all or nothing."""
        with tempfile.TemporaryDirectory(prefix="import-", dir=self.path.parent) as folder:
            marks, errors = Path(folder, "marks"), Path(folder, "errors")
            with errors.open("wb") as said:
                git = subprocess.Popen(
                    [
                        *("git", f"--git-dir={self.path}", "fast-import", "--quiet", "--done"),
                        *("--force", f"--export-marks={marks}", "--date-format=raw"),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    env=self._environment,
                )
            assert git.stdin is not None  # noqa: S101 - it is a pipe
            try:
                write(git.stdin)
                git.stdin.write(b"done\n")
                git.stdin.close()
            except BrokenPipeError:
                pass  # it says itself why it ended
            except BaseException:
                git.kill()
                git.wait()
                raise
            if status := git.wait():
                raise GitFailed.of(status, errors.read_text(errors="replace"))
            pairs = (line.split() for line in marks.read_text().splitlines())
            return {int(mark.removeprefix(":")): made for mark, made in pairs}

    def refs(self, *places: str) -> dict[str, str]:
        text = self.run("for-each-ref", "--format=%(objectname) %(refname)", *places).decode()
        return {ref: value for value, _, ref in (line.partition(" ") for line in text.splitlines())}

    def packs(self) -> str:
        """The packs with their sizes: what goes missing is noticed."""
        found = sorted((self.path / "objects" / "pack").glob("*.pack"))
        return json.dumps({path.name: path.stat().st_size for path in found})

    def tidy(self) -> None:
        """Few files, and nothing thrown away: what no branch reaches may have children later."""
        packs = len(list((self.path / "objects" / "pack").glob("*.pack")))
        sample = self.path / "objects" / "17"
        loose = 256 * len(list(sample.iterdir())) if sample.is_dir() else 0
        if packs > MOST_PACKS or loose > MOST_LOOSE:
            self.run("repack", "-a", "-d", "-k", "-q")
