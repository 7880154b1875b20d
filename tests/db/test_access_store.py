"""Who is inside repositories, in the control database: on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from fossilrepo.db.access import AccessStore, FormerName
from fossilrepo.db.engine import Database
from fossilrepo.db.people import PeopleStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.db.versions import people_version
from fossilrepo.errors import Conflict
from fossilrepo.models import Repository, User, new_id, now
from tests.db.test_stores import repository


@pytest.fixture
async def there(database: Database) -> tuple[AccessStore, Repository, User]:
    row = repository()
    await RepositoryStore(database).add(row)
    person = await PeopleStore(database).add_user(
        login="ada", sync_secret=b"sealed", created_at=now(), is_admin=True
    )
    return AccessStore(database), row, person


async def test_everything_inside_a_repository_is_in_the_picture_and_raises_its_number(
    database: Database, there: tuple[AccessStore, Repository, User]
) -> None:
    store, row, person = there
    before = await people_version(database)
    await store.adopt(row.id, "a\nb\u202e", person.id, "ada")
    with pytest.raises(Conflict):
        await store.adopt(row.id, "a\nb\u202e", person.id, "ada")
    key = await store.add_key(
        id=new_id(),
        repository_id=row.id,
        login="key-aaaaaa",
        role="read",
        secret=b"s",
        created_at=now(),
        expires_at=now() - timedelta(seconds=1),
    )
    for until in (now() - timedelta(hours=1), now() + timedelta(hours=1)):
        await store.elevate(row.id, person.id, until)
    inside = await store.inside()
    assert [one.login for one in inside.adopted[row.id]] == ["a\nb\u202e"]
    assert [known.id for known, secret in inside.keys[row.id] if secret == b"s"] == [key.id]
    assert [one.until for one in inside.elevated[row.id]] == [until]
    assert await people_version(database) > before + 3
    await store.key_used(key.login, now())
    assert (await store.keys())[0].last_used is not None
    assert await store.remove_key(key.id) and await store.remove_key(key.id) is None
    assert await store.end_elevation(row.id, person.id)
    assert not await store.end_elevation(row.id, person.id)


async def test_drift_is_kept_newest_first(there: tuple[AccessStore, Repository, User]) -> None:
    store, row, _ = there
    for number in range(25):
        await store.add_drift(row.id, f"user-{number}", "s", "nothing")
    found = await store.drifts(row.id)
    assert [drift.login for drift in found] == [f"user-{n}" for n in range(24, 4, -1)]


async def test_former_names_are_kept_for_a_while_with_the_present_one(
    there: tuple[AccessStore, Repository, User],
) -> None:
    store, row, _ = there
    later, past = now() + timedelta(days=1), now() - timedelta(seconds=1)
    for name, leads, until in (("old", True, later), ("gone", False, later), ("over", True, past)):
        await store.keep_name(FormerName(name, row.id, "main", leads, until))
    found = await store.former_names()
    assert [(former.name, former.leads, present) for former, present in found] == [
        ("gone", False, "demo"),
        ("old", True, "demo"),
    ]
    await store.keep_name(FormerName("old", new_id(), "main", True, later))
    assert [present for former, present in await store.former_names()] == ["demo", None]
    await store.free_name("old")
    assert await store.former_name("old") is None
    assert (await store.former_name("over")) is not None


async def test_a_first_visit_twice_at_once_is_one(
    there: tuple[AccessStore, Repository, User],
) -> None:
    store, row, person = there
    first = await asyncio.gather(*(store.visit(row.id, person.id, opened=True) for _ in range(6)))
    assert first.count(True) == 1
    until = now() + timedelta(minutes=1)
    await asyncio.gather(*(store.elevate(row.id, person.id, until) for _ in range(6)))
    assert len(await store.elevations()) == 1
