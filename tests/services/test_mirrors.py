"""Mirrors against a real Git server over HTTP: what is pushed, what is not, and what is told."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import web

from fossilrepo.bridge import MirrorState
from fossilrepo.config import Limits, Settings, Sync
from fossilrepo.core import open_services
from fossilrepo.errors import Conflict, Forbidden, FossilrepoError, InvalidInput, NotFound
from fossilrepo.models import Actor, JobState, Visibility, now
from fossilrepo.rights import Role
from fossilrepo.tools import fossil_write, git_locks
from tests.helpers.checkins import Committer, checkins
from tests.helpers.git_servers import TOKEN, USER, bare, git, http_git, refs
from tests.helpers.mirror_lab import HERE, Lab, looping, origin_of
from tests.helpers.poll import until


@pytest.fixture
async def lab(settings: Settings, tmp_path: Path) -> AsyncIterator[Lab]:
    limits = Limits.model_validate({"free_disk": "0%"})
    sync = Sync.model_validate({"allowed_networks": ["127.0.0.0/8"], "settle": "0s"})
    async with (
        open_services(settings.model_copy(update={"limits": limits, "sync": sync})) as services,
        http_git(tmp_path / "served") as server,
    ):
        await services.repos.create(HERE, "demo")
        demo = await services.repos.get(HERE, "demo")
        path = services.settings.store / f"{demo.id}.fossil"
        committer = await asyncio.to_thread(Committer, path, tmp_path / "co")
        yield Lab(services, server, tmp_path, committer, path)


async def test_the_first_run_pushes_everything_and_reads_it_back(lab: Lab) -> None:
    newest = lab.committer.commit("one")
    mirror = await lab.synced()
    assert mirror.standing.state is MirrorState.IN_SYNC
    assert mirror.standing.verified_at is not None and mirror.standing.lag_checkins == 0
    assert origin_of(lab.remote) == newest
    assert git(lab.remote, "rev-list", "--count", "main") == str(len(checkins(lab.path)))


async def test_a_second_run_pushes_only_what_is_new(lab: Lab) -> None:
    lab.committer.commit("one")
    mirror = await lab.synced()
    before = git(lab.remote, "rev-parse", "main")
    newest = lab.committer.commit("two")
    job = await lab.run(mirror)
    assert job.state is JobState.DONE and "1 branch" in job.progress
    assert origin_of(lab.remote) == newest
    assert git(lab.remote, "rev-parse", "main~1") == before
    assert "nothing new" in (await lab.run(mirror)).progress


async def test_a_push_that_failed_is_not_called_a_success_by_the_next_run(lab: Lab) -> None:
    """`fossil git export --autopush` says "no changes" then, and pushes nothing."""
    lab.committer.commit("one")
    mirror = await lab.synced()
    newest = lab.committer.commit("two")

    def refuse(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=503) if request.method == "POST" else None

    lab.server.behave = refuse
    for _ in range(2):
        job = await lab.run(mirror)
        assert job.state is JobState.FAILED
        standing = (await lab.state(mirror)).standing
        assert standing.state is MirrorState.FAILING and standing.next_run is not None
    assert standing.failures == 2 and standing.last_error
    lab.server.behave = None
    assert (await lab.run(mirror)).state is JobState.DONE
    assert origin_of(lab.remote) == newest
    assert (await lab.state(mirror)).standing.failures == 0


async def test_a_second_mirror_gets_everything_too(lab: Lab) -> None:
    """The first one took all that was new; in other systems the second stays empty."""
    lab.committer.commit("one")
    await lab.synced()
    bare(lab.server.folder, "second.git")
    second = await lab.services.mirrors.add(
        HERE, "demo", lab.server.url("second.git"), user=USER, token=TOKEN
    )
    assert (await lab.run(second)).state is JobState.DONE
    assert refs(lab.server.folder / "second.git") == refs(lab.remote) != {}


async def test_a_remote_that_is_not_empty_stops_the_first_run(lab: Lab) -> None:
    work = lab.tmp_path / "theirs"
    subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
    (work / "x").write_text("theirs")
    git(work, "add", ".")
    git(work, "-c", "user.name=T", "-c", "user.email=t@x", "commit", "-qm", "precious work")
    git(work, "push", "-q", str(lab.remote), "main", "main:other")
    before = refs(lab.remote)
    lab.committer.commit("one")
    mirror = await lab.add()
    job = await lab.run(mirror)
    assert job.state is JobState.FAILED and "not empty" in job.error
    assert "precious work" in job.log
    assert refs(lab.remote) == before
    stopped = await lab.state(mirror)
    assert stopped.standing.state is MirrorState.STOPPED and "refs/heads/main" in stopped.seen
    assert stopped.standing.next_run is None  # nobody tries it again by itself

    preview = await lab.services.mirrors.dry_run(HERE, mirror.id)
    assert preview.plan.stops and refs(lab.remote) == before

    await lab.services.mirrors.take_over(HERE, mirror.id)
    assert (await lab.run(mirror)).state is JobState.DONE
    assert refs(lab.remote)["refs/heads/other"] == before["refs/heads/other"]
    assert origin_of(lab.remote) in checkins(lab.path)


async def test_what_came_after_the_decision_is_not_overwritten(lab: Lab) -> None:
    lab.committer.commit("one")
    mirror = await lab.synced()
    theirs = lab.tmp_path / "theirs"
    subprocess.run(["git", "clone", "-q", str(lab.remote), str(theirs)], check=True)

    def push(text: str) -> str:
        (theirs / "file.txt").write_text(text)
        git(theirs, "-c", "user.name=T", "-c", "user.email=t@x", "commit", "-qam", text)
        git(theirs, "push", "-q", "origin", "main")
        return git(theirs, "rev-parse", "main")

    first = push("by somebody")
    lab.committer.commit("two")
    job = await lab.run(mirror)
    assert job.state is JobState.FAILED and "Fossil has not" in job.error
    assert git(lab.remote, "rev-parse", "main") == first
    await lab.services.mirrors.take_over(HERE, mirror.id)
    second = push("by somebody again")
    assert (await lab.run(mirror)).state is JobState.FAILED
    assert git(lab.remote, "rev-parse", "main") == second
    await lab.services.mirrors.take_over(HERE, mirror.id)
    assert (await lab.run(mirror)).state is JobState.DONE


async def test_refs_of_others_are_never_touched(lab: Lab) -> None:
    lab.committer.commit("one")
    mirror = await lab.synced()
    git(lab.remote, "branch", "by-others", "main")
    git(lab.remote, "tag", "their-tag", "main")
    git(lab.remote, "update-ref", "refs/pull/1/head", "main")
    kept = {**refs(lab.remote)}
    lab.committer.commit("two")
    assert (await lab.run(mirror)).state is JobState.DONE
    there = refs(lab.remote)
    assert there["refs/heads/by-others"] == kept["refs/heads/by-others"]
    assert there["refs/tags/their-tag"] == kept["refs/tags/their-tag"]
    assert git(lab.remote, "rev-parse", "refs/pull/1/head") == kept["refs/heads/main"]


@pytest.mark.parametrize("how", ["rewound", "deleted"])
async def test_a_remote_that_lost_something_gets_it_again(lab: Lab, how: str) -> None:
    lab.committer.commit("one")
    newest = lab.committer.commit("two")
    mirror = await lab.synced()
    if how == "rewound":
        git(lab.remote, "update-ref", "refs/heads/main", "main~1")
    else:
        git(lab.remote, "update-ref", "-d", "refs/heads/main")
    job = await lab.run(mirror)
    assert job.state is JobState.DONE, job.error
    assert origin_of(lab.remote) == newest


async def test_a_branch_that_a_hook_refuses_is_told_and_the_rest_is_there(lab: Lab) -> None:
    hook = lab.remote / "hooks" / "update"
    hook.write_text('#!/bin/sh\n[ "$1" != refs/heads/side ] || { echo "not side" >&2; exit 1; }\n')
    hook.chmod(0o755)
    lab.committer.commit("one")
    lab.committer._run("branch", "new", "side", "trunk")
    mirror = await lab.add()
    job = await lab.run(mirror)
    assert job.state is JobState.FAILED and "side was not taken" in job.error
    assert set(refs(lab.remote)) == {"refs/heads/main"}
    assert (await lab.state(mirror)).standing.state is MirrorState.FAILING
    hook.unlink()
    assert (await lab.run(mirror)).state is JobState.DONE
    assert set(refs(lab.remote)) == {"refs/heads/main", "refs/heads/side"}


async def test_only_branches_of_the_glob_are_pushed(lab: Lab) -> None:
    lab.committer.commit("one")
    for name in ("release-1", "secret-work"):
        lab.committer._run("branch", "new", name, "trunk")
    await lab.synced(branches="main, release-*")
    assert set(refs(lab.remote)) == {"refs/heads/main", "refs/heads/release-1"}


async def test_a_renamed_branch_goes_there_too(lab: Lab) -> None:
    lab.committer.commit("one")
    lab.committer._run("branch", "new", "old-name", "trunk")
    mirror = await lab.synced()
    assert "refs/heads/old-name" in refs(lab.remote)
    lab.committer._run("amend", "old-name", "--branch", "new-name")
    job = await lab.run(mirror)
    assert job.state is JobState.DONE, job.error
    assert set(refs(lab.remote)) == {"refs/heads/main", "refs/heads/new-name"}


async def test_a_check_in_that_arrives_late_is_mirrored(lab: Lab) -> None:
    """It is older than what was exported: `fossil git export` never takes it."""
    lab.committer.commit("one")
    mirror = await lab.synced()
    run = lab.committer._run
    (lab.tmp_path / "co" / "late.txt").write_text("late")
    run("add", "late.txt")
    run("commit", "-m", "late", "--branch", "late", "--date-override", "2001-01-01 00:00:00",
        "--no-warnings", "--nosync", "--allow-older")  # fmt: skip
    job = await lab.run(mirror)
    assert job.state is JobState.DONE, job.error
    assert "refs/heads/late" in refs(lab.remote)
    assert git(lab.remote, "show", "late:late.txt") == "late"


async def test_a_restored_past_is_not_pushed_over_what_came_later(lab: Lab) -> None:
    lab.committer.commit("one")
    kept = lab.tmp_path / "kept.fossil"
    with closing(sqlite3.connect(lab.path)) as db:
        db.execute("VACUUM INTO ?", (str(kept),))
    mirror = await lab.synced()
    lab.committer.commit("two")
    await lab.run(mirror)
    before = refs(lab.remote)
    with closing(sqlite3.connect(kept)) as old, closing(sqlite3.connect(lab.path)) as live:
        old.backup(live)
    fossil_write.mark_restored(lab.path, now())
    await lab.services.runs.changed(await lab.services.repos.get(HERE, "demo"))
    assert (await lab.state(mirror)).standing.wanted_at is not None
    job = await lab.run(mirror)
    assert job.state is JobState.FAILED and "Fossil has not" in job.error
    assert refs(lab.remote) == before
    assert (await lab.state(mirror)).standing.state is MirrorState.STOPPED


async def test_what_lies_in_the_trash_rests_and_goes_on_afterwards(lab: Lab) -> None:
    lab.committer.commit("one")
    mirror = await lab.add(schedule="1h")
    await lab.services.repos.delete(HERE, "demo")
    async with looping(lab):
        await asyncio.sleep(0.2)
    assert await lab.services.mirrors.list(HERE) == [] and refs(lab.remote) == {}
    demo = (await lab.services.repos.trash(HERE))[0]
    await lab.services.repos.undelete(HERE, demo.id, None)
    lab.services.runs._busy_until.clear()

    async def is_there() -> bool:
        return (await lab.state(mirror)).standing.state is MirrorState.IN_SYNC

    async with looping(lab):
        await until(is_there, timeout=20)
    assert (await lab.state(mirror)).standing.next_run is not None


async def test_the_wiki_is_on_a_branch_of_its_own_and_survives(lab: Lab) -> None:
    lab.committer.commit("one")
    page = lab.tmp_path / "page.md"
    page.write_text("# Hello\n")
    lab.committer._run("wiki", "create", "Start", str(page), "-M", "text/x-markdown")
    mirror = await lab.synced(wiki=True)
    assert git(lab.remote, "show", "fossil-wiki:Start.md") == "# Hello"
    lab.committer.commit("two")
    page.write_text("# Hello again\n")
    lab.committer._run("wiki", "commit", "Start", str(page), "-M", "text/x-markdown")
    assert (await lab.run(mirror)).state is JobState.DONE
    assert git(lab.remote, "show", "fossil-wiki:Start.md") == "# Hello again"
    assert "Start.md" not in git(lab.remote, "ls-tree", "--name-only", "main")


async def test_a_token_that_expires_half_way_is_told_and_a_new_one_mends_it(lab: Lab) -> None:
    lab.committer.commit("one")
    mirror = await lab.synced()
    lab.committer.commit("two")
    lab.server.token = "another-one"
    job = await lab.run(mirror)
    assert job.state is JobState.FAILED and "does not accept the token" in job.error
    assert TOKEN not in job.log + job.error
    await lab.services.mirrors.configure(HERE, mirror.id, token="another-one")
    assert (await lab.run(mirror)).state is JobState.DONE


async def test_a_remote_that_hangs_keeps_no_other_repository_waiting(lab: Lab) -> None:
    lab.committer.commit("one")
    async with http_git(lab.server.folder) as slow:
        slow.hang = asyncio.Event()
        for name in ("hung", "second"):
            await lab.services.repos.create(HERE, name)
        bare(lab.server.folder, "second.git")
        add = lab.services.mirrors.add
        stuck = await add(HERE, "hung", slow.url(), user=USER, token=TOKEN)
        second = await add(HERE, "second", lab.server.url("second.git"), user=USER, token=TOKEN)
        first = await lab.add()

        async def are_there() -> bool:
            states = {(await lab.state(one)).standing.state for one in (first, second)}
            return states == {MirrorState.IN_SYNC}

        async with looping(lab):
            await until(are_there, timeout=20)
            assert (await lab.state(stuck)).standing.state is MirrorState.RUNNING
            slow.hang.set()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_mirror_that_is_paused_while_it_runs_rests_afterwards(
    lab: Lab, fails: bool
) -> None:
    lab.committer.commit("one")
    mirror = await lab.add()
    lab.server.hang = asyncio.Event()
    job = await lab.services.mirrors.run(HERE, mirror.id, here=True)
    while not lab.server.requests:
        await asyncio.sleep(0.02)
    await lab.services.mirrors.pause(HERE, mirror.id)
    lab.server.token = "another" if fails else TOKEN
    lab.server.hang.set()
    await lab.services.jobs.wait(job.id)
    assert (await lab.state(mirror)).standing.state is MirrorState.PAUSED
    async with looping(lab):
        await asyncio.sleep(0.1)
    assert len(await lab.services.mirrors.history(HERE, mirror.id)) == 1


async def test_changes_are_mirrored_by_themselves_and_lag_is_counted(lab: Lab) -> None:
    lab.committer.commit("one")
    mirror = await lab.synced()
    await lab.services.mirrors.configure(HERE, mirror.id, on_change=False)
    await lab.run(mirror)
    lab.committer.commit("two")
    lab.committer.commit("three")
    demo = await lab.services.repos.get(HERE, "demo")
    await lab.services.runs.changed(demo)
    behind = (await lab.state(mirror)).standing
    assert behind.state is MirrorState.BEHIND and behind.lag_checkins == 2
    assert behind.lag_since is not None and behind.wanted_at is None
    await lab.services.mirrors.configure(HERE, mirror.id, on_change=True)
    newest = lab.committer.commit("four")

    async def is_there() -> bool:
        return (await lab.state(mirror)).standing.state is MirrorState.IN_SYNC

    async with looping(lab):
        await lab.services.runs.changed(demo)
        await until(is_there, timeout=20)
    assert origin_of(lab.remote) == newest


async def test_requests_that_wait_become_one_run(lab: Lab) -> None:
    mirror = await lab.add()
    first = await lab.services.mirrors.run(HERE, mirror.id)
    second = await lab.services.mirrors.run(HERE, mirror.id)
    assert first.id == second.id and first.state is JobState.QUEUED


async def test_a_run_that_was_cut_off_is_done_again(lab: Lab, settings: Settings) -> None:
    lab.committer.commit("one")
    mirror = await lab.synced()
    await lab.services.runs._targets["mirror"].update(mirror.id, state="running")

    async def is_there() -> bool:
        return (await lab.state(mirror)).standing.state is MirrorState.IN_SYNC

    async with looping(lab):
        await until(is_there, timeout=20)
    assert len(await lab.services.mirrors.history(HERE, mirror.id)) == 2


async def test_what_may_be_seen_and_changed_follows_the_roles(lab: Lab) -> None:
    await lab.services.accounts.create_user(HERE, "bob")
    user = await lab.services.accounts.user("bob")
    bob = Actor("bob", user_id=user.id)
    await lab.services.grants.grant(HERE, Role.ADMIN, repository="demo", user="bob")
    with pytest.raises(Forbidden, match="site administrator"):
        await lab.services.mirrors.add(bob, "demo", "folder:demo.git")
    await lab.services.grants.revoke(HERE, repository="demo", user="bob")
    mirror = await lab.add()
    assert [one.mirror.id for one in await lab.services.mirrors.list(bob)] == [mirror.id]
    for change in (
        lab.services.mirrors.pause,
        lab.services.mirrors.remove,
        lab.services.mirrors.run,
        lab.services.mirrors.take_over,
        lab.services.mirrors.dry_run,
    ):
        with pytest.raises(Forbidden):
            await change(bob, mirror.id)
    await lab.services.repos.configure(HERE, "demo", visibility=Visibility.PRIVATE)
    assert await lab.services.mirrors.list(bob) == []
    with pytest.raises(NotFound, match="no mirror"):
        await lab.services.mirrors.get(bob, mirror.id)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"branches": "a b"}, "branches"),
        ({"schedule": "never"}, "schedule"),
        ({"token": "two words"}, "token"),
        ({"issues": True}, "issues"),
        ({"create": True}, "create"),
    ],
)
async def test_bad_input_adds_nothing(lab: Lab, options: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await lab.add(**options)
    assert caught.value.field == field
    assert await lab.services.mirrors.list(HERE) == []


async def test_the_same_remote_is_added_once(lab: Lab) -> None:
    await lab.add()
    with pytest.raises(Conflict):
        await lab.add()


async def test_a_remote_is_tried_before_it_is_kept(lab: Lab) -> None:
    url = lab.server.url()
    found = await lab.services.mirrors.test(HERE, "demo", url, user=USER, token=TOKEN)
    assert found.refs == 0
    with pytest.raises(FossilrepoError, match="token"):
        await lab.services.mirrors.test(HERE, "demo", url, user=USER, token="wrong")
    preview = await lab.services.mirrors.dry_add(HERE, "demo", url, user=USER, token=TOKEN)
    assert preview.plan.words() == "1 branch"
    assert await lab.services.mirrors.list(HERE) == []


async def test_secrets_are_in_no_table_and_no_export(lab: Lab, settings: Settings) -> None:
    lab.committer.commit("one")
    await lab.synced()
    found = [
        path
        for path in settings.data.rglob("*")
        if path.is_file() and TOKEN.encode() in path.read_bytes()
    ]
    assert found == []


async def test_authors_are_fixed_at_first_and_can_be_called_otherwise(lab: Lab) -> None:
    lab.committer.commit("one")
    mirror = await lab.synced()
    authors = await lab.services.git_authors.list(HERE, "demo")
    user = authors[0].user
    first = git(lab.remote, "rev-parse", "main")
    await lab.services.git_authors.set(HERE, "demo", user, "Ada Lovelace", "ada@example.org")
    lab.committer.commit("two")
    assert (await lab.run(mirror)).state is JobState.DONE
    assert git(lab.remote, "log", "-1", "--format=%an <%ae>", "main") == (
        "Ada Lovelace <ada@example.org>"
    )
    assert git(lab.remote, "rev-parse", "main~1") == first
    await lab.services.git_authors.set(HERE, "demo", user, "A. L.", "al@example.org", rewrite=True)
    job = await lab.run(mirror)  # other hashes: nothing is overwritten by surprise
    assert job.state is JobState.FAILED and (await lab.state(mirror)).seen
    await lab.services.mirrors.take_over(HERE, mirror.id)
    assert (await lab.run(mirror)).state is JobState.DONE
    assert set(git(lab.remote, "log", "--format=%an", "main").splitlines()) == {"A. L."}


async def test_the_main_branch_can_have_another_name(lab: Lab) -> None:
    await lab.services.git_authors.set_main_branch(HERE, "demo", "trunk")
    lab.committer.commit("one")
    await lab.synced()
    assert set(refs(lab.remote)) == {"refs/heads/trunk"}
    for bad in ("-x", "a..b", "fossil-wiki", "a b", ""):
        with pytest.raises(InvalidInput):
            await lab.services.git_authors.set_main_branch(HERE, "demo", bad)


async def test_locks_of_a_git_that_was_killed_stop_nothing(lab: Lab) -> None:
    lab.committer.commit("one")
    mirror = await lab.services.mirrors.add(HERE, "demo", "folder:kept/demo.git")
    assert (await lab.run(mirror)).state is JobState.DONE
    settings = lab.services.settings
    folder = settings.mirrors / "kept/demo.git"
    export = next(settings.git.glob("*/export.git"))
    packs = sorted(path.name for path in export.glob("objects/pack/*.pack"))
    old = time.time() - 2 * git_locks.STALE
    locks = [folder / "HEAD.lock", folder / "refs/heads/main.lock", export / "packed-refs.lock"]
    for lock in locks:
        lock.touch()
        os.utime(lock, (old, old))
    held = folder / "config.lock"  # by somebody who is at work
    held.touch()
    check = {one.name: one for one in await lab.services.checkup.doctor(thorough=False)}["locks"]
    assert check.result == "warn" and "3 locks" in check.found
    newest = lab.committer.commit("two")
    job = await lab.run(mirror)
    assert job.state is JobState.DONE, job.error
    assert origin_of(folder) == newest
    assert not any(lock.exists() for lock in locks) and held.exists()
    assert set(packs) <= {path.name for path in export.glob("objects/pack/*.pack")}, "made anew"
    os.utime(held, (old, old))
    assert await lab.services.checkup.fix([check]) == ["locks: removed 1"]
    (told,) = [
        one for one in await lab.services.checkup.doctor(thorough=False) if one.name == "locks"
    ]
    assert told.result == "ok" and not held.exists()
