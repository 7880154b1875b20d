"""Changes of a repository and of people that overlap: the older one does not win."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from fossilrepo.config import Settings
from fossilrepo.core import Core, open_core
from fossilrepo.errors import Unavailable
from fossilrepo.models import Actor, Repository, RepositoryState, Visibility
from fossilrepo.rights import Role
from tests.helpers.site import roomy

HERE = Actor.command_line()


@pytest.fixture
async def core(settings: Settings) -> AsyncIterator[Core]:
    async with open_core(roomy(settings), lambda name, error: None) as core:
        await core.services.accounts.create_user(HERE, "ada", is_admin=True)
        await core.services.accounts.create_user(HERE, "bob")
        await core.services.repos.create(HERE, "demo", visibility=Visibility.PRIVATE)
        yield core


def letters(core: Core, repository: Repository, login: str) -> str:
    with closing(sqlite3.connect(core.shelf.file(repository.id))) as db:
        found = db.execute("SELECT cap FROM user WHERE login = ?", (login,)).fetchone()
    return str(found[0]) if found else ""


async def test_what_is_archived_or_deleted_while_its_file_is_read_stays_so(core: Core) -> None:
    repos = core.services.repos
    before = await repos.get(HERE, "demo")
    await repos.archive(HERE, "demo")
    await core.folder._refresh(before)
    assert (await repos.get(HERE, "demo")).state is RepositoryState.ARCHIVED
    archived = await repos.get(HERE, "demo")
    await repos.delete(HERE, "demo")
    await core.folder._refresh(archived)
    assert [one.id for one in await repos.trash(HERE)] == [before.id]


async def test_who_loses_a_role_while_a_repository_comes_back_has_none_in_it(core: Core) -> None:
    services, repos = core.services, core.services.repos
    await services.grants.grant(HERE, Role.WRITE, repository="demo", user="bob")
    trashed = await repos.delete(HERE, "demo")
    assert "i" in letters(core, trashed, "bob")
    taken = repos.former.taken

    async def taken_meanwhile(name: str) -> None:
        await services.people.delete(HERE, "bob")
        await taken(name)

    repos.former.taken = taken_meanwhile  # type: ignore[method-assign]
    back = await repos.undelete(HERE, trashed.id)
    assert letters(core, back, "bob") == ""


async def test_what_was_broken_is_served_with_the_people_of_now(core: Core) -> None:
    services, repos = core.services, core.services.repos
    await services.grants.grant(HERE, Role.WRITE, repository="demo", user="bob")
    row = await repos.get(HERE, "demo")
    await core.folder._went_bad(row, "looked bad")
    await services.grants.revoke(HERE, repository="demo", user="bob")
    broken = await repos.get(HERE, "demo")
    assert "i" in letters(core, broken, "bob")
    serve = core.shelf.serve

    def served(name: str, identity: str) -> None:
        assert letters(core, broken, "bob") == ""
        serve(name, identity)

    core.shelf.serve = served  # type: ignore[assignment,method-assign]
    await core.folder._refresh(broken)
    assert (await repos.get(HERE, "demo")).state is RepositoryState.ACTIVE


async def test_a_role_that_could_not_be_taken_out_of_a_file_is_tried_again_and_told(
    core: Core,
) -> None:
    services, file = core.services, core.shelf.file
    await services.grants.grant(HERE, Role.WRITE, repository="demo", user="bob")
    row = await services.repos.get(HERE, "demo")
    with closing(sqlite3.connect(file(row.id), isolation_level=None)) as db:
        db.execute("CREATE TRIGGER trap AFTER UPDATE ON user BEGIN SELECT 1; END")
        await services.grants.revoke(HERE, repository="demo", user="bob")
        assert "i" in letters(core, row, "bob")
        with pytest.raises(Unavailable, match=r"demo: .*trigger"):
            await core.projection.write_again()
        db.execute("DROP TRIGGER trap")
    async with open_core(services.settings, lambda name, error: None) as host:
        await host.projection.write_again()  # another process than the one that could not
    assert letters(core, row, "bob") == "" and core.shelf.unwritten() == []


async def test_a_link_that_is_put_back_by_hand_serves_the_people_of_now(core: Core) -> None:
    services, repos = core.services, core.services.repos
    await services.grants.grant(HERE, Role.WRITE, repository="demo", user="bob")
    trashed = await repos.delete(HERE, "demo")
    await services.people.delete(HERE, "bob")
    assert "i" in letters(core, trashed, "bob")
    core.shelf.put_name("demo", trashed.id)
    await core.folder.scan()
    assert (await repos.get(HERE, "demo")).id == trashed.id
    assert letters(core, trashed, "bob") == ""
