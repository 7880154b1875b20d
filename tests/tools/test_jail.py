from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fossilrepo.runtime.launch import Launched, launch
from fossilrepo.tools import jail
from fossilrepo.tools.identity import Identity, give, service_identity
from fossilrepo.tools.openers import users_of
from tests.helpers import jailed
from tests.helpers.jailed import Place
from tests.helpers.poll import until


async def test_the_probe_finds_the_namespace_and_serves_pages(
    place: Place, fossil_template: Path
) -> None:
    walls = await jail.probe(place.repos, place.identity)
    assert walls.kind == "namespace", walls
    assert all(wall.stands for wall in walls.details)
    place.new("demo", fossil_template)
    async with jailed.server(place, walls) as url:
        status, page = await jailed.get(f"{url}/demo/timeline")
        assert status == 200 and "initial empty check-in" in page
        code, said = await jailed.client(
            place, "clone", f"{url}/demo", "copy.fossil", "--no-open", "-A", "x"
        )
        assert code == 0, said


async def test_what_is_not_linked_as_served_is_unknown(place: Place, fossil_template: Path) -> None:
    place.new("demo", fossil_template)
    (place.repos / "dropped.fossil").write_bytes(fossil_template.read_bytes())
    walls = await jail.probe(place.repos, place.identity)
    async with jailed.server(place, walls) as url:
        for path in ("", "dropped", ".store/demo-id", "..", "%2e%2e/dropped", "demo-id", "tmp"):
            status, page = await jailed.get(f"{url}/{path}")
            assert status in (302, 404), path
            assert "demo" not in page or status == 302, path


async def test_the_server_sees_nothing_but_repositories_and_has_no_capability(
    place: Place, fossil_template: Path
) -> None:
    place.new("demo", fossil_template)
    walls = await jail.probe(place.repos, place.identity)
    async with jailed.server(place, walls) as url:
        listener = pid = _server_pid(url.rpartition(":")[2])
        status = Path(f"/proc/{pid}/status").read_text()
        effective = next(line for line in status.splitlines() if line.startswith("CapEff"))
        assert int(effective.split()[1], 16) & ~(1 << 18) == 0, effective
        assert "NoNewPrivs:\t1" in status
        if place.identity is not None:
            assert os.stat(f"/proc/{pid}").st_uid == place.identity.uid != 0
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"HOME=" not in environment and b"AWS" not in environment
        # Each connection is a process of its own, which enters the root before it reads.
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        try:
            if os.geteuid() != 0:
                return  # the kernel shows the root of a namespace to root only
            pid = await until(
                lambda: [
                    pid
                    for pid in _children(listener)
                    if os.path.exists(f"/proc/{pid}/root/.served")
                ],
                what="a connection's process in its root",
            )
            pid = pid[0]
            assert not os.path.exists(f"/proc/{pid}/root/bin")
            assert sorted(os.listdir(f"/proc/{pid}/root")) == sorted(os.listdir(place.repos))
        finally:
            writer.close()
            await writer.wait_closed()


async def test_term_to_the_group_ends_everything_within_a_second(
    place: Place, fossil_template: Path
) -> None:
    place.new("demo", fossil_template)
    walls = await jail.probe(place.repos, place.identity)
    running, port = await _start(place, walls)
    await jailed.get(f"http://127.0.0.1:{port}/demo/timeline")
    os.killpg(running.pid, signal.SIGTERM)
    try:
        await until(lambda: not _all_pids(place), timeout=1.0, what="every process of Fossil gone")
    finally:
        await running.end()


async def test_kill_of_the_first_process_leaves_nothing_not_even_the_backoffice(
    place: Place, fossil_template: Path
) -> None:
    file = place.new("demo", fossil_template)
    # Without backoffice-nodelay the backoffice waits a minute, in a session of its own.
    jailed.sql(file, "INSERT OR REPLACE INTO config VALUES('backoffice-nodelay', 0, 0)")
    walls = await jail.probe(place.repos, place.identity)
    running, port = await _start(place, walls)
    try:
        for _ in range(2):  # the second visit's backoffice waits for the first one's minute
            await jailed.get(f"http://127.0.0.1:{port}/demo/timeline")
        outside = await until(
            lambda: [pid for pid in _all_pids(place) if os.getpgid(pid) != running.pid],
            what="a backoffice process that left the group",
        )
        assert outside
        os.kill(running.pid, signal.SIGKILL)
        await until(lambda: not _all_pids(place), timeout=2.0, what="every process of Fossil gone")
    finally:
        await running.end()


