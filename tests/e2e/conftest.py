"""A running host, shared by the tests of one file; each test has repositories of its own."""

import asyncio
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.git_servers import HttpGit, http_git
from tests.helpers.host import Checkout, Host


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """In a folder that other accounts can reach: as root, Fossil then runs as one of them.

    The hosts of `fresh` lie in pytest's own folders, which are closed to every other account.
    """
    with tempfile.TemporaryDirectory(prefix="host-") as folder:
        Path(folder).chmod(0o755)
        yield from _running(Host(Path(folder) / "data"))


def _running(host: Host) -> Iterator[Host]:
    host.start()
    host.admin("ada")
    yield host
    code = host.stop()
    assert code == 0, host.log()[-3000:]
    assert "Traceback" not in host.log(), host.log()[-5000:]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Hosts of the test's own, ended with it; `fresh(KEY=value)` sets environment variables."""
    made: list[Host] = []

    def start(
        folder: str = "data", pace: dict[str, float] | None = None, **environment: str
    ) -> Host:
        made.append(Host(tmp_path / folder, environment, pace=pace or {}).start())
        return made[-1]

    yield start
    for one in made:
        one.stop()


@pytest.fixture
def clone(host: Host, tmp_path: Path) -> Callable[..., Checkout]:
    """A clone by the administrator, made and opened with the real client."""

    def make(name: str, folder: str = "first", on: Host | None = None) -> Checkout:
        where = on or host
        password = where.fossil_password("ada", name)
        return Checkout.cloned(where.url(name, "ada", password), tmp_path / folder, "ada")

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB of the test's own; needs to be root."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs", str(folder)],
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("this machine lets nobody mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HttpGit]:
    """A Git server with its own loop, since these tests have none."""
    started = threading.Event()
    found: list[HttpGit] = []

    async def serve() -> None:
        async with http_git(tmp_path / "served") as one:
            found.append(one)
            stopped.append(asyncio.Event())
            loops.append(asyncio.get_running_loop())
            started.set()
            await stopped[0].wait()

    stopped: list[asyncio.Event] = []
    loops: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(10)
    yield found[0]
    loops[0].call_soon_threadsafe(stopped[0].set)
    thread.join(10)
