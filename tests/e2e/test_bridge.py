"""The bridge on a running host, by commands and by the real client: pushed here, mirrored there."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.helpers.git_servers import TOKEN, USER, HttpGit, bare, git, refs, ssh_git
from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until_sync
from tests.helpers.runtime import free_port

LOOPBACK = '["127.0.0.0/8"]'


def mirror(host: Host, name: str = "demo") -> dict[str, Any]:
    return next(one for one in host.json("mirror", "list") if one["repository"] == name)


def is_mirrored(host: Host, remote: Path, checkin: str, name: str = "demo") -> bool:
    if mirror(host, name)["state"] != "in-sync":
        return False
    return checkin in git(remote, "log", "-1", "--format=%B", "main")


def test_a_push_is_mirrored_within_seconds(
    fresh: Callable[..., Host], clone: Callable[..., Checkout], server: HttpGit
) -> None:
    host = fresh(FOSSILREPO_SYNC__ALLOWED_NETWORKS=LOOPBACK)
    host.admin("ada")
    host.call("repo", "create", "demo")
    host.call(
        "mirror", "add", "demo", server.url(), "--user", USER, "--token-stdin", stdin=TOKEN + "\n"
    )
    remote = server.folder / "project.git"
    until_sync(lambda: mirror(host)["state"] == "in-sync", timeout=20)
    checkout = clone("demo", on=host)
    seconds = []
    for number in range(5):
        checkin = checkout.commit("file.txt", "x" * (number + 1), f"check-in {number}")
        began = time.monotonic()
        checkout.push()
        until_sync(partial(is_mirrored, host, remote, checkin), timeout=20)
        seconds.append(time.monotonic() - began)
    assert statistics.median(seconds) < 10
    shown = host.json("repo", "show", "demo")["mirrors"]
    assert [one["state"] for one in shown] == ["in-sync"]
    log = host.json("mirror", "log", mirror(host)["id"])
    assert {run["trigger"] for run in log} >= {"change"}
    assert TOKEN not in host.log()


def test_ssh_with_a_key_of_its_own(fresh: Callable[..., Host], tmp_path: Path) -> None:
    host = fresh(FOSSILREPO_SYNC__ALLOWED_NETWORKS=LOOPBACK)
    host.call("repo", "create", "demo")
    target = bare(tmp_path, "by-ssh.git")
    with ssh_git(tmp_path / "sshd", free_port()) as ssh:
        made = host.json("mirror", "add", "demo", ssh.url(target))
        refused = host.call("mirror", "run", made["id"], check=False)
        assert refused.returncode == 1 and "does not accept the mirror's key" in refused.stderr
        ssh.allow(made["public_key"])
        host.call("mirror", "run", made["id"])
        assert set(refs(target)) == {"refs/heads/main"}
        assert mirror(host)["host_key"] == ssh.host_key()


def test_mirrors_work_without_a_running_host(fresh: Callable[..., Host], server: HttpGit) -> None:
    host = fresh(FOSSILREPO_SYNC__ALLOWED_NETWORKS=LOOPBACK)
    host.call("repo", "create", "demo")
    assert host.stop() == 0
    made = host.call(
        "mirror", "add", "demo", server.url(), "--user", USER, "--token-stdin", "--json",
        stdin=TOKEN + "\n",
    )  # fmt: skip
    assert '"state": "new"' in made.stdout
    done = host.json("mirror", "run", mirror(host)["id"])
    assert done["state"] == "in-sync" and done["verified_at"]


def test_a_refused_remote_is_told_and_adds_nothing(fresh: Callable[..., Host]) -> None:
    host = fresh()
    host.call("repo", "create", "demo")
    for url in ("file:///etc", "ext::sh -c id", "https://u:p@example.org/x", "-oProxyCommand=x"):
        done = host.call("mirror", "add", "demo", "--", url, check=False)
        assert done.returncode == 2 and "error:" in done.stderr and "hint:" in done.stderr, url
    assert host.json("mirror", "list") == []