def test_kill_of_the_parent_leaves_nothing(place: Place, fossil_template: Path) -> None:
    place.new("demo", fossil_template)
    script = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from fossilrepo.runtime.launch import Launched, launch
        from fossilrepo.tools import jail
        from fossilrepo.tools.identity import service_identity

        async def main():
            data = Path(sys.argv[1])
            walls = await jail.probe(data / "repos", service_identity(data))
            command = jail.server_command(walls, data / "repos", int(sys.argv[2]), "/x")
            await launch(command, lambda fd, text: None)
            await asyncio.sleep(60)

        asyncio.run(main())
        """
    )
    port = jailed.free_port()
    parent = subprocess.Popen([sys.executable, "-c", script, str(place.data), str(port)])
    try:
        asyncio.run(_answering(port))
        assert _all_pids(place)
    finally:
        parent.kill()
        parent.wait()
    asyncio.run(_gone(place))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may use Fossil's own chroot")
async def test_as_root_without_namespaces_fossils_own_chroot_serves(
    place: Place, fossil_template: Path
) -> None:
    jail._make_devices(place.repos)
    walls = jail.Walls("chroot", "", place.identity, ())
    place.new("demo", fossil_template)
    async with jailed.server(place, walls) as url:
        assert (await jailed.get(f"{url}/demo/timeline"))[0] == 200
        assert (await jailed.get(f"{url}/dropped"))[0] == 302


async def test_without_any_wall_pages_are_served_by_an_ordinary_user(
    place: Place, fossil_template: Path
) -> None:
    walls = jail.Walls("none", "", place.identity, ())
    place.new("demo", fossil_template)
    async with jailed.server(place, walls) as url:
        assert (await jailed.get(f"{url}/demo/timeline"))[0] == 200


@pytest.mark.parametrize("kind", ["namespace", "chroot", "none"])
async def test_what_fossil_warns_of_is_told_here_and_not_to_the_client(
    place: Place, fossil_template: Path, kind: jail.Kind
) -> None:
    if kind == "chroot":
        if os.geteuid() != 0:
            pytest.skip("only root may use Fossil's own chroot")
        jail._make_devices(place.repos)
    file = place.new("demo", fossil_template)
    jailed.sql(file, "PRAGMA journal_mode=wal")
    jailed.sql(file, "INSERT OR REPLACE INTO config VALUES('backoffice-nodelay', 1, 0)")
    said = bytearray()
    async with jailed.server(place, jail.Walls(kind, "", place.identity, ()), said) as url:
        code, words = await jailed.client(place, "clone", f"{url}/demo", "one.fossil", "--no-open")
        assert code == 0, words
        await until(lambda: not users_of(file), what="the end of the first clone's connections")
        # A log that is left behind, as by a process that was killed: SQLite tells of it.
        script = f"""import os, sqlite3; db = sqlite3.connect({str(file)!r})
db.execute("INSERT INTO config VALUES('left-in-the-log', 1, 0)"); db.commit(); os._exit(0)"""
        subprocess.run([sys.executable, "-c", script], check=True)
        for left in (f"{file}-wal", f"{file}-shm"):
            give(Path(left), place.identity)
        code, words = await jailed.client(place, "clone", f"{url}/demo", "two.fossil", "--no-open")
        assert code == 0 and "SQLITE" not in words, words
        await until(lambda: b"frames from WAL file" in said, what="Fossil's warning in our log")
    assert not (place.repos / "dev" / "errors").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has no choice of account")
def test_root_does_not_run_fossil_as_root(place: Place) -> None:
    found = service_identity(place.data / "new")
    assert found is not None and found.uid != 0
    os.chown(place.repos, 4711, 4712)
    assert service_identity(place.data) == Identity(4711, 4712, "4711")


@pytest.mark.skipif(os.geteuid() == 0, reason="root always picks an account")
def test_an_ordinary_user_keeps_its_account(tmp_path: Path) -> None:
    assert service_identity(tmp_path) is None


async def _start(place: Place, walls: jail.Walls) -> tuple[Launched, int]:
    port = jailed.free_port()
    command = jail.server_command(walls, place.repos, port, "/not-here")
    running = await launch(command, lambda _fd, _data: None)
    await _answering(port)
    return running, port


async def _answering(port: int) -> None:
    await until(lambda: jailed.listens(port), what="fossil server")


async def _gone(place: Place) -> None:
    await until(lambda: not _all_pids(place), timeout=2.0, what="every process of Fossil gone")


def _all_pids(place: Place) -> list[int]:
    """Every process whose command line names this jail, the launcher and Fossil's forks alike."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if str(place.repos).encode() in line:
                found.append(int(folder.name))
    return found


def _server_pid(port: str) -> int:
    """The process that listens; those of its connections have the same command line."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes().split(b"\0")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if line[0].endswith(b"fossil") and f"127.0.0.1:{port}".encode() in line:
                found[int(folder.name)] = parent
    [listener] = [pid for pid, parent in found.items() if parent not in found]
    return listener


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
