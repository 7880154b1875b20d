"""Repositories that come over the network: from a real Fossil and a real Git server."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fossilrepo.config import Limits, Settings, Sync
from fossilrepo.core import open_services
from fossilrepo.errors import InvalidInput
from fossilrepo.models import Actor, Job, JobState
from fossilrepo.services import Services
from tests.helpers.poll import until_sync

ADMIN = Actor("ada", is_admin=True)
HERE = Actor.command_line()
ROOT = Path(__file__).parents[2]


def port_of_nobody() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
async def services(settings: Settings) -> AsyncIterator[Services]:
    limits = Limits.model_validate({"free_disk": "0%"})
    async with open_services(settings.model_copy(update={"limits": limits})) as services:
        yield services


@pytest.fixture
def remote(tmp_path: Path, fossil_template: Path) -> Iterator[str]:
    """The address of a Fossil server with a private repository; bob may clone with `pw-of-bob`."""
    home = tmp_path / "remote"
    home.mkdir()
    file = home / "theirs.fossil"
    file.write_bytes(fossil_template.read_bytes())
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "USER": "setup"}
    for command in (
        ["user", "new", "bob", "Bob", "pw-of-bob"],
        ["user", "capabilities", "bob", "gio"],
        ["user", "capabilities", "nobody", ""],
        ["user", "capabilities", "anonymous", ""],
    ):
        subprocess.run(["fossil", *command, "-R", str(file)], env=env, check=True, stdout=-3)
    port = port_of_nobody()
    server = subprocess.Popen(
        ["fossil", "server", "--nojail", "--port", f"127.0.0.1:{port}", str(file)],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until_sync(lambda: answers(port), what="the remote Fossil")
    yield f"http://127.0.0.1:{port}/"
    server.kill()
    server.wait()


@pytest.fixture
def git_folder(tmp_path: Path) -> Path:
    """A bare Git repository with a generated history of 60 check-ins."""
    folder = tmp_path / "project.git"
    subprocess.run(["git", "init", "-q", "--bare", str(folder)], check=True)
    generator = [sys.executable, str(ROOT / "bench" / "history.py")]
    stream = subprocess.run(
        [*generator, "--checkins", "60", "--megabytes", "1"], capture_output=True, check=True
    ).stdout
    subprocess.run(["git", "-C", str(folder), "fast-import", "--quiet"], input=stream, check=True)
    return folder


@pytest.fixture
def git_server(git_folder: Path) -> Iterator[str]:
    """The folder over HTTP, as plain files (Git's dumb protocol)."""
    subprocess.run(["git", "-C", str(git_folder), "update-server-info"], check=True)
    port = port_of_nobody()
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)],
        cwd=git_folder.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until_sync(lambda: answers(port), what="the Git server")
    yield f"http://127.0.0.1:{port}/project.git"
    server.kill()
    server.wait()


async def ended(services: Services, job: Job) -> Job:
    done = await services.jobs.wait(job.id)
    assert os.listdir(services.settings.scratch) == []
    return done


async def test_a_remote_fossil_is_cloned_with_a_password(services: Services, remote: str) -> None:
    job = await services.imports.clone(HERE, "theirs", remote, login="bob", password="pw-of-bob")
    done = await ended(services, job)
    assert done.state is JobState.DONE, done.error
    made = await services.repos.get(HERE, "theirs")
    assert made.checkins == 1 and made.trust == "untrusted"
    assert "pw-of-bob" not in done.log + str(await services.audit.recent())
    assert b"pw-of-bob" not in (services.settings.repos / "theirs.fossil").read_bytes()


async def test_a_clone_with_a_wrong_password_fails_and_leaves_nothing(
    services: Services, remote: str
) -> None:
    job = await services.imports.clone(HERE, "theirs", remote, login="bob", password="wrong")
    done = await ended(services, job)
    assert done.state is JobState.FAILED and done.error
    assert (await services.repos.search(HERE)).total == 0


async def test_a_clone_for_the_site_does_not_reach_this_machine(
    services: Services, remote: str
) -> None:
    done = await ended(services, await services.imports.clone(ADMIN, "theirs", remote))
    assert done.state is JobState.FAILED and "private network" in done.error


async def test_a_redirect_does_not_lead_into_a_private_network(settings: Settings) -> None:
    target_asked: list[bytes] = []

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        where = f"http://127.0.0.2:{target.sockets[0].getsockname()[1]}/"
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {where}\r\n\r\n".encode())
        writer.close()

    async def spy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_asked.append(await reader.read(1000))
        writer.close()

    target = await asyncio.start_server(spy, "127.0.0.2", 0)
    door = await asyncio.start_server(redirect, "127.0.0.1", 0)
    limits = Limits.model_validate({"free_disk": "0%"})
    sync = Sync(allowed_networks=["127.0.0.1/32"])
    settings = settings.model_copy(update={"limits": limits, "sync": sync})
    try:
        async with open_services(settings) as services:
            url = f"http://127.0.0.1:{door.sockets[0].getsockname()[1]}/"
            for importing in (services.imports.clone, services.imports.git):
                job = await importing(ADMIN, "a", url)
                assert (await ended(services, job)).state is JobState.FAILED
        assert target_asked == []
    finally:
        target.close()
        door.close()


async def test_a_git_folder_is_imported_with_its_history(
    services: Services, git_folder: Path
) -> None:
    done = await ended(services, await services.imports.git(HERE, "project", str(git_folder)))
    assert done.state is JobState.DONE, done.error
    made = await services.repos.get(HERE, "project")
    commits = subprocess.run(
        ["git", "-C", str(git_folder), "rev-list", "--all", "--count"],
        capture_output=True,
        check=True,
    ).stdout
    assert made.checkins == int(commits)
    assert (await services.repos.checkins(made, 5))[0].comment


async def test_a_git_server_is_fetched_and_imported(services: Services, git_server: str) -> None:
    done = await ended(services, await services.imports.git(HERE, "project", git_server))
    assert done.state is JobState.DONE, done.error
    assert (await services.repos.get(HERE, "project")).checkins >= 60


async def test_this_project_s_own_history_is_imported(services: Services) -> None:
    inside = subprocess.run(["git", "-C", str(ROOT), "rev-parse"], capture_output=True)
    if inside.returncode != 0:
        pytest.skip("the project lies in no Git repository here")
    done = await ended(services, await services.imports.git(HERE, "own", str(ROOT)))
    assert done.state is JobState.DONE, done.error
    assert (await services.repos.get(HERE, "own")).checkins > 10


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ext::sh -c id",
        "ssh://git@example.org/x",
        "--upload-pack=id",
        "https://-oProxyCommand=id/x",
        "https://example.org/a b",
        "https://example.org/\nHost: x",
        "https://",
        "https://example.org:0/",
        "",
    ],
)
async def test_addresses_that_are_none_are_refused_at_once(services: Services, url: str) -> None:
    for refused in (
        services.imports.clone(ADMIN, "x", url),
        services.imports.git(HERE, "x", url if "://" in url else f"https://{url}"),
    ):
        with pytest.raises(InvalidInput):
            await refused
    assert await services.jobs.recent(ADMIN) == []
