"""Check-ins straight into a repository's live file, by the real program, without a server.

Owns the checkout that they are made in, and which a file holds, by their whole hashes.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from fossilrepo.tools.fossil import FIRST_USER


class Committer:
    """A checkout of the repository in `folder`, which must not be there yet."""

    def __init__(self, repository: Path, folder: Path, login: str = FIRST_USER) -> None:
        folder.mkdir()
        self._folder = folder
        self._env = {"PATH": os.environ["PATH"], "HOME": str(folder), "USER": login}
        self._run("open", str(repository), "--user", login, "--nosync")
        self._count = 0

    def commit(self, comment: str) -> str:
        """One more check-in; its hash."""
        self._count += 1
        # Another size each time: Fossil does not see an edit of equal size within a second.
        (self._folder / "file.txt").write_text("line\n" * self._count)
        self._run("addremove")
        user = self._env["USER"]
        self._run("commit", "-m", comment, "--no-warnings", "--nosync", "--user-override", user)
        told = self._run("whatis", "current")  # `info` cuts the hash
        return next(line.split()[1] for line in told.splitlines() if line.startswith("artifact:"))

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            ["fossil", *words],
            cwd=self._folder,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def checkins(path: Path) -> set[str]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT uuid FROM event JOIN blob ON rid = objid WHERE type = 'ci'")
        return {uuid for (uuid,) in rows}
