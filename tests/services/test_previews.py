"""Previews with the real Litestream, and the real Fossil in its jail that serves them."""

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from fossilrepo.config import Limits, Settings
from fossilrepo.errors import Conflict, Forbidden, InvalidInput, NotFound
from fossilrepo.models import Actor, HostState, Job, JobState, Preview, Repository, now
from fossilrepo.runtime.launch import launch
from fossilrepo.services.previews import MOST, Previews
from fossilrepo.tools import jail
from tests.helpers.checkins import Committer, checkins
from tests.helpers.jailed import free_port, listens, request
from tests.helpers.poll import until
from tests.helpers.replicas import ADMIN, Replicated, replicated, replicated_settings

PASSWORD = "correct horse battery"


@pytest.fixture
async def host(settings: Settings) -> AsyncIterator[Replicated]:
    async with replicated(replicated_settings(settings)) as host:
        yield host


def of(host: Replicated) -> Previews:
    return host.core.services.previews


async def opened(host: Replicated, key: str, moment: str = "") -> Preview:
    job = await ended(host, key, moment)
    assert (job.state, job.error) == (JobState.DONE, "")
    preview = (await of(host).list(ADMIN))[-1]
    assert f"//{preview.name}." in job.log.splitlines()[-1]
    return preview


async def ended(host: Replicated, key: str, moment: str = "") -> Job:
    return await host.ended(await of(host).open(ADMIN, key, moment))


async def committed(host: Replicated, repository: Repository, folder: Path) -> list[str]:
    """Three check-ins, each on the replica before the next."""
    work = await asyncio.to_thread(Committer, host.file(repository), folder)
    hashes = []
    for number in range(3):
        hashes.append(await asyncio.to_thread(work.commit, f"change {number}"))
        await host.replication.ensure(repository.id)
    return hashes


@asynccontextmanager
async def fossil_server(host: Replicated) -> AsyncIterator[str]:
    walls, port = await host.core.probe_walls(), free_port()
    command = jail.server_command(walls, host.settings.repos, port, "/not-here")
    running = await launch(command, lambda _fd, _data: None)
    try:
        await until(lambda: listens(port), what="fossil server")
        yield f"127.0.0.1:{port}"
    finally:
        await running.end()


def fossil(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["fossil", *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "USER": "ada"},
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )


def left(host: Replicated) -> list[str]:
    """Names of everything that previews put anywhere."""
    shelf = host.core.shelf
    links = [p.name for p in shelf.served.iterdir() if "--" in p.name]
    return [*links, *(p.name for p in shelf.previews.iterdir())]


async def test_a_moment_is_served_to_administrators_for_reading_and_to_nobody_else(
    host: Replicated, tmp_path: Path
) -> None:
    accounts = host.core.services.accounts
    await accounts.create_user(ADMIN, "ada", password=PASSWORD, is_admin=True)
    await accounts.create_user(ADMIN, "eve", password=PASSWORD, is_admin=True)
    demo = await host.create("demo", pages=0)
    hashes = await committed(host, demo, tmp_path / "work")
    preview = await opened(host, "demo", f"before {hashes[2][:12]}")
    assert preview.name.startswith("demo--") and preview.repository_id == demo.id
    assert timedelta(minutes=59) < preview.expires_at - now() <= timedelta(hours=1)
    password = await accounts.sync_password("ada", demo)
    async with fossil_server(host) as at:
        path = f"{at}/{preview.name}"
        status, page = await asyncio.to_thread(request, f"http://{path}/timeline")
        assert status != 200 and "change 1" not in page
        for url in (f"http://{path}", f"http://ada:wrong@{path}"):
            refused = await asyncio.to_thread(fossil, tmp_path, "clone", url, "no.fossil")
            assert refused.returncode != 0, refused.stdout
        url = f"http://ada:{password}@{path}"
        taken = await asyncio.to_thread(fossil, tmp_path, "clone", url, "yes.fossil")
        assert taken.returncode == 0, taken.stdout + taken.stderr
        assert set(hashes) & checkins(tmp_path / "yes.fossil") == set(hashes[:2])

        work = await asyncio.to_thread(Committer, tmp_path / "yes.fossil", tmp_path / "out", "ada")
        mine = await asyncio.to_thread(work.commit, "not welcome")
        await asyncio.to_thread(fossil, tmp_path / "out", "push", url, "--once")
        file = host.core.shelf.preview_file(preview.id)
        assert mine not in checkins(file)

        await accounts.set_disabled(ADMIN, "ada", True)
        refused = await asyncio.to_thread(fossil, tmp_path, "clone", url, "late.fossil")
        assert refused.returncode != 0
    assert rights(file) == {"eve": "ghjorz2"}
    assert await host.actions("backup.preview.open") == ["backup.preview.open"]
    assert list(host.settings.scratch.iterdir()) == []


