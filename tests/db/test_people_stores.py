"""Organizations and what follows from them: the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from sqlalchemy import event, insert

from fossilrepo.config import Settings
from fossilrepo.db import tables
from fossilrepo.db.access import AccessStore
from fossilrepo.db.engine import Database
from fossilrepo.db.migrate import migrate
from fossilrepo.db.organizations import OrganizationStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.db.versions import people_changed, people_version
from fossilrepo.errors import Conflict, NotFound
from fossilrepo.models import Actor, Repository, RepositoryState, User, Visibility, now
from fossilrepo.rights import MemberRole, Organization, Role, effective
from fossilrepo.services.access import Access
from tests.db.test_stores import repository

STATES = (RepositoryState.ACTIVE, RepositoryState.ARCHIVED, RepositoryState.BROKEN)


@pytest.fixture
def store(database: Database) -> OrganizationStore:
    return OrganizationStore(database)


async def organization(store: OrganizationStore, name: str) -> Organization:
    return await store.add(name=name, title="", created_at=now())


async def person(database: Database, login: str) -> User:
    return await PeopleStore(database).add_user(login=login, sync_secret=b"s", created_at=now())


async def test_a_new_name_of_an_organization_is_its_repositories_too(
    database: Database, store: OrganizationStore
) -> None:
    acme, other = await organization(store, "acme"), await organization(store, "other")
    repositories = RepositoryStore(database)
    mine = [repository("one", org="acme"), repository(None, state="trashed", org="acme")]
    theirs = repository("two", org="other")
    for row in (*mine, theirs):
        await repositories.add(row)
    assert (await store.update(acme.id, name="apex")).name == "apex"
    found = {row.id: row.org for row in await repositories.all()}
    assert found == {**dict.fromkeys((row.id for row in mine), "apex"), theirs.id: "other"}
    assert await store.repositories_of(acme.id) == sorted(row.id for row in mine)
    assert await store.repositories_of(other.id) == [theirs.id]
    with pytest.raises(Conflict):
        await store.update(acme.id, name="other")
    assert {row.org for row in await repositories.all()} == {"apex", "other"}


async def test_an_organization_with_repositories_and_the_last_one_stay(
    database: Database, store: OrganizationStore
) -> None:
    acme = await organization(store, "acme")
    repositories = RepositoryStore(database)
    row = repository(None, state="trashed", org="acme")
    await repositories.add(row)
    with pytest.raises(Conflict, match="has repositories"):
        await store.remove(acme.id)
    await repositories.remove(row.id)
    both = [one.id for one in await store.all()]
    done = await asyncio.gather(*(store.remove(one) for one in both), return_exceptions=True)
    assert sum(isinstance(one, Conflict) for one in done) == 1
    assert len(await store.all()) == 1


async def test_only_members_are_in_teams_whatever_comes_first(
    database: Database, store: OrganizationStore
) -> None:
    acme, other = await organization(store, "acme"), await organization(store, "other")
    docs = await store.add_team(acme.id, "docs", "")
    with pytest.raises(Conflict):
        await store.add_team(acme.id, "docs", "")
    await store.add_team(other.id, "docs", "")
    bob = await person(database, "bob")
    await store.set_member(other.id, bob.id, MemberRole.OWNER)
    with pytest.raises(NotFound, match="not in the team's organization"):
        await store.add_to_team(docs.id, bob.id)
    await store.set_member(acme.id, bob.id, MemberRole.MEMBER)
    assert await store.add_to_team(docs.id, bob.id)
    assert not await store.add_to_team(docs.id, bob.id)
    assert await store.remove_member(acme.id, bob.id)
    assert not await store.remove_member(acme.id, bob.id)
    directory = await store.directory()
    assert directory.team_members == {}
    assert directory.members == {(other.id, bob.id): MemberRole.OWNER}
    await asyncio.gather(
        store.set_member(acme.id, bob.id, MemberRole.MEMBER),
        store.add_to_team(docs.id, bob.id),
        store.remove_member(acme.id, bob.id),
        return_exceptions=True,
    )
    directory = await store.directory()
    if directory.team_members:
        assert (acme.id, bob.id) in directory.members


async def test_a_place_and_a_holder_have_one_grant_and_it_ends_with_either(
    database: Database, store: OrganizationStore
) -> None:
    acme = await organization(store, "acme")
    docs = await store.add_team(acme.id, "docs", "")
    bob, row = await person(database, "bob"), repository("one", org="acme")
    await RepositoryStore(database).add(row)
    on_one: dict[str, Any] = {"repository_id": row.id, "user_id": bob.id}
    before = await people_version(database)
    assert await store.grant(Role.READ, granted_by="ada", **on_one) is None
    assert await store.grant(Role.ADMIN, granted_by="eve", **on_one) is Role.READ
    assert await people_version(database) == before + 2
    assert await store.grant(Role.READ, granted_by="ada", org_id=acme.id, team_id=docs.id) is None
    (first, second) = (await store.directory()).grants
    assert (first.role, first.granted_by, first.repository_id) == (Role.ADMIN, "eve", row.id)
    assert (second.role, second.org_id, second.team_id) == (Role.READ, acme.id, docs.id)
    alone = await store.directory(bob.id)
    assert (set(alone.users), [grant.id for grant in alone.grants]) == ({bob.id}, [first.id])
    assert [grant.id for grant in await store.remove_team(docs.id)] == [second.id]
    taken = await store.revoke(**on_one)
    assert taken is not None and taken.role is Role.ADMIN
    assert await store.revoke(**on_one) is None
    await store.grant(Role.READ, granted_by="ada", **on_one)
    await RepositoryStore(database).remove(row.id)
    assert (await store.directory()).grants == ()


async def test_a_picture_that_is_read_during_a_change_names_nothing_that_is_not_in_it(
    settings: Settings,
) -> None:
    """Between the queries somebody commits an organization, a team in it, and its grants."""
    settings.data.mkdir()
    database = Database(settings)
    await migrate(database)
    bob = await person(database, "bob")

    def commit_in_between(_c: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if "FROM team_members" not in statement or changed:
            return
        changed.append(statement)
        with closing(sqlite3.connect(settings.database_file)) as other, other:
            at = now().isoformat(" ")
            other.execute(
                "INSERT INTO organizations(id, name, title, created_at, members_create)"
                f" VALUES (9, 'late', '', '{at}', 0)"
            )
            other.execute("INSERT INTO teams VALUES (9, 9, 'late', '')")
            other.execute(f"INSERT INTO team_members VALUES (9, {bob.id}, '{at}')")
            for number, on in enumerate(("9, NULL, 9", "1, NULL, 9", f"9, {bob.id}, NULL")):
                other.execute(
                    "INSERT INTO grants(org_id, user_id, team_id, subject, role, granted_by,"
                    f" granted_at) VALUES ({on}, '{number}', 'read', '', '{at}')"
                )

    changed: list[str] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", commit_in_between)
    try:
        access = Access(
            database,
            OrganizationStore(database),
            AccessStore(database),
            RepositoryStore(database),
        )
        actor = Actor("bob", user_id=bob.id)
        before = await access.directory()
        assert changed
        assert (before.team_members, before.grants, set(before.teams)) == ({}, (), set())
        assert (await access.readable(actor)) is not None
        async with database.write() as connection:
            await people_changed(connection)
        after = await access.directory()
        assert (len(after.grants), after.team_members) == (3, {bob.id: frozenset({9})})
    finally:
        await database.close()


# What a list shows and what the rule says


async def world(database: Database, random: Random) -> list[Repository]:
    """People, organizations, teams and grants at random, with every kind of each."""
    users, orgs, teams = range(1, 11), range(2, 5), range(1, 7)
    rows: list[Repository] = []
    for number in range(60):
        place = random.choice(["main", "o2", "o3", "o4"])
        kind = random.choice([Visibility.PRIVATE] * 4 + [Visibility.INTERNAL, Visibility.PUBLIC])
        plain = repository(f"r{number}", org=place, visibility=kind)
        trashed = number % 10 == 0
        state = RepositoryState.TRASHED if trashed else random.choice(STATES)
        rows.append(replace(plain, state=state, name=None if trashed else plain.name))
    places: list[dict[str, Any]] = [{"repository_id": row.id} for row in rows]
    places += [{"org_id": org} for org in (1, *orgs)] * 2
    holders = [{"user_id": user} for user in users] + [{"team_id": team} for team in teams] * 3
    pairs = [(random.choice(places), random.choice(holders)) for _ in range(70)]
    at = now()
    async with database.write() as connection:

        async def put(table: Any, values: list[dict[str, Any]]) -> None:
            for one in values:
                await connection.execute(insert(table).values(**one))

        await put(
            tables.users,
            [
                {"login": f"u{n}", "sync_secret": b"s", "created_at": at, "is_admin": n == 1,
                 "disabled": n == 2}
                for n in users
            ],
        )  # fmt: skip
        await put(
            tables.organizations,
            [
                {"name": f"o{n}", "title": "", "created_at": at,
                 "default_role": Role.READ if n == 3 else None}
                for n in orgs
            ],
        )  # fmt: skip
        await put(
            tables.members,
            [
                {"org_id": org, "user_id": user, "added_at": at,
                 "role": random.choice(list(MemberRole))}
                for org in orgs for user in random.sample(users, 3)
            ],
        )  # fmt: skip
        team_orgs = [random.choice((1, *orgs)) for _ in teams]
        await put(tables.teams, [{"org_id": o, "name": f"t{n}"} for n, o in enumerate(team_orgs)])
        await put(
            tables.team_members,
            [
                {"team_id": team, "user_id": user, "added_at": at}
                for team in teams for user in random.sample(users, 3)
            ],
        )  # fmt: skip
        for row in rows:
            values = {c.name: getattr(row, c.name) for c in tables.repositories.columns
                      if hasattr(row, c.name)}  # fmt: skip
            await put(tables.repositories, [values | {"removed": []}])
        await put(
            tables.grants,
            [
                {"subject": f"{number}", **place, **holder, "granted_at": at,
                 "role": random.choice(list(Role))}
                for number, (place, holder) in enumerate(pairs)
            ],
        )  # fmt: skip
    return rows


@pytest.mark.parametrize("seed", range(3))
async def test_a_list_shows_exactly_what_somebody_has_a_role_in(
    database: Database, store: OrganizationStore, seed: int
) -> None:
    await world(database, Random(seed))
    repositories = RepositoryStore(database)
    access = Access(database, store, AccessStore(database), repositories)
    directory, rows = await access.directory(), await repositories.all()
    named = [row for row in rows if row.name is not None]
    assert len(directory.users) == 10 and len(directory.grants) > 50 and len(named) == 54
    sizes = set()
    for user in (None, *directory.users.values()):
        user_id = user.id if user else None
        actor = Actor(user.login, is_admin=user.is_admin, user_id=user_id) if user else None
        readable = await access.readable(actor)
        found = await repositories.search("", limit=1000, readable=readable)
        expected = {row.name for row in named if effective(user_id, row, directory).role}
        if user and user.disabled:
            assert expected == set()
        assert {row.name for row in found.repositories} == expected
        assert found.total == len(expected)
        sizes.add(len(expected))
        if user:
            where = {row.name: what for row, what in await access.where(user)}
            assert set(where) == expected
            for row in named:
                told = dict((one.login, what) for one, what in await access.who(row))
                assert told.get(user.login) == where.get(row.name)
    assert len(sizes) > 5, "the world is too simple to tell anything"
