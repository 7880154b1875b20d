"""Tickets into repositories, Fossil passwords, and the way out of everywhere."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from fossilrepo.config import Settings
from fossilrepo.core import open_services
from fossilrepo.errors import Conflict, Forbidden, InvalidInput, NotFound
from fossilrepo.models import Actor, Session, Visibility
from fossilrepo.services import Services
from fossilrepo.services.opening import TICKET_LIFE, Opened, Ticket, Tickets, digest
from fossilrepo.services.projection import READ
from fossilrepo.tools import fossil_sessions
from tests.helpers.site import ADMIN, roomy

NONCE = "a nonce"


@pytest.fixture
async def services(settings: Settings) -> AsyncIterator[Services]:
    """`ada` runs the site, `bob` does not; `shut` is private, `inner` internal."""
    async with open_services(roomy(settings)) as services:
        await services.accounts.create_user(ADMIN, "ada", is_admin=True)
        await services.accounts.create_user(ADMIN, "bob")
        await services.repos.create(ADMIN, "shut", visibility=Visibility.PRIVATE)
        await services.repos.create(ADMIN, "inner", visibility=Visibility.INTERNAL)
        yield services


async def person(services: Services, login: str) -> Actor:
    user = await services.accounts.user(login)
    return Actor(user.login, user.is_admin, user_id=user.id)


async def file(services: Services, name: str) -> Path:
    repository = await services.repos.get(ADMIN, name)
    return services.settings.store / f"{repository.id}.fossil"


def sql(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db, db:
        return db.execute(statement, values).fetchall()


def signed_in(path: Path, login: str) -> None:
    sql(path, "UPDATE user SET cookie = 'c', cexpire = 2e9, ipaddr = '-' WHERE login = ?", login)


def cookies(path: Path) -> dict[object, object]:
    return dict(sql(path, "SELECT login, cookie FROM user WHERE cookie NOTNULL"))  # type: ignore[arg-type]


# Tickets


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def ticket(user_id: int = 1) -> Ticket:
    return Ticket(user_id, "demo", "identity", digest(NONCE))


def test_a_ticket_lasts_half_a_minute() -> None:
    clock = Clock()
    tickets = Tickets(clock=clock)
    early, late = tickets.give(ticket()), tickets.give(ticket())
    clock.now += TICKET_LIFE - 0.1
    assert tickets.take(early) == ticket()
    assert tickets.take(early) is None
    clock.now += 0.1
    assert tickets.take(late) is None
    assert len(tickets) == 0


def test_tickets_are_few_and_nobody_drives_out_anothers() -> None:
    tickets = Tickets(each=3, most=8)
    mine = tickets.give(ticket(7))
    flood = [tickets.give(ticket(1)) for _ in range(100)]
    assert len(tickets) == 4
    assert tickets.take(mine) is not None
    assert tickets.take(flood[0]) is None
    assert tickets.take(flood[-1]) is not None
    for user_id in range(100):
        tickets.give(ticket(user_id))
    assert len(tickets) == 8


def test_tickets_are_kept_as_hashes_only() -> None:
    tickets = Tickets()
    word = tickets.give(ticket())
    assert word not in repr(vars(tickets))
    assert "secret-word" not in repr(Opened("identity", "ada", "secret-word"))


async def test_whoever_opens_gets_their_own_password(services: Services) -> None:
    ada = await person(services, "ada")
    word = await services.opening.ticket(ada, "shut", digest(NONCE))
    opened = await services.opening.redeem(word, "shut", "tossed by another host", NONCE)
    repository = await services.repos.get(ADMIN, "shut")
    assert opened.login == "ada"
    assert opened.password == await services.accounts.sync_password("ada", repository)
    (entry, *_) = await services.audit.recent(subject="shut")
    assert (entry.actor, entry.action) == ("ada", "repository.open")


async def test_tickets_are_for_people_who_may_read(services: Services) -> None:
    for name in ("shut", "unknown", "shut--abcdef"):
        with pytest.raises(NotFound):
            await services.opening.ticket(await person(services, "bob"), name, digest(NONCE))
    with pytest.raises(Forbidden):
        await services.opening.ticket(Actor.command_line(), "shut", digest(NONCE))
    with pytest.raises(InvalidInput):
        await services.opening.ticket(await person(services, "ada"), "shut", "x" * 64)


async def test_a_ticket_does_not_follow_a_name_to_another_repository(services: Services) -> None:
    ada = await person(services, "ada")
    word = await services.opening.ticket(ada, "shut", digest(NONCE))
    await services.repos.delete(ADMIN, "shut")
    await services.repos.create(ADMIN, "shut", visibility=Visibility.PUBLIC)
    with pytest.raises(Forbidden):
        await services.opening.redeem(word, "shut", NONCE)


async def test_signing_out_takes_the_tickets_that_are_out(services: Services) -> None:
    ada = await person(services, "ada")
    word = await services.opening.ticket(ada, "shut", digest(NONCE))
    assert ada.user_id is not None
    await services.opening.sign_out_everywhere(ada.user_id)
    with pytest.raises(Forbidden):
        await services.opening.redeem(word, "shut", NONCE)


# Passwords and first use


async def test_showing_the_password_writes_a_reader_in(services: Services) -> None:
    bob, path = await person(services, "bob"), await file(services, "inner")
    inner = await services.repos.get(bob, "inner")
    caps = "SELECT cap FROM user WHERE login = 'bob'"
    assert sql(path, caps) == []
    word = await services.opening.password(bob, "bob", inner)
    assert sql(path, caps) == [(READ,)]
    assert await services.opening.password(ADMIN, "bob", inner) == word


async def test_passwords_are_for_who_may_do_something(services: Services) -> None:
    bob = await person(services, "bob")
    shut = await services.repos.get(ADMIN, "shut")
    inner = await services.repos.get(ADMIN, "inner")
    with pytest.raises(NotFound):
        await services.opening.password(bob, "bob", shut)
    with pytest.raises(Forbidden):
        await services.opening.password(bob, "ada", inner)
    with pytest.raises(NotFound):
        await services.opening.password(ADMIN, "nobody-here", inner)
    with pytest.raises(Forbidden, match="bob may do nothing in shut") as refused:
        await services.opening.password(ADMIN, "bob", shut)
    assert "fossilrepo grant shut" in refused.value.hint
    await services.accounts.set_disabled(ADMIN, "bob", True)
    with pytest.raises(Forbidden) as refused:
        await services.opening.password(ADMIN, "bob", inner)
    assert refused.value.hint == "they are disabled"
    await services.repos.delete(ADMIN, "inner")
    gone = await services.repos.trash(ADMIN)
    with pytest.raises(Conflict):
        await services.opening.password(ADMIN, "ada", gone[0])


# Out again


async def test_signing_out_everywhere_is_for_one_person(services: Services) -> None:
    ada, path = await person(services, "ada"), await file(services, "shut")
    shut = await services.repos.get(ADMIN, "shut")
    assert ada.user_id is not None
    sql(path, "INSERT INTO user (login, pw, cap) VALUES ('native', 'x', 'o')")
    for login in ("ada", "native"):
        signed_in(path, login)
    await services.opening.sign_out_everywhere(ada.user_id)
    assert cookies(path) == {"ada": "c", "native": "c"}, "nothing was opened through the site"
    await services.opening.visited(ada, shut, opened=True)
    await services.opening.sign_out_everywhere(ada.user_id)
    assert cookies(path) == {"native": "c"}
    signed_in(path, "ada")
    await services.opening.sign_out_everywhere(ada.user_id)
    assert cookies(path) == {"ada": "c", "native": "c"}, "that was done before"


async def test_ending_sessions_on_the_site_ends_them_in_repositories(services: Services) -> None:
    ada, path = await person(services, "ada"), await file(services, "shut")
    shut = await services.repos.get(ADMIN, "shut")
    user = await services.accounts.user("ada")

    async def ends(how: Callable[[Session], Awaitable[object]]) -> bool:
        made = await services.accounts.session_for(user, address="", agent="")
        await services.opening.visited(ada, shut, opened=True)
        signed_in(path, "ada")
        session = await services.accounts.session(made.token)
        assert session is not None
        await how(session)
        return cookies(path) == {}

    accounts = services.accounts
    assert await ends(lambda session: accounts.end_session(ada, session.id))
    assert await ends(lambda session: accounts.end_other_sessions(session))
    assert await ends(lambda _: accounts.set_password(ADMIN, "ada", "four random words here"))
    assert await ends(lambda _: accounts.rotate(ADMIN, "ada"))
    await accounts.create_user(ADMIN, "another", is_admin=True)
    assert await ends(lambda _: accounts.set_disabled(ADMIN, "ada", True))


async def test_what_cannot_be_written_now_is_signed_out_the_next_time(services: Services) -> None:
    ada = await person(services, "ada")
    assert ada.user_id is not None
    paths = []
    for name in ("shut", "inner"):
        repository = await services.repos.get(ADMIN, name)
        await services.opening.visited(ada, repository, opened=True)
        paths.append(await file(services, name))
        signed_in(paths[-1], "ada")
    trap = "CREATE TRIGGER trap AFTER UPDATE ON user BEGIN SELECT 1; END"
    sql(paths[0], trap)
    await services.opening.sign_out_everywhere(ada.user_id)
    assert [cookies(path) for path in paths] == [{"ada": "c"}, {}]
    sql(paths[0], "DROP TRIGGER trap")
    await services.opening.sign_out_everywhere(ada.user_id)
    assert cookies(paths[0]) == {}


async def test_a_repository_that_is_gone_keeps_nobody_signed_in(services: Services) -> None:
    ada = await person(services, "ada")
    assert ada.user_id is not None
    shut = await services.repos.get(ADMIN, "shut")
    await services.opening.visited(ada, shut, opened=True)
    (await file(services, "shut")).unlink()
    await services.opening.sign_out_everywhere(ada.user_id)
    assert await services.opening._store.opened_by(ada.user_id) == []


async def test_nothing_is_written_when_nobody_is_signed_in(services: Services) -> None:
    path = await file(services, "shut")
    sql(path, "CREATE TRIGGER trap AFTER UPDATE ON user BEGIN SELECT 1; END")
    assert not await asyncio.to_thread(fossil_sessions.end, path, "ada")
