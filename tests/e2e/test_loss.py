"""Machines die: whatever was acknowledged more than a second before is in the rebuilt host."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.test_faults import integrity
from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until_sync
from tests.helpers.pushes import Pusher, checkins, sqlite_check

Clone = Callable[..., Checkout]
ROUNDS, SOME_ROUNDS = 20, 6
REPOSITORIES = 2
WITHIN = 1.0  # seconds


@pytest.mark.timeout(400)
def test_deaths_lose_nothing_that_was_acknowledged_a_second_before(
    tmp_path: Path, full: bool
) -> None:
    """Twenty in a row with `--long`."""
    rounds = ROUNDS if full else SOME_ROUNDS
    rng = random.Random(20261125)
    replica = tmp_path / "replica"
    environment = {"FOSSILREPO_BACKUP__URL": f"file://{replica}"}
    host = Host(tmp_path / "data-0", environment)
    key = tmp_path / "secret.key"
    pushers: list[Pusher] = []
    safe: dict[str, set[str]] = {}
    try:
        host.start()
        host.admin()
        shutil.copy(host.data / "secret.key", key)
        for number in range(REPOSITORIES):
            name = f"r{number}"
            host.call("repo", "create", name)
            url = host.url(name, "ada", host.fossil_password("ada", name))
            pushers.append(Pusher(name, Checkout.cloned(url, tmp_path / f"c{number}", "ada")))
            safe[name] = set()
        passwords = {p.name: p.checkout.url.split("@")[0] for p in pushers}
        for number in range(rounds):
            port = host.port
            for pusher in pushers:
                pusher.checkout.url = f"{passwords[pusher.name]}@127.0.0.1:{port}/{pusher.name}"
            known = {pusher.name: len(pusher.done) for pusher in pushers}
            killed_at = _push_and_kill(host, pushers, rng)
            for pusher in pushers:
                of_this_round = pusher.done[known[pusher.name] :]
                held = [p.checkin for p in of_this_round if p.acknowledged < killed_at - WITHIN]
                safe[pusher.name] |= set(held)
            shutil.rmtree(host.data)
            host = _rebuilt(host, tmp_path / f"data-{number + 1}", replica, key)
            _nothing_is_missing(host, safe)
            if number + 1 < rounds:
                host.start()
    finally:
        host.stop()
    assert sum(map(len, safe.values())) >= rounds  # no round was empty


def _push_and_kill(host: Host, pushers: list[Pusher], rng: random.Random) -> float:
    """Push for a while; kill a part with -9, a little later everything; when the first was."""
    children = {child["name"]: child["pid"] for child in host.status()["children"]}
    before = sum(len(pusher.done) for pusher in pushers)
    for pusher in pushers:
        pusher.start()
    until_sync(
        lambda: sum(len(pusher.done) for pusher in pushers) > before,
        timeout=30,
        what="the first push",
    )
    time.sleep(rng.uniform(1.1, 1.5))  # the pushes under test go on meanwhile
    killed_at = time.time()
    victim = rng.choice(["host", "litestream", "fossil"])
    if victim != "host":
        os.killpg(children[victim], signal.SIGKILL)
        time.sleep(rng.uniform(0, 0.5))
    host.kill()
    for pusher in pushers:
        pusher.stop()
    return killed_at


def _rebuilt(host: Host, folder: Path, replica: Path, key: Path) -> Host:
    new = Host(folder, host.environment)
    new.call("backup", "rebuild", "--from", f"file://{replica}", "--key-file", str(key), "--json")
    return new


def _nothing_is_missing(host: Host, safe: dict[str, set[str]]) -> None:
    for name, expected in safe.items():
        file = (host.data / "repos" / f"{name}.fossil").resolve()
        assert expected <= checkins(file)
        assert sqlite_check(file) == "ok"
        assert " 0 errors" in integrity(file)
