"""`serve`, `status` and `doctor`: with a server, beside one, and without."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from tests.helpers.command import Command, Server
from tests.helpers.poll import until_sync

HALF_A_PUSH = (
    b"POST /demo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-fossil\r\n"
    b"Content-Length: 100000\r\n\r\nabc"
)
PROMISED = {"version", "url", "pid", "uptime_s", "children", "repositories", "backup", "jobs"}


def test_status_without_a_server_ends_with_1(command: Command, fresh: Command) -> None:
    for where in (command, fresh):
        for form in ((), ("--json",)):
            assert "error: fossilrepo is not running" in where.refused(1, "status", *form)
    assert not fresh.data.exists()


def test_status_of_a_socket_that_nobody_listens_on_ends_with_1(command: Command) -> None:
    path = command.data / "run" / "control.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        here = os.open(path.parent, os.O_PATH)
        left_behind.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)
    assert "is not running" in command.refused(1, "status")


def test_commands_and_a_running_server_work_on_the_same_files(command: Command) -> None:
    with command.serving() as server:
        until_sync(lambda: re.search(r"/setup/\S{20,}", server.out()), what="the set-up link")
        status = command("status", "--json").json
        assert status.keys() >= PROMISED and status["pid"] == server.process.pid
        states = {child["name"]: child["state"] for child in status["children"]}
        assert states.keys() == {"fossil", "litestream"} and states["fossil"] == "running"
        shown = command("status").out
        assert status["url"] in shown and "fossil" in shown
        made = command("repo", "create", "beside", "--json").json
        assert made["path_clone_url"] == f"{status['url']}/beside"
        clone = command.folder / "clone.fossil"
        subprocess.run(
            ["fossil", "clone", "-A", "x", made["path_clone_url"], str(clone)],
            check=True,
            capture_output=True,
            env=command.environment | {"USER": "x"},
            timeout=60,
        )
        assert clone.stat().st_size > 50_000
        command("repo", "delete", "beside", "--yes")
        assert [r["name"] for r in command("repo", "list", "--json").json] == ["demo"]
    assert "is not running" in command.refused(1, "status")


def test_dropped_in_files_are_listed_with_the_reason(command: Command) -> None:
    with command.serving():
        (command.data / "repos" / "junk.fossil").write_text("no repository\n" * 100)
        (command.data / "repos" / "Bad_Name.fossil").write_text("x")

        def broken() -> dict[str, str]:
            listed = command("repo", "list", "--json").json
            found = {r["name"]: r for r in listed if r["id"] is None}
            return {} if len(found) < 2 else {n: r["state"] for n, r in found.items()}

        states = until_sync(broken, timeout=20, every=0.3, what="both files listed")
        assert states == {"junk": "broken", "Bad_Name": "broken"}
        text = command("repo", "list").out
        assert "junk.fossil" in text and "Bad_Name.fossil" in text and "REASON" in text


def test_sigint_ends_it_in_order_with_0(command: Command) -> None:
    with command.serving() as server:
        children = command("status", "--json").json["children"]
        assert server.end(signal.SIGINT) == 0
        assert "Traceback" not in server.log()
        assert not any(Path(f"/proc/{child['pid']}").exists() for child in children)


def test_a_second_sigint_ends_it_at_once_with_its_children(command: Command) -> None:
    with command.serving() as server, socket.socket() as slow:
        status = command("status", "--json").json
        port = int(status["url"].rpartition(":")[2])
        slow.connect(("127.0.0.1", port))
        slow.sendall(HALF_A_PUSH)
        until_sync(lambda: _requests(port) > 0, what="the request at the server")
        server.process.send_signal(signal.SIGINT)
        until_sync(lambda: "stopping" in server.out(), what="the first signal seen")
        began = time.monotonic()
        assert server.end(signal.SIGINT) == 130
        assert time.monotonic() - began < 3  # an ordered end waits 5 s for the request
        pids = [child["pid"] for child in status["children"]]
        until_sync(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), what="no child")
        assert "Traceback" not in server.log()


def test_a_second_server_on_the_same_data_is_refused(command: Command) -> None:
    with command.serving():
        said = command.refused(1, "serve")
        assert str(command.data) in said and "\nhint: " in said


def test_a_taken_port_is_said_in_words(command: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:" + str(taken.getsockname()[1])
        for key in ("FOSSILREPO_SERVER__LISTEN", "FOSSILREPO_FOSSIL__LISTEN"):
            outcome = command.run("serve", **{key: address})
            errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
            assert outcome.code == 1 and len(errors) == 1, outcome
            assert address in errors[0] and "Traceback" not in outcome.err


def test_the_serving_process_has_nothing_of_the_command_lines_libraries(command: Command) -> None:
    with command.serving(PYTHONPROFILEIMPORTTIME="1") as server:
        url = command("status", "--json").json["url"]
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:  # noqa: S310
            assert answer.status == 200
        imported = set(re.findall(r"\| +([a-z_0-9.]+)$", server.log(), re.MULTILINE))
    assert "fossilrepo.app" in imported
    assert imported & {"typer", "rich", "click", "alembic", "getpass"} == set()


def test_log_lines_of_the_server_can_be_json(command: Command) -> None:
    with command.serving(FOSSILREPO_LOG__FORMAT="json") as server:
        assert server.end() == 0
        lines = (command.folder / "serve.err").read_text().splitlines()
    assert all(line.startswith('{"at": ') for line in lines), lines


def test_doctor_says_what_was_found(command: Command) -> None:
    checks = command("doctor", "--json").json
    assert all(check.keys() == {"name", "result", "found", "mend"} for check in checks)
    assert {"fossil", "git"} <= {check["name"] for check in checks}
    assert "ok" in command("doctor").out


def test_doctor_ends_with_1_when_a_check_fails(command: Command) -> None:
    outcome = command.run("doctor", PATH=str(Path("/nonexistent")))
    assert outcome.code == 1 and "fail" in outcome.out and "fossil" in outcome.out
    assert "Traceback" not in outcome.err


def test_a_server_that_hangs_is_told_from_one_that_is_gone(command: Command) -> None:
    server = Server(command)
    try:
        server.wait_ready()
        server.process.send_signal(signal.SIGSTOP)
        assert "does not answer" in command.refused(1, "status")
    finally:
        server.process.send_signal(signal.SIGCONT)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(timeout=20)
        server.kill()


def _requests(port: int) -> int:
    """Connections to the port that the kernel shows as established."""
    table = Path("/proc/net/tcp").read_text()
    return len(re.findall(rf"0100007F:{port:04X} 0100007F:[0-9A-F]{{4}} 01 ", table))
