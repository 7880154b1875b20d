"""The setup right: real in Fossil for a while, gone after, and seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from fossilrepo.core import open_core
from fossilrepo.errors import Conflict, Forbidden, InvalidInput, NotFound
from fossilrepo.models import Actor, now
from fossilrepo.rights import Role
from tests.helpers import hostile, opened
from tests.helpers.inside import HERE, caps, create, granted, live, may_set_up
from tests.helpers.opened import Front
from tests.helpers.poll import until


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    async with opened.running() as front:
        await create(front)
        yield front


async def actions(front: Front) -> list[str]:
    found = await front.services.audit.recent(subject="demo")
    return [entry.action for entry in found if "elevat" in entry.action]


async def ada_of(front: Front) -> Actor:
    (user,) = [user for user in await front.services.accounts.users() if user.login == "ada"]
    return Actor("ada", is_admin=True, user_id=user.id)


async def test_the_setup_right_works_in_fossil_meanwhile_and_not_after(front: Front) -> None:
    elevation, ada = front.services.elevation, await ada_of(front)
    way = await front.way()
    await way.open()
    assert await way.is_signed_in() and not await may_set_up(way)
    until_ = await elevation.elevate(ada, "demo")
    assert timedelta(minutes=14) < until_ - now() <= timedelta(minutes=15)
    assert await may_set_up(way)
    assert [(e.repository, e.login) for e in await elevation.list(ada)] == [("demo", "ada")]
    await elevation.end(ada, "demo")
    assert not await may_set_up(way) and await way.is_signed_in()
    assert await elevation.list(ada) == []
    assert await actions(front) == ["repository.elevation-end", "repository.elevate"]
    with pytest.raises(NotFound):
        await elevation.end(ada, "demo")


async def test_its_end_comes_by_itself(front: Front) -> None:
    elevation, ada = front.services.elevation, await ada_of(front)
    way = await front.way()
    await way.open()
    await elevation.elevate(ada, "demo")
    repository = await front.services.repos.get(HERE, "demo")
    assert ada.user_id is not None
    await elevation._store.elevate(repository.id, ada.user_id, now() - timedelta(seconds=1))
    assert await may_set_up(way)
    await elevation.drop_expired()
    assert not await may_set_up(way)
    assert await elevation._store.elevations() == []
    assert (await actions(front))[0] == "repository.elevation-end"


async def test_none_outlives_a_start_of_the_host(front: Front) -> None:
    elevation = front.services.elevation
    await elevation.elevate(HERE, "demo", "ada")
    assert "s" in caps(front, "demo")["ada"]
    task = asyncio.create_task(elevation.run())

    async def ended() -> bool:
        return (await actions(front))[0] == "repository.elevation-end"

    await until(ended, what="the end of the elevation")
    task.cancel()
    assert "s" not in caps(front, "demo")["ada"] and not await elevation._store.elevations()


async def test_the_repair_of_settings_and_people_does_not_end_it(front: Front) -> None:
    await front.services.elevation.elevate(HERE, "demo", "ada")
    identity = (await front.services.repos.get(HERE, "demo")).id
    async with open_core(front.services.settings, lambda _name, _error: None) as core:
        hostile.change(
            live(front, "demo"),
            hostile.setting("th1-setup", "set x 1"),
            "UPDATE user SET cap = 's' WHERE login = 'nobody'",
        )
        await core.folder.content_changed({identity})
        await core.drift.look_at_all()
    query = "SELECT count(*) FROM config WHERE name = 'th1-setup'"
    assert hostile.rows(live(front, "demo"), query) == [(0,)]
    held = caps(front, "demo")
    assert "s" in held["ada"] and "s" not in held["nobody"]


async def test_nobody_takes_it_but_an_administrator_of_the_site_for_themselves(
    front: Front,
) -> None:
    elevation, ada = front.services.elevation, await ada_of(front)
    boss = await granted(front, Role.ADMIN, "the-boss")
    stranger = Actor("eve", user_id=999)
    with pytest.raises(Forbidden):
        await elevation.elevate(boss, "demo")
    with pytest.raises(NotFound):
        await elevation.elevate(stranger, "demo")
    with pytest.raises(Forbidden):
        await elevation.list(boss)
    with pytest.raises(Forbidden):
        await elevation.elevate(ada, "demo", "the-boss")
    with pytest.raises(InvalidInput):
        await elevation.elevate(HERE, "demo", "the-boss")
    await front.services.repos.archive(HERE, "demo")
    with pytest.raises(Conflict):
        await elevation.elevate(ada, "demo")
    assert not any(set("as") & set(held) for held in caps(front, "demo").values())


async def test_archiving_ends_what_it_gives(front: Front) -> None:
    elevation = front.services.elevation
    await elevation.elevate(HERE, "demo", "ada")
    await front.services.repos.archive(HERE, "demo")
    assert not set("asiwk") & set(caps(front, "demo")["ada"])


async def test_a_native_of_the_same_login_keeps_it_from_beginning(front: Front) -> None:
    await create(front, "taken")
    hostile.change(
        live(front, "taken"),
        "DELETE FROM user WHERE login = 'ada'",
        "DELETE FROM config WHERE name GLOB 'fossilrepo-users'",
        "INSERT INTO user(login, pw, cap) VALUES ('ada', 'another', 'i')",
    )
    with pytest.raises(Conflict, match="native"):
        await front.services.elevation.elevate(HERE, "taken", "ada")
    assert await front.services.elevation.list(HERE) == []
    assert caps(front, "taken")["ada"] == "i"
