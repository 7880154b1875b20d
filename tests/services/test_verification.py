"""Replicas brought back on trial, with the real Litestream and the real Fossil."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fossilrepo.config import Limits, Settings
from fossilrepo.errors import Forbidden, NotFound
from fossilrepo.models import (
    CONTROL_ID,
    Actor,
    BackupState,
    Job,
    JobState,
    Replica,
    Repository,
    RepositoryState,
    now,
)
from fossilrepo.services.trial_restore import differences
from fossilrepo.services.trial_turn import is_due
from fossilrepo.services.verification import LOCK
from fossilrepo.tools.fossil_db import Facts
from fossilrepo.tools.targets import FileTarget
from tests.helpers import s3
from tests.helpers.poll import until
from tests.helpers.replicas import (
    ADMIN,
    Replicated,
    count,
    damage,
    replicated,
    replicated_settings,
    write_page,
)

DAY = 86400.0
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
FACTS = Facts("code", "demo", 3, 9, 5, AT, 4096, "head")


@pytest.fixture
async def host(settings: Settings) -> AsyncIterator[Replicated]:
    async with replicated(replicated_settings(settings)) as host:
        yield host


async def verified(host: Replicated, *names: str) -> Job:
    return await host.ended(await host.verification.verify(ADMIN, names))


def replica_folder(host: Replicated, repository_id: str) -> Path:
    target = host.replication.target
    assert isinstance(target, FileTarget)
    return target.folder / f"{repository_id}.fossil"


async def row_of(host: Replicated, repository_id: str) -> Replica:
    row = await host.backups.replica(repository_id)
    assert row is not None
    return row


async def test_a_repository_is_proven_from_its_replica_and_it_is_recorded(
    host: Replicated,
) -> None:
    demo = await host.create("demo", pages=3)
    before = now()
    job = await verified(host, "demo")
    assert (job.state, job.error) == (JobState.DONE, "")
    assert job.progress.startswith("1 of 1 proven restorable")
    row = await row_of(host, demo.id)
    assert row.proven_at is not None and row.proven_at >= before
    assert (row.verify_error, row.verify_wanted, row.proven_checkins) == ("", False, 1)
    assert host.replication.statuses()[demo.id].proven_at == row.proven_at
    (run,) = await host.verification.history("demo")
    artifacts = count(host.file(demo), "SELECT count(*) FROM blob WHERE size >= 0")
    assert run.ok and run.detail == f"1 check-in, {artifacts} artifacts"
    assert run.size_bytes >= 4096 and run.seconds > 0 and run.label == "demo"
    assert list(host.settings.scratch.iterdir()) == []
    assert await host.verification.problems() == []


async def test_a_repository_is_proven_from_s3(settings: Settings, tmp_path: Path) -> None:
    with s3.moto() as server:
        server.make_bucket()
        keys = tmp_path / "keys"
        lines = ["[default]", *(f"{name.lower()} = {key}" for name, key in server.keys.items())]
        keys.write_text("\n".join(lines))
        backup = {**server.section(), "credentials_file": str(keys)}
        async with replicated(replicated_settings(settings, backup)) as host:
            demo = await host.create("demo", pages=2)
            job = await verified(host, "demo")
            assert (job.state, job.error) == (JobState.DONE, "")
            assert (await row_of(host, demo.id)).proven_at is not None


@pytest.mark.sqlite  # Litestream makes whole copies at its start only when there is a file
async def test_a_damaged_object_fails_the_trial_until_it_is_repaired(host: Replicated) -> None:
    demo = await host.create("demo")
    assert (await verified(host, "demo")).state is JobState.DONE
    proven_at = (await row_of(host, demo.id)).proven_at
    began = now()
    repair = damage(await host.whole_copy(f"{demo.id}.fossil"))
    for _ in range(2):
        job = await verified(host, "demo")
        assert job.state is JobState.FAILED
        assert "1 of 1 not proven restorable: demo (" in job.error and "not whole" in job.error
    row = await row_of(host, demo.id)
    assert "not whole" in row.verify_error and row.proven_at == proven_at
    assert host.replication.statuses()[demo.id].verify_error == row.verify_error
    (problem,) = await host.verification.problems()
    assert problem.label == "demo" and row.verify_error in problem.what and problem.mend
    runs = await host.verification.history("demo")
    assert [run.ok for run in runs] == [False, False, True]
    assert problem.since == runs[1].at and problem.since > began  # the first of the failures

    repair()
    assert (await verified(host, "demo")).state is JobState.DONE
    assert (await row_of(host, demo.id)).verify_error == ""
    assert await host.verification.problems() == []
    told = await host.actions("backup.verify.failed", "backup.verify.passed")
    assert told == ["backup.verify.failed", "backup.verify.passed"]
    assert list(host.settings.scratch.iterdir()) == []


@pytest.mark.sqlite  # Litestream makes whole copies at its start only when there is a file
async def test_a_replica_of_something_else_or_of_before_fails_the_trial(host: Replicated) -> None:
    demo, other = await host.create("demo"), await host.create("other")
    await host.whole_copy(f"{demo.id}.fossil")
    for attempt in range(3):  # a compaction at the same moment puts right what is spoilt here
        await host.write(demo, f"more {attempt}")
        await host.replication.ensure(demo.id)
        files = list(replica_folder(host, demo.id).rglob("*.ltx"))
        newest = max(file.stem.partition("-")[2] for file in files)
        for file in files:
            if file.stem.endswith(newest):
                file.unlink()
        job = await verified(host, "demo")
        if job.error:
            break
    assert "newest push (rcvid)" in job.error and "artifacts" in job.error

    await break_file(host, demo)  # or Litestream would begin a new replica
    shutil.rmtree(replica_folder(host, demo.id))
    shutil.copytree(replica_folder(host, other.id), replica_folder(host, demo.id))
    assert "project code" in (await verified(host, "demo")).error

    shutil.rmtree(replica_folder(host, demo.id))
    assert "there is nothing of it on the replica" in (await verified(host, "demo")).error


async def break_file(host: Replicated, repository: Repository) -> None:
    """The live file is no database any more, and Litestream has let go of it."""
    await host.replication.control.stop(host.file(repository))
    host.file(repository).write_bytes(b"no database any more")
    await host.store.update(repository.id, state=RepositoryState.BROKEN, reason="no database")


async def test_what_sqlite_and_what_fossil_find_wrong_in_a_copy_fails_the_trial(
    host: Replicated,
) -> None:
    """Both replicas hold exactly what the live files do, which are not whole."""
    lost_pages, wrong_hash = await host.create("lost-pages"), await host.create("wrong-hash")
    with closing(sqlite3.connect(host.file(lost_pages))) as db, db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("DELETE FROM sqlite_schema WHERE type = 'index' AND name = 'event_i1'")
    with closing(sqlite3.connect(host.file(wrong_hash))) as db, db:
        db.execute("UPDATE blob SET uuid = replace(uuid, substr(uuid, 1, 4), 'dead')")
    for repository in (lost_pages, wrong_hash):
        await host.replication.ensure(repository.id)
    assert "lost-pages (what was restored of" in (await verified(host, "lost-pages")).error
    error = (await verified(host, "wrong-hash")).error
    assert "wrong-hash (the restored file failed Fossil's integrity check" in error


async def test_a_repository_that_grows_during_the_trial_passes(host: Replicated) -> None:
    demo = await host.create("demo")
    stop = asyncio.Event()

    async def grow() -> int:
        pages = 0
        while not stop.is_set():
            pages += 1
            await asyncio.to_thread(write_page, host.file(demo), f"growing {pages}")
        return pages

    growing = asyncio.create_task(grow())
    for _ in range(3):
        assert (await verified(host, "demo")).error == ""
    stop.set()
    assert await growing > 3


@pytest.mark.sqlite
async def test_the_control_database_is_proven_and_what_is_damaged_is_found(
    host: Replicated,
) -> None:
    await host.create("demo")
    job = await verified(host, CONTROL_ID)
    assert (job.state, job.error) == (JobState.DONE, "")
    (run,) = await host.verification.history(CONTROL_ID)
    assert run.ok and run.label == "control database"
    assert run.detail.startswith("1 repository, audit log up to entry ")
    damage(await host.whole_copy("fossilrepo.db"))
    job = await verified(host, CONTROL_ID)
    assert job.state is JobState.FAILED and "control database (" in job.error
    assert [p.label for p in await host.verification.problems()] == ["control database"]


@pytest.mark.sqlite
async def test_everything_is_verified_also_the_trash_and_what_is_broken(host: Replicated) -> None:
    kept, trashed, broken = [await host.create(name) for name in ("kept", "trashed", "broken")]
    await host.core.services.repos.delete(ADMIN, "trashed")
    await break_file(host, broken)
    job = await verified(host)
    assert (job.state, job.error) == (JobState.DONE, "")
    assert job.progress.startswith("4 of 4 proven restorable")
    for repository in (kept, trashed, broken):
        assert (await row_of(host, repository.id)).proven_at is not None
    (run,) = await host.verification.history("broken")
    assert run.ok and "not compared" in run.detail
    assert (await verified(host, trashed.id)).state is JobState.DONE


async def test_without_room_nothing_is_claimed_of_the_replica(host: Replicated) -> None:
    demo = await host.create("demo")
    full = host.settings.model_copy(update={"limits": Limits.model_validate({"free_disk": "90%"})})
    host.core.shelf._settings = full
    if host.core.shelf.low_disk_reason() is None:
        pytest.skip("this disk is nearly empty")
    for _ in range(2):
        job = await verified(host, "demo")
        assert job.state is JobState.FAILED and "no room to verify" in job.error
    row = await row_of(host, demo.id)
    assert (row.verify_error, row.verify_at, row.proven_at) == ("", None, None)
    (run,) = await host.verification.history("demo")  # once, not at every try
    assert not run.ok and run.detail.startswith("no room to verify")
    assert await host.actions("backup.verify.failed") == []


async def test_a_turn_takes_the_most_due_and_leaves_what_cannot_be_told(host: Replicated) -> None:
    demo, wanted, failing = [await host.create(name) for name in ("demo", "wanted", "failing")]
    await host.backups.note_all(
        {
            demo.id: {"proven_at": now() - timedelta(days=9)},
            wanted.id: {"proven_at": now(), "verify_wanted": True},
            CONTROL_ID: {"proven_at": now()},
        }
    )
    standing = host.replication._of(failing.id)
    host.replication._set(standing, state=BackupState.FAILING)
    assert [s.label for s in await host.verification.due()] == ["wanted", "demo"]
    async with host.locks.hold(LOCK):
        assert await host.verification.turn(60.0) == 60.0  # another process is at it
    assert await host.backups.verifications() == []
    await host.verification.turn(60.0)
    assert not (await row_of(host, wanted.id)).verify_wanted
    await host.verification.turn(60.0)
    assert [run.label for run in await host.verification.history()] == ["demo", "wanted"]
    assert await host.verification.due() == []
    assert await host.verification.turn(60.0) == 60.0


@pytest.mark.sqlite
async def test_the_host_proves_everything_by_itself(host: Replicated) -> None:
    demo = await host.create("demo")
    await host.replicate(CONTROL_ID)

    async def all_proven() -> bool:
        rows = [await row_of(host, identity) for identity in (demo.id, CONTROL_ID)]
        return all(row.proven_at is not None for row in rows)

    running = asyncio.create_task(host.verification.run(every=0.01))
    await until(all_proven, what="both to be proven")
    running.cancel()
    await asyncio.wait({running})


async def test_while_litestream_is_away_nothing_is_claimed_of_the_replica(
    settings: Settings,
) -> None:
    settings = replicated_settings(settings)
    async with replicated(settings) as host:
        await host.create("demo")
    async with replicated(settings, running=False) as host:
        job = await verified(host, "demo")
        assert job.state is JobState.FAILED and "demo (Litestream" in job.error
        assert await host.verification.history() == []
        assert await host.verification.problems() == []


async def test_a_target_that_no_host_uses_yet_is_not_judged(
    settings: Settings, tmp_path: Path
) -> None:
    async with replicated(replicated_settings(settings)) as host:
        demo = await host.create("demo")
        await host.backups.add_target((tmp_path / "elsewhere").as_uri())
        assert "is not in use yet" in (await verified(host, "demo")).error
        assert (await row_of(host, demo.id)).verify_error == ""


async def test_what_was_not_proven_for_long_is_a_problem(host: Replicated) -> None:
    demo = await host.create("demo")
    since = now() - timedelta(days=30)
    await host.backups.note(demo.id, proven_at=since)
    (problem,) = await host.verification.problems()
    assert (problem.label, problem.since) == ("demo", since) and "long time" in problem.what


async def test_only_an_administrator_verifies_and_only_what_there_is(host: Replicated) -> None:
    with pytest.raises(Forbidden):
        await host.verification.verify(Actor("bob"))
    for name in ("absent", "../x", ""):
        with pytest.raises(NotFound):
            await host.verification.verify(ADMIN, [name])
    with pytest.raises(NotFound):
        await host.verification.history("absent")


@pytest.mark.parametrize(
    ("row", "changed", "due"),
    [
        ({}, None, True),
        ({"proven_at": timedelta(hours=1)}, timedelta(minutes=1), False),
        ({"proven_at": timedelta(hours=25)}, timedelta(minutes=1), True),
        ({"proven_at": timedelta(hours=25)}, timedelta(hours=26), False),
        ({"proven_at": timedelta(hours=25)}, None, False),
        ({"proven_at": timedelta(days=7)}, timedelta(days=8), True),
        ({"proven_at": timedelta(hours=1), "verify_wanted": True}, None, True),
        ({"verify_at": timedelta(minutes=59)}, None, False),
        ({"verify_at": timedelta(minutes=61)}, None, True),
        ({"proven_at": timedelta(days=9), "verify_at": timedelta(minutes=9)}, None, False),
        ({"proven_at": timedelta(hours=2), "verify_at": timedelta(hours=2)}, None, False),
        ({"proven_at": timedelta(hours=-5), "verify_at": timedelta(hours=-5)}, None, True),
    ],
)
def test_when_a_trial_is_due(
    row: dict[str, timedelta | bool], changed: timedelta | None, due: bool
) -> None:
    values = {k: AT - v if isinstance(v, timedelta) else v for k, v in row.items()}
    at = (AT - changed).timestamp() if changed else None
    assert is_due(Replica("x", **values), at, AT, DAY) is due  # type: ignore[arg-type]


def test_facts_between_before_and_after_are_right_and_others_are_named() -> None:
    grown = replace(FACTS, checkins=5, artifacts=12, newest_rcvid=8, head="new")
    between = replace(FACTS, checkins=4, artifacts=10, newest_rcvid=6, head="between")
    assert differences(between, FACTS, grown, "code") == []
    assert differences(FACTS, grown, FACTS, "code") == []  # a rebuild that shunned artifacts
    assert differences(replace(FACTS, checkins=6), FACTS, grown, "") == [
        "check-ins 6 instead of 3 to 5"
    ]
    assert differences(replace(FACTS, artifacts=8), FACTS, FACTS, "") == [
        "artifacts 8 instead of 9"
    ]
    assert differences(replace(FACTS, newest_rcvid=4), FACTS, FACTS, "") == [
        "newest push (rcvid) 4 instead of 5"
    ]
    assert differences(replace(FACTS, head="old"), FACTS, FACTS, "") == [
        "newest check-in old instead of head"
    ]
    assert differences(replace(FACTS, project_code="x"), FACTS, FACTS, "") == [
        "project code x instead of code"
    ]
    assert differences(FACTS, None, None, "other") == ["project code code instead of other"]
    assert differences(FACTS, None, None, "code") == []
