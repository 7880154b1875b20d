"""People as a whole: renamed, administrators, leaving, imported; also inside repositories."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from fossilrepo.config import Settings
from fossilrepo.errors import Conflict, Forbidden, InvalidInput, NotFound, NotSignedIn
from fossilrepo.models import Repository
from fossilrepo.rights import MemberRole, Role
from fossilrepo.tools.fossil_db import reading, writing
from fossilrepo.tools.fossil_users import password_hash
from tests.services.test_invitations import FROM, GOOD, HOST, OTHER, Place, opened, token


@pytest.fixture
async def place(settings: Settings) -> AsyncIterator[Place]:
    async with opened(settings) as place:
        yield place


async def granted(place: Place, login: str) -> Repository:
    repository = await place.services.repos.create(HOST, "shed")
    user = await place.services.accounts.user(login)
    await place.organizations.grant(
        Role.WRITE, granted_by="", repository_id=repository.id, user_id=user.id
    )
    await place.services.people.configure(HOST, login, name="As written into Fossil")
    return repository


def row(settings: Settings, repository: Repository, login: str) -> tuple[str | None, str, str]:
    with reading(settings.store / f"{repository.id}.fossil") as db:
        found = db.execute("SELECT pw, cap, info FROM user WHERE login = ?", (login,)).fetchone()
    return found or (None, "", "")


async def test_a_new_login_is_the_persons_everywhere_and_the_old_one_nobodys(
    place: Place, settings: Settings
) -> None:
    people, accounts = place.services.people, place.services.accounts
    await place.person("ada", admin=True)
    await place.person("bob")
    session = await accounts.sign_in("bob", GOOD, **FROM)
    repository = await granted(place, "bob")
    assert row(settings, repository, "bob")[2] == "As written into Fossil"
    word = await accounts.sync_password("bob", repository)
    await people.rename(HOST, "bob", "robert")
    assert await accounts.sync_password("robert", repository) == word
    assert row(settings, repository, "bob")[:2] == (None, "")
    pw, letters, _ = row(settings, repository, "robert")
    assert pw == password_hash(repository.project_code, "robert", word) and "i" in letters
    still = await accounts.session(session.token)
    assert still is not None and still.user.login == "robert"
    await accounts.sign_in("robert", GOOD, **FROM)
    for gone in ("bob", "ada", "robert"):
        with pytest.raises(Conflict):
            await accounts.create_user(HOST, gone)
    with pytest.raises(Conflict):
        await people.rename(HOST, "ada", "bob")
    with pytest.raises(NotFound):
        await accounts.user("bob")
    assert (await people.show(HOST, "robert")).former == ("bob",)
    await people.rename(HOST, "robert", "bob")  # their own one, back
    assert row(settings, repository, "bob")[0] == password_hash(
        repository.project_code, "bob", word
    )
    for wrong in ("root", "Bob", "../x"):
        with pytest.raises(InvalidInput):
            await people.rename(HOST, "bob", wrong)
    entries = await place.services.audit.recent(subject="robert")
    renamed = [entry.detail for entry in entries if entry.action == "person.rename"]
    assert renamed == [{"before": "bob", "after": "robert"}]


@pytest.mark.sqlite
async def test_who_leaves_is_shut_out_and_forgotten_but_not_replaced(
    place: Place, settings: Settings
) -> None:
    people, accounts = place.services.people, place.services.accounts
    await place.person("ada", admin=True)
    await place.owner("bob")
    await people.configure(HOST, "bob", email="bob@example.org")
    session = await accounts.sign_in("bob", GOOD, **FROM)
    _, api_token = await place.services.api_tokens.create(HOST, "bob")
    link = await place.services.resets.link(HOST, "bob")
    repository = await granted(place, "bob")
    await people.delete(HOST, "bob")
    assert row(settings, repository, "bob")[:2] == (None, "")
    assert await accounts.session(session.token) is None
    assert not await place.services.api_tokens.bearer(api_token)
    for gone in (accounts.user("bob"), place.services.resets.use(token(link), OTHER)):
        with pytest.raises(NotFound):
            await gone
    with pytest.raises(NotSignedIn):
        await accounts.sign_in("bob", GOOD, **FROM)
    with pytest.raises(Conflict):
        await accounts.create_user(HOST, "bob")
    assert [user.login for user in await accounts.users()] == ["ada"]
    directory = await place.organizations.directory()
    assert directory.members == {} and directory.grants == ()
    with closing(sqlite3.connect(settings.database_file)) as db:
        kept = db.execute("SELECT name, email, password_hash FROM users WHERE login = 'bob'")
        assert kept.fetchall() == [("", "", "")]
    with pytest.raises(NotFound):
        await people.delete(HOST, "bob")


async def test_one_administrator_always_stays(place: Place) -> None:
    people = place.services.people
    await place.person("ada", admin=True)
    await place.person("bob")
    for last in (people.set_admin(HOST, "ada", False), people.delete(HOST, "ada")):
        with pytest.raises(Conflict, match="last administrator"):
            await last
    await people.set_admin(HOST, "bob", True)
    done = await asyncio.gather(
        *(people.set_admin(HOST, login, False) for login in ("ada", "bob")),
        return_exceptions=True,
    )
    assert sum(isinstance(one, Conflict) for one in done) == 1
    assert sum(user.is_admin for user in await place.services.accounts.users()) == 1


async def test_people_change_their_own_name_and_nothing_of_others(place: Place) -> None:
    people = place.services.people
    await place.person("ada", admin=True)
    bob = await place.person("bob")
    after = await people.configure(bob, "bob", name="Bob", email="bob@example.org")
    assert (after.name, after.email) == ("Bob", "bob@example.org")
    with pytest.raises(InvalidInput):
        await people.configure(bob, "bob", email="bob@example.org\nBcc: x@y.z")
    with pytest.raises(InvalidInput):
        await people.configure(bob, "bob", name="Bob\nB")
    assert (await people.show(bob, "bob")).user == after
    for refused in (
        people.configure(bob, "ada", name="x"),
        people.show(bob, "ada"),
        people.show(bob, "nobody-here"),
        people.rename(bob, "bob", "robert"),
        people.set_admin(bob, "bob", True),
        people.delete(bob, "bob"),
        people.delete(bob, "ada"),
        people.import_csv(bob, "login\nx\n"),
        people.collisions(bob, "bob"),
    ):
        with pytest.raises(Forbidden):
            await refused


async def test_a_file_of_people_is_taken_whole_with_a_link_for_each(place: Place) -> None:
    main = await place.organizations.by_name("main")
    assert main is not None
    await place.organizations.add_team(main.id, "tools", "")
    await place.organizations.add_team(main.id, "docs", "")
    text = (
        "\ufefflogin,name,email,org,teams\n"
        'bob,"Bob, B.",bob@example.org,main,tools docs\n'
        "\n"
        "eve,,,,\n"
    )
    made = await place.services.people.import_csv(HOST, text)
    assert [(one.login, one.mailed) for one in made] == [("bob", False), ("eve", False)]
    profile = await place.services.people.show(HOST, "bob")
    assert profile.user.name == "Bob, B."
    assert profile.memberships[0].role is MemberRole.MEMBER
    assert profile.memberships[0].teams == ("docs", "tools")
    with pytest.raises(NotSignedIn):
        await place.services.accounts.sign_in("bob", "", **FROM)
    assert await place.services.resets.use(token(made[0].url), GOOD) == "bob"
    await place.services.accounts.sign_in("bob", GOOD, **FROM)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("good,,,,\nroot,,,,\n", "line 3: the login 'root' is reserved"),
        ("good,,,,\nada,,,,\n", "line 3: the login 'ada' is taken"),
        ("good,,,,\ngood,,,,\n", "twice"),
        ("good,,no address,,\n", "line 2"),
        ("good,,,nowhere,\n", "no organization 'nowhere'"),
        ("good,,,main,nowhere\n", "no team 'nowhere' in main"),
        ("good,,,,tools\n", "without an organization"),
        ("good,,\n", "needs 5 values"),
        ("good,,,,,more\n", "needs 5 values"),
        ('good,"open,,,\n', "line"),
        ("", "nobody"),
    ],
)
async def test_with_one_wrong_row_nobody_is_made(place: Place, rows: str, says: str) -> None:
    await place.person("ada", admin=True)
    with pytest.raises(InvalidInput, match=says):
        await place.services.people.import_csv(HOST, "login,name,email,org,teams\n" + rows)
    assert [user.login for user in await place.services.accounts.users()] == ["ada"]


async def test_a_file_must_name_its_columns(place: Place) -> None:
    for head in ("", "name,email\n", "login,passwd\n", "login,login\n"):
        with pytest.raises(InvalidInput):
            await place.services.people.import_csv(HOST, head + "bob,x\n")
    (bob,) = await place.services.people.import_csv(HOST, "Name;Login\nBob;bob\n")
    assert bob.login == "bob"


async def test_a_login_that_a_native_user_has_is_told_and_nothing_overwritten(
    place: Place, settings: Settings
) -> None:
    repository = await place.services.repos.create(HOST, "shed")
    with writing(settings.store / f"{repository.id}.fossil", ("user",)) as db:
        db.execute("INSERT INTO user (login, pw, cap, info) VALUES ('bob', 'f00', 'i', 'native')")
    made = await place.services.people.import_csv(HOST, "login\nbob\n")
    assert made[0].collides == ("shed",)
    assert await place.services.people.collisions(HOST, "bob") == ("shed",)
    assert row(settings, repository, "bob")[2] == "native"
