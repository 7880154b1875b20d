"""What becomes of children when the process above them is killed outright."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from fossilrepo.runtime import proc
from fossilrepo.runtime.ledger import Ledger
from fossilrepo.runtime.supervisor import State, Supervisor
from tests.helpers.poll import until
from tests.helpers.runtime import HOST, Bad

Host = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "children.json"


@pytest.fixture
async def host(bad: Bad, state: Path) -> AsyncIterator[Host]:
    """Starts another process with a supervisor of one bad child; back when that runs."""
    started: list[subprocess.Popen[str]] = []

    def start(*flags: object) -> subprocess.Popen[str]:
        root = Path(__file__).parents[2]
        process = subprocess.Popen(
            [sys.executable, str(HOST), str(state), *bad.argv(*flags)],
            env={"PATH": os.defpath, "PYTHONPATH": str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=5)


async def test_children_die_with_a_supervisor_that_is_killed(bad: Bad, host: Host) -> None:
    running = host()
    assert len(bad.alive()) == 1
    running.kill()
    await until(lambda: not bad.alive(), timeout=2, what="the child's death")


async def test_a_host_that_ends_in_order_leaves_an_empty_list(
    bad: Bad, host: Host, state: Path
) -> None:
    running = host("--grandchild", "session")
    [entry] = json.loads(state.read_text()).values()
    assert entry["pid"] in bad.alive() and entry["boot"] == proc.boot_id()
    running.communicate("", timeout=10)
    assert running.returncode == 0
    assert not bad.alive() and json.loads(state.read_text()) == {}


@pytest.mark.parametrize(
    "flags",
    [
        ("--outlive",),
        ("--outlive", "--ignore-term"),
        ("--grandchild", "group"),
        ("--grandchild", "session"),
    ],
    ids=" ".join,
)
async def test_a_leftover_is_ended_before_the_child_is_started(
    bad: Bad, host: Host, state: Path, flags: tuple[str, ...]
) -> None:
    running = host(*flags)
    running.kill()
    running.wait()
    [leader] = {entry["pid"] for entry in json.loads(state.read_text()).values()}
    await until(lambda: "--outlive" in flags or leader not in bad.alive())
    left = bad.alive()
    assert len(left) == 1
    supervisor = Supervisor([bad.spec()], state_file=state, leftover_grace=0.3)
    try:
        await supervisor.start()
        assert not left & bad.alive()
        assert supervisor.child("bad").state is State.RUNNING
    finally:
        await supervisor.stop()


@pytest.mark.parametrize(
    "change",
    [{"start": 1}, {"boot": "another"}, {"pid": -1}, {"pid": 0}, {"pid": 1}, {"pid": "text"}],
    ids=str,
)
async def test_a_process_that_is_not_the_recorded_one_is_left_alone(
    state: Path, change: dict[str, Any]
) -> None:
    with subprocess.Popen(["sleep", "20"], start_new_session=True) as stranger:
        process = proc.look(stranger.pid)
        assert process is not None
        entry = {
            "pid": stranger.pid,
            "start": process.start,
            "boot": proc.boot_id(),
            "token": "of an older run",
        }
        state.write_text(json.dumps({"bad": entry | change}))
        assert await Ledger(state).end_leftovers(0.2) == []
        assert stranger.poll() is None
        state.write_text(json.dumps({"bad": entry}))
        assert await Ledger(state).end_leftovers(2) == ["bad"]
        assert stranger.wait(5) == -15


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": {"pid": 5}}', "\0"])
async def test_a_damaged_list_is_no_obstacle(bad: Bad, state: Path, text: str) -> None:
    state.write_text(text)
    assert await Ledger(state).end_leftovers(0.1) == []


async def test_a_list_that_cannot_be_written_does_not_stop_a_child(
    bad: Bad, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    supervisor = Supervisor([bad.spec()], state_file=tmp_path / "file" / "children.json")
    try:
        await supervisor.start()
        assert supervisor.child("bad").state is State.RUNNING
    finally:
        await supervisor.stop()


async def test_the_list_is_replaced_whole(bad: Bad, state: Path) -> None:
    ledger = Ledger(state)
    await ledger.record("self", os.getpid())
    first = state.stat().st_ino
    await ledger.record("other", os.getppid())
    assert set(json.loads(state.read_text())) == {"self", "other"}
    assert state.stat().st_ino != first
    assert [path.name for path in state.parent.iterdir() if path.name.endswith(".new")] == []
    for name in ("self", "other", "never there"):
        await ledger.record(name, None)
    assert json.loads(state.read_text()) == {}


async def test_a_start_with_nothing_left_is_quick(state: Path) -> None:
    started = time.monotonic()
    assert await Ledger(state).end_leftovers(5) == []
    assert time.monotonic() - started < 1
