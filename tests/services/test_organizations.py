"""Organizations, teams and grants: who may change them, and that files follow at once."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fossilrepo.config import Settings
from fossilrepo.core import open_services
from fossilrepo.errors import Conflict, Forbidden, InvalidInput, NotFound
from fossilrepo.models import Actor, Trust, Visibility
from fossilrepo.rights import MemberRole, Role
from fossilrepo.services import Services
from fossilrepo.services.projection import ADMIN as ADMIN_LETTERS
from fossilrepo.services.projection import READ, WRITE
from tests.helpers.site import roomy

SITE = Actor("ada", is_admin=True)
OWNER, MEMBER = MemberRole.OWNER, MemberRole.MEMBER


@dataclass(frozen=True)
class World:
    """acme owns the private repositories `one` and `two`; nobody is in it yet."""

    services: Services
    actors: dict[str, Actor]

    def letters(self, name: str, login: str) -> str | None:
        """What the file says of a login; None: it has no row, or one without any right."""
        path = (self.services.settings.repos / f"{name}.fossil").resolve()
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            row = db.execute("SELECT cap FROM user WHERE login = ?", (login,)).fetchone()
        return row[0] or None if row else None

    async def names(self, login: str) -> list[str | None]:
        found = await self.services.repos.search(self.actors[login])
        return [repository.name for repository in found.repositories]


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    async with open_services(roomy(settings)) as services:
        actors = {}
        for login in ("olga", "mike", "tim", "eve"):
            user = await services.accounts.create_user(SITE, login)
            actors[login] = Actor(login, user_id=user.id)
        await services.organizations.create(SITE, "acme")
        for name in ("one", "two"):
            await services.repos.create(SITE, name, org="acme", visibility=Visibility.PRIVATE)
        yield World(services, actors)


async def test_an_owner_runs_everything_of_the_organization(world: World) -> None:
    organizations = world.services.organizations
    await organizations.set_member(SITE, "acme", "olga", OWNER)
    olga = world.actors["olga"]
    assert world.letters("one", "olga") == ADMIN_LETTERS
    assert await world.names("olga") == ["one", "two"]
    await world.services.repos.create(olga, "three", org="acme")
    await world.services.repos.configure(olga, "one", title="Ours")
    await organizations.set_member(olga, "acme", "mike", MEMBER)
    assert world.letters("one", "mike") is None
    await organizations.configure(olga, "acme", default_role=Role.WRITE, title="Acme")
    assert [world.letters(name, "mike") for name in ("one", "two")] == [WRITE, WRITE]
    await organizations.configure(olga, "acme", default_role=None)
    assert world.letters("one", "mike") is None
    with pytest.raises(Forbidden):
        await world.services.repos.create(world.actors["mike"], "four", org="acme")
    await organizations.configure(olga, "acme", members_create=True)
    await world.services.repos.create(world.actors["mike"], "four", org="acme")
    await organizations.remove_member(world.actors["olga"], "acme", "olga")  # one may leave
    assert world.letters("one", "olga") is None and "one" not in await world.names("olga")
    summary = {s.org.name: s for s in await organizations.list(SITE)}["acme"]
    assert (summary.members, summary.repositories, summary.org.title) == (1, 4, "Acme")


async def test_a_team_carries_grants_to_its_members(world: World) -> None:
    organizations, grants = world.services.organizations, world.services.grants
    await organizations.set_member(SITE, "acme", "tim", MEMBER)
    await organizations.create_team(SITE, "acme", "docs")
    given = await grants.grant(SITE, Role.WRITE, repository="one", team="docs")
    assert (given.holder, given.place, given.grant.role) == ("acme/docs", "one", Role.WRITE)
    with pytest.raises(InvalidInput, match="not a member"):
        await organizations.add_to_team(SITE, "acme", "docs", "eve")
    await organizations.add_to_team(SITE, "acme", "docs", "tim")
    assert [world.letters(name, "tim") for name in ("one", "two")] == [WRITE, None]
    await grants.grant(SITE, Role.READ, org="acme", team="docs")
    assert [world.letters(name, "tim") for name in ("one", "two")] == [WRITE, READ]
    await organizations.configure_team(SITE, "acme", "docs", name="writers", description="All")
    assert world.letters("one", "tim") == WRITE
    await organizations.remove_from_team(SITE, "acme", "writers", "tim")
    assert [world.letters(name, "tim") for name in ("one", "two")] == [None, None]
    await organizations.add_to_team(SITE, "acme", "writers", "tim")
    await organizations.delete_team(SITE, "acme", "writers")
    assert [world.letters(name, "tim") for name in ("one", "two")] == [None, None]
    assert await world.names("tim") == []


async def test_leaving_the_organization_ends_its_teams_too(world: World) -> None:
    organizations = world.services.organizations
    await organizations.set_member(SITE, "acme", "tim", MEMBER)
    await organizations.create_team(SITE, "acme", "docs")
    await organizations.add_to_team(SITE, "acme", "docs", "tim")
    await world.services.grants.grant(SITE, Role.WRITE, repository="one", team="acme/docs")
    await organizations.remove_member(SITE, "acme", "tim")
    assert world.letters("one", "tim") is None
    await organizations.set_member(SITE, "acme", "tim", MEMBER)
    assert world.letters("one", "tim") is None
    assert not (await organizations.show(SITE, "acme")).team("docs").members


async def test_a_grant_is_replaced_and_taken_away(world: World) -> None:
    grants = world.services.grants
    for role, letters in ((Role.READ, READ), (Role.ADMIN, ADMIN_LETTERS), (Role.WRITE, WRITE)):
        await grants.grant(SITE, role, repository="one", user="eve")
        assert world.letters("one", "eve") == letters
    assert len((await grants.access(SITE, "one")).grants) == 1
    await grants.revoke(SITE, repository="one", user="eve")
    assert world.letters("one", "eve") is None
    with pytest.raises(NotFound, match="eve has no grant on one"):
        await grants.revoke(SITE, repository="one", user="eve")
    entries = await world.services.audit.recent(subject="one", limit=10)
    told = [(e.action, e.detail.get("before"), e.detail.get("after")) for e in entries]
    assert told[:2] == [("revoke", "write", None), ("grant", "admin", "write")]


async def test_who_administers_a_repository_grants_on_it_and_nowhere_else(world: World) -> None:
    grants, eve = world.services.grants, world.actors["eve"]
    with pytest.raises(NotFound):
        await grants.grant(eve, Role.ADMIN, repository="one", user="eve")
    await grants.grant(SITE, Role.WRITE, repository="one", user="eve")
    with pytest.raises(Forbidden):
        await grants.grant(eve, Role.ADMIN, repository="one", user="eve")
    await grants.grant(SITE, Role.ADMIN, repository="one", user="eve")
    await grants.grant(eve, Role.READ, repository="one", user="tim")
    with pytest.raises(NotFound):
        await grants.grant(eve, Role.READ, repository="two", user="eve")
    with pytest.raises(NotFound):
        await grants.grant(eve, Role.READ, org="acme", user="eve")
    with pytest.raises(NotFound):
        await grants.grant(eve, Role.READ, repository="one", user="nobody-here")
    with pytest.raises(InvalidInput, match="another organization"):
        await grants.grant(eve, Role.READ, repository="one", team="main/docs")
    report = await grants.access(eve, "one")
    told = {user.login: what.role for user, what in report.people}
    assert told == {"eve": Role.ADMIN, "tim": Role.READ}


async def test_a_repository_that_moves_leaves_the_teams_behind(world: World) -> None:
    organizations, grants = world.services.organizations, world.services.grants
    await organizations.set_member(SITE, "acme", "tim", MEMBER)
    await organizations.set_member(SITE, "acme", "olga", OWNER)
    await organizations.create_team(SITE, "acme", "docs")
    await organizations.add_to_team(SITE, "acme", "docs", "tim")
    await grants.grant(SITE, Role.WRITE, repository="one", team="docs")
    with pytest.raises(InvalidInput):  # an owner of one side alone cannot move it
        await world.services.repos.configure(world.actors["olga"], "one", org="main")
    await world.services.repos.configure(SITE, "one", org="main")
    assert [world.letters("one", login) for login in ("tim", "olga")] == [None, None]
    assert await world.names("tim") == [] and await world.names("olga") == ["two"]
    where = await grants.where(world.actors["tim"], "tim")
    assert where == []


async def test_an_organization_is_renamed_with_its_repositories_and_deleted_empty(
    world: World,
) -> None:
    organizations = world.services.organizations
    await organizations.set_member(SITE, "acme", "olga", OWNER)
    await organizations.rename(world.actors["olga"], "acme", "apex")
    assert (await world.services.repos.get(SITE, "one")).org == "apex"
    assert await world.names("olga") == ["one", "two"]
    with pytest.raises(Conflict, match="has 2 repositories"):
        await organizations.delete(SITE, "apex")
    for name in ("one", "two"):
        gone = await world.services.repos.delete(SITE, name)
        with pytest.raises(Conflict, match="trash"):
            await organizations.delete(SITE, "apex")
        await world.services.repos.purge(SITE, gone.id)
    await organizations.delete(SITE, "apex")
    with pytest.raises(Conflict, match="only organization"):
        await organizations.delete(SITE, "main")
    with pytest.raises(NotFound):
        await organizations.show(SITE, "apex")


async def test_what_takes_long_to_come_in_is_asked_for_again_at_the_end(
    world: World, fossil_template: Path
) -> None:
    """During an import its organization gets another name, or the importer leaves it."""
    repos, organizations, olga = (
        world.services.repos,
        world.services.organizations,
        world.actors["olga"],
    )
    await organizations.set_member(SITE, "acme", "olga", OWNER)
    drafts = [
        await repos.draft(actor, "new", "", Visibility.PRIVATE, Trust.UNTRUSTED, org="acme")
        for actor in (olga, SITE)
    ]
    await organizations.remove_member(SITE, "acme", "olga")
    await organizations.rename(SITE, "acme", "apex")
    for actor, draft, refusal in zip((olga, SITE), drafts, (Forbidden, InvalidInput), strict=True):
        scratch = world.services.settings.data / "tmp" / f"{draft.id}.fossil"
        shutil.copyfile(fossil_template, scratch)
        with pytest.raises(refusal):
            await repos.add(actor, draft, scratch, action="repository.import")
    found = (await repos.search(SITE)).repositories
    assert [(row.name, row.org) for row in found] == [("one", "apex"), ("two", "apex")]


async def test_strangers_to_an_organization_do_not_learn_of_it(world: World) -> None:
    organizations, eve = world.services.organizations, world.actors["eve"]
    assert await organizations.list(eve) == []
    calls: list[Any] = [
        organizations.show(eve, "acme"),
        organizations.configure(eve, "acme", title="x"),
        organizations.rename(eve, "acme", "mine"),
        organizations.delete(eve, "acme"),
        organizations.set_member(eve, "acme", "eve", OWNER),
        organizations.remove_member(eve, "acme", "olga"),
        organizations.create_team(eve, "acme", "docs"),
    ]
    for call in calls:
        with pytest.raises(NotFound, match="no organization 'acme'"):
            await call
    with pytest.raises(Forbidden):
        await organizations.create(eve, "mine")
    await organizations.set_member(SITE, "acme", "eve", MEMBER)
    with pytest.raises(Forbidden):  # a member sees it and changes nothing
        await organizations.set_member(eve, "acme", "eve", OWNER)
    assert (await organizations.show(eve, "acme")).repositories == ()


async def test_somebody_disabled_loses_and_gets_nothing_new(world: World) -> None:
    grants = world.services.grants
    await grants.grant(SITE, Role.WRITE, repository="one", user="eve")
    await world.services.accounts.set_disabled(SITE, "eve", True)
    assert world.letters("one", "eve") is None and await world.names("eve") == []
    with pytest.raises(NotFound, match="who can sign in"):
        await grants.grant(SITE, Role.ADMIN, repository="one", user="eve")
    with pytest.raises(NotFound, match="who can sign in"):
        await world.services.organizations.set_member(SITE, "acme", "eve", OWNER)
    await world.services.accounts.set_disabled(SITE, "eve", False)
    assert world.letters("one", "eve") == WRITE
