"""`repo import`: its three sources, what it refuses, and that nothing is left of a failure."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.helpers.command import Command
from tests.helpers.poll import until_sync


@pytest.fixture(scope="session")
def git_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Git repository of three commits."""
    folder = tmp_path_factory.mktemp("git")
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*arguments: str) -> None:
        own = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        subprocess.run(["git", *own, *arguments], cwd=folder, env=env, check=True)

    git("init", "-q", "-b", "main")
    for number in range(3):
        (folder / "file.txt").write_text("line\n" * (number + 1))
        git("add", "file.txt")
        git("commit", "-q", "-m", f"commit {number}")
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--file", "a", "--git", "b"),
        ("--file", "a", "--clone", "http://127.0.0.1:1/", "--git", "b"),
        ("--file", "a", "--login", "ada"),
        ("--git", "a", "--password-stdin"),
        ("--clone", "http://127.0.0.1:1/", "--token-stdin"),
        ("--clone", "http://127.0.0.1:1/", "--password-stdin"),
        ("--clone", "http://ada:hunter2@127.0.0.1:1/"),
        ("--clone", "http://127.0.0.1:1/", "--login", "ada"),
        ("--file", "a", "--private", "--visibility", "public"),
    ],
    ids=lambda arguments: " ".join(arguments) or "nothing",
)
def test_a_wrong_import_ends_with_2_before_anything_is_made(
    fresh: Command, arguments: tuple[str, ...]
) -> None:
    assert "hunter2" not in fresh.refused(2, "repo", "import", "x", *arguments)
    assert not fresh.data.exists()


def test_a_file_is_imported_and_stays_where_it_is(command: Command, fossil_template: Path) -> None:
    before = fossil_template.read_bytes()
    source = str(fossil_template)
    made = command("repo", "import", "lib", "--file", source, "--title", "L", "--json").json
    assert (made["name"], made["title"], made["checkins"]) == ("lib", "L", 1)
    assert fossil_template.read_bytes() == before
    assert {r["name"] for r in command("repo", "list", "--json").json} == {"demo", "lib"}


def test_mail_that_is_not_carried_over_is_told(
    command: Command, fossil_template: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs.fossil"
    shutil.copy(fossil_template, theirs)
    with closing(sqlite3.connect(theirs)) as db, db:
        db.execute("INSERT INTO config VALUES ('email-send-method', 'pipe', 1)")
    told = command("repo", "import", "theirs", "--file", str(theirs)).out
    assert "taken out: email-send-method" in told and "notifications are not carried over" in told


def test_a_git_folder_is_imported(command: Command, git_folder: Path) -> None:
    told = command("repo", "import", "tool", "--git", str(git_folder), "--private")
    assert "imported tool: 3 check-ins" in told.out
    assert command("repo", "show", "tool", "--json").json["visibility"] == "private"


def test_what_cannot_be_imported_is_refused_and_leaves_nothing(
    command: Command, tmp_path: Path
) -> None:
    text = tmp_path / "text.fossil"
    text.write_text("no repository\n" * 100)
    (tmp_path / "empty.fossil").touch()
    (tmp_path / "link.fossil").symlink_to("/etc/passwd")
    before = command.tree()
    for source in ("text.fossil", "empty.fossil", "link.fossil", "missing.fossil", ""):
        outcome = command.run("repo", "import", "x", "--file", str(tmp_path / source))
        assert outcome.code in (1, 2) and outcome.out == "", outcome
        assert "error: " in outcome.err
    for source in (("--git", str(tmp_path)), ("--clone", "http://127.0.0.1:1/x")):
        outcome = command.run("repo", "import", "x", *source)
        assert outcome.code in (1, 2) and "error: " in outcome.err, outcome
    command.refused(2, "repo", "import", "../x", "--file", str(text))
    command.refused(1, "repo", "import", "demo", "--file", str(text))
    assert command.tree() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_import_that_is_interrupted_leaves_nothing(
    command: Command, git_folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    before = command.tree()
    stream = tmp_path / "big"
    _big_git(stream)
    process = command.start("repo", "import", "big", "--git", str(stream))
    with process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("importing big: ")
        assert any((command.data / "tmp").iterdir())
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (128 + number, "")
    assert "error: interrupted" in err and "Traceback" not in err
    until_sync(lambda: not _processes_with(str(tmp_path)), what="no process left")
    assert command.tree() == before
    assert command.run("repo", "show", "big").code == 1


def _processes_with(text: str) -> list[str]:
    """The command lines of living processes that have `text` in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().decode(errors="replace"))
    return [line for line in found if text in line]


def test_another_fossil_is_cloned_with_a_password_that_is_never_an_argument(
    command: Command,
) -> None:
    command("user", "create", "ada", "--admin")
    command("repo", "create", "closed", "--private")
    word = command("user", "sync-password", "ada", "closed").out
    with command.serving():
        address = command("repo", "show", "closed", "--json").json["path_clone_url"]
        call = ("repo", "import", "copy", "--clone", address)
        whole = (*call, "--login", "ada", "--password-stdin")
        for wrong in ((*call,), whole):
            outcome = command.run(*wrong, given="wrong-password-here\n")
            assert outcome.code == 1 and "error: " in outcome.err, outcome
            assert "wrong-password-here" not in outcome.err
        assert len(command("repo", "list", "--json").json) == 2
        made = command(*whole, "--json", given=word).json
        assert (made["name"], made["checkins"]) == ("copy", 1)


def _big_git(folder: Path) -> None:
    """A Git repository whose import takes seconds: 3,000 commits by fast-import."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder.parent), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], env=env, check=True)
    parts = []
    for number in range(3000):
        text = f"line {number}\n" * (number % 50 + 1)
        parts.append(
            f"commit refs/heads/main\ncommitter A <a@example.org> {1700000000 + number} +0000\n"
            f"data 2\nc\nM 644 inline f{number % 40}\ndata {len(text)}\n{text}\n"
        )
    subprocess.run(
        ["git", "fast-import", "--quiet"],
        cwd=folder,
        env=env,
        input="".join(parts).encode(),
        check=True,
    )
