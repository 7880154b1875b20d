"""The code is as `ruff` wants it: rules for faults and security, and one form for all."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUFF = Path(sysconfig.get_path("scripts"), "ruff")


@pytest.mark.parametrize("words", [("check", "--no-cache"), ("format", "--check", "--no-cache")])
def test_ruff_finds_nothing(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [str(RUFF), *words, "fossilrepo", "tests", "bench"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
