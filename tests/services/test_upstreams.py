"""Exchanging content with real Fossil servers: what arrives, what is refused, what is kept."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from fossilrepo.bridge import Direction, MirrorState
from fossilrepo.config import Settings
from fossilrepo.errors import (
    Conflict,
    Forbidden,
    FossilrepoError,
    InvalidInput,
    NotFound,
    ToolFailed,
)
from fossilrepo.models import Actor, Job, JobState
from tests.helpers.checkins import Committer, checkins
from tests.helpers.lab import HERE, Yard, yard
from tests.helpers.poll import until_sync

PASSWORD = "pw-of-bob-1234"


@dataclass
class Remote:
    """Another Fossil of the same project, by its file and its address."""

    file: Path
    url: str
    committer: Committer


@pytest.fixture
async def here(settings: Settings, tmp_path: Path) -> AsyncIterator[Yard]:
    async with yard(settings, tmp_path) as one:
        await one.repository("demo")
        await one.commit("demo", "the first")
        yield one


@pytest.fixture
async def remote(here: Yard, tmp_path: Path) -> AsyncIterator[Remote]:
    """A copy of `demo`, served: bob may push, strangers nothing."""
    folder = tmp_path / "remote"
    folder.mkdir()
    file = folder / "theirs.fossil"
    with closing(sqlite3.connect(await here.path("demo"))) as db:
        db.execute("VACUUM INTO ?", (str(file),))
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "USER": "fossilrepo"}
    for words in (
        ["user", "new", "bob", "Bob", PASSWORD],
        ["user", "capabilities", "bob", "gio"],
        ["user", "capabilities", "nobody", ""],
        ["user", "capabilities", "anonymous", ""],
    ):
        subprocess.run(["fossil", *words, "-R", str(file)], env=env, check=True, stdout=-3)
    port = _free_port()
    server = subprocess.Popen(
        ["fossil", "server", "--nojail", "--port", f"127.0.0.1:{port}", str(file)],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until_sync(lambda: _answers(port), what="the remote Fossil")
    committer = Committer(file, tmp_path / "theirs")
    committer._count = 50  # other content than here
    yield Remote(file, f"http://127.0.0.1:{port}/", committer)
    server.kill()
    server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def run(here: Yard) -> Job:
    job = await here.services.upstreams.run(HERE, "demo", here=True)
    return await here.services.jobs.wait(job.id)


async def test_what_the_other_has_is_pulled(here: Yard, remote: Remote) -> None:
    theirs = remote.committer.commit("made there")
    await here.services.upstreams.set(HERE, "demo", remote.url, user="bob", password=PASSWORD)
    job = await run(here)
    assert job.state is JobState.DONE, job.error
    assert theirs in checkins(await here.path("demo"))
    upstream = await here.services.upstreams.get(HERE, "demo")
    assert upstream is not None and upstream.standing.state is MirrorState.IN_SYNC
    assert "nothing new" in (await run(here)).progress


@pytest.mark.parametrize("direction", [Direction.PUSH, Direction.SYNC])
async def test_what_is_here_is_pushed(here: Yard, remote: Remote, direction: Direction) -> None:
    ours = await here.commit("demo", "made here")
    await here.services.upstreams.set(
        HERE, "demo", remote.url, direction=direction, user="bob", password=PASSWORD
    )
    job = await run(here)
    assert job.state is JobState.DONE, job.error
    assert ours in checkins(remote.file)


async def test_nothing_of_the_upstream_is_kept_in_the_repository(
    here: Yard, remote: Remote, settings: Settings
) -> None:
    remote.committer.commit("made there")
    await here.services.upstreams.set(HERE, "demo", remote.url, user="bob", password=PASSWORD)
    await run(here)
    path = await here.path("demo")
    with closing(sqlite3.connect(path)) as db:
        names = {name for (name,) in db.execute("SELECT name FROM config")}
    assert not {n for n in names if n.startswith(("last-sync", "sync", "peer-"))}
    found = [
        file
        for file in settings.data.rglob("*")
        if file.is_file() and PASSWORD.encode() in file.read_bytes()
    ]
    assert found == []


@pytest.mark.parametrize(
    ("user", "password", "says"),
    [("bob", "wrong-one", "login failed"), ("", "", "not authorized")],
)
async def test_a_refusal_is_no_success(
    here: Yard, remote: Remote, user: str, password: str, says: str
) -> None:
    """Fossil's own client ends with 0 then."""
    remote.committer.commit("made there")
    await here.services.upstreams.set(HERE, "demo", remote.url, user=user, password=password)
    job = await run(here)
    assert job.state is JobState.FAILED and says in job.error and job.hint
    with pytest.raises(ToolFailed, match=says):
        await here.services.upstreams.test(HERE, "demo", remote.url, user=user, password=password)
    upstream = await here.services.upstreams.get(HERE, "demo")
    assert upstream is not None and upstream.standing.state is MirrorState.FAILING
    assert upstream.standing.next_run is not None


