"""What leaves the replica and when, and targets that change, in folders and on S3."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fossilrepo.config import Settings
from fossilrepo.errors import Conflict, Forbidden, NotFound
from fossilrepo.models import CONTROL_ID, Actor, BackupState, JobState, Restoration, new_id, now
from fossilrepo.services.forecast import LISTS_PER_OBJECT, LISTS_PER_REPLICA_PER_DAY, forecast
from fossilrepo.tools.targets import Stored, Target, target_of
from tests.helpers import s3
from tests.helpers.poll import until
from tests.helpers.replicas import ADMIN, Replicated, replicated, replicated_settings

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEPT = timedelta(days=2)
UNKNOWN_ID = "zzzzzzzzzzzz"


@pytest.fixture(params=["folder", "s3"])
def backup(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The section `[backup]` of a new target; its sibling is the same with `-2`."""
    section: dict[str, Any] = {"retention": "2d"}
    if request.param == "folder":
        yield {**section, "url": (tmp_path / "replica").as_uri()}
        return
    with s3.moto() as server:
        server.make_bucket()
        keys = tmp_path / "keys"
        lines = ["[default]", *(f"{name.lower()} = {key}" for name, key in server.keys.items())]
        keys.write_text("\n".join(lines))
        yield {**section, **server.section(), "credentials_file": str(keys)}


async def put_replica(target: Target, name: str) -> None:
    """Objects as Litestream names them; the content is nobody's."""
    for level, high in ((9, 1), (0, 2)):
        await target.put(f"{name}/ltx/{level}/{1:016x}-{high:016x}.ltx", b"x" * 100)


async def test_a_purged_prefix_goes_after_its_retention_and_only_that_one(
    settings: Settings, backup: dict[str, Any]
) -> None:
    settings = replicated_settings(settings, backup)
    async with replicated(settings, running=False) as host:
        target = host.replication.target
        living = await host.core.services.repos.create(ADMIN, "living")
        trashed = await host.core.services.repos.create(ADMIN, "trashed")
        await host.core.services.repos.delete(ADMIN, "trashed")
        gone, recent, again = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"
        every = [living.id, trashed.id, gone, recent, again, UNKNOWN_ID]
        for identity in every:
            await put_replica(target, f"{identity}.fossil")
        long_ago, not_long_ago = now() - KEPT - timedelta(hours=1), now() - timedelta(days=1)
        await host.backups.note_all(
            {
                gone: {"label": "gone", "purged_at": long_ago},
                recent: {"label": "recent", "purged_at": not_long_ago},
                again: {"label": "again", "purged_at": long_ago, "cleared_at": long_ago},
                living.id: {"purged_at": long_ago},  # whatever a row says: it lives
                trashed.id: {"purged_at": long_ago},
            }
        )
        assert await host.retention.clear_purged() == [gone]
        assert await target.names() == sorted(f"{i}.fossil" for i in every if i != gone)
        row = await host.backups.replica(gone)
        assert row is not None and row.cleared_at is not None
        (entry,) = await host.core.services.audit.recent(subject="gone")
        assert entry.action == "backup.cleared"
        assert entry.detail == {"id": gone, "objects": 2, "bytes": 200}
        assert await host.retention.clear_purged() == []

        found = await host.retention.orphans()
        assert [orphan.name for orphan in found] == [f"{again}.fossil", f"{UNKNOWN_ID}.fossil"]
        assert [(orphan.objects, orphan.size_bytes) for orphan in found] == [(2, 200)] * 2
        await host.retention.clear()
        assert f"{UNKNOWN_ID}.fossil" in await target.names()


