"""What a repository can go back to: the time line, and moments named by check-ins."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fossilrepo.config import Settings
from fossilrepo.errors import Forbidden, InvalidInput, NotFound
from fossilrepo.models import Actor, now
from fossilrepo.services.bring_back import BringBack
from fossilrepo.services.moments import write_time
from fossilrepo.services.points import OLD_PUSHES, Points, points
from fossilrepo.tools import litestream
from fossilrepo.tools.fossil_received import Received, received
from fossilrepo.tools.gate import Gate
from fossilrepo.tools.identity import service_identity
from fossilrepo.tools.litestream import Ltx
from tests.helpers import s3
from tests.helpers.checkins import Committer, checkins
from tests.helpers.replicas import ADMIN, Replicated, replicated, replicated_settings

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def file(level: int, low: int, high: int, seconds: float) -> Ltx:
    return Ltx(level, low, high, 100, at(seconds))


def push(seconds: float, comment: str = "") -> Received:
    return Received(at(seconds), "ada", 1, 1, comment, "abc")


# The computation


def test_every_file_that_a_chain_leads_to_is_a_point_newest_first() -> None:
    files = [file(0, n, n, n) for n in (1, 2, 3)]
    assert [(p.txid, p.level, p.at) for p in points(files)] == [
        (3, 0, at(3)),
        (2, 0, at(2)),
        (1, 0, at(1)),
    ]
    assert points([]) == ()


def test_what_was_gathered_leaves_one_point_at_its_end() -> None:
    files = [file(9, 1, 4, 4), file(1, 5, 8, 8), file(2, 9, 20, 20), file(0, 21, 21, 21)]
    assert [(p.txid, p.level) for p in points(files)] == [(21, 0), (20, 2), (8, 1), (4, 9)]


def test_the_finest_level_of_a_point_is_told() -> None:
    files = [file(9, 1, 2, 2), file(0, 2, 2, 2), file(1, 1, 2, 2), file(0, 1, 1, 1)]
    assert [(p.txid, p.level) for p in points(files)] == [(2, 0), (1, 0)]


def test_behind_a_gap_nothing_can_be_restored_until_the_next_whole_copy() -> None:
    files = [
        file(0, 1, 1, 1),
        file(0, 3, 3, 3),
        file(0, 4, 4, 4),
        file(9, 1, 5, 5),
        file(0, 6, 6, 6),
    ]
    assert [p.txid for p in points(files)] == [6, 5, 1]
    assert [p.txid for p in points(files[1:3])] == []


def test_a_clock_that_went_back_makes_no_point_earlier_than_its_content() -> None:
    files = [file(0, 1, 1, 10), file(0, 2, 2, 4), file(0, 3, 3, 12)]
    assert [(p.txid, p.at) for p in points(files)] == [(3, at(12)), (2, at(10))]


def test_a_push_is_told_at_the_first_point_that_holds_it() -> None:
    files = [file(0, 1, 1, 1), file(0, 2, 2, 5), file(0, 3, 3, 9)]
    found = points(files, [push(1.5, "b"), push(5, "c"), push(5.001, "d"), push(9.5, "not yet")])
    told = {p.txid: [(one.comment, one.before) for one in p.pushes] for p in found}
    assert told == {3: [("d", at(5))], 2: [("c", None), ("b", at(1))], 1: []}
    assert [one.can_be_left_out for one in found[1].pushes] == [False, True]


def test_of_pushes_older_than_the_replica_only_the_last_are_told() -> None:
    many = [push(-number, str(number)) for number in range(100)]
    (only,) = points([file(9, 1, 5, 1)], many)
    assert [one.comment for one in only.pushes] == [str(n) for n in range(OLD_PUSHES)]
    assert not any(one.can_be_left_out for one in only.pushes)


# Of real replicas


def made(host: Replicated) -> Points:
    identity = service_identity(host.settings.data)
    bring_back = BringBack(host.replication, host.core.shelf, Gate(identity, host.settings.scratch))
    return Points(
        host.store,
        host.backups,
        host.replication,
        host.core.shelf,
        bring_back,
        host.core.services.access,
    )


@pytest.fixture
async def host(settings: Settings) -> AsyncIterator[Replicated]:
    async with replicated(replicated_settings(settings)) as host:
        yield host


async def test_the_time_line_of_a_living_a_trashed_and_a_purged_repository(
    host: Replicated, tmp_path: Path
) -> None:
    demo = await host.create("demo", pages=0)
    work = await asyncio.to_thread(Committer, host.file(demo), tmp_path / "work")
    hashes = []
    for number in range(3):
        hashes.append(await asyncio.to_thread(work.commit, f"change {number}"))
        await host.replication.ensure(demo.id)
    await host.write(demo, "A page")
    await host.replication.ensure(demo.id)
    timeline = await made(host).timeline(ADMIN, "demo")
    assert (timeline.repository_id, timeline.label, timeline.undo) == (demo.id, "demo", None)
    assert timeline.newest and timeline.oldest and timeline.newest > timeline.oldest
    assert timeline.knows_pushes and "5 minutes" in timeline.promise
    told = [one for point in timeline.points for one in point.pushes]
    assert [one.comment for one in told if one.checkins][:3] == ["change 2", "change 1", "change 0"]
    assert [one.checkin for one in told if one.checkins][:3] == hashes[::-1]
    assert told[0].changes == 1 and told[0].checkins == 0  # the wiki page
    assert timeline.page(1, 2) == timeline.points[1:3]
    for one in told[:4]:
        assert one.before is not None
        await restores_without(host, demo.id, one.checkin, one.before, tmp_path)

    await host.core.services.repos.delete(ADMIN, "demo")
    with pytest.raises(NotFound):
        await made(host).timeline(ADMIN, "demo")
    trashed = await made(host).timeline(ADMIN, demo.id)
    assert trashed.points[-1] == timeline.points[-1] and trashed.label == "demo"
    assert trashed.knows_pushes

    await host.core.services.repos.purge(ADMIN, demo.id)
    purged = await made(host).timeline(ADMIN, demo.id)
    assert [p.txid for p in purged.points] == [p.txid for p in trashed.points]
    assert purged.label == "demo" and not purged.knows_pushes
    await host.backups.note(demo.id, purged_at=now(), cleared_at=now())
    with pytest.raises(NotFound):
        await made(host).timeline(ADMIN, demo.id)


async def restores_without(
    host: Replicated, identity: str, checkin: str, moment: datetime, tmp_path: Path
) -> None:
    out = tmp_path / "restored.fossil"
    await litestream.restore(host.replication.target, f"{identity}.fossil", out, at=moment)
    assert checkin not in checkins(out)
    out.unlink()


async def test_before_a_check_in_leaves_it_out_and_keeps_the_one_before(
    host: Replicated, tmp_path: Path
) -> None:
    demo = await host.create("demo")
    work = await asyncio.to_thread(Committer, host.file(demo), tmp_path / "work")
    hashes = []
    for number in range(3):
        hashes.append(await asyncio.to_thread(work.commit, f"change {number}"))
        await host.replication.ensure(demo.id)
    timeline, out = made(host), tmp_path / "out.fossil"
    subject = await timeline.subject(ADMIN, "demo")
    moment = await timeline.moment_of(subject, f"before {hashes[2][:10]}")
    await litestream.restore(host.replication.target, f"{demo.id}.fossil", out, at=moment)
    assert set(hashes) & checkins(out) == set(hashes[:2])

    assert await timeline.moment_of(subject, "latest") is None
    assert await timeline.moment_of(subject, write_time(at(0))) == at(0)
    with pytest.raises(NotFound, match="has no check-in ffff"):
        await timeline.moment_of(subject, "before ffffffff")

    await host.core.services.repos.delete(ADMIN, "demo")
    await host.core.services.repos.purge(ADMIN, demo.id)
    gone = await timeline.subject(ADMIN, demo.id)
    assert gone.repository is None and gone.replica is not None
    assert await timeline.moment_of(gone, f"before {hashes[2]}") == moment
    assert list(host.settings.scratch.iterdir()) == []


async def test_a_beginning_that_two_check_ins_share_is_refused(
    host: Replicated, tmp_path: Path
) -> None:
    demo = await host.create("demo", pages=0)
    work = await asyncio.to_thread(Committer, host.file(demo), tmp_path / "work")
    hashes = [await asyncio.to_thread(work.commit, f"change {n}") for n in range(2)]
    twin = hashes[0][:8] + hashes[1][8:]
    await asyncio.to_thread(rename_artifact, host.file(demo), hashes[1], twin)
    subject = await made(host).subject(ADMIN, "demo")
    with pytest.raises(InvalidInput, match="more than one"):
        await made(host).moment_of(subject, f"before {twin[:8]}")
    assert await made(host).moment_of(subject, f"before {twin}") is not None


def rename_artifact(path: Path, old: str, new: str) -> None:
    with sqlite3.connect(path, timeout=10) as db:
        db.execute("UPDATE blob SET uuid = ? WHERE uuid = ?", (new, old))
    db.close()


async def test_on_s3_no_restore_is_later_than_the_moment(
    settings: Settings, tmp_path: Path
) -> None:
    with s3.moto() as server:
        server.make_bucket()
        keys = tmp_path / "keys"
        lines = ["[default]", *(f"{name.lower()} = {key}" for name, key in server.keys.items())]
        keys.write_text("\n".join(lines))
        backup = {**server.section(), "credentials_file": str(keys)}
        async with replicated(replicated_settings(settings, backup)) as host:
            demo = await host.create("demo", pages=0)
            work = await asyncio.to_thread(Committer, host.file(demo), tmp_path / "work")
            last = ""
            for number in range(4):
                last = await asyncio.to_thread(work.commit, f"change {number}")
                await host.replication.ensure(demo.id)
            subject = await made(host).subject(ADMIN, "demo")
            moment = await made(host).moment_of(subject, f"before {last}")
            await restores_without(host, demo.id, last, moment or now(), tmp_path)
            timeline = await made(host).timeline(ADMIN, "demo")
            assert last in {one.checkin for p in timeline.points for one in p.pushes}
            out = tmp_path / "newest.fossil"
            name = f"{demo.id}.fossil"
            await litestream.restore(host.replication.target, name, out, at=timeline.newest)
            assert last in checkins(out)


async def test_without_a_replica_there_is_no_point_and_a_broken_file_tells_no_pushes(
    settings: Settings,
) -> None:
    async with replicated(replicated_settings(settings), running=False) as host:
        demo = await host.core.services.repos.create(ADMIN, "demo")
        timeline = await made(host).timeline(ADMIN, "demo")
        assert timeline.points == () and timeline.newest is None and timeline.knows_pushes
        host.file(demo).write_bytes(b"no database any more" * 100)
        assert not (await made(host).timeline(ADMIN, "demo")).knows_pushes


async def test_whose_past_is_for_administrators_and_of_what_there_is(settings: Settings) -> None:
    async with replicated(replicated_settings(settings), running=False) as host:
        demo = await host.core.services.repos.create(ADMIN, "demo")
        assert (await made(host).subject(ADMIN, demo.id)).repository == demo
        with pytest.raises(Forbidden):
            await made(host).timeline(Actor("bob"), "demo")
        for key in ("absent", "aaaaaaaaaaaa", "../demo", "", "fossilrepo"):
            with pytest.raises(NotFound):
                await made(host).subject(ADMIN, key)


def test_what_was_received_is_gathered_by_request_and_counted(
    fossil_template: Path, tmp_path: Path
) -> None:
    path = tmp_path / "one.fossil"
    shutil.copy(fossil_template, path)
    work = Committer(path, tmp_path / "work", login="setup")
    before = now()
    for number in range(3):
        work.commit(f"change {number}")
    found = received(path)
    assert [one.comment for one in found][-3:] == ["change 0", "change 1", "change 2"]
    assert {one.login for one in found[-3:]} == {"setup"}
    assert all(one.at >= before - timedelta(milliseconds=2) for one in found[-3:])
    assert [one.comment for one in received(path, limit=1)] == ["change 2"]
    assert received(path, since=now()) == []
