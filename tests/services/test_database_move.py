"""The control database moves between the engines with every row, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from fossilrepo.config import Database as DatabaseKeys
from fossilrepo.config import Settings
from fossilrepo.core import open_services
from fossilrepo.db.engine import Database
from fossilrepo.db.move import compare
from fossilrepo.errors import Conflict, Damaged, Unavailable
from fossilrepo.models import Actor
from fossilrepo.rights import MemberRole, Role
from fossilrepo.runtime.locks import acquire_single
from fossilrepo.services.database_move import move_to
from tests.helpers.lab import yard

HERE = Actor.command_line()


def said(_words: str) -> None:
    return None


def on(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"database": DatabaseKeys(url=url)})


@pytest.fixture
async def lived_in(settings: Settings, tmp_path: Path) -> AsyncIterator[Settings]:
    """A host with something in most tables."""
    async with yard(settings, tmp_path) as here:
        services = here.services
        await here.repository("demo")
        committer = await here.committer("demo")
        await asyncio.to_thread(committer.commit, "the wick is trimmed")
        for login in ("bob", "zoe"):
            await services.accounts.create_user(HERE, login, name=f"{login} Ünal")
        await services.organizations.create(HERE, "acme", title="Acme & Söhne")
        await services.organizations.set_member(HERE, "acme", "bob", MemberRole.OWNER)
        await services.organizations.create_team(HERE, "acme", "docs")
        await services.grants.grant(HERE, Role.WRITE, repository="demo", user="zoe")
        await services.access_keys.create(HERE, "demo", label="build", role=Role.READ)
        await services.mirrors.add(
            HERE, "demo", "https://git.invalid/x.git", token="t0ken", on_change=False
        )
        await services.insights.refresh(await services.repos.get(HERE, "demo"))
        yield services.settings


@pytest.mark.sqlite
async def test_every_row_goes_to_postgresql_and_back(
    lived_in: Settings, postgres_database: str
) -> None:
    moved = await move_to(lived_in, postgres_database, said)
    assert moved.total > 20 and moved.rows["timeline"] >= 1 and moved.rows["mirrors"] == 1
    there = on(lived_in, postgres_database)
    async with open_services(there) as services:
        assert {user.login for user in await services.accounts.users()} == {"bob", "zoe"}
        assert (await services.organizations.show(HERE, "acme")).org.title == "Acme & Söhne"
        found = await services.insights.search(HERE, "wick")
        assert [event.text for event in found] == ["the wick is trimmed"]
        # The next numbers are free ones.
        await services.accounts.create_user(HERE, "new")
        await services.organizations.create(HERE, "later")
        await services.repos.create(HERE, "another")
    with pytest.raises(Conflict, match="not empty"):
        await move_to(lived_in, postgres_database, said)
    with pytest.raises(Conflict, match="there is a control database already"):
        await move_to(there, "sqlite", said)
    for file in lived_in.data.glob("fossilrepo.db*"):
        file.rename(file.with_name(f"before-{file.name}"))
    back = await move_to(there, "sqlite", said)
    assert back.rows["users"] == moved.rows["users"] + 1
    async with open_services(lived_in) as services:
        assert {user.login for user in await services.accounts.users()} == {"bob", "zoe", "new"}
        assert len(await services.insights.search(HERE, "wick")) == 1
        await services.accounts.create_user(HERE, "newer")


@pytest.mark.sqlite
async def test_a_row_that_differs_is_found(lived_in: Settings, postgres_database: str) -> None:
    await move_to(lived_in, postgres_database, said)
    source, target = Database(lived_in), Database(on(lived_in, postgres_database))
    try:
        async with source.read() as before, target.read() as after:
            await compare(before, after)
        for change in (
            "UPDATE users SET name = name || ' ' WHERE login = 'zoe'",
            "DELETE FROM grants",
        ):
            async with target.write() as connection:
                await connection.execute(text(change))
            async with source.read() as before, target.read() as after:
                with pytest.raises(Damaged, match="are not the same"):
                    await compare(before, after)
    finally:
        await source.close()
        await target.close()


@pytest.mark.sqlite
async def test_a_running_host_is_not_moved_away_from(
    lived_in: Settings, postgres_database: str
) -> None:
    with (
        acquire_single(lived_in.run_dir / "lock", what="the host"),
        pytest.raises(Conflict, match="already running"),
    ):
        await move_to(lived_in, postgres_database, said)
    with pytest.raises(Conflict, match="there already"):
        await move_to(lived_in, "sqlite", said)


async def test_a_place_that_does_not_answer_leaves_nothing(lived_in: Settings) -> None:
    before = sorted(path.name for path in lived_in.data.iterdir())
    with pytest.raises(Unavailable):
        await move_to(lived_in, "postgresql://nobody@127.0.0.1:1/none", said)
    assert sorted(path.name for path in lived_in.data.iterdir()) == before


async def test_lost_connections_are_made_again(settings: Settings, postgres_database: str) -> None:
    settings.data.mkdir()
    database = Database(on(settings, postgres_database))
    other = Database(on(settings, postgres_database))
    cut = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    try:
        for _ in range(3):
            async with database.read() as connection:
                assert (await connection.execute(text("SELECT 1"))).scalar() == 1
            async with other.read() as connection:
                await connection.execute(cut)
        with pytest.raises(Unavailable):  # in the middle of its work it says so
            async with database.write() as connection:
                async with other.read() as knife:
                    await knife.execute(cut)
                await connection.execute(text("SELECT 1"))
        async with database.write() as connection:
            assert (await connection.execute(text("SELECT 2"))).scalar() == 2
    finally:
        await database.close()
        await other.close()
