"""The life of repositories, on real files, without a running host."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fossilrepo.config import Limits, Settings
from fossilrepo.core import open_services
from fossilrepo.errors import Conflict, Forbidden, InvalidInput, NotFound, TooLarge, Unavailable
from fossilrepo.models import Actor, JobState, Visibility
from fossilrepo.services import Services
from fossilrepo.services.shelf import Shelf

ADMIN = Actor("ada", is_admin=True)
HERE = Actor.command_line()
MEMBER = Actor("bob")


@pytest.fixture
async def services(settings: Settings) -> AsyncIterator[Services]:
    settings = settings.model_copy(update={"limits": Limits.model_validate({"free_disk": "0%"})})
    async with open_services(settings) as services:
        await services.accounts.create_user(HERE, "ada", name="Ada", is_admin=True)
        yield services


def files(services: Services) -> list[str]:
    data = services.settings.data
    found = [p.relative_to(data) for p in data.rglob("*") if "locks" not in p.parts]
    sides = ("-wal", "-shm", "-journal")
    return sorted(str(p) for p in found if not p.name.endswith(sides))


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def live(services: Services, name: str) -> Path:
    return (services.settings.repos / f"{name}.fossil").resolve()


async def test_a_created_repository_has_its_links_people_and_identity(services: Services) -> None:
    made = await services.repos.create(
        ADMIN, "demo", title="Démo", description="About", visibility=Visibility.PRIVATE
    )
    path = live(services, "demo")
    assert path == services.settings.store / f"{made.id}.fossil"
    assert (services.settings.served / "demo.fossil").resolve() == path
    config = dict(rows(path, "SELECT name, value FROM config"))
    assert config["project-name"] == "Démo" and config["project-description"] == "About"
    assert config["fossilrepo-id"] == made.id
    users = {login: (cap, pw) for login, cap, pw in rows(path, "SELECT login, cap, pw FROM user")}
    assert users["nobody"][0] == "" and users["anonymous"][0] == ""
    assert set("gio") <= set(str(users["ada"][0])) and not set("as") & set(str(users["ada"][0]))
    assert all(pw is None or len(str(pw)) in (0, 16, 40) for _, pw in users.values())
    assert [e.action for e in await services.audit.recent(subject="demo")] == ["repository.create"]


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "-x", "X", "x" * 64, "ü", "www", "demo", ""])
async def test_a_refused_name_leaves_nothing_behind(services: Services, name: str) -> None:
    await services.repos.create(ADMIN, "demo")
    before = files(services)
    with pytest.raises((InvalidInput, Conflict)) as refusal:
        await services.repos.create(ADMIN, name)
    assert refusal.value.field == "name" and refusal.value.hint
    assert files(services) == before


async def test_who_is_no_administrator_changes_nothing(services: Services) -> None:
    repos = services.repos
    await repos.create(ADMIN, "demo")
    before = files(services)
    for refused in (
        repos.create(MEMBER, "mine"),
        repos.configure(MEMBER, "demo", title="x"),
        repos.rename(MEMBER, "demo", "mine"),
        repos.archive(MEMBER, "demo"),
        repos.delete(MEMBER, "demo"),
        repos.export(MEMBER, "demo", services.settings.data / "x.fossil"),
        services.imports.clone(MEMBER, "mine", "https://example.org/x"),
    ):
        with pytest.raises(Forbidden):
            await refused
    assert files(services) == before


async def test_a_private_repository_is_unknown_to_those_who_may_not_read(
    services: Services,
) -> None:
    for visibility in Visibility:
        await services.repos.create(ADMIN, f"r-{visibility}", visibility=visibility)

    bob = await services.accounts.create_user(ADMIN, "bob")
    member = Actor("bob", user_id=bob.id)

    async def names(actor: Actor | None) -> list[str | None]:
        return [r.name for r in (await services.repos.search(actor)).repositories]

    assert await names(None) == ["r-public"]
    assert await names(member) == ["r-internal", "r-public"]
    assert await names(ADMIN) == ["r-internal", "r-private", "r-public"]
    for actor, hidden in ((None, "r-internal"), (member, "r-private")):
        with pytest.raises(NotFound):
            await services.repos.get(actor, hidden)


async def test_configure_reaches_fossil_itself(services: Services) -> None:
    await services.repos.create(ADMIN, "demo")
    path = live(services, "demo")
    changed = await services.repos.configure(
        ADMIN, "demo", title="New", visibility=Visibility.PRIVATE
    )
    assert changed.title == "New"
    assert dict(rows(path, "SELECT name, value FROM config"))["project-name"] == "New"
    assert rows(path, "SELECT cap FROM user WHERE login = 'nobody'") == [("",)]
    entry = (await services.audit.recent(subject="demo"))[0]
    assert entry.detail["before"]["visibility"] == "public"
    assert entry.detail["after"] == {"title": "New", "visibility": "private"}


async def test_a_new_person_can_write_everywhere_and_a_disabled_one_nowhere(
    services: Services,
) -> None:
    await services.repos.create(ADMIN, "demo")
    path = live(services, "demo")
    await services.accounts.create_user(HERE, "bob", is_admin=True)
    assert rows(path, "SELECT count(*) FROM user WHERE login = 'bob' AND cap LIKE '%i%'") == [(1,)]
    await services.accounts.set_disabled(HERE, "bob", True)
    query = "SELECT coalesce(pw, ''), cap, coalesce(cookie, '') FROM user WHERE login = 'bob'"
    assert rows(path, query) == [("", "", "")]


async def test_archiving_takes_writing_from_native_users_too_and_gives_it_back(
    services: Services, fossil_template: Path
) -> None:
    job = await services.imports.file(HERE, "old", fossil_template)
    assert (await services.jobs.wait(job.id)).state is JobState.DONE
    path = live(services, "old")
    native = "SELECT cap FROM user WHERE login = 'setup'"
    before = rows(path, native)
    assert "i" in str(before) and "s" not in str(before)
    await services.repos.archive(ADMIN, "old")
    writing = rows(path, "SELECT login FROM user WHERE cap GLOB '*[ikwnfm3y]*'")
    assert writing == []
    with pytest.raises(Conflict):
        await services.repos.archive(ADMIN, "old")
    await services.repos.unarchive(ADMIN, "old")
    assert rows(path, native) == before


async def test_rename_delete_and_restore_keep_one_file(services: Services) -> None:
    made = await services.repos.create(ADMIN, "first")
    path = live(services, "first")
    inode = path.stat().st_ino
    await services.repos.rename(ADMIN, "first", "second")
    await services.repos.create(ADMIN, "first")
    await services.repos.delete(ADMIN, "second")
    assert not (services.settings.served / "second.fossil").is_symlink()
    with pytest.raises(NotFound):
        await services.repos.get(ADMIN, "second")
    assert [(r.id, r.deleted_name) for r in await services.repos.trash(ADMIN)] == [
        (made.id, "second")
    ]
    with pytest.raises(Conflict):
        await services.repos.undelete(ADMIN, made.id, "first")
    back = await services.repos.undelete(ADMIN, made.id, "third")
    assert back.name == "third" and live(services, "third").stat().st_ino == inode
    assert await services.repos.trash(ADMIN) == []


async def test_purge_needs_the_trash_and_waits_for_readers(services: Services) -> None:
    made = await services.repos.create(ADMIN, "demo")
    with pytest.raises(NotFound):
        await services.repos.purge(ADMIN, made.id)
    path = live(services, "demo")
    await services.repos.delete(ADMIN, "demo")
    script = f"import sys; f = open({str(path)!r}); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        with pytest.raises(Conflict, match=f"still open in .*{reader.pid}"):
            await services.repos.purge(ADMIN, made.id)
        reader.communicate(b"")
    assert path.exists()
    await services.repos.purge(ADMIN, made.id)
    assert not list(services.settings.store.glob(f"{made.id}*"))
    with pytest.raises(NotFound):
        await services.repos.undelete(ADMIN, made.id)


async def test_an_export_is_whole_and_carries_no_secret(services: Services, tmp_path: Path) -> None:
    await services.repos.create(ADMIN, "demo")
    target = tmp_path / "out.fossil"
    await services.repos.export(ADMIN, "demo", target)
    assert rows(target, "PRAGMA integrity_check") == [("ok",)]
    secret = "SELECT login FROM user WHERE length(coalesce(pw, '')) = 40 OR cookie IS NOT NULL"
    assert rows(target, secret) == []
    assert rows(target, "SELECT name FROM config WHERE name LIKE 'fossilrepo-%'") == []
    with pytest.raises(Conflict):
        await services.repos.export(ADMIN, "demo", target)
    with pytest.raises(Forbidden):
        await services.repos.export(ADMIN, "demo", tmp_path / "2.fossil", with_users=True)
    await services.repos.export(HERE, "demo", tmp_path / "2.fossil", with_users=True)
    assert rows(tmp_path / "2.fossil", secret) != []
    with pytest.raises(InvalidInput):
        await services.repos.export(ADMIN, "demo", tmp_path / "no" / "x.fossil")
    assert os.listdir(services.settings.scratch) == []


async def test_a_stranger_s_upload_brings_content_and_nothing_else(
    services: Services, fossil_template: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "hostile.fossil"
    hostile.write_bytes(fossil_template.read_bytes())
    db = sqlite3.connect(hostile)
    for name in ("hooks", "tcl", "th1-setup", "header", "peer-repo-x"):
        db.execute("REPLACE INTO config VALUES (?, 'x', 0)", (name,))
    db.commit()
    db.close()

    async def chunks() -> AsyncIterator[bytes]:
        yield hostile.read_bytes()

    job = await services.imports.upload(ADMIN, "up", chunks(), None)
    done = await services.jobs.wait(job.id)
    assert done.state is JobState.DONE, done.error
    made = await services.repos.get(ADMIN, "up")
    assert made.trust == "untrusted" and made.checkins == 1
    names = {str(n) for (n,) in rows(live(services, "up"), "SELECT name FROM config")}
    assert not names & {"hooks", "tcl", "th1-setup", "header", "peer-repo-x"}
    assert {"hooks", "tcl"} <= set(made.removed)
    with_password = "SELECT login FROM user WHERE login = 'setup' AND (pw <> '' OR cap <> '')"
    assert rows(live(services, "up"), with_password) == []
    assert os.listdir(services.settings.scratch) == []


async def test_an_upload_past_the_limit_is_refused_on_the_way(settings: Settings) -> None:
    limits = Limits.model_validate({"free_disk": "0%", "upload": "1MiB"})
    settings = settings.model_copy(update={"limits": limits})
    async with open_services(settings) as services:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < 50 * 2**20:
                sent += 2**16
                yield b"\0" * 2**16

        with pytest.raises(TooLarge, match="1MiB"):
            await services.imports.upload(ADMIN, "up", endless(), None)
        assert sent <= 2 * 2**20
        with pytest.raises(TooLarge):
            await services.imports.upload(ADMIN, "up", endless(), 5 * 2**20)
        assert os.listdir(settings.scratch) == []


@pytest.mark.parametrize("content", [b"", b"rubbish" * 100, b"SQLite format 3\0" + b"\0" * 200])
async def test_an_import_that_fails_says_why_and_leaves_nothing(
    services: Services, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "bad.fossil"
    path.write_bytes(content)
    before = files(services)
    job = await services.imports.file(HERE, "bad", path)
    done = await services.jobs.wait(job.id)
    assert done.state is JobState.FAILED and done.error
    assert files(services) == before
    with pytest.raises(NotFound):
        await services.repos.get(ADMIN, "bad")


async def test_files_of_the_server_are_for_its_command_line(
    services: Services, fossil_template: Path
) -> None:
    with pytest.raises(Forbidden):
        await services.imports.file(ADMIN, "x", fossil_template)
    with pytest.raises(Forbidden):
        await services.imports.git(ADMIN, "x", "/etc")


async def test_below_the_disk_that_is_kept_nothing_is_written(settings: Settings) -> None:
    limits = Limits.model_validate({"free_disk": "90%"})
    settings = settings.model_copy(update={"limits": limits})
    async with open_services(settings) as services:
        disk = services.health.disk()
        if disk.free > disk.least_free:
            pytest.skip("this disk is nearly empty")
        with pytest.raises(Unavailable, match="free"):
            await services.repos.create(ADMIN, "demo")
        assert services.health.read_only_reason()


async def test_jobs_that_a_crash_cut_off_are_recognised(services: Services) -> None:
    started = asyncio.Event()

    async def work(_progress: object) -> None:
        started.set()
        await asyncio.Event().wait()

    job = await services.jobs.start("test", "demo", ADMIN, work)
    await started.wait()
    await services.jobs.recognise_interrupted()
    assert (await services.jobs.get(job.id)).state is JobState.RUNNING
    await services.jobs._store.update(job.id, owner="1 1 another-boot")
    await services.jobs.recognise_interrupted()
    assert (await services.jobs.get(job.id)).state is JobState.INTERRUPTED


async def test_a_starting_host_leaves_the_files_of_a_working_command_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fossilrepo.services.shelf.LEFT_EVERY", 0.05)
    first, second, third = (Shelf(settings, None) for _ in range(3))
    first.prepare()
    working, starting = first.use_scratch(), second.use_scratch()
    try:
        left = settings.scratch / "half-done.fossil"
        left.touch()
        assert not second.empty_scratch()
        later = asyncio.create_task(second.empty_scratch_later())
        (settings.scratch / "made-since").touch()
        await asyncio.sleep(0.3)
        assert left.exists() and not later.done()
        os.close(working)
        await later
        assert os.listdir(settings.scratch) == ["made-since"]
        # It still says that it works there: the next one that starts waits for it.
        next_one = third.use_scratch()
        assert not third.empty_scratch()
        os.close(next_one)
    finally:
        os.close(starting)
