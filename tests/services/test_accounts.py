"""Who somebody is: set-up, sign-in, sessions, tokens, Fossil passwords."""

import asyncio
import hashlib
import os
import stat
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pyotp
import pytest
from argon2 import PasswordHasher

from fossilrepo.config import Settings
from fossilrepo.db.engine import Database
from fossilrepo.db.factors import FactorStore
from fossilrepo.db.journal import AuditStore
from fossilrepo.db.migrate import migrate
from fossilrepo.db.one_time import OneTime, OneTimeStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.errors import (
    Conflict,
    Forbidden,
    FossilrepoError,
    InvalidInput,
    NotFound,
    NotSignedIn,
    TooManyRequests,
)
from fossilrepo.models import Actor, now
from fossilrepo.services import passwords
from fossilrepo.services.accounts import Accounts, SecondFactorNeeded
from fossilrepo.services.api_tokens import ApiTokens, Scope
from fossilrepo.services.audit import Audit
from fossilrepo.services.keys import Keys
from fossilrepo.services.links import Links
from fossilrepo.services.second_factor import SecondFactor
from fossilrepo.services.slowing import Slowing
from tests.db.test_stores import repository

GOOD = "four random words here"
ADMIN = Actor("ada", is_admin=True)
FROM = {"address": "192.0.2.1", "agent": "test"}


@dataclass(frozen=True)
class Parts:
    accounts: Accounts
    api_tokens: ApiTokens
    second_factor: SecondFactor
    audit: Audit
    projected: list[int]


@pytest.fixture
async def parts(settings: Settings) -> AsyncIterator[Parts]:
    settings.data.mkdir()
    database = Database(settings)
    await migrate(database)
    audit = Audit(AuditStore(database))
    projected: list[int] = []

    async def on_change() -> None:
        projected.append(1)

    people, keys = PeopleStore(database), Keys(settings.key_file)
    factor = SecondFactor(FactorStore(database), people, keys, Links(settings), audit)
    accounts = Accounts(people, OneTimeStore(database), factor, keys, audit, on_change)
    yield Parts(accounts, ApiTokens(people, audit), factor, audit, projected)
    await database.close()


async def test_the_set_up_link_makes_one_administrator(parts: Parts) -> None:
    accounts = parts.accounts
    earlier, token = await accounts.setup_token(), await accounts.setup_token()
    assert not await accounts.setup_token_valid(earlier)
    with pytest.raises(InvalidInput):
        await accounts.set_up(token, "ada", "", "short")
    signed_in = await accounts.set_up(token, "ada", "Ada", GOOD, **FROM)
    session = await accounts.session(signed_in.token)
    assert session is not None and session.user.is_admin and session.csrf
    with pytest.raises(NotFound):
        await accounts.set_up(token, "eve", "", GOOD)
    assert not await accounts.needs_setup()
    assert [u.login for u in await accounts.users()] == ["ada"]


async def test_of_two_who_use_the_set_up_link_at_once_one_is_the_first(parts: Parts) -> None:
    token = await parts.accounts.setup_token()
    done = await asyncio.gather(
        *(parts.accounts.set_up(token, login, "", GOOD, **FROM) for login in ("ada", "eve")),
        return_exceptions=True,
    )
    assert sum(isinstance(one, NotFound) for one in done) == 1
    assert len(await parts.accounts.users()) == 1


async def test_only_the_right_password_signs_in(parts: Parts) -> None:
    await parts.accounts.create_user(ADMIN, "ada", password=GOOD)
    await parts.accounts.create_user(ADMIN, "empty")
    assert (await parts.accounts.sign_in(" Ada ", GOOD, **FROM)).session.user.login == "ada"
    for login, password in (("ada", GOOD + "x"), ("eve", GOOD), ("empty", ""), ("ada", "")):
        with pytest.raises(NotSignedIn, match="wrong login or password"):
            await parts.accounts.sign_in(login, password, **FROM)


async def test_guessing_is_slowed_per_account(parts: Parts) -> None:
    await parts.accounts.create_user(ADMIN, "ada", password=GOOD)
    for _ in range(5):
        with pytest.raises(NotSignedIn):
            await parts.accounts.sign_in("ada", "wrong", **FROM)
    with pytest.raises(TooManyRequests) as slowed:
        await parts.accounts.sign_in("ada", GOOD, address="198.51.100.7", agent="")
    assert slowed.value.retry_after >= 1