async def test_another_project_is_refused(here: Yard, remote: Remote) -> None:
    await here.repository("other")
    with pytest.raises(ToolFailed, match="wrong project"):
        await here.services.upstreams.test(HERE, "other", remote.url, user="bob", password=PASSWORD)
    said = await here.services.upstreams.test(
        HERE, "demo", remote.url, user="bob", password=PASSWORD
    )
    assert "knows this project" in said


async def test_a_server_that_is_away_or_refuses_is_told(here: Yard) -> None:
    await here.services.upstreams.set(HERE, "demo", f"http://127.0.0.1:{_free_port()}/")
    job = await run(here)
    assert job.state is JobState.FAILED and "cannot be reached" in job.error

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=int(request.path.strip("/").split("/")[-1]))

    app = web.Application()
    app.router.add_route("*", "/{code}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    for code in (200, 302, 413, 500):
        await here.services.upstreams.set(HERE, "demo", f"http://127.0.0.1:{port}/{code}")
        job = await run(here)
        assert job.state is JobState.FAILED, code
    await runner.cleanup()


@pytest.mark.parametrize(
    "url",
    ["file:///etc", "ssh://x@example.org/y", "https://u:p@example.org/", "/etc", "-x", "ftp://a/b"],
)
async def test_addresses_that_could_be_something_else_are_refused(here: Yard, url: str) -> None:
    with pytest.raises(InvalidInput):
        await here.services.upstreams.set(HERE, "demo", url)
    assert await here.services.upstreams.get(HERE, "demo") is None


@pytest.mark.parametrize("url", ["http://10.0.0.1/x", "https://169.254.1.1/", "http://[::1]/x"])
async def test_private_places_are_refused(here: Yard, url: str) -> None:
    with pytest.raises(InvalidInput, match="private network"):
        await here.services.upstreams.set(HERE, "demo", url)


async def test_nothing_is_pulled_into_an_archive(here: Yard, remote: Remote) -> None:
    await here.services.upstreams.set(HERE, "demo", remote.url, user="bob", password=PASSWORD)
    remote.committer.commit("made there")
    await here.services.repos.archive(HERE, "demo")
    job = await run(here)
    assert job.state is JobState.FAILED and "archived" in job.error
    with pytest.raises(Conflict, match="archived"):
        await here.services.upstreams.set(HERE, "demo", remote.url)


async def test_a_password_stays_until_address_or_login_change(here: Yard, remote: Remote) -> None:
    upstreams = here.services.upstreams
    await upstreams.set(HERE, "demo", remote.url, user="bob", password=PASSWORD)
    kept = await upstreams.set(HERE, "demo", remote.url, user="bob", schedule="1h")
    assert kept.has_password and kept.schedule == "1h"
    moved = await upstreams.set(HERE, "demo", "https://1.1.1.1/", user="bob")
    assert not moved.has_password


async def test_only_administrators_of_the_repository_set_one(here: Yard, remote: Remote) -> None:
    await here.services.accounts.create_user(HERE, "eve")
    eve = Actor("eve", user_id=(await here.services.accounts.user("eve")).id)
    with pytest.raises(Forbidden):
        await here.services.upstreams.set(eve, "demo", remote.url)
    await here.services.upstreams.set(HERE, "demo", remote.url)
    with pytest.raises(Forbidden):
        await here.services.upstreams.run(eve, "demo")
    with pytest.raises(FossilrepoError):
        await here.services.upstreams.test(eve, "demo", remote.url)
    await here.services.upstreams.remove(HERE, "demo")
    with pytest.raises(NotFound):
        await here.services.upstreams.run(HERE, "demo")


async def test_a_clone_follows_where_it_came_from(here: Yard, remote: Remote) -> None:
    job = await here.services.imports.clone(
        HERE, "copy", remote.url, login="bob", password=PASSWORD, follow=True
    )
    done = await here.services.jobs.wait(job.id)
    assert done.state is JobState.DONE and "not followed" not in done.progress, done.error
    theirs = remote.committer.commit("made there")
    job = await here.services.upstreams.run(HERE, "copy", here=True)
    done = await here.services.jobs.wait(job.id)
    assert done.state is JobState.DONE, done.error
    assert theirs in checkins(await here.path("copy"))
    upstream = await here.services.upstreams.get(HERE, "copy")
    assert upstream is not None and upstream.schedule == "15m" and upstream.has_password
