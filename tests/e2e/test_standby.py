"""`standby`: a second machine follows the replica, and is the host when the first one is lost."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until_sync
from tests.helpers.pushes import checkins


def at_rest(host: Host) -> None:
    until_sync(lambda: host.json("backup", "status")["state"] == "current", timeout=60, what="rest")


def look(second: Host, url: str, *more: str) -> dict[str, Any]:
    done: dict[str, Any] = second.json("standby", "--from", url, "--once", *more)
    return done


def test_a_second_machine_follows_and_takes_the_place(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/replica"
    host = Host(tmp_path / "first" / "data", {"FOSSILREPO_BACKUP__URL": url})
    host.data.parent.mkdir(mode=0o711)
    second = Host(tmp_path / "second" / "data", {"FOSSILREPO_BACKUP__URL": url})
    second.data.parent.mkdir(mode=0o711)
    host.start()
    host.admin()
    for name in ("demo", "quiet", "gone"):
        host.call("repo", "create", name, "--visibility", "public")
    password = host.fossil_password("ada", "demo")
    work = Checkout.cloned(host.url("demo", "ada", password), tmp_path / "work", "ada")
    work.commit("one.txt", "1")
    work.push()
    at_rest(host)
    key = tmp_path / "kept.key"
    shutil.copy(host.data / "secret.key", key)
    wrong = tmp_path / "wrong.key"
    wrong.write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
    refused = second.call("standby", "--from", url, "--key-file", str(wrong), "--once", check=False)
    assert refused.returncode != 0 and not (second.data / "repos").exists()

    first = look(second, url, "--key-file", str(key))
    assert (first["repositories"], first["fetched"], first["failed"]) == (3, 3, {})
    assert look(second, url)["fetched"] == 0
    assert "is not done" in second.call("repo", "list", check=False).stderr

    # It follows by itself; what is purged on the host goes here too.
    argv = [sys.executable, "-m", "fossilrepo", "standby", "--from", url, "--every", "1s"]
    with subprocess.Popen(
        argv, env=second.variables(), cwd=second.data.parent, stderr=subprocess.DEVNULL
    ) as following:
        until_sync(lambda: last(second)["fetched"] == 0, what="its first look")
        made = work.commit("two.txt", "2")
        work.push()
        host.call("repo", "delete", "gone", "--yes")
        host.call("repo", "trash", "purge", "gone", "--yes")
        store = second.data / "repos" / ".store"
        until_sync(lambda: has(store, made), timeout=30, what="the push on the standby")
        until_sync(lambda: len(list(store.glob("*.fossil"))) == 2, timeout=30, what="the purge")
        other = second.call("standby", "--from", url, "--once", check=False)
        assert "already running" in other.stderr
        following.send_signal(signal.SIGTERM)
        following.wait(20)
    assert second.json("standby", "--status")["from"] == url

    at_rest(host)
    made = work.commit("three.txt", "3")
    work.push()
    at_rest(host)
    os.kill(host.process.pid, signal.SIGKILL)  # type: ignore[union-attr]
    host.process.wait(10)  # type: ignore[union-attr]
    told = second.json("standby", "--from", url, "--key-file", str(key), "--promote")
    assert {one["name"] for one in told["repositories"]} == {"demo", "quiet"}
    assert told["renewed_passwords"] == [] and told["ok"]
    second.start()
    try:
        assert made[:10] in second.get("/demo/timeline", "demo")[1]
        again = Checkout.cloned(
            second.url("demo", "ada", second.fossil_password("ada", "demo")),
            tmp_path / "again",
            "ada",
        )
        assert again.fossil("info", made).returncode == 0
    finally:
        second.stop()
        host.stop()


def last(second: Host) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((second.data / "run" / "standby.json").read_text())
    except (OSError, ValueError):
        return {"fetched": -1}
    return found


def has(store: Path, made: str) -> bool:
    return any(made in checkins(file) for file in store.glob("*.fossil"))