def rights(file: Path) -> dict[str, str]:
    """Who can sign in, or may do something without."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        query = (
            "SELECT login, cap FROM user WHERE cap <> '' AND "
            "(pw <> '' OR login IN ('nobody', 'anonymous', 'reader', 'developer'))"
        )
        return dict(db.execute(query))


async def test_what_was_dangerous_or_personal_at_that_time_does_not_come_back(
    host: Replicated,
) -> None:
    demo = await host.create("demo")
    with sqlite3.connect(host.file(demo), timeout=10) as db:
        db.execute("INSERT INTO config (name, value) VALUES ('hooks', 'x'), ('tcl', '1')")
        db.execute("INSERT INTO config (name, value) VALUES ('http-auth:a', 'secret-of-old')")
        db.execute("INSERT INTO user (login, pw, cap, info) VALUES ('old', 'p', 's', 'o@x.org')")
    db.close()
    preview = await opened(host, "demo")
    file = host.core.shelf.preview_file(preview.id)
    assert rights(file) == {}
    with closing(sqlite3.connect(file)) as db:
        names = {name for (name,) in db.execute("SELECT name FROM config")}
        title = db.execute("SELECT value FROM config WHERE name = 'project-name'").fetchone()[0]
    assert not names & {"hooks", "tcl", "http-auth:a", "fossilrepo-id"}
    assert "backoffice-nodelay" in names and title == "demo, the newest moment (preview)"
    assert b"secret-of-old" not in file.read_bytes() and b"o@x.org" not in file.read_bytes()


async def test_a_preview_is_no_repository(host: Replicated) -> None:
    demo = await host.create("demo")
    preview = await opened(host, "demo")
    shelf = host.core.shelf
    assert shelf.host_state(preview.name) is HostState.SERVED and of(host).is_open(preview.name)
    assert shelf.served_names() == {"demo": demo.id}
    await host.core.folder.scan(at_start=True)
    assert shelf.host_state(preview.name) is HostState.SERVED
    assert [r.id for r in await host.store.all()] == [demo.id]
    assert preview.id not in await host.replication.target.names()
    assert [
        str(p) for p in await host.replication.control.databases() if preview.id in str(p)
    ] == []

    os.symlink(f"../.store/{demo.id}.fossil", shelf.served / "demo--aaaaaa.fossil")
    assert shelf.host_state("demo--aaaaaa") is HostState.UNKNOWN
    await host.core.folder.scan()
    assert not os.path.lexists(shelf.served / "demo--aaaaaa.fossil")
    with pytest.raises(ValueError, match="not the name of a preview"):
        shelf.serve_preview("demo", preview.id)
    for name in ("demo--", "demo--abc", "../.previews/x", "DEMO--aaaaaa", "a" * 70 + "--aaaaaa"):
        assert shelf.host_state(name) is HostState.UNKNOWN, name


async def test_a_preview_ends_by_hand_by_the_clock_and_at_a_start(host: Replicated) -> None:
    await host.create("demo")
    shelf = host.core.shelf
    by_hand, by_clock, kept = [await opened(host, "demo") for _ in range(3)]
    await of(host).close(ADMIN, by_hand.name)
    assert shelf.host_state(by_hand.name) is HostState.UNKNOWN
    with pytest.raises(NotFound):
        await of(host).close(ADMIN, by_hand.name)

    await host.backups.remove_preview(by_clock.id)
    await host.backups.add_preview(replace(by_clock, expires_at=now()))
    assert [one.id for one in await of(host).list(ADMIN)] == [kept.id]
    orphan = shelf.preview_file("orphanorphan")  # of a process that was killed half-way
    orphan.touch()
    journal = shelf.preview_file(kept.id).with_name(f"{kept.id}.fossil-journal")
    journal.touch()
    await of(host).sweep()
    assert shelf.host_state(by_clock.name) is HostState.UNKNOWN
    assert shelf.host_state(kept.name) is HostState.SERVED and journal.exists()
    assert sorted(left(host)) == sorted(
        [f"{kept.name}.fossil", f"{kept.id}.fossil", f"{kept.id}.fossil-journal"]
    )

    orphan.touch()
    os.symlink("../.previews/orphanorphan.fossil", shelf.served / "demo--orphan.fossil")
    await of(host).clear_at_start()
    assert left(host) == [] and await of(host).list(ADMIN) == []
    assert shelf.host_state("demo") is HostState.SERVED


async def test_only_a_few_are_open_at_once_and_a_purge_ends_them(host: Replicated) -> None:
    demo = await host.create("demo")
    jobs = await asyncio.gather(*(of(host).open(ADMIN, "demo", "") for _ in range(MOST + 1)))
    states = sorted([(await host.ended(job)).state for job in jobs])
    assert states == [*[JobState.DONE] * MOST, JobState.FAILED]
    assert len(await of(host).list(ADMIN)) == MOST
    with pytest.raises(Conflict, match=f"{MOST} previews are open"):
        await of(host).open(ADMIN, "demo", "")
    await host.core.services.repos.delete(ADMIN, "demo")
    await host.core.services.repos.purge(ADMIN, demo.id)
    assert left(host) == [] and await of(host).list(ADMIN) == []
    preview = await opened(host, demo.id)  # what was purged can be looked at by its identity
    assert preview.name.startswith("demo--") and of(host).is_open(preview.name)


async def test_what_cannot_be_previewed_leaves_nothing(host: Replicated) -> None:
    early = now()
    await host.create("demo")
    with pytest.raises(Forbidden):
        await of(host).open(Actor("bob"), "demo", "")
    assert await of(host).list(Actor("bob")) == []
    with pytest.raises(NotFound):
        await of(host).close(Actor("bob"), "demo--aaaaaa")
    with pytest.raises(NotFound):
        await of(host).open(ADMIN, "absent", "")
    with pytest.raises(InvalidInput):
        await of(host).open(ADMIN, "demo", "the day after never")
    job = await ended(host, "demo", early.isoformat())
    assert job.state is JobState.FAILED and job.error
    full = host.settings.model_copy(update={"limits": Limits.model_validate({"free_disk": "90%"})})
    host.core.shelf._settings = full
    if host.core.shelf.low_disk_reason() is not None:
        assert (await ended(host, "demo")).state is JobState.FAILED
    assert left(host) == [] and list(host.settings.scratch.iterdir()) == []
