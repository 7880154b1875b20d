"""Logins for ever and links that are good once: the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from fossilrepo.db.engine import Database
from fossilrepo.db.journal import JobStore
from fossilrepo.db.logins import LoginStore, Newcomer
from fossilrepo.db.one_time import OneTimeStore
from fossilrepo.db.organizations import OrganizationStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.db.versions import people_version
from fossilrepo.errors import Conflict, InvalidInput, NotFound
from fossilrepo.models import JobState, now
from fossilrepo.rights import MemberRole


def person(login: str, **changes: Any) -> dict[str, Any]:
    return {
        "login": login,
        "name": login.title(),
        "email": "",
        "is_admin": False,
        "disabled": False,
        "password_hash": "x",
        "sync_secret": b"x",
        "created_at": now(),
        **changes,
    }


async def link(store: OneTimeStore, token_hash: str, **changes: Any) -> None:
    at = now()
    values = {
        "token_hash": token_hash,
        "id": token_hash,
        "purpose": "invitation",
        "created_at": at,
        "expires_at": at + timedelta(days=1),
        "created_by": "ada",
        "detail": {"org": None},
    }
    await store.add(**(values | changes))


async def test_a_link_is_taken_once_by_whoever_comes_first(database: Database) -> None:
    store = OneTimeStore(database)
    await link(store, "a")
    await link(store, "old", expires_at=now() - timedelta(seconds=1))
    assert [one.id for one in await store.all("invitation", now())] == ["a"]
    assert await store.find("a", "password", now()) is None
    taken = await asyncio.gather(*(store.take("a", "invitation", now()) for _ in range(4)))
    assert sum(one is not None for one in taken) == 1
    assert await store.take("old", "invitation", now()) is None
    user = await PeopleStore(database).add_user(**person("bob"))
    await link(store, "b", purpose="password", user_id=user.id)
    await link(store, "c", purpose="password", user_id=user.id, only=True)
    assert await store.find("b", "password", now()) is None
    await store.remove_of(user.id)
    assert await store.find("c", "password", now()) is None


async def test_newcomers_come_all_or_none_and_use_their_invitation_up(database: Database) -> None:
    logins, tokens = LoginStore(database), OneTimeStore(database)
    organizations = OrganizationStore(database)
    main = await organizations.by_name("main")
    assert main is not None
    team = await organizations.add_team(main.id, "tools", "")
    elsewhere = await organizations.add(name="other", title="", created_at=now())
    strange = await organizations.add_team(elsewhere.id, "tools", "")
    await link(tokens, "a")
    before = await people_version(database)
    bob = Newcomer(person("bob"), main.id, MemberRole.OWNER, (team.id, strange.id))
    with pytest.raises(Conflict):
        await logins.admit([bob, Newcomer(person("bob"))], with_token="a")
    assert await PeopleStore(database).users() == []
    done = await asyncio.gather(
        logins.admit([bob], with_token="a"),
        logins.admit([Newcomer(person("eve"))], with_token="a"),
    )
    assert sum(one is not None for one in done) == 1
    gone = Newcomer(person("mia"), 10**6, MemberRole.OWNER, (team.id,))  # no organization more
    assert await logins.admit([gone])
    directory = await organizations.directory()
    assert set(directory.members.values()) <= {MemberRole.OWNER}
    assert all(teams == {team.id} for teams in directory.team_members.values())
    assert await people_version(database) > before


async def test_a_login_is_never_given_to_another(database: Database) -> None:
    people, logins = PeopleStore(database), LoginStore(database)
    ada = await people.add_user(**person("ada", is_admin=True))
    bob = await people.add_user(**person("bob"))
    jobs = JobStore(database)
    job = {"kind": "import", "subject": "x", "state": JobState.DONE, "created_at": now()}
    await jobs.add(id="a" * 12, requested_by="bob", **job)
    assert (await logins.rename(bob.id, "robert")).login == "robert"
    assert len(await jobs.recent(requested_by="robert")) == 1
    for login in ("bob", "robert", "ada"):
        with pytest.raises(Conflict, match="is taken"):
            await people.add_user(**person(login))
    with pytest.raises(Conflict):
        await logins.rename(ada.id, "bob")
    assert await logins.taken(["ada", "bob", "robert", "free"]) == {"ada", "bob", "robert"}
    await logins.rename(bob.id, "bob")
    assert await logins.former(bob.id) == ["robert"]
    await logins.leave(bob.id, b"y")
    for gone in (logins.rename(bob.id, "x"), logins.leave(bob.id, b"y")):
        with pytest.raises(NotFound):
            await gone
    with pytest.raises(Conflict):
        await people.add_user(**person("bob"))
    assert await people.user("bob") is None


async def test_of_two_administrators_who_go_at_once_one_stays(database: Database) -> None:
    people, logins = PeopleStore(database), LoginStore(database)
    ada = await people.add_user(**person("ada", is_admin=True))
    bob = await people.add_user(**person("bob", is_admin=True))
    done = await asyncio.gather(
        logins.leave(ada.id, b"y"), logins.set_admin(bob.id, False), return_exceptions=True
    )
    assert sum(isinstance(one, Conflict) for one in done) == 1
    (stays,) = [user for user in await people.users() if user.is_admin]
    with pytest.raises(Conflict, match="last administrator"):
        await logins.leave(stays.id, b"y")


async def test_of_two_administrators_who_are_shut_out_at_once_one_stays(
    database: Database,
) -> None:
    people = PeopleStore(database)
    for login in ("ada", "bob"):
        await people.add_user(**person(login, is_admin=True))
    done = await asyncio.gather(
        *(people.shut_out(login, b"y") for login in ("ada", "bob")), return_exceptions=True
    )
    assert sum(isinstance(one, Conflict) for one in done) == 1
    assert sum(user.disabled for user in await people.users()) == 1


async def test_a_text_that_the_database_cannot_keep_is_nobodys(database: Database) -> None:
    try:
        found = await PeopleStore(database).user("a\0b")
    except InvalidInput:  # PostgreSQL takes no zero
        found = None
    assert found is None