def test_guessing_is_slowed_per_address_and_counts_stay_bounded() -> None:
    slowing = Slowing()
    for number in range(20):
        slowing.check("address A")
        slowing.failed(f"account {number}", "address A")
    with pytest.raises(TooManyRequests):
        slowing.check("account new", "address A")
    slowing.check("account new", "address B")
    for number in range(20):
        slowing.failed(f"address 2001:db8:1:2::{number:x}")
    with pytest.raises(TooManyRequests):
        slowing.check("address 2001:db8:1:2:ffff::1")
    slowing.check("address 2001:db8:1:3::1")
    for _ in range(20):
        slowing.failed("address ::ffff:192.0.2.1")
    slowing.check("address ::ffff:192.0.2.2")
    for number in range(10_500):
        slowing.failed(f"account x{number}")
    assert len(slowing._failures) == 10_000


async def test_a_session_ends_with_sign_out_a_new_password_and_being_disabled(
    parts: Parts,
) -> None:
    accounts = parts.accounts
    await accounts.create_user(ADMIN, "ada", is_admin=True, password=GOOD)
    await accounts.create_user(ADMIN, "bob", password=GOOD)
    first = await accounts.sign_in("bob", GOOD, **FROM)
    await accounts.sign_out(first.token)
    assert await accounts.session(first.token) is None
    second = await accounts.sign_in("bob", GOOD, **FROM)
    await accounts.set_password(ADMIN, "bob", GOOD + "2")
    assert await accounts.session(second.token) is None
    third = await accounts.sign_in("bob", GOOD + "2", **FROM)
    await accounts.set_disabled(ADMIN, "bob", True)
    assert await accounts.session(third.token) is None
    with pytest.raises(NotSignedIn):
        await accounts.sign_in("bob", GOOD + "2", **FROM)
    assert await accounts.session("x" * 43) is None and await accounts.session("") is None


