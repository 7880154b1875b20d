"""The generated history: the same every time, and a real one for Git and Fossil."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

GENERATOR = Path(__file__).parents[1] / "bench/history.py"
CHECKINS = 300


def generated(*arguments: str) -> bytes:
    command = [sys.executable, str(GENERATOR), *arguments]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


@pytest.fixture(scope="module")
def stream() -> bytes:
    return generated("--checkins", str(CHECKINS), "--megabytes", "3")


@pytest.fixture(scope="module")
def git(stream: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("history") / "g.git"
    subprocess.run(
        ["git", "init", "--quiet", "--bare", "-b", "trunk", str(folder)], check=True, timeout=30
    )
    subprocess.run(
        ["git", "-C", str(folder), "fast-import", "--quiet", "--done"],
        input=stream,
        check=True,
        timeout=60,
    )
    return folder


def ask(repository: Path, *arguments: str) -> list[str]:
    command = ["git", "-C", str(repository), "-c", "core.quotePath=false", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines()


def test_history_is_always_the_same_and_as_big_as_asked(stream: bytes) -> None:
    assert generated("--checkins", str(CHECKINS), "--megabytes", "3") == stream
    assert generated("--checkins", str(CHECKINS), "--megabytes", "3", "--seed", "2") != stream
    assert 2.8e6 < len(stream) < 3.6e6


def test_history_has_what_real_ones_have(git: Path) -> None:
    assert len(ask(git, "rev-list", "--all")) == CHECKINS
    assert len(ask(git, "rev-list", "--all", "--merges")) >= 3
    assert len(ask(git, "tag")) == CHECKINS // 50
    assert any(not name.isascii() for name in ask(git, "branch", "--format=%(refname:short)"))
    assert len(set(ask(git, "log", "--all", "--format=%an"))) == 5
    kinds = {line[:1] for line in ask(git, "log", "--all", "--format=", "--name-status", "-M")}
    assert {"A", "M", "D", "R"} <= kinds
    files = ask(git, "ls-tree", "-r", "--name-only", "trunk")
    assert any(not name.isascii() for name in files)
    assert {name.rpartition(".")[2] for name in files} >= {"py", "md", "png"}


def test_every_edit_changes_the_size(git: Path) -> None:
    raw = ask(
        git, "log", "--all", "--no-merges", "--format=", "--raw", "--no-renames", "--no-abbrev"
    )
    edits = [(f[2], f[3]) for f in (line.split() for line in raw) if f[4] == "M"]
    names = "\n".join(name for edit in edits for name in edit)
    sizes = subprocess.run(
        ["git", "-C", str(git), "cat-file", "--batch-check=%(objectsize)"],
        input=names,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.split()
    assert len(edits) > CHECKINS / 2
    assert [edits[n // 2] for n in range(0, len(sizes), 2) if sizes[n] == sizes[n + 1]] == []


def test_fossil_imports_every_check_in(git: Path, tmp_path: Path) -> None:
    repository = tmp_path / "h.fossil"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "USER": "setup"}
    export = subprocess.run(
        ["git", "-C", str(git), "fast-export", "--all", "--signed-tags=strip"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    for command, given in (
        (["fossil", "import", "--git", str(repository)], export.stdout),
        (["fossil", "test-integrity", "-R", str(repository)], b""),
    ):
        subprocess.run(
            command, input=given, env=environment, check=True, capture_output=True, timeout=60
        )
    count = subprocess.run(
        ["fossil", "sql", "-R", str(repository), "SELECT count(*) FROM event WHERE type='ci'"],
        env=environment,
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert int(count.stdout) == CHECKINS