@pytest.mark.sqlite
async def test_a_new_target_has_to_be_proven_before_the_old_one_may_go(
    settings: Settings, backup: dict[str, Any]
) -> None:
    first = replicated_settings(settings, backup)
    second = replicated_settings(settings, {**backup, "url": backup["url"] + "-2"})
    async with replicated(first) as host:
        demo = await host.create("demo", pages=2)
        await host.replicate(CONTROL_ID)
        assert (await host.ended(await host.verification.verify(ADMIN))).error == ""
        assert await host.retention.note_proof()
        (old,) = await host.retention.targets()
        assert old.proven_at is not None
        with pytest.raises(Conflict, match="is in use"):
            await host.retention.let_go(ADMIN, old.id)
        await host.backups.note("aaaaaaaaaaaa", label="purged", purged_at=now())
        first_target = host.replication.target
        await put_replica(first_target, "aaaaaaaaaaaa.fossil")
        await put_replica(first_target, f"{UNKNOWN_ID}.fossil")
        await first_target.put("manifest.json", b"{}")
        await first_target.put("holiday/photo.jpg", b"not ours")

    async with replicated(second) as host:
        new, kept = await host.retention.targets()
        assert (kept.id, new.proven_at, kept.let_go_at) == (old.id, None, None)
        row = await host.backups.replica(demo.id)
        assert row is not None and row.verify_wanted and row.proven_at is None
        assert await host.actions("backup.target") == ["backup.target"]
        with pytest.raises(Conflict, match=r"not proven yet.* demo"):
            await host.retention.let_go(ADMIN, old.id)
        assert f"{demo.id}.fossil" in await first_target.names()

        await host.replicate(demo.id)
        await host.replicate(CONTROL_ID)
        assert (await host.ended(await host.verification.verify(ADMIN))).error == ""
        with pytest.raises(Forbidden):
            await host.retention.let_go(Actor("bob"), old.id)
        with pytest.raises(NotFound):
            await host.retention.let_go(ADMIN, 99)
        job = await host.ended(await host.retention.let_go(ADMIN, old.id))
        assert (job.state, job.error) == (JobState.DONE, "")
        assert "restorable from here only: purged" in job.log
        assert f"nobody knows them: {UNKNOWN_ID}.fossil" in job.log
        assert await first_target.names() == ["holiday", f"{UNKNOWN_ID}.fossil"]
        assert await first_target.get("holiday/photo.jpg") == b"not ours"
        assert f"{demo.id}.fossil" in await host.replication.target.names()
        new, kept = await host.retention.targets()
        assert new.proven_at is not None and kept.let_go_at is not None
        with pytest.raises(Conflict, match="already"):
            await host.retention.let_go(ADMIN, old.id)


async def proven(host: Replicated) -> None:
    """As if everything had been restored from the target in use."""
    for identity in [CONTROL_ID, *(r.id for r in await host.store.all())]:
        await host.backups.note(identity, proven_at=now())


async def test_the_place_in_use_is_not_let_go_by_another_name(
    settings: Settings, tmp_path: Path
) -> None:
    real, alias = tmp_path / "replica", tmp_path / "alias"
    real.mkdir()
    alias.symlink_to(real)
    for folder in (alias, real):
        here = replicated_settings(settings, {"url": folder.as_uri()})
        async with replicated(here, running=False) as host:
            await put_replica(host.replication.target, "fossilrepo.db")
            await proven(host)
            if folder is alias:
                continue
            old = (await host.retention.targets())[1]
            job = await host.ended(await host.retention.let_go(ADMIN, old.id))
            assert job.state is JobState.FAILED and "is the place in use" in job.error
            assert await host.replication.target.names() == ["fossilrepo.db"]
            job = await host.ended(await host.retention.let_go(ADMIN, old.id, leave_objects=True))
            assert job.state is JobState.DONE
            assert await host.replication.target.names() == ["fossilrepo.db"]
            assert (await host.retention.targets())[1].let_go_at is not None


async def test_going_back_to_an_earlier_target_does_not_offer_it_for_removal(
    settings: Settings, tmp_path: Path
) -> None:
    for number, name in enumerate(("a", "b", "a")):
        here = replicated_settings(settings, {"url": (tmp_path / name).as_uri()})
        async with replicated(here, running=False) as host:
            await proven(host)
            if number < 2:
                continue
            newest, other, earlier = await host.retention.targets()
            assert newest.url == earlier.url and earlier.let_go_at is not None
            assert other.let_go_at is None
            with pytest.raises(Conflict):
                await host.retention.let_go(ADMIN, earlier.id)