@pytest.mark.parametrize(
    "bad",
    [
        "short",
        "Password123",
        "1234567890",
        "Changeme123",
        "bob-bob-bob",
        "abababababab",
        "x" * 1001,
    ],
)
async def test_passwords_that_a_stranger_would_try_are_refused(parts: Parts, bad: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await parts.accounts.create_user(ADMIN, "bob", password=bad)
    assert refusal.value.field == "password"
    assert await parts.accounts.users() == []


def test_length_is_enough_without_digits_and_signs() -> None:
    for good in ("orange kettle", "bob owns four old boats", "a password123", "x" * 500 + "yz"):
        passwords.check("bob", good)


async def test_logins_are_taken_once_and_the_last_administrator_stays(parts: Parts) -> None:
    await parts.accounts.create_user(ADMIN, "ada", is_admin=True)
    with pytest.raises(Conflict):
        await parts.accounts.create_user(ADMIN, "ada")
    with pytest.raises(Conflict, match="last administrator"):
        await parts.accounts.set_disabled(ADMIN, "ada", True)
    with pytest.raises(Forbidden):
        await parts.accounts.create_user(Actor("eve"), "friend")


async def test_fossil_passwords_differ_by_person_and_repository_and_rotate(parts: Parts) -> None:
    accounts = parts.accounts
    await accounts.create_user(ADMIN, "ada")
    await accounts.create_user(ADMIN, "bob")
    one, two = repository("one"), repository("two")
    before = await accounts.sync_password("ada", one)
    assert len(before) == 24 and before.isalnum() and before == before.lower()
    assert await accounts.sync_password("ada", one) == before
    assert await accounts.sync_password("ada", replace(one, name="renamed")) == before
    others = {await accounts.sync_password("ada", two), await accounts.sync_password("bob", one)}
    assert before not in others and len(others) == 2
    projected = len(parts.projected)
    await accounts.rotate(ADMIN, "ada")
    assert await accounts.sync_password("ada", one) != before
    assert len(parts.projected) == projected + 1


@pytest.mark.sqlite
async def test_api_tokens_work_until_revoked_and_only_hashes_are_kept(
    parts: Parts, settings: Settings
) -> None:
    await parts.accounts.create_user(ADMIN, "ada")
    token_id, token = await parts.api_tokens.create(ADMIN, "ada", "ci", days=1)
    bearer = await parts.api_tokens.bearer(token)
    assert bearer is not None and bearer.user.login == "ada" and bearer.scope is Scope.ADMIN
    assert await parts.api_tokens.bearer(token[:-1] + "x") is None
    assert (await parts.api_tokens.list(ADMIN))[0]["last_used"] is not None
    assert token.encode() not in settings.database_file.read_bytes()
    await parts.api_tokens.revoke(ADMIN, token_id)
    assert await parts.api_tokens.bearer(token) is None


async def test_people_have_tokens_of_their_own_and_no_others(parts: Parts) -> None:
    for login in ("ada", "bob"):
        await parts.accounts.create_user(ADMIN, login)
    bob = Actor("bob", user_id=(await parts.accounts.user("bob")).id)
    theirs, _ = await parts.api_tokens.create(ADMIN, "ada", scope=Scope.READ)
    own, token = await parts.api_tokens.create(bob, "bob", "job", scope=Scope.WRITE)
    with pytest.raises(Forbidden):
        await parts.api_tokens.create(bob, "ada")
    assert [t["id"] for t in await parts.api_tokens.list(bob)] == [own]
    assert {t["id"] for t in await parts.api_tokens.list(ADMIN)} == {own, theirs}
    with pytest.raises(NotFound):
        await parts.api_tokens.revoke(bob, theirs)
    await parts.accounts.set_disabled(ADMIN, "bob", True)
    assert await parts.api_tokens.bearer(token) is None
    await parts.accounts.set_disabled(ADMIN, "bob", False)
    assert (await parts.api_tokens.bearer(token)) is not None
    await parts.api_tokens.revoke(bob, own)
    assert await parts.api_tokens.bearer(token) is None


async def test_sessions_are_listed_and_ended_one_by_one_and_all_but_this(parts: Parts) -> None:
    accounts = parts.accounts
    user = await accounts.create_user(ADMIN, "bob", password=GOOD)
    bob = Actor("bob", user_id=user.id)
    await accounts.create_user(ADMIN, "eve", password=GOOD)
    opened = [await accounts.sign_in("bob", GOOD, **FROM) for _ in range(3)]
    foreign = await accounts.sign_in("eve", GOOD, **FROM)
    sessions = [await accounts.session(one.token) for one in opened]
    assert all(sessions) and len({one.id for one in sessions if one}) == 3
    assert len(await accounts.sessions(user)) == 3
    first, second, third = (one for one in sessions if one)
    await accounts.end_session(bob, first.id)
    stranger = await accounts.session(foreign.token)
    assert stranger is not None
    with pytest.raises(NotFound):
        await accounts.end_session(bob, stranger.id)
    assert await accounts.end_other_sessions(third) == 1
    assert [one.id for one in await accounts.sessions(user)] == [third.id]
    assert await accounts.session(opened[1].token) is None and second.id
    fresh = await accounts.change_own_password(third, GOOD, GOOD + " new", **FROM)
    assert await accounts.session(opened[2].token) is None, "the session is a new one"
    assert await accounts.session(fresh.token) is not None
    assert await accounts.session(foreign.token) is not None


@dataclass
class Counting:
    """A hasher which tells what it was asked to check."""

    hasher: PasswordHasher
    checked: list[str] = field(default_factory=list)

    def verify(self, text: str, password: str) -> bool:
        self.checked.append(text)
        return bool(self.hasher.verify(text, password))

    def __getattr__(self, name: str) -> object:
        return getattr(self.hasher, name)


async def test_an_unknown_login_costs_what_a_known_one_does(parts: Parts) -> None:
    await parts.accounts.create_user(ADMIN, "bob", password=GOOD)
    counting = Counting(parts.accounts._passwords._hasher)
    parts.accounts._passwords._hasher = counting  # type: ignore[assignment]
    for login in ("bob", "nobody-here"):
        with pytest.raises(NotSignedIn):
            await parts.accounts.sign_in(login, "wrong password", **FROM)
    known, unknown = counting.checked
    assert known.split("$")[1:4] == unknown.split("$")[1:4], "the same work for both"


async def test_many_who_guess_are_held_and_others_come_in(parts: Parts) -> None:
    await parts.accounts.create_user(ADMIN, "ada", password=GOOD)

    async def guess(number: int) -> type[Exception]:
        login = f"guess{number % 40}"
        try:
            await parts.accounts.sign_in(login, "wrong", address="203.0.113.9", agent="")
        except FossilrepoError as error:
            return type(error)
        raise AssertionError

    for number in range(18):  # each try costs a hash: these are only counted
        parts.accounts._slowing.failed(f"account g{number}", "address 203.0.113.9")
    outcomes = [await guess(number) for number in range(3)]
    assert outcomes == [NotSignedIn, NotSignedIn, TooManyRequests]
    together = await asyncio.gather(
        *(guess(number) for number in range(30)), parts.accounts.sign_in("ada", GOOD, **FROM)
    )
    assert {one for one in together[:-1]} == {TooManyRequests}
    failed = [e for e in await parts.audit.recent(limit=200) if e.action == "sign-in.failed"]
    assert 1 <= len(failed) <= 40, "told, and not for every try"


async def test_guesses_at_once_tell_and_cost_no_more_than_one_after_the_other(
    parts: Parts,
) -> None:
    counting = Counting(PasswordHasher(time_cost=1, memory_cost=64))
    parts.accounts._passwords._hasher = counting  # type: ignore[assignment]
    await parts.accounts.create_user(ADMIN, "ada", password=GOOD)

    async def guess(number: int) -> type[Exception]:
        try:
            address = f"203.0.113.{number}"
            await parts.accounts.sign_in("ada", f"wrong {number}", address=address, agent="")
        except FossilrepoError as error:
            return type(error)
        raise AssertionError

    outcomes = await asyncio.gather(*(guess(number) for number in range(40)))
    assert outcomes.count(NotSignedIn) < 10 and outcomes.count(TooManyRequests) > 30
    assert len(counting.checked) < 10, "those that waited for their turn are not tried any more"


@dataclass
class Slow:
    """A hasher whose check ends when it is told to; the rest is the real one's."""

    hasher: PasswordHasher
    begun: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def verify(self, text: str, password: str) -> bool:
        self.begun.set()
        assert self.go_on.wait(30)
        return bool(self.hasher.verify(text, password))

    def __getattr__(self, name: str) -> object:
        return getattr(self.hasher, name)


@pytest.mark.parametrize("change", ["another password", "disabled"])
async def test_a_sign_in_that_began_before_a_change_gives_no_session_after_it(
    parts: Parts, change: str
) -> None:
    accounts = parts.accounts
    user = await accounts.create_user(ADMIN, "bob", password=GOOD)
    await accounts.create_user(ADMIN, "ada", is_admin=True)
    slow = Slow(accounts._passwords._hasher)
    accounts._passwords._hasher = slow  # type: ignore[assignment]
    trying = asyncio.create_task(accounts.sign_in("bob", GOOD, **FROM))
    try:
        assert await asyncio.to_thread(slow.begun.wait, 30)
        if change == "disabled":
            await accounts.set_disabled(ADMIN, "bob", True)
        else:
            await accounts.set_password(ADMIN, "bob", GOOD + " anew")
    finally:
        slow.go_on.set()
    with pytest.raises(NotSignedIn):
        await trying
    assert await accounts.sessions(user) == []


async def test_of_two_administrators_who_disable_each_other_one_stays(parts: Parts) -> None:
    for login in ("ada", "bob"):
        await parts.accounts.create_user(ADMIN, login, is_admin=True)
    done = await asyncio.gather(
        *(parts.accounts.set_disabled(ADMIN, login, True) for login in ("ada", "bob")),
        return_exceptions=True,
    )
    assert sum(isinstance(one, Conflict) for one in done) == 1
    assert sum(not user.disabled for user in await parts.accounts.users()) == 1


async def test_a_sign_in_that_is_half_done_ends_with_the_password(parts: Parts) -> None:
    user = await parts.accounts.create_user(ADMIN, "ada", password=GOOD)
    secret = parts.second_factor.offer(user).secret
    codes = await parts.second_factor.confirm(user, secret, pyotp.TOTP(secret).now())
    with pytest.raises(SecondFactorNeeded) as half:
        await parts.accounts.sign_in("ada", GOOD, **FROM)
    await parts.accounts.set_password(ADMIN, "ada", GOOD + " anew")
    with pytest.raises(NotSignedIn):
        await parts.accounts.second(half.value.token, codes[0], **FROM)
    with pytest.raises(SecondFactorNeeded) as again:
        await parts.accounts.sign_in("ada", GOOD + " anew", **FROM)
    assert await parts.accounts.second(again.value.token, codes[0], **FROM)


@pytest.mark.parametrize("change", ["another password", "disabled"])
async def test_a_second_step_that_overlaps_a_change_gives_no_session_after_it(
    parts: Parts, change: str
) -> None:
    accounts = parts.accounts
    await accounts.create_user(ADMIN, "ada", is_admin=True)
    user = await accounts.create_user(ADMIN, "bob", password=GOOD)
    secret = parts.second_factor.offer(user).secret
    codes = await parts.second_factor.confirm(user, secret, pyotp.TOTP(secret).now())
    with pytest.raises(SecondFactorNeeded) as half:
        await accounts.sign_in("bob", GOOD, **FROM)

    class Between(OneTimeStore):
        """The change comes when the step is used up, and the session is not there yet."""

        async def take(self, token_hash: str, purpose: str, at: datetime) -> OneTime | None:
            taken = await super().take(token_hash, purpose, at)
            if change == "disabled":
                await accounts.set_disabled(ADMIN, "bob", True)
            else:
                await accounts.set_password(ADMIN, "bob", GOOD + " anew")
            return taken

    accounts._second_step._one_time = Between(accounts._store._db)
    with pytest.raises(NotSignedIn):
        await accounts.second(half.value.token, codes[0], **FROM)
    assert await accounts.sessions(user) == []


async def test_a_token_ends_with_its_time_and_tells_its_last_use(parts: Parts) -> None:
    user = await parts.accounts.create_user(ADMIN, "ada")
    at, store = now(), parts.accounts._store
    for name, ends in (("late", timedelta(seconds=-1)), ("good", timedelta(hours=1))):
        await store.add_api_token(
            id=name,
            token_hash=hashlib.sha256(f"frt_{name}".encode()).hexdigest(),
            user_id=user.id,
            label="",
            created_at=at - timedelta(days=1),
            expires_at=at + ends,
            last_used=at - timedelta(hours=1),
            scope="read",
        )
    assert await parts.api_tokens.bearer("frt_late") is None
    bearer = await parts.api_tokens.bearer("frt_good")
    assert bearer is not None and bearer.scope is Scope.READ
    used = {one["id"]: one["last_used"] for one in await parts.api_tokens.list(ADMIN)}
    assert used["late"] < at <= used["good"]
    await parts.api_tokens.bearer("frt_good")
    again = {one["id"]: one["last_used"] for one in await parts.api_tokens.list(ADMIN)}
    assert again == used, "asking again at once writes nothing"


async def test_nothing_secret_is_in_the_audit_log(parts: Parts) -> None:
    await parts.accounts.create_user(ADMIN, "ada", password=GOOD)
    _, token = await parts.api_tokens.create(ADMIN, "ada")
    await parts.accounts.rotate(ADMIN, "ada")
    entries = await parts.audit.recent()
    assert {e.action for e in entries} == {"person.create", "token.create", "person.rotate"}
    assert GOOD not in str(entries) and token not in str(entries)


def test_the_key_is_made_once_closed_to_others_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    secret = Keys(path).new_sync_secret()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and os.listdir(tmp_path) == ["secret.key"]
    again = Keys(path)
    assert again.sync_password(secret, "a" * 12) == Keys(path).sync_password(secret, "a" * 12)
    other = Keys(tmp_path / "other.key")
    with pytest.raises(FossilrepoError, match="not the one"):
        other.sync_password(secret, "a" * 12)
    path.write_text("rubbish")
    with pytest.raises(FossilrepoError, match="is not a key"):
        Keys(path)


async def test_of_two_first_starts_one_key_wins(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    keys = await asyncio.gather(*(asyncio.to_thread(Keys, path) for _ in range(8)))
    secret = keys[0].new_sync_secret()
    assert len({key.sync_password(secret, "a" * 12) for key in keys}) == 1
