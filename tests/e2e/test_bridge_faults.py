"""Git, Fossil, the export and the host itself are killed at random while check-ins are mirrored.

Whatever happens, a mirror ends equal to Fossil or says that it is not.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from fossilrepo.runtime import proc
from tests.e2e.test_bridge import LOOPBACK, is_mirrored, mirror
from tests.helpers.git_servers import TOKEN, USER, git
from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until_sync

ROUNDS = 6
VICTIMS = (b"git", b"git_export_child", b"fossil", b"host")


def kill(host: Host, victim: bytes) -> None:
    """One process below the host, or the host itself, by SIGKILL."""
    assert host.process is not None
    if victim == b"host":
        host.process.send_signal(signal.SIGKILL)
        host.process.wait(timeout=20)
        return
    for process in proc.descendants(host.process.pid):
        try:
            line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        except OSError:
            continue
        if victim in line.split(b"\0")[0] or (b"export" in victim and victim in line):
            proc.signal_process(process, signal.SIGKILL)
            return


def says_the_truth(host: Host, remote: Path, checkin: str) -> bool:
    """Called in sync only when the newest check-in is there."""
    before = git(remote, "for-each-ref", "--format=%(objectname)", "refs/heads/main")
    state = mirror(host)["state"]
    if state != "in-sync" or mirror(host)["lag_checkins"]:
        return True
    message = git(remote, "log", "-1", "--format=%B", "main") if before else ""
    return checkin in message


@pytest.mark.parametrize("seed", [11])
def test_a_mirror_is_never_wrongly_in_sync(
    fresh: Callable[..., Host],
    clone: Callable[..., Checkout],
    server: object,
    tmp_path: Path,
    seed: int,
) -> None:
    dice = random.Random(seed)
    host = fresh(
        FOSSILREPO_SYNC__ALLOWED_NETWORKS=LOOPBACK,
        pace={"services.runs.FIRST_PAUSE": 0.5},
    )
    host.admin("ada")
    host.call("repo", "create", "demo")
    url = server.url()  # type: ignore[attr-defined]
    remote = server.folder / "project.git"  # type: ignore[attr-defined]
    host.call("mirror", "add", "demo", url, "--user", USER, "--token-stdin", stdin=TOKEN + "\n")
    checkout = clone("demo", on=host)
    for number in range(ROUNDS):
        checkin = checkout.commit("file.txt", "x" * (number + 1), f"check-in {number}")
        password = host.fossil_password("ada", "demo")
        url = host.url("demo", "ada", password)
        until_sync(partial(_pushed, checkout, url), timeout=20, what="the push")
        for _ in range(dice.randint(1, 3)):
            until_sync(partial(dice.random), timeout=0.5, every=0.05)
            kill(host, dice.choice(VICTIMS[:3]))
            assert says_the_truth(host, remote, checkin)
        if number in (2, 4):
            kill(host, b"host")
            host.start()
        until_sync(partial(is_mirrored, host, remote, checkin), timeout=60, what=f"round {number}")
    assert os.path.isdir(remote)
    git(remote, "fsck", "--connectivity-only")


def _pushed(checkout: Checkout, url: str) -> bool:
    """Fossil's server may be restarting."""
    done = checkout.push(url, check=False)
    said = done.stdout + done.stderr
    return done.returncode == 0 and "Round-trips" in said and "rror" not in said