async def test_a_purged_repository_leaves_earlier_targets_too(
    settings: Settings, tmp_path: Path
) -> None:
    gone = "aaaaaaaaaaaa"
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        here = replicated_settings(settings, {"url": folder.as_uri(), "retention": "2d"})
        async with replicated(here, running=False) as host:
            if folder is folders[0]:
                await put_replica(host.replication.target, f"{gone}.fossil")
                await host.backups.note(gone, purged_at=now() - timedelta(days=3))
            else:
                row = await host.backups.replica(gone)
                assert row is not None and not row.verify_wanted
                assert await host.retention.clear_purged() == [gone]
    assert list(folders[0].iterdir()) == []


async def test_undo_copies_and_old_trials_go_after_their_time(settings: Settings) -> None:
    settings = replicated_settings(settings, {"retention": "2d"})
    async with replicated(settings, running=False) as host:
        undo = settings.undo
        undo.mkdir(exist_ok=True)
        for name, age in (("old", 3), ("new", 1)):
            path = undo / f"{UNKNOWN_ID}-{name}.fossil"
            path.write_bytes(b"before")
            await host.backups.add_restoration(
                Restoration(
                    new_id(), UNKNOWN_ID, now() - timedelta(days=age), None, "ada", 1, 2, path.name
                )
            )
        for name, age in (("forgotten", 3), ("under-way", 0)):
            path = undo / f"{UNKNOWN_ID}-{name}.fossil"
            path.write_bytes(b"no row")
            at = (now() - timedelta(days=age)).timestamp()
            await asyncio.to_thread(os.utime, path, (at, at))
        for days in (399, 401):
            await host.backups.add_verification(
                repository_id=UNKNOWN_ID, at=now() - timedelta(days=days), seconds=1.0, ok=True
            )
        await host.retention.clear()
        left = sorted(path.name for path in undo.iterdir())
        assert left == [f"{UNKNOWN_ID}-{name}.fossil" for name in ("new", "under-way")]
        assert [r.file for r in await host.backups.restorations()] == [left[0]]
        assert len(await host.backups.verifications()) == 1


async def test_the_host_clears_and_notes_the_proof_by_itself(settings: Settings) -> None:
    settings = replicated_settings(settings, {"retention": "2d"})
    async with replicated(settings, running=False) as host:
        gone = "aaaaaaaaaaaa"
        await put_replica(host.replication.target, f"{gone}.fossil")
        await host.backups.note(gone, purged_at=now() - timedelta(days=3))
        await proven(host)

        async def done() -> bool:
            (target,) = await host.retention.targets()
            return target.proven_at is not None and not await host.replication.target.names()

        running = asyncio.create_task(host.retention.run(first_after=0.01, every=0.01))
        await until(done, what="the purged repository to be cleared")
        running.cancel()
        await asyncio.wait({running})


def stored(name: str, level: int, low: int, high: int, size: int, days_old: float) -> Stored:
    key = f"{name}/ltx/{level}/{low:016x}-{high:016x}.ltx"
    return Stored(key, size, AT - timedelta(days=days_old))


OBJECTS = [
    # changed today: whole copies of 1000 and 1100 bytes, and what leads on from them
    stored("a.fossil", 9, 1, 1, 1000, 1.5),
    stored("a.fossil", 9, 1, 10, 1100, 0.5),
    stored("a.fossil", 1, 2, 9, 70, 1.2),
    stored("a.fossil", 1, 11, 14, 40, 0.2),
    stored("a.fossil", 2, 11, 14, 35, 0.1),
    stored("a.fossil", 0, 14, 14, 9, 0.01),  # in level 1 already
    stored("a.fossil", 0, 15, 15, 9, 0.001),
    # quiet, in the form of S3
    Stored(f"b.fossil/0009/{1:016x}-{3:016x}.ltx", 500, AT - timedelta(days=20)),
    # nobody's
    Stored("holiday/photo.jpg", 7, AT),
]


