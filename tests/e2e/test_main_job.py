"""What the host is for: clone, commit, push, pull, with the client that people use."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until_sync

Clone = Callable[..., Checkout]


def test_a_push_is_seen_by_everybody(host: Host, clone: Clone, tmp_path: Path) -> None:
    host.call("repo", "create", "demo", "--title", "Démo & <more>")
    first = clone("demo")
    made = first.commit("hello.txt", "hello\n", "First words")
    first.push()

    stranger = Checkout.cloned(host.url("demo"), tmp_path / "stranger", "eve")
    assert stranger.has(made)
    assert (stranger.folder / "hello.txt").read_text() == "hello\n"
    status, page = host.get("/demo/timeline", host="demo")
    assert status == 200 and "First words" in page
    until_sync(lambda: host.json("repo", "show", "demo")["checkins"] == 2, what="the count")
    shown = host.json("repo", "show", "demo")
    assert shown["title"] == "Démo & <more>" and shown["state"] == "active"
    assert shown["last_change"].endswith("Z") and shown["size_bytes"] > 100_000


def test_pushes_go_both_ways_between_two_clones(host: Host, clone: Clone) -> None:
    host.call("repo", "create", "two")
    first, second = clone("two", "a"), clone("two", "b")
    made = first.commit("one.txt", "1\n")
    first.push()
    second.pull()
    assert second.has(made)
    second.fossil("update")
    back = second.commit("one.txt", "1\n2\n")
    second.fossil("tag", "add", "release-1", back)
    second.fossil("branch", "new", "topic", back)
    second.push()
    first.pull()
    assert first.has(back) and first.has("release-1")
    assert "topic" in first.fossil("branch", "list", "-a").stdout


def test_a_wrong_password_is_refused_and_told(host: Host, clone: Clone) -> None:
    host.call("repo", "create", "guarded")
    first = clone("guarded")
    made = first.commit("a.txt", "a\n")
    refused = first.push(host.url("guarded", "ada", "wrong"), check=False)
    assert "login failed" in (refused.stdout + refused.stderr).lower()
    assert refused.returncode != 0 or "Error" in refused.stdout
    stranger = Checkout.cloned(host.url("guarded"), first.folder.parent / "s", "eve")
    assert not stranger.has(made)
    first.push()
    stranger.pull()
    assert stranger.has(made)


def test_a_stranger_cannot_push_and_cannot_see_what_is_private(
    host: Host, clone: Clone, tmp_path: Path
) -> None:
    host.call("repo", "create", "open")
    stranger = Checkout.cloned(host.url("open"), tmp_path / "s", "eve")
    made = stranger.commit("evil.txt", "x\n")
    stranger.push(check=False)
    assert not clone("open").has(made)

    host.call("repo", "create", "closed", "--private")
    status, page = host.get("/closed/timeline", host="closed")
    assert "initial empty check-in" not in page and status in (200, 302, 401, 403)
    eve = Checkout(tmp_path / "none", "eve")
    refused = eve.fossil("clone", "--no-open", host.url("closed"), str(eve.file), check=False)
    assert refused.returncode != 0 and not eve.file.exists()
    assert clone("closed", "mine").has("trunk")


def test_archived_is_readable_and_not_writable(host: Host, clone: Clone, tmp_path: Path) -> None:
    host.call("repo", "create", "old")
    first = clone("old")
    host.call("repo", "archive", "old")
    made = first.commit("late.txt", "late\n")
    first.push(check=False)
    reader = Checkout.cloned(host.url("old"), tmp_path / "reader", "eve")
    assert not reader.has(made)
    assert host.json("repo", "show", "old")["state"] == "archived"
    host.call("repo", "unarchive", "old")
    first.push()
    reader.pull()
    assert reader.has(made)


@pytest.mark.timeout(240)
def test_a_large_file_passes_without_the_server_growing(
    host: Host, clone: Clone, full: bool
) -> None:
    """Of 200 MB with `--long`."""
    host.call("repo", "create", "large")
    first = clone("large")
    block = os.urandom(2**20)
    content = b"".join(bytes([n]) + block for n in range(200 if full else 70))
    first.commit("large.bin", content)
    assert host.process is not None
    before = _peak(host.process.pid)
    first.push()
    second = clone("large", "second")
    got = (second.folder / "large.bin").read_bytes()
    assert hashlib.sha256(got).digest() == hashlib.sha256(content).digest()
    assert _peak(host.process.pid) - before < 30 * 2**20


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no peak")
