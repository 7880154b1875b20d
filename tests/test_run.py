"""`./run`: it sets up what is missing, once, and then only starts.

The script is the real one, and so are Python, venv and pip; the project that it
installs is a small stand-in, so that no network is needed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.checkout import RUN, Checkout
from tests.helpers.poll import until_sync

ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def set_up(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, str]:
    """A checkout after its first start, and what that start printed."""
    checkout = Checkout.made(tmp_path_factory.mktemp("run"))
    done = checkout.run()
    assert done.returncode == 0, done.stderr
    return checkout, done.stderr


@pytest.fixture
def ready(set_up: tuple[Checkout, str]) -> Checkout:
    return set_up[0]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Checkout]:
    checkout = Checkout.made(tmp_path)
    yield checkout
    checkout.end()


def test_first_start_says_what_it_does_before_it_serves(
    set_up: tuple[Checkout, str],
) -> None:
    _, said = set_up
    steps = [line for line in said.splitlines() if line.startswith("run: ")]
    assert steps[0].startswith("run: making the Python environment .venv with Python 3")
    assert steps[1].startswith("run: installing the Python packages")
    assert len(steps) == (3 if ROOT else 2)
    assert not ROOT or "system account fossilrepo" in steps[2]


def test_second_start_only_starts(ready: Checkout) -> None:
    builds, calls = ready.builds(), ready.calls()
    done = ready.run()
    assert json.loads(done.stdout)["arguments"] == ["serve"]
    assert done.stderr == ""
    assert (ready.builds(), ready.calls()) == (builds, calls)


def test_command_and_exit_code_are_passed_on(ready: Checkout) -> None:
    odd = ["exit", "7", "two words", "", "$HOME", "*", "--json"]
    done = ready.run(*odd)
    assert done.returncode == 7
    assert json.loads(done.stdout)["arguments"] == odd


def test_signal_reaches_the_program(ready: Checkout) -> None:
    process = ready.start("wait")
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["pid"] == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 43
    finally:
        process.kill()
        process.communicate()


def test_from_another_folder_the_files_are_the_callers_and_the_data_the_checkouts(
    ready: Checkout, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(ready.folder / "run")
    for script in (ready.folder / "run", link):
        told = json.loads(ready.run("x", script=script, folder=tmp_path).stdout)
        assert told["folder"] == str(tmp_path)
        assert told["environment"] == {"FOSSILREPO_DATA_DIR": str(ready.folder / "data")}


def test_from_another_folder_what_the_caller_says_wins(ready: Checkout, tmp_path: Path) -> None:
    def seen(*arguments: str, **environment: str) -> dict[str, str]:
        told = json.loads(ready.run(*arguments, folder=tmp_path, environment=environment).stdout)
        return dict(told["environment"])

    assert seen("x", "--config", "c.toml") == {}
    assert seen("x", FOSSILREPO_CONFIG="/c.toml") == {"FOSSILREPO_CONFIG": "/c.toml"}
    assert seen("x", FOSSILREPO_DATA_DIR="/d") == {"FOSSILREPO_DATA_DIR": "/d"}
    (ready.folder / "config.toml").touch()
    try:
        assert seen("x") == {"FOSSILREPO_CONFIG": str(ready.folder / "config.toml")}
    finally:
        (ready.folder / "config.toml").unlink()
    (tmp_path / "config.toml").touch()
    assert seen("x") == {}


def test_in_the_checkout_the_environment_is_left_alone(ready: Checkout) -> None:
    assert json.loads(ready.run("x").stdout)["environment"] == {}


def test_tests_are_set_up_and_run_with_their_arguments(ready: Checkout, tmp_path: Path) -> None:
    done = ready.run("test", "-k", "two words", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {
        "arguments": ["-n", "3", "--dist", "loadfile", "-k", "two words"],
        "folder": str(ready.folder),
    }


@pytest.mark.skipif(not ROOT, reason="only root makes the account")
def test_account_is_made_once_and_without_rights(ready: Checkout) -> None:
    made = [call for call in ready.calls() if call.startswith("useradd")]
    assert len(made) == 1
    assert "--system" in made[0]
    assert made[0].endswith("--shell /usr/sbin/nologin fossilrepo")


def test_two_starts_at_once_set_up_once_and_a_change_sets_up_again(fresh: Checkout) -> None:
    (fresh.folder / "hold").touch()
    first = fresh.start("x")
    until_sync(lambda: fresh.builds() == 1, timeout=30, what="the first set-up")
    second = fresh.start("x")
    assert second.stderr is not None
    assert "waiting for another ./run" in second.stderr.readline()
    (fresh.folder / "hold").unlink()
    for process in (first, second):
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert fresh.builds() == 1

    with (fresh.folder / "pyproject.toml").open("a") as pyproject:
        pyproject.write("description = 'changed'\n")
    done = fresh.run("x")
    assert "missing or changed" in done.stderr
    assert "making" not in done.stderr
    assert fresh.builds() == 2


def test_cut_off_set_up_is_done_again_and_a_moved_checkout_made_anew(fresh: Checkout) -> None:
    (fresh.folder / "hold").touch()
    process = fresh.start("x")
    until_sync(lambda: fresh.builds() == 1, timeout=30, what="the set-up")
    process.kill()
    (fresh.folder / "hold").unlink()
    process.communicate(timeout=30)  # ends with pip, which holds the pipes
    assert not (fresh.folder / ".venv/ready").exists()
    done = fresh.run("x")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["arguments"] == ["x"]

    moved = Checkout(fresh.folder.with_name("moved"), fresh.programs)
    fresh.folder.rename(moved.folder)
    done = moved.run("x")
    assert "making the Python environment" in done.stderr
    assert json.loads(done.stdout)["arguments"] == ["x"]


def test_packages_that_cannot_be_had_are_told_and_nothing_counts_as_done(ready: Checkout) -> None:
    (ready.folder / "needs").write_text("Requires-Dist: no-such-package-here\n")
    with (ready.folder / "pyproject.toml").open("a") as pyproject:
        pyproject.write("description = 'needs more'\n")
    try:
        for _ in range(2):
            done = ready.run("x")
            assert done.returncode == 1
            assert "no-such-package-here" in done.stderr
            assert "error: pip could not install the Python packages\n" in done.stderr
            assert "network" in done.stderr.splitlines()[-1]
    finally:
        (ready.folder / "needs").unlink()
    assert ready.run("x").returncode == 0


@pytest.mark.skipif(not ROOT, reason="only root may install packages")
def test_root_installs_missing_programs_and_says_so_first(fresh: Checkout) -> None:
    fresh.without("fossil", "unshare")
    fresh.recorder("apt-get", then='[ "$1" = update ] || exit 100')
    done = fresh.run("x")
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert said[0].startswith("run: installing with apt-get: fossil util-linux (")
    assert said[1] == "error: apt-get could not install: fossil util-linux"
    assert fresh.calls() == [
        "apt-get update -q",
        "apt-get install -q -y --no-install-recommends fossil util-linux",
    ]
    assert not (fresh.folder / ".venv").exists()


def as_nobody(checkout: Checkout) -> list[str]:
    """What makes the script run without root's rights."""
    if not ROOT:
        return []
    ids = "--reuid=nobody --regid=nogroup --clear-groups"
    return [shutil.which("setpriv") or "setpriv", *ids.split()]