def test_the_forecast_adds_up() -> None:
    found = forecast(
        OBJECTS,
        {"a.fossil": "a", "b.fossil": "b", "empty.fossil": "empty"},
        url="file:///x",
        at=AT,
        snapshot_interval=86400,
        retention=10 * 86400,
        room_bytes=2000,
        list_requests=True,
    )
    assert found.total_bytes == sum(each.size for each in OBJECTS) == 2770
    assert (found.total_objects, found.replica_count, found.changed_per_day) == (9, 2, 1)
    assert (found.other_bytes, found.other_objects) == (7, 1)
    assert [(r.label, r.size_bytes, r.objects) for r in found.replicas] == [
        ("a", 2263, 7),
        ("b", 500, 1),
    ]
    assert (found.snapshot_bytes_per_day, found.change_bytes_per_day) == (1100, 75)
    assert found.bytes_per_day == 1175
    assert found.retained_bytes == (1100 + 10 * 1175) + 500 + 7
    # 4 transactions in level 1 and one that is not there yet, 2 objects, 1 whole copy
    assert found.put_requests_per_month == 30 * (5 + 2 + 1)
    lists = 2 * LISTS_PER_REPLICA_PER_DAY + 2 * LISTS_PER_OBJECT
    assert found.list_requests_per_month == 30 * lists
    assert found.full_in_days == round(2000 / 1175, 1)
    roomy = replace(found, room_bytes=None)
    again = forecast(
        OBJECTS,
        {"a.fossil": "a", "b.fossil": "b"},
        url="file:///x",
        at=AT,
        snapshot_interval=86400,
        retention=10 * 86400,
        room_bytes=20_000,
        list_requests=False,
    )
    assert again.full_in_days is None and again.list_requests_per_month == 0
    assert again.retained_bytes == roomy.retained_bytes


@pytest.mark.sqlite
async def test_the_forecast_is_of_what_lies_in_the_target(
    settings: Settings, backup: dict[str, Any]
) -> None:
    settings = replicated_settings(settings, backup)
    async with replicated(settings) as host:
        demo = await host.create("demo", pages=2)
        found = await host.retention.forecast()
        listed = await host.replication.target.list()
        assert found.url == host.replication.target.url and found.retention_days == 2
        assert 0 < found.total_objects <= len(listed)
        sizes = {size.name: size for size in found.replicas}
        assert sizes[f"{demo.id}.fossil"].label == "demo"
        assert sizes["fossilrepo.db"].label == "control database"
        assert sum(size.size_bytes for size in found.replicas) == found.total_bytes
        assert found.put_requests_per_month > 0
        local = host.replication.target.is_local
        assert (found.room_bytes is not None) is local
        assert (found.list_requests_per_month > 0) is not local
        assert await host.retention.forecast() is found  # not listed again at once


@pytest.mark.sqlite
async def test_the_first_target_is_noted_once_and_proven_when_all_is(settings: Settings) -> None:
    settings = replicated_settings(settings)
    async with replicated(settings, running=False) as host:
        await host.core.services.repos.create(ADMIN, "demo")
        await host.retention.note_target()
        (target,) = await host.retention.targets()
        assert target.url == target_of(settings).url
        assert sorted(await host.retention.unproven()) == ["control database", "demo"]
        assert not await host.retention.note_proof()
        await proven(host)
        assert await host.retention.unproven() == []
        assert await host.retention.note_proof()
        assert await host.actions("backup.target.proven") == ["backup.target.proven"]
        assert BackupState.UNKNOWN in {row.state for row in await host.backups.replicas()}


async def test_a_name_that_another_process_wrote_outlives_a_host_that_never_knew_it(
    settings: Settings,
) -> None:
    """A command makes and purges a repository before the host has looked at it."""
    async with replicated(replicated_settings(settings), running=False) as host:
        identity = new_id()
        host.replication.changed({identity})
        assert host.replication.standing(identity).label == ""
        await host.backups.note(identity, label="gone", project_code="code", purged_at=now())
        await host.replication.flush()
        row = await host.backups.replica(identity)
        assert row is not None and (row.label, row.project_code) == ("gone", "code")
