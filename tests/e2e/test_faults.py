"""What a server meets: killed processes, taken ports, a full disk, changes in mid-work."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.host import Checkout, Host, alive
from tests.helpers.poll import until_sync

Clone = Callable[..., Checkout]
Fresh = Callable[..., Host]


def integrity(file: Path) -> str:
    home = file.parent.parent.parent.parent
    done = subprocess.run(
        ["fossil", "test-integrity", "-R", str(file)],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "USER": "t"},
        timeout=60,
    )
    return done.stdout + done.stderr


def test_fossil_killed_in_the_middle_of_a_push_loses_nothing(host: Host, clone: Clone) -> None:
    host.call("repo", "create", "killed")
    first = clone("killed")
    made = first.commit("big.bin", os.urandom(40 * 2**20))
    child = host.child()
    done: list[subprocess.CompletedProcess[str]] = []
    pusher = threading.Thread(target=lambda: done.append(first.push(check=False)))
    pusher.start()
    workers = until_sync(lambda: _fossil_workers(child["pid"]), what="a process for the push")
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    pusher.join(60)
    assert done and done[0].stderr.strip(), "the client was not told"
    until_sync(lambda: host.child()["state"] == "running", what="the restart", timeout=20)
    first.push()
    assert clone("killed", "second").has(made)
    file = (host.data / "repos" / "killed.fossil").resolve()
    assert " 0 errors" in integrity(file)


def _fossil_workers(pid: int) -> list[int]:
    """The Fossil processes below, once one of them answers a connection."""
    from tests.helpers.host import below

    found = [p for p in below(pid) if _name(p) == "fossil"]
    return found if len(found) > 1 else []


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def test_a_killed_server_is_restarted(host: Host) -> None:
    host.call("repo", "create", "back")
    before = host.child()
    os.killpg(before["pid"], signal.SIGKILL)
    until_sync(lambda: host.child()["restarts"] > before["restarts"], what="the restart")
    until_sync(lambda: host.child()["state"] == "running", what="the new one")
    assert host.get("/back/timeline", host="back")[0] == 200


def test_a_killed_host_leaves_no_process_and_starts_again(fresh: Fresh) -> None:
    host = fresh()
    host.call("repo", "create", "kept")
    pids = host.pids()
    assert len(pids) >= 3
    host.kill()
    until_sync(lambda: not any(alive(p) for p in pids), what="the children to be gone")
    host.start()
    assert host.get("/kept/timeline", host="kept")[0] == 200
    pids = host.pids()
    assert host.stop() == 0
    assert not any(alive(p) for p in pids)


def test_a_second_host_on_the_same_data_is_refused(host: Host) -> None:
    done = host.call("serve", check=False)
    assert done.returncode == 1
    assert "already running" in done.stderr and "hint:" in done.stderr


@pytest.mark.parametrize("key", ["SERVER", "FOSSIL"])
def test_a_port_that_is_taken_is_told(tmp_path: Path, key: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        host = Host(tmp_path / "data", {f"FOSSILREPO_{key}__LISTEN": f"127.0.0.1:{port}"})
        done = host.call("serve", check=False)
    assert done.returncode == 1 and str(port) in done.stderr and "hint:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_refuses_and_leaves_nothing_behind(
    small_disk: Path, fossil_template: Path
) -> None:
    host = Host(small_disk / "data").start()
    try:
        host.call("repo", "create", "first")
        filler = small_disk / "filler"
        free = shutil.disk_usage(small_disk).free
        filler.write_bytes(b"\0" * (free - 120_000))
        before = _files(host.data / "repos")
        done = host.call("repo", "create", "second", check=False)
        assert done.returncode == 1 and "error:" in done.stderr and "Traceback" not in done.stderr
        done = host.call("repo", "import", "third", "--file", str(fossil_template), check=False)
        assert done.returncode == 1 and "error:" in done.stderr
        assert _files(host.data / "repos") == before
        assert not list((host.data / "tmp").glob("*.fossil*"))
        filler.unlink()
        host.call("repo", "create", "second")
        assert host.get("/second/timeline", host="second")[0] == 200
    finally:
        host.stop()


def _files(folder: Path) -> list[str]:
    sides = ("-wal", "-shm", "-journal")
    return sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*") if not p.name.endswith(sides)
    )


def test_below_the_free_disk_that_is_kept_everything_is_read_only(
    fresh: Fresh, clone: Clone, tmp_path: Path
) -> None:
    host = fresh()
    host.admin()
    host.call("repo", "create", "full")
    first = clone("full", on=host)
    assert host.stop() == 0
    host.environment["FOSSILREPO_LIMITS__FREE_DISK"] = "90%"
    usage = shutil.disk_usage(tmp_path)
    if usage.free / usage.total >= 0.9:
        pytest.skip("this disk is nearly empty")
    host.start()
    made = first.commit("a.txt", "a\n")
    refused = first.push(host.url("full", "ada", host.fossil_password("ada", "full")), check=False)
    assert "disk" in refused.stdout + refused.stderr
    reader = Checkout.cloned(host.url("full"), tmp_path / "reader", "eve")
    assert not reader.has(made)
    done = host.call("repo", "create", "more", check=False)
    assert done.returncode == 1 and "free" in done.stderr
    assert "disk" in str(host.status()["read_only"])


def test_a_rename_and_a_delete_while_clients_work(host: Host, clone: Clone, tmp_path: Path) -> None:
    host.call("repo", "create", "moving")
    first = clone("moving")
    first.commit("big.bin", os.urandom(20 * 2**20))
    first.push()
    made = first.commit("more.bin", os.urandom(21 * 2**20))
    results: dict[str, subprocess.CompletedProcess[str]] = {}
    reader = Checkout(tmp_path / "reader", "eve")
    url = host.url("moving")

    def push() -> None:
        results["push"] = first.push(check=False)

    def read() -> None:
        results["clone"] = reader.fossil("clone", "--no-open", url, str(reader.file), check=False)

    workers = [threading.Thread(target=push), threading.Thread(target=read)]
    for worker in workers:
        worker.start()
    time.sleep(0.3)
    host.call("repo", "rename", "moving", "moved")
    for worker in workers:
        worker.join(90)
    again = first.push(host.url("moved", "ada", host.fossil_password("ada", "moved")), check=False)
    assert again.returncode == 0
    assert clone("moved", "second").has(made)
    if results["clone"].returncode == 0:
        assert " 0 errors" in integrity(reader.file)
    host.call("repo", "delete", "moved", "--yes")
    assert host.get("/moved/timeline", host="moved")[0] == 404
    identity = host.json("repo", "trash", "list")[0]["id"]
    host.call("repo", "trash", "restore", identity, "--as", "restored")
    assert clone("restored", "third").has(made)


def test_two_changes_of_one_repository_get_an_order(host: Host) -> None:
    host.call("repo", "create", "contested")
    started = [
        subprocess.Popen(**host._arguments("repo", "rename", "contested", f"winner-{n}"),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for n in range(4)
    ]  # fmt: skip
    codes = []
    for process in started:
        process.communicate(timeout=60)
        codes.append(process.returncode)
    assert sorted(codes) == [0, 1, 1, 1]
    names = [r["name"] for r in host.json("repo", "list")]
    assert sum(n.startswith("winner-") for n in names) == 1 and "contested" not in names


def test_of_two_creators_of_one_name_one_is_refused(host: Host) -> None:
    started = [
        subprocess.Popen(**host._arguments("repo", "create", "wanted"),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=60) for process in started]
    assert sorted(p.returncode for p in started) == [0, 1, 1]
    assert sum(b"in use" in err for _, err in outputs) == 2
    stored = [p for p in (host.data / "repos" / ".store").glob("*.fossil")]
    rows = host.json("repo", "list") + host.json("repo", "trash", "list")
    assert {p.stem for p in stored} == {r["id"] for r in rows if r["id"]}


async def test_clients_that_send_half_a_request_do_not_stop_the_site(host: Host) -> None:
    host.call("repo", "create", "patient")
    port = host.port
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(150)]
    try:
        for _, writer in held:
            writer.write(
                f"POST /patient HTTP/1.1\r\nHost: patient.localhost:{port}\r\n"
                "Content-Type: application/x-fossil\r\nContent-Length: 1000\r\n\r\nhalf".encode()
            )
            await writer.drain()
        started = time.monotonic()
        status, _ = await asyncio.to_thread(host.get, "/healthz")
        assert status == 200
        assert time.monotonic() - started < 5
    finally:
        for _, writer in held:
            writer.close()