def test_without_rights_the_packages_to_install_are_named(fresh: Checkout) -> None:
    fresh.without("fossil", "git")
    fresh.open_to_others()
    done = subprocess.run(
        [*as_nobody(fresh), str(fresh.folder / "run"), "x"],
        env=fresh.environment(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: programs are missing, and only root may install them",
        "hint: install these packages, then start ./run again: fossil git",
    ]
    assert fresh.calls() == []


@pytest.mark.skipif(not ROOT, reason="needs a folder that another account owns")
def test_with_sudo_an_ordinary_user_installs(fresh: Checkout) -> None:
    fresh.without("fossil")
    fresh.recorder("sudo", then='[ "$2" = update ] || exit 1')
    fresh.open_to_others()
    subprocess.run(
        [*as_nobody(fresh), str(fresh.folder / "run"), "x"],
        env=fresh.environment(),
        cwd="/",
        capture_output=True,
        timeout=30,
    )
    assert [call.split()[:2] for call in fresh.calls()] == [["sudo", "apt-get"], ["sudo", "env"]]


def test_machine_without_apt_is_told_what_to_install(fresh: Checkout) -> None:
    fresh.without("apt-get", "chromium", "initdb", "setpriv")
    done = fresh.run("test")
    assert done.returncode == 1
    assert done.stderr.startswith("error: programs are missing, and this machine has no apt-get\n")
    assert "util-linux" in done.stderr
    assert "chromium" in done.stderr


def test_old_python_is_named_with_what_is_needed(fresh: Checkout) -> None:
    fresh.without("python3")
    old = fresh.programs / "python3"
    old.write_text('#!/bin/sh\n[ "$1" != --version ] || echo "Python 3.9.2"\nexit 1\n')
    old.chmod(0o755)
    if not ROOT:
        fresh.recorder("sudo")
    done = fresh.run("x")
    assert done.returncode == 1
    assert "error: Python 3.11 or newer is needed, here is Python 3.9.2" in done.stderr


def test_script_is_posix_shell_and_clean() -> None:
    checker = Path(sys.executable).with_name("shellcheck")
    for script in (RUN, RUN.parent / ".ci/run"):
        done = subprocess.run(
            [str(checker), "--shell=sh", str(script)], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stdout
        assert os.access(script, os.X_OK)
