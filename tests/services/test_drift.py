"""What somebody changes of people inside Fossil: found, told without secrets, put right."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fossilrepo.core import Core, open_core
from fossilrepo.rights import Role
from tests.helpers import hostile, opened
from tests.helpers.inside import HERE, caps, create, edit_user, granted, live, person
from tests.helpers.opened import Front

ROWS = "SELECT login, pw, cap FROM user ORDER BY login"


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    async with opened.running() as front:
        await create(front)
        yield front


@pytest.fixture
async def core(front: Front) -> AsyncIterator[Core]:
    """A second process, in small: it changes the same files and the same database."""
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(open_core(front.services.settings, _never))


def _never(name: str, error: BaseException) -> None:
    raise AssertionError(f"{name}: {error}")


async def identity(front: Front) -> str:
    return (await front.services.repos.get(HERE, "demo")).id


async def drifts(front: Front) -> dict[str, tuple[str, str]]:
    store = front.services.natives._store
    found = await store.drifts(await identity(front))
    return {drift.login: (drift.found, drift.repaired) for drift in reversed(found)}


async def test_what_an_elevated_administrator_does_to_people_in_fossil_is_repaired_and_told(
    front: Front, core: Core
) -> None:
    await granted(front, Role.READ, "bob")
    before = caps(front, "demo")["bob"]
    rows = dict((r[0], r[1]) for r in hostile.rows(live(front, "demo"), ROWS))
    await front.services.elevation.elevate(HERE, "demo", "ada")
    way = await front.way()
    await way.open()
    await edit_user(way, "bob", ai="on", pw="a-password-of-mine")
    await edit_user(way, "registered", ai="on", ag="on", pw="another-of-mine", info="New")
    held = caps(front, "demo")
    assert "i" in held["bob"] and "i" in held["registered"], "Fossil's page works: it would tell"

    await core.folder.content_changed({await identity(front)})
    assert caps(front, "demo")["bob"] == before
    now = dict((r[0], r[1]) for r in hostile.rows(live(front, "demo"), ROWS))
    assert now["bob"] == rows["bob"], "the password too"
    found = await drifts(front)
    assert set(found) == {"bob", "registered"}
    assert set(found["bob"][0].split(",")[0]) == set(held["bob"])
    assert "another password" in found["bob"][0] and found["bob"][1] == before
    assert found["registered"][0].startswith("a new user: ")

    natives = {one.login: one for one in await front.services.natives.list(HERE, "demo")}
    assert natives["registered"].has_password and set(natives["registered"].capabilities) == {
        *"ig"
    }, "listed as a native user, like those that a file brings along"
    (entry,) = [
        e
        for e in await front.services.audit.recent(subject="demo")
        if e.action == "repository.people-repaired"
    ]
    assert entry.detail["count"] == 2 and entry.detail["after"]["bob"] == before
    told = json.dumps(entry.detail) + str(found)
    assert not any(pw and pw in told for pw in (*rows.values(), *now.values()))


async def test_users_that_a_sync_brings_are_listed_told_and_lose_administration(
    front: Front, core: Core, tmp_path: Path
) -> None:
    await front.services.elevation.elevate(HERE, "demo", "ada")
    ada = await person(front, tmp_path, "ada")
    file, url = tmp_path / "clone.fossil", ada.url("demo")
    await ada.run("clone", "--once", "--no-open", "-A", "ada", url, file)
    hostile.change(
        file, "INSERT INTO user(login, pw, cap, mtime) VALUES('mallory', 'x', 'as', 1e10)"
    )
    await ada.run("configuration", "push", "user", url, "-R", file)
    assert caps(front, "demo")["mallory"] == "as", "the push works: it would tell"
    await core.folder.content_changed({await identity(front)})
    held = caps(front, "demo")
    assert not set("as") & set(held["mallory"]) and "s" in held["ada"]
    assert (await drifts(front))["mallory"] == ("a new user: as", held["mallory"])
    natives = {one.login: one for one in await front.services.natives.list(HERE, "demo")}
    assert natives["mallory"].original == "as"


async def test_our_own_changes_are_no_drift_whoever_writes_them(front: Front, core: Core) -> None:
    services = front.services
    await granted(front, Role.READ, "bob")
    await services.accounts.create_user(HERE, "eve", is_admin=True)
    await services.access_keys.create(HERE, "demo", Role.WRITE)
    await services.elevation.elevate(HERE, "demo", "ada")
    await services.repos.archive(HERE, "demo")
    await services.repos.unarchive(HERE, "demo")
    await services.accounts.rotate(HERE, "bob")
    # Decided, and not yet written when the other process looks at the file.
    repository = await services.repos.get(HERE, "demo")
    (bob,) = [user for user in await services.accounts.users() if user.login == "bob"]
    store = services.grants._store
    await store.grant(Role.WRITE, granted_by="", repository_id=repository.id, user_id=bob.id)
    await core.drift.look_at_all()
    assert "i" in caps(front, "demo")["bob"]
    await core.folder.content_changed({repository.id})
    assert await drifts(front) == {}
    assert not [e for e in await services.audit.recent() if "repaired" in e.action]


async def test_the_daily_pass_finds_what_no_watcher_saw(front: Front, core: Core) -> None:
    await granted(front, Role.READ, "bob")
    before = hostile.rows(live(front, "demo"), ROWS)
    hostile.change(
        live(front, "demo"),
        "UPDATE user SET cap = 'i' WHERE login = 'nobody'",
        "DELETE FROM user WHERE login = 'bob'",
        "UPDATE user SET pw = 'known' WHERE login = 'ada'",
        "INSERT INTO user(login, pw, cap) VALUES ('mallory', 'x', 's'), (x'6576696c', 'x', 's')",
    )
    await create(front, "broken-one")
    live(front, "broken-one").write_bytes(b"no repository any more")
    await core.drift.look_at_all()
    found = await drifts(front)
    assert found["bob"][0] == "deleted"
    assert found["ada"][0] == "another password"
    assert found["nobody"] == ("i", "nothing")
    assert found["mallory"][0] == "a new user: s" and "s" not in found["mallory"][1]
    assert "(a login that is no text)" in found
    after = {row[0]: row for row in hostile.rows(live(front, "demo"), ROWS)}
    assert [after[row[0]] for row in before] == before
    await core.drift.look_at_all()
    assert len(await drifts(front)) == len(found) == 5


async def test_a_native_may_change_its_own_password(front: Front, core: Core) -> None:
    hostile.change(
        live(front, "demo"), "INSERT INTO user(login, pw, cap) VALUES ('nat', 'first', 'p')"
    )
    await core.drift.look_at_all()
    known = await drifts(front)
    hostile.change(live(front, "demo"), "UPDATE user SET pw = 'second' WHERE login = 'nat'")
    await core.drift.look_at_all()
    assert await drifts(front) == known and set(known) == {"nat"}
    hostile.change(live(front, "demo"), "UPDATE user SET cap = 'ip' WHERE login = 'nat'")
    await core.drift.look_at_all()
    assert (await drifts(front))["nat"] == ("ip", "ip"), "newest first is shown"
