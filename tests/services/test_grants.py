"""Grants: where they lead, who can do what here and why, and what is refused."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from fossilrepo.errors import Conflict, Forbidden, InvalidInput, NotFound
from fossilrepo.models import Visibility
from fossilrepo.rights import Role
from fossilrepo.services.projection import READ, WRITE
from tests.services.test_organizations import MEMBER, OWNER, SITE, World, world

__all__ = ["world"]


def put(world: World, statement: str, *values: Any, file: str = "") -> None:
    """Behind the back of the services: into a repository, or the control database."""
    settings = world.services.settings
    path = (settings.repos / f"{file}.fossil").resolve() if file else settings.database_file
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement, values)


async def test_everything_that_lets_somebody_in_is_in_the_report(world: World) -> None:
    services = world.services
    await services.organizations.set_member(SITE, "acme", "olga", OWNER)
    await services.organizations.set_member(SITE, "acme", "tim", MEMBER)
    await services.organizations.create_team(SITE, "acme", "docs")
    await services.organizations.add_to_team(SITE, "acme", "docs", "tim")
    await services.grants.grant(SITE, Role.WRITE, org="acme", team="docs")
    await services.grants.grant(world.actors["olga"], Role.READ, repository="one", user="tim")
    await services.grants.grant(SITE, Role.READ, repository="one", user="eve")
    await services.accounts.create_user(SITE, "root-of-all", is_admin=True)
    native = "INSERT INTO user(login, pw, cap, info) VALUES ('nat', 'x', 'ei', 'Nat')"
    put(world, native, file="one")
    await services.grants.grant(SITE, Role.READ, repository="one", user="eve")  # looks at the file
    key, _ = await services.access_keys.create(SITE, "one", Role.READ, label="nightly")
    until = await services.elevation.elevate(SITE, "one", "root-of-all")
    put(world, "UPDATE user SET cap = 's' WHERE login = 'eve'", file="one")
    await services.grants.grant(SITE, Role.READ, repository="one", user="mike")  # finds it

    report = await services.grants.access(world.actors["olga"], "one")
    told = {u.login: [(r.role, r.why) for r in what.reasons] for u, what in report.people}
    assert told == {
        "eve": [(Role.READ, "granted")],
        "mike": [(Role.READ, "granted")],
        "olga": [(Role.ADMIN, "owner of acme")],
        "root-of-all": [(Role.ADMIN, "administrator of the site")],
        "tim": [(Role.WRITE, "team acme/docs on all of acme"), (Role.READ, "granted")],
    }
    given = {(one.holder, one.place, one.is_team): one.grant for one in report.grants}
    assert {key: grant.role for key, grant in given.items()} == {
        ("acme/docs", "all of acme", True): Role.WRITE,
        ("tim", "one", False): Role.READ,
        ("eve", "one", False): Role.READ,
        ("mike", "one", False): Role.READ,
    }
    assert given["tim", "one", False].granted_by == "olga"
    assert [(n.login, n.info, n.adopted_by) for n in report.natives] == [("nat", "Nat", None)]
    assert [(k.login, k.label) for k in report.keys] == [(key.login, "nightly")]
    assert report.elevated == (("root-of-all", until),)
    found = {drift.login: (drift.found.split(":")[0], drift.repaired) for drift in report.drifts}
    assert found == {"eve": ("s", READ), "nat": ("a new user", "ei")}
    elsewhere = await services.grants.access(SITE, "two")
    assert (elsewhere.natives, elsewhere.keys, elsewhere.elevated, elsewhere.drifts) == ((),) * 4
    assert [one.place for one in elsewhere.grants] == ["all of acme"]
    with pytest.raises(Forbidden):
        await services.grants.access(world.actors["tim"], "one")
    for name in ("two", "never-there"):
        with pytest.raises(NotFound, match=f"no repository '{name}'"):
            await services.grants.access(world.actors["eve"], name)


async def test_a_grant_on_an_organization_is_on_what_comes_later_and_not_elsewhere(
    world: World,
) -> None:
    grants, repos = world.services.grants, world.services.repos
    await repos.create(SITE, "elsewhere", visibility=Visibility.PRIVATE)
    given = await grants.grant(SITE, Role.WRITE, org="acme", user="eve")
    assert (given.holder, given.place) == ("eve", "all of acme")
    await repos.create(SITE, "three", org="acme", visibility=Visibility.PRIVATE)
    await repos.archive(SITE, "two")
    found = {name: world.letters(name, "eve") for name in ("one", "two", "three", "elsewhere")}
    assert found == {"one": WRITE, "two": READ, "three": WRITE, "elsewhere": None}
    assert await world.names("eve") == ["one", "three", "two"]
    await world.services.organizations.rename(SITE, "acme", "apex")
    await grants.grant(SITE, Role.READ, org="apex", user="eve")
    assert [world.letters(name, "eve") for name in ("one", "three")] == [READ, READ]
    await grants.revoke(SITE, org="apex", user="eve")
    assert [world.letters(name, "eve") for name in ("one", "two", "three")] == [None] * 3
    assert await world.names("eve") == []


async def test_where_somebody_can_go_is_told_to_them_and_to_who_runs_the_site(
    world: World,
) -> None:
    grants, eve = world.services.grants, world.actors["eve"]
    await grants.grant(SITE, Role.WRITE, repository="one", user="eve")
    await world.services.repos.create(SITE, "open", visibility=Visibility.INTERNAL)
    for actor in (eve, SITE):
        found = await grants.where(actor, "eve")
        assert [(row.name, what.role) for row, what in found] == [
            ("one", Role.WRITE),
            ("open", Role.READ),
        ]
    for login in ("tim", "nobody-here"):
        with pytest.raises(Forbidden):
            await grants.where(eve, login)
    with pytest.raises(NotFound):
        await grants.where(SITE, "nobody-here")
    await world.services.repos.delete(SITE, "one")
    assert [row.name for row, _ in await grants.where(eve, "eve")] == ["open"]
    await world.services.accounts.set_disabled(SITE, "eve", True)
    assert await grants.where(SITE, "eve") == []


async def test_what_a_team_left_behind_can_be_taken_away_by_who_runs_the_repository_now(
    world: World,
) -> None:
    organizations, grants = world.services.organizations, world.services.grants
    for team in ("docs", "other"):
        await organizations.create_team(SITE, "acme", team)
    await grants.grant(SITE, Role.WRITE, repository="one", team="docs")
    await world.services.repos.configure(SITE, "one", org="main")
    await grants.grant(SITE, Role.ADMIN, repository="one", user="eve")
    eve = world.actors["eve"]
    left = [one.holder for one in (await grants.access(eve, "one")).grants if one.is_team]
    assert left == ["acme/docs"]
    with pytest.raises(InvalidInput, match="another organization"):
        await grants.grant(eve, Role.READ, repository="one", team="acme/docs")
    refusals = set()
    for name in ("acme/other", "acme/never"):  # of a strange organization nothing is learnt
        with pytest.raises(InvalidInput) as caught:
            await grants.revoke(eve, repository="one", team=name)
        refusals.add(caught.value.message.replace(name, ""))
    assert len(refusals) == 1
    with pytest.raises(NotFound, match="no team 'docs' in main"):
        await grants.revoke(eve, repository="one", team="docs")
    await grants.revoke(eve, repository="one", team="acme/docs")
    assert not any(one.is_team for one in (await grants.access(eve, "one")).grants)


async def test_one_place_and_one_holder_have_to_be_named(world: World) -> None:
    grants = world.services.grants
    for place in ({}, {"repository": "one", "org": "acme"}):
        with pytest.raises(InvalidInput, match="on one repository or on one organization"):
            await grants.grant(SITE, Role.READ, user="eve", **place)
    for holder in ({}, {"user": "eve", "team": "docs"}):
        with pytest.raises(InvalidInput, match="to one person or to one team"):
            await grants.grant(SITE, Role.READ, repository="one", **holder)
    for team in ("docs", "acme/docs", "/", "acme/", ""):
        with pytest.raises(NotFound, match="no team"):
            await grants.grant(SITE, Role.READ, repository="one", team=team)
    assert (await grants.access(SITE, "one")).grants == ()


async def test_a_count_tells_no_more_than_a_list(world: World) -> None:
    """A member without a role in them does not learn how many repositories there are."""
    organizations = world.services.organizations
    await organizations.set_member(SITE, "acme", "tim", MEMBER)
    tim = world.actors["tim"]
    for role, count in ((None, 0), (Role.READ, 2)):
        await organizations.configure(SITE, "acme", default_role=role)
        (line,) = await organizations.list(tim)
        assert (line.org.name, line.role, line.repositories) == ("acme", MEMBER, count)
        assert len((await organizations.show(tim, "acme")).repositories) == count
    assert {one.org.name: one.repositories for one in await organizations.list(SITE)} == {
        "acme": 2, "main": 0
    }  # fmt: skip


async def test_of_changes_at_once_the_files_say_what_holds_at_the_end(world: World) -> None:
    organizations, grants = world.services.organizations, world.services.grants
    await organizations.create_team(SITE, "acme", "docs")
    await organizations.set_member(SITE, "acme", "tim", MEMBER)
    await organizations.add_to_team(SITE, "acme", "docs", "tim")
    changes: list[Any] = []
    for role in (Role.READ, Role.WRITE, Role.READ):
        changes += [
            grants.grant(SITE, role, repository="one", user="eve"),
            grants.revoke(SITE, repository="one", user="eve"),
            grants.grant(SITE, role, org="acme", team="docs"),
            organizations.configure(SITE, "acme", default_role=role),
        ]
    changes += [
        organizations.rename(SITE, "acme", "apex"),
        organizations.remove_member(SITE, "acme", "tim"),
        grants.grant(SITE, Role.WRITE, repository="one", team="docs"),
        organizations.delete_team(SITE, "acme", "docs"),
    ]
    done = await asyncio.gather(*changes, return_exceptions=True)
    failures = [one for one in done if isinstance(one, BaseException)]
    assert all(isinstance(one, NotFound | Conflict) for one in failures), failures
    for name in ("one", "two"):
        people = (await grants.access(SITE, name)).people
        roles = {user.login: what.role for user, what in people}
        letters = {Role.READ: READ, Role.WRITE: WRITE, None: None}
        for login in ("eve", "tim"):
            assert world.letters(name, login) == letters[roles.get(login)], (name, login)


@pytest.mark.sqlite
async def test_a_repository_whose_organization_is_gone_can_be_given_another(world: World) -> None:
    put(world, "UPDATE repositories SET org = 'vanished' WHERE name = 'one'")
    with pytest.raises(NotFound, match="the organization 'vanished' of one is gone"):
        await world.services.grants.grant(SITE, Role.READ, repository="one", user="eve")
    after = await world.services.repos.configure(SITE, "one", org="acme")
    assert after.org == "acme"
    await world.services.grants.grant(SITE, Role.READ, repository="one", user="eve")
    assert world.letters("one", "eve") == READ
