"""What goes wrong with a replica is found, said in words, and mended by itself where it can be."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import s3
from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until_sync
from tests.helpers.pushes import Push, Pusher, checkins, is_noticed

Fresh = Callable[..., Host]
Clone = Callable[..., Checkout]


@pytest.fixture
def demo(fresh: Fresh, clone: Clone) -> Callable[..., tuple[Host, Pusher]]:
    """A host with one repository, on the replica, and somebody who pushes to it."""

    def make(pace: dict[str, float] | None = None, **environment: str) -> tuple[Host, Pusher]:
        host = fresh(pace=pace, **environment)
        host.admin()
        host.call("repo", "create", "demo")
        pusher = Pusher("demo", clone("demo", on=host))
        assert pusher.once()
        return host, pusher

    return make


def standing(host: Host, name: str = "demo") -> dict[str, Any]:
    document = json.loads(host.call("backup", "status", "--json", check=False).stdout)
    rows = [row for row in document["repositories"] if row["name"] == name]
    return rows[0] if rows else {"state": "unknown"}  # for a moment only its identity is known


def is_current(host: Host, name: str = "demo") -> bool:
    return standing(host, name)["state"] == "current"


def holds(host: Host, push: Push) -> bool:
    """Whether the replica counts as current, this push in it."""
    return is_noticed(push) and is_current(host)


def newest(host: Host, folder: Path) -> set[str]:
    """The check-ins that the newest restorable point holds."""
    out = folder / "newest.fossil"
    out.unlink(missing_ok=True)
    host.call("backup", "restore", "demo", "--to", str(out))
    return checkins(out)


def test_a_rebuild_by_hand_drops_litestreams_tables_and_they_come_back(
    demo: Callable[..., tuple[Host, Pusher]], tmp_path: Path
) -> None:
    host, pusher = demo()
    until_sync(lambda: is_current(host), what="the first copy")
    live = (host.data / "repos" / "demo.fossil").resolve()
    subprocess.run(
        ["fossil", "rebuild", str(live)],
        check=True,
        capture_output=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "USER": "root"},
        timeout=60,
    )
    # Litestream misses them when a checkpoint is due: at the latest when it starts.
    os.killpg(host.child("litestream")["pid"], signal.SIGKILL)
    last = pusher.once()
    assert last
    until_sync(lambda: holds(host, last), timeout=40, what="the mended replica")
    assert last.checkin in newest(host, tmp_path)


def test_a_child_that_hangs_is_started_again(
    demo: Callable[..., tuple[Host, Pusher]], tmp_path: Path, full: bool
) -> None:
    """At the pace that it has in use with `--long`."""
    quick = {"services.mending.LOOK_EVERY": 1.0, "services.mending.HANGS_AFTER": 2}
    host, pusher = demo(pace=None if full else quick)
    before = host.child("litestream")
    os.kill(before["pid"], signal.SIGSTOP)
    last = pusher.once()
    assert last
    until_sync(
        lambda: host.child("litestream")["pid"] not in (before["pid"], None),
        timeout=60,
        what="another process",
    )
    until_sync(lambda: holds(host, last), timeout=20, what="what was missed")
    assert last.checkin in newest(host, tmp_path)


def test_a_lost_state_folder_costs_nothing(
    demo: Callable[..., tuple[Host, Pusher]], tmp_path: Path
) -> None:
    host, pusher = demo()
    until_sync(lambda: is_current(host), what="the first copy")
    shutil.rmtree(host.data / "litestream")
    last = pusher.once()
    assert last
    until_sync(lambda: holds(host, last), timeout=40, what="a replica that is whole again")
    assert last.checkin in newest(host, tmp_path)
    first = tmp_path / "without-the-last.fossil"
    host.call(
        "backup", "restore", "demo", "--at", f"before {last.checkin[:16]}", "--to", str(first)
    )
    assert pusher.done[0].checkin in checkins(first)
    host.stop()
    shutil.rmtree(host.data / "litestream")
    host.start()
    until_sync(lambda: is_current(host), timeout=40, what="the replica after the start")
    assert last.checkin in newest(host, tmp_path)


def test_an_emptied_replica_is_filled_anew(
    demo: Callable[..., tuple[Host, Pusher]], tmp_path: Path
) -> None:
    host, pusher = demo()
    until_sync(lambda: is_current(host), what="the first copy")
    for entry in (host.data / "backups").iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    last = pusher.once()
    assert last
    host.call("backup", "verify", check=False)

    def whole() -> bool:
        done = host.call("backup", "verify", "demo", check=False)
        return done.returncode == 0

    until_sync(whole, timeout=60, every=1, what="a replica that can be restored")
    assert last.checkin in newest(host, tmp_path)


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[s3.Rclone]:
    with s3.rclone(tmp_path / "s3") as server:
        yield server


def on(server: s3.Server, keys: dict[str, str] | None = None) -> dict[str, str]:
    section = server.section()
    return {
        "FOSSILREPO_BACKUP__URL": section["url"],
        "FOSSILREPO_BACKUP__ENDPOINT": section["endpoint"],
        **(server.keys if keys is None else keys),
    }


def test_an_outage_of_the_s3_server_is_said_and_ended(
    demo: Callable[..., tuple[Host, Pusher]], bucket: s3.Rclone, tmp_path: Path
) -> None:
    host, pusher = demo(**on(bucket))
    until_sync(lambda: is_current(host), timeout=20, what="the first copy")
    bucket.stop()
    last = pusher.once()
    assert last, "a push is never kept waiting by the replica"
    until_sync(lambda: standing(host)["state"] == "failing", timeout=40, what="the failure")
    row = standing(host)
    assert row["lag_s"] > 0 and row["reason"] and row["hint"] and row["since"]
    assert "demo" in host.status()["backup"]["behind"]
    assert host.call("backup", "status", check=False).returncode == 1
    bucket.start()
    until_sync(lambda: holds(host, last), timeout=60, what="the end of the outage")
    assert last.checkin in newest(host, tmp_path)


def test_wrong_keys_are_said_and_renewed_ones_are_taken_without_a_restart(
    demo: Callable[..., tuple[Host, Pusher]], bucket: s3.Rclone, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(_section(s3.WRONG_KEYS))
    environment = {**on(bucket, {}), "FOSSILREPO_BACKUP__CREDENTIALS_FILE": str(keys)}
    host, pusher = demo(**environment)
    until_sync(lambda: standing(host)["state"] == "failing", timeout=40, what="the failure")
    row = standing(host)
    assert "SignatureDoesNotMatch" in row["reason"] and row["hint"]
    assert s3.WRONG_KEYS["AWS_SECRET_ACCESS_KEY"] not in host.log()
    pid = host.status()["pid"]
    keys.write_text(_section(s3.KEYS))
    until_sync(lambda: is_current(host), timeout=60, what="the renewed keys")
    assert host.status()["pid"] == pid
    last = pusher.once()
    assert last
    until_sync(lambda: last.checkin in newest(host, tmp_path), what="the push on the replica")


def _section(keys: dict[str, str]) -> str:
    lines = [f"{name.lower()} = {value}" for name, value in keys.items()]
    return "\n".join(["[default]", *lines, ""])


def test_a_missing_bucket_is_said_and_used_once_it_is_there(
    demo: Callable[..., tuple[Host, Pusher]], tmp_path: Path
) -> None:
    with s3.moto() as server:
        host, pusher = demo(**on(server))
        until_sync(lambda: standing(host)["state"] == "failing", timeout=40, what="the failure")
        assert "bucket" in standing(host)["reason"] + standing(host)["hint"]
        server.make_bucket()
        until_sync(lambda: is_current(host), timeout=60, what="the new bucket in use")
        assert pusher.done[-1].checkin in newest(host, tmp_path)
        host.stop()


@pytest.mark.parametrize("place", ["litestream", "backups"])
def test_a_full_disk_under_the_replica_is_said_and_disturbs_nobody(
    place: str, fresh: Fresh, clone: Clone, small_disk: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / place).symlink_to(small_disk / place)
    (small_disk / place).mkdir()
    host = fresh()
    host.admin()
    host.call("repo", "create", "demo")
    pusher = Pusher("demo", clone("demo", on=host))
    assert pusher.once()
    until_sync(lambda: is_current(host), what="the first copy")
    filler = small_disk / "filler"
    filler.write_bytes(b"\0" * (shutil.disk_usage(small_disk).free - 8192))
    pusher.checkout.commit("big.bin", os.urandom(400_000))
    last = pusher.once()
    assert last, "pushes go on"
    until_sync(lambda: standing(host)["state"] == "failing", timeout=40, what="the failure")
    assert "disk" in standing(host)["reason"]
    filler.unlink()
    until_sync(lambda: holds(host, last), timeout=60, what="room again")
    assert last.checkin in newest(host, tmp_path)


class _Out(BaseHTTPRequestHandler):
    """Answers 500, or takes the request and never answers."""

    silent = False

    def _answer(self) -> None:
        if self.silent:
            threading.Event().wait(60)
            return
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.mark.parametrize("kind", ["errors", "silence"])
def test_an_endpoint_out_of_order_delays_no_push_and_no_stop(
    kind: str, fresh: Fresh, clone: Clone
) -> None:
    handler = type("Out", (_Out,), {"silent": kind == "silence"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        host = fresh(**on(s3.Server(f"http://127.0.0.1:{server.server_port}")))
        host.admin()
        host.call("repo", "create", "demo")
        pusher = Pusher("demo", clone("demo", on=host))
        push = pusher.once()
        assert push and push.acknowledged - push.began < 10
        until_sync(lambda: standing(host)["state"] == "failing", timeout=60, what="the failure")
        row = standing(host)
        assert row["reason"] and row["hint"] and row["lag_s"] > 0
        began = time.monotonic()
        assert host.stop() == 0
        assert time.monotonic() - began < 15
    finally:
        server.shutdown()
        server.server_close()
