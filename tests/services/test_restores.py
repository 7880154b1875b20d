"""Back to a moment, with the real Litestream and the real Fossil: what comes back, and what not."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from fossilrepo.config import Settings
from fossilrepo.errors import Conflict, Damaged, FossilrepoError
from fossilrepo.models import (
    Actor,
    BackupState,
    HostState,
    Job,
    JobState,
    Repository,
    RepositoryState,
    Visibility,
    now,
)
from fossilrepo.services import replacing
from fossilrepo.services.jobs import Progress
from fossilrepo.services.moments import write_time
from fossilrepo.services.restores import Restores
from fossilrepo.tools import fossil_write, litestream, write_over
from fossilrepo.tools.fossil_users import password_hash
from tests.helpers.checkins import Committer, checkins
from tests.helpers.poll import until
from tests.helpers.replicas import ADMIN, Replicated, count, replicated, replicated_settings

COMMAND_LINE = Actor.command_line()
# What people put into a repository, and where it came from; not who may do what.
CONTENT = ("blob", "delta", "rcvfrom", "event", "tag", "tagxref", "plink", "mlink", "ticket",
           "unversioned", "shun", "private", "reportfmt")  # fmt: skip


@pytest.fixture
async def host(settings: Settings) -> AsyncIterator[Replicated]:
    async with replicated(replicated_settings(settings)) as host:
        yield host


def restores(host: Replicated) -> Restores:
    return host.core.services.restores


async def done(host: Replicated, job: Job) -> Job:
    job = await host.ended(job)
    assert (job.state, job.error) == (JobState.DONE, ""), job.log
    return job


async def failed(host: Replicated, job: Job) -> Job:
    job = await host.ended(job)
    assert job.state is JobState.FAILED
    return job


async def in_place(host: Replicated, repository: Repository, moment: str) -> Job:
    return await done(host, await restores(host).in_place(ADMIN, repository.label, moment))


async def moment_of(host: Replicated, repository: Repository) -> str:
    """Now, with all of the repository on the replica and nothing that comes later in it."""
    await host.replicate(repository.id)
    at = now()
    await until(lambda: (now() - at).total_seconds() > 0.01, what="the next moment")
    return write_time(at)


def content(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
        return {
            table: sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
            for table in CONTENT
            if table in tables
        }


def query(path: Path, sql: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute(sql, values).fetchall()


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, timeout=10)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def left(host: Replicated) -> list[str]:
    """What must not be left: scratch files and maintenance markers."""
    folders = (host.settings.scratch, host.core.shelf.maintenance)
    return [path.name for folder in folders for path in folder.iterdir()]


async def row_of(host: Replicated, repository_id: str) -> Repository:
    row = await host.store.get(repository_id)
    assert row is not None
    return row


async def two_commits(
    host: Replicated, tmp_path: Path
) -> tuple[Repository, Committer, str, list[str]]:
    """`demo` with two check-ins, the moment between them, and their hashes."""
    demo = await host.core.services.repos.create(ADMIN, "demo")
    committer = await asyncio.to_thread(Committer, host.file(demo), tmp_path / "checkout")
    first = await asyncio.to_thread(committer.commit, "the first")
    between = await moment_of(host, demo)
    second = await asyncio.to_thread(committer.commit, "the second")
    await host.replicate(demo.id)
    return demo, committer, between, [first, second]


# Beside the present


async def test_a_new_repository_equals_the_state_at_the_moment(
    host: Replicated, tmp_path: Path
) -> None:
    demo, _, between, (first, second) = await two_commits(host, tmp_path)
    await host.core.services.repos.configure(ADMIN, "demo", visibility=Visibility.INTERNAL)
    job = await done(host, await restores(host).as_new(ADMIN, "demo", between, "old"))
    old = await host.core.services.repos.get(ADMIN, "old")
    assert old.id != demo.id and old.project_code and job.repository_id == old.id
    assert old.visibility is Visibility.INTERNAL and old.trust is demo.trust
    held = checkins(host.file(old))
    assert first in held and second not in held
    assert (held | {second}) == checkins(host.file(demo))
    assert host.core.shelf.host_state("old") is HostState.SERVED
    identity = fossil_write.read_identity(host.file(old))
    assert identity is not None and (identity.id, identity.name) == (old.id, "old")
    # `before CHECKIN` is the same state, and nothing changed in the original.
    await done(host, await restores(host).as_new(ADMIN, "demo", f"before {second[:8]}", "older"))
    assert checkins(host.file(await host.core.services.repos.get(ADMIN, "older"))) == held
    assert second in checkins(host.file(demo)) and left(host) == []


async def test_the_newest_state_holds_what_was_committed_a_moment_ago(
    host: Replicated, tmp_path: Path
) -> None:
    demo, committer, _, _ = await two_commits(host, tmp_path)
    third = await asyncio.to_thread(committer.commit, "just now")
    target = tmp_path / "out.fossil"
    await done(host, await restores(host).to_file(ADMIN, "demo", "", target))
    assert third in checkins(target)
    assert query(target, "SELECT login FROM user WHERE length(pw) = 40") == []
    assert left(host) == [] and demo.id


async def test_deleted_and_purged_repositories_come_back(host: Replicated, tmp_path: Path) -> None:
    demo, _, between, (first, second) = await two_commits(host, tmp_path)
    before = content(host.file(demo))
    repos = host.core.services.repos
    await repos.delete(ADMIN, "demo")
    await done(host, await restores(host).as_new(ADMIN, demo.id, "", "from-the-trash"))
    assert content(host.file(await repos.get(ADMIN, "from-the-trash"))) == before
    await repos.purge(ADMIN, demo.id)
    assert not host.file(demo).exists()
    row = await host.backups.replica(demo.id)
    assert row is not None and row.purged_at is not None and row.label == "demo"
    await done(host, await restores(host).as_new(ADMIN, demo.id, "", "again"))
    again = await repos.get(ADMIN, "again")
    assert content(host.file(again)) == before and again.visibility is Visibility.PRIVATE
    target = tmp_path / "out.fossil"
    await done(host, await restores(host).to_file(ADMIN, demo.id, between, target))
    assert first in checkins(target) and second not in checkins(target)


async def test_what_was_armed_comes_back_disarmed_and_a_trigger_not_at_all(
    host: Replicated, tmp_path: Path
) -> None:
    demo = await host.create("demo")
    change(
        host.file(demo),
        "INSERT INTO config VALUES ('hooks', '[{\"cmd\": \"touch /tmp/ran\"}]', 0)",
        "INSERT INTO config VALUES ('th1-setup', 'puts ran', 0)",
    )
    armed = await moment_of(host, demo)
    await done(host, await restores(host).as_new(ADMIN, "demo", armed, "tame"))
    tame = host.file(await host.core.services.repos.get(ADMIN, "tame"))
    assert fossil_write.dangerous(tame) == {}
    change(host.file(demo), "CREATE TRIGGER t AFTER INSERT ON user BEGIN SELECT 1; END")
    await moment_of(host, demo)
    job = await failed(host, await restores(host).as_new(ADMIN, "demo", "", "wild"))
    assert "trigger" in job.error
    assert await host.store.by_name("wild") is None and left(host) == []


@pytest.mark.sqlite
async def test_the_control_database_comes_back_as_a_private_file(
    host: Replicated, tmp_path: Path
) -> None:
    await host.create("demo")
    await host.replicate("fossilrepo")
    target = tmp_path / "control.db"
    job = await done(host, await restores(host).control_to_file(COMMAND_LINE, "", target))
    assert query(target, "SELECT name FROM repositories") == [("demo",)]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert "stop fossilrepo" in job.log
    with pytest.raises(Conflict):
        await restores(host).control_to_file(COMMAND_LINE, "", target)


# In place


async def test_in_place_and_undo_are_exact(host: Replicated, tmp_path: Path) -> None:
    demo, committer, between, (_, second) = await two_commits(host, tmp_path)
    file = host.file(demo)
    await host.write(demo, "a page that goes")
    before, inode = content(file), file.stat().st_ino
    difference = await restores(host).preview_in_place(ADMIN, "demo", between)
    gone = {change.what: change.gone for change in difference.changes}
    assert (gone["check-ins"], gone["wiki changes"]) == (1, 1)
    assert [one.hash for one in difference.gone] == [second]
    assert "next push" in difference.warning and content(file) == before
    await in_place(host, demo, between)
    after = content(file)
    assert second not in checkins(file) and file.stat().st_ino == inode
    assert host.core.shelf.host_state("demo") is HostState.SERVED and left(host) == []
    row, replica = await row_of(host, demo.id), await host.backups.replica(demo.id)
    assert row.checkins == len(checkins(file)) and row.state is RepositoryState.ACTIVE
    assert replica is not None and replica.restores == 1 and replica.verify_wanted
    # The replica has the new state as its newest, and the one before as a moment.
    await done(host, await restores(host).to_file(ADMIN, "demo", "", tmp_path / "new.fossil"))
    assert content_of_export(tmp_path / "new.fossil") == without_addresses(after)
    await done(host, await restores(host).undo(ADMIN, "demo"))
    assert content(file) == before
    # Undone once, it can be done again.
    await done(host, await restores(host).undo(ADMIN, "demo"))
    assert content(file) == after
    copies = sorted(host.settings.undo.iterdir())
    assert len(copies) == 1 and stat.S_IMODE(copies[0].stat().st_mode) == 0o600
    assert committer and left(host) == []


def content_of_export(path: Path) -> dict[str, list[tuple[object, ...]]]:
    return without_addresses(content(path))


def without_addresses(held: dict[str, list[tuple[object, ...]]]) -> dict[str, list[object]]:  # type: ignore[type-arg]
    return {**held, "rcvfrom": [row[:3] for row in held["rcvfrom"]]}


async def test_only_the_newest_undo_copies_are_kept(host: Replicated, tmp_path: Path) -> None:
    demo, _, between, _ = await two_commits(host, tmp_path)
    for _ in range(3):
        await in_place(host, demo, between)
    kept = await host.backups.restorations(demo.id)
    assert len(kept) == replacing.KEPT_COPIES
    assert {path.name for path in host.settings.undo.iterdir()} == {one.file for one in kept}


async def test_nobody_who_was_put_out_meanwhile_comes_back(
    host: Replicated, tmp_path: Path
) -> None:
    accounts = host.core.services.accounts
    for login in ("ada", "bob"):
        await accounts.create_user(ADMIN, login, is_admin=True, password="a long password")
    demo = await host.core.services.repos.create(ADMIN, "demo")
    file = host.file(demo)
    change(
        file,
        "INSERT INTO user (login, pw, cap) VALUES ('native', 'clear text', 'ei')",
        "UPDATE user SET cookie = 'c', cexpire = 9e9, ipaddr = 'i' WHERE login = 'ada'",
    )
    with_bob = await moment_of(host, demo)
    await accounts.set_disabled(ADMIN, "bob", True)
    change(file, "DELETE FROM user WHERE login = 'native'")
    await host.write(demo, "later")
    await in_place(host, demo, with_bob)
    users = {str(row[0]): row[1:] for row in query(file, "SELECT login, pw, cap, cookie FROM user")}
    ada = await accounts.sync_password("ada", demo)
    assert users["ada"][0] == password_hash(demo_code(file), "ada", ada)
    assert users["ada"][2] is None, "a browser would still be signed in"
    assert not users["bob"][0] and not users["bob"][1]
    assert "native" not in users
    # The same in what is made anew from that moment.
    await done(host, await restores(host).as_new(ADMIN, "demo", with_bob, "old"))
    old = host.file(await host.core.services.repos.get(ADMIN, "old"))
    assert {login for (login,) in query(old, "SELECT login FROM user WHERE length(pw) = 40")} == {
        "ada"
    }


def demo_code(file: Path) -> str:
    return str(query(file, "SELECT value FROM config WHERE name = 'project-code'")[0][0])


async def test_a_person_disabled_while_it_is_written_stays_out(
    host: Replicated, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = host.core.services.accounts
    for login in ("ada", "bob"):
        await accounts.create_user(ADMIN, login, is_admin=True, password="a long password")
    demo = await host.create("demo")
    moment = await moment_of(host, demo)
    loop, write = asyncio.get_running_loop(), write_over.write_over

    def and_bob_goes(source: Path, live: Path) -> None:
        disabling = accounts.set_disabled(ADMIN, "bob", True)
        asyncio.run_coroutine_threadsafe(disabling, loop).result(30)
        write(source, live)

    monkeypatch.setattr(write_over, "write_over", and_bob_goes)
    await in_place(host, demo, moment)
    rows = query(host.file(demo), "SELECT pw, cap FROM user WHERE login = 'bob'")
    assert rows == [(None, "")]


async def test_page_sizes_may_differ(host: Replicated, tmp_path: Path) -> None:
    demo, _, _, _ = await two_commits(host, tmp_path)
    other = tmp_path / "other.fossil"
    await done(host, await restores(host).to_file(ADMIN, "demo", "", other))
    change(other, "PRAGMA page_size=8192", "VACUUM")
    change(other, "DELETE FROM event WHERE comment = 'the second'")
    assert query(other, "PRAGMA page_size") == [(8192,)]
    with pytest.raises(FossilrepoError):
        write_over.write_over(other, host.file(demo))
    done_ = await host.core.replacing.replace(ADMIN, demo, other, None, Progress())
    assert done_.checkins_after == done_.checkins_before - 1
    assert query(host.file(demo), "PRAGMA page_size") == [(4096,)]
    assert query(host.file(demo), "SELECT 1 FROM event WHERE comment = 'the second'") == []


async def test_a_program_that_does_not_let_go_makes_it_give_up_and_serve_again(
    host: Replicated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "DRAIN_WITHIN", 0.3)
    demo, _, between, _ = await two_commits(host, tmp_path)
    before = content(host.file(demo))
    script = f"import sys; f = open({str(host.file(demo))!r}); print(flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        job = await failed(host, await restores(host).in_place(ADMIN, "demo", between))
        assert f"pid {holder.pid}" in job.error and "still open in" in job.error
        assert host.core.shelf.host_state("demo") is HostState.SERVED
        assert content(host.file(demo)) == before and left(host) == []
        assert await host.backups.restorations(demo.id) == []
        assert list(host.settings.undo.iterdir()) == []
        holder.communicate(b"")
    await in_place(host, demo, between)


async def test_the_present_must_be_on_the_replica_before_anybody_is_turned_away(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "PROVE_WITHIN", 1.0)
    settings = replicated_settings(settings, {"url": f"file://{tmp_path}/replica"})
    async with replicated(settings) as host:
        demo = await host.create("demo")
        moment = await moment_of(host, demo)
        kept = Path(f"{tmp_path}/replica-kept")
        scratch = tmp_path / "then.fossil"
        await litestream.restore(host.replication.target, f"{demo.id}.fossil", scratch)
        Path(f"{tmp_path}/replica").rename(kept)
        Path(f"{tmp_path}/replica").write_text("no folder")
        await host.write(demo, "later")
        before = content(host.file(demo))
        with pytest.raises(FossilrepoError, match="not proven"):
            await host.core.replacing.replace(ADMIN, demo, scratch, None, Progress())
        assert content(host.file(demo)) == before and moment
        assert host.core.shelf.host_state("demo") is HostState.SERVED
        assert list(host.settings.undo.iterdir()) == []
        Path(f"{tmp_path}/replica").unlink()
        kept.rename(f"{tmp_path}/replica")


async def test_without_litestream_the_copy_on_this_disk_undoes_it(
    settings: Settings, tmp_path: Path
) -> None:
    settings = replicated_settings(settings)
    async with replicated(settings) as host:
        demo, _, between, _ = await two_commits(host, tmp_path)
    async with replicated(settings, running=False) as host:
        before = content(host.file(demo))
        job = await in_place(host, demo, between)
        assert "no Litestream runs" in job.log
        assert content(host.file(demo)) != before
        await done(host, await restores(host).undo(ADMIN, "demo"))
        assert content(host.file(demo)) == before


async def test_what_fails_after_the_write_can_still_be_undone(
    host: Replicated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo, _, between, _ = await two_commits(host, tmp_path)
    before = content(host.file(demo))

    async def fails(*_: object) -> None:
        raise Damaged("something after the write")

    with monkeypatch.context() as patched:
        patched.setattr(host.core.replacing, "_settle", fails)
        await failed(host, await restores(host).in_place(ADMIN, "demo", between))
    assert content(host.file(demo)) != before
    assert host.core.shelf.host_state("demo") is HostState.SERVED and left(host) == []
    await done(host, await restores(host).undo(ADMIN, "demo"))
    assert content(host.file(demo)) == before


async def test_a_stop_in_the_middle_lets_it_end_first(
    host: Replicated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo, _, between, (_, second) = await two_commits(host, tmp_path)
    begun, go_on, write = asyncio.Event(), asyncio.Event(), write_over.write_over
    loop = asyncio.get_running_loop()

    def slowly(source: Path, live: Path) -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(30)
        write(source, live)

    monkeypatch.setattr(write_over, "write_over", slowly)
    scratch = tmp_path / "then.fossil"
    at = datetime.fromisoformat(between)
    await litestream.restore(host.replication.target, f"{demo.id}.fossil", scratch, at=at)
    work = host.core.replacing.replace(ADMIN, demo, scratch, at, Progress())
    task = asyncio.ensure_future(work)
    await begun.wait()
    assert host.core.shelf.host_state("demo") is HostState.MAINTENANCE
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert second not in checkins(host.file(demo))
    assert host.core.shelf.host_state("demo") is HostState.SERVED and left(host) == []
    assert (await restores(host).timeline(ADMIN, "demo")).undo is not None


# Maintenance


async def test_a_scan_serves_nothing_that_is_under_maintenance(host: Replicated) -> None:
    demo = await host.core.services.repos.create(ADMIN, "demo")
    shelf, folder = host.core.shelf, host.core.folder
    shelf.begin_maintenance("demo", demo.id)
    assert shelf.host_state("demo") is HostState.MAINTENANCE
    os.rename(shelf.name_link("demo"), shelf.name_link("renamed"))  # by hand, in the middle
    await folder.scan()
    assert (await row_of(host, demo.id)).name == "renamed"
    assert shelf.served_names() == {}
    shelf.end_maintenance("demo", "renamed", demo.id)
    assert shelf.host_state("renamed") is HostState.SERVED
    assert shelf.host_state("demo") is HostState.UNKNOWN


async def test_what_a_crash_left_under_maintenance_is_served_again(host: Replicated) -> None:
    demo = await host.core.services.repos.create(ADMIN, "demo")
    shelf = host.core.shelf
    shelf.begin_maintenance("demo", demo.id)
    gone = subprocess.Popen(["true"])
    gone.wait()
    (shelf.maintenance / "demo").write_text(f"{demo.id} {gone.pid} 1 another-boot")
    await host.core.folder.scan()
    assert shelf.host_state("demo") is HostState.SERVED and left(host) == []


# Broken files


@pytest.mark.parametrize("how", ["overwritten", "gone"])
async def test_a_broken_repository_comes_back_in_place(
    host: Replicated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "gone":
        monkeypatch.setattr(replacing, "TELL_WITHIN", 1.0)
    demo, _, between, (first, second) = await two_commits(host, tmp_path)
    file = host.file(demo)
    if how == "gone":
        host.core.shelf.discard(file)
    else:
        file.write_bytes(b"not a database any more" * 1000)
    await host.core.folder.content_changed({demo.id})
    assert (await row_of(host, demo.id)).state is RepositoryState.BROKEN
    difference = await restores(host).preview_in_place(ADMIN, "demo", "")
    assert difference.checkins_then == 3 and "cannot be read" in difference.warning
    await in_place(host, demo, between)
    assert first in checkins(file) and second not in checkins(file)
    assert (await row_of(host, demo.id)).state is RepositoryState.ACTIVE
    assert host.core.shelf.host_state("demo") is HostState.SERVED
    kept = [path.read_bytes()[:5] for path in host.settings.undo.iterdir()]
    assert kept == ([b"not a"] if how == "overwritten" else [])
    assert (await restores(host).timeline(ADMIN, "demo")).undo is None
    if how == "overwritten":  # of one that was gone the host must start Litestream again
        await done(host, await restores(host).to_file(ADMIN, "demo", "", tmp_path / "new.fossil"))
        assert host.replication.standing(demo.id).state is BackupState.CURRENT
        assert content_of_export(tmp_path / "new.fossil") == content_of_export(file)


async def test_another_project_s_file_brings_no_people_along(
    host: Replicated, tmp_path: Path, fossil_template: Path
) -> None:
    demo, _, between, (first, _) = await two_commits(host, tmp_path)
    stranger = tmp_path / "stranger.fossil"
    stranger.write_bytes(fossil_template.read_bytes())
    change(stranger, "INSERT INTO user (login, pw, cap) VALUES ('mallory', 'pw', 'ei')")
    with closing(sqlite3.connect(stranger)) as new, closing(sqlite3.connect(host.file(demo))) as db:
        new.backup(db)
    await host.core.folder.content_changed({demo.id})
    assert (await row_of(host, demo.id)).state is RepositoryState.BROKEN
    await host.replicate(demo.id)
    job = await failed(host, await restores(host).in_place(ADMIN, "demo", ""))
    assert "another project" in job.error
    await in_place(host, demo, between)
    assert first in checkins(host.file(demo))
    assert query(host.file(demo), "SELECT 1 FROM user WHERE login = 'mallory'") == []
    assert demo_code(host.file(demo)) == (await row_of(host, demo.id)).project_code


# Purge


async def test_a_purge_takes_the_undo_copies_along_and_is_noted(
    host: Replicated, tmp_path: Path
) -> None:
    demo, _, between, _ = await two_commits(host, tmp_path)
    await in_place(host, demo, between)
    assert list(host.settings.undo.iterdir())
    await host.core.services.repos.delete(ADMIN, "demo")
    await host.write(replace(demo, name=None), "in the trash, and not yet replicated")
    await host.core.services.repos.purge(ADMIN, demo.id)
    assert list(host.settings.undo.iterdir()) == []
    assert await host.backups.restorations(demo.id) == []
    await done(host, await restores(host).as_new(ADMIN, demo.id, "", "again"))
    again = host.file(await host.core.services.repos.get(ADMIN, "again"))
    assert count(again, "SELECT count(*) FROM event WHERE comment LIKE '%in the trash%'") == 1
    assert isinstance(host.replication.standing(demo.id).purged_at, datetime)
