"""A repository with a checkout, driven by the real program, without any host.

Owns what Fossil needs to be used by a script.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class Project:
    """A repository with a checkout, driven by the real program; sizes grow with every edit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.file = folder / "project.fossil"
        self.checkout = folder / "checkout"
        self.checkout.mkdir()
        self.env = {"PATH": os.environ["PATH"], "HOME": str(folder), "USER": "ada"}
        self("init", "-A", "ada", str(self.file), where=folder)
        self("open", "--nosync", str(self.file))
        self._count = 0

    def __call__(self, *words: str, where: Path | None = None) -> str:
        done = subprocess.run(
            ["fossil", *words],
            cwd=where or self.checkout,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout + done.stderr)
        return done.stdout

    def write(self, name: str, text: str = "") -> None:
        self._count += 1
        path = self.checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text or "line\n" * self._count)

    def commit(self, comment: str, *options: str) -> str:
        self("addremove")
        self("commit", "-m", comment, "--no-warnings", "--nosync", *options)
        return self("whatis", "current").split()[
            1 + self("whatis", "current").split().index("artifact:")
        ]
