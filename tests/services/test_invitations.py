"""One-time links: invitations and new passwords, by hand and by mail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest

from fossilrepo.config import Mail as MailSettings
from fossilrepo.config import Settings
from fossilrepo.core import open_services
from fossilrepo.db.engine import Database
from fossilrepo.db.organizations import OrganizationStore
from fossilrepo.errors import (
    Conflict,
    Forbidden,
    FossilrepoError,
    InvalidInput,
    NotFound,
    NotSignedIn,
    TooManyRequests,
)
from fossilrepo.models import Actor, Visibility
from fossilrepo.rights import MemberRole, Role
from fossilrepo.services import Services
from fossilrepo.tools.fossil_db import reading
from tests.helpers import smtp
from tests.helpers.poll import until
from tests.helpers.site import roomy

GOOD = "four random words here"
OTHER = "quite another sentence"
HOST = Actor.command_line()
FROM = {"address": "192.0.2.1", "agent": "test"}


@dataclass(frozen=True)
class Place:
    """The services, and the rows of organizations beside them."""

    services: Services
    organizations: OrganizationStore

    async def person(self, login: str, *, admin: bool = False, email: str = "") -> Actor:
        user = await self.services.accounts.create_user(
            HOST, login, is_admin=admin, email=email, password=GOOD
        )
        return Actor(login, admin, user_id=user.id)

    async def owner(self, login: str, org: str = "main") -> Actor:
        actor = await self.person(login)
        found = await self.organizations.by_name(org)
        assert found is not None and actor.user_id is not None
        await self.organizations.set_member(found.id, actor.user_id, MemberRole.OWNER)
        return actor


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Place]:
    database = Database(settings)
    try:
        async with open_services(roomy(settings)) as services:
            database = Database(settings)
            yield Place(services, OrganizationStore(database))
    finally:
        await database.close()


@pytest.fixture
async def place(settings: Settings) -> AsyncIterator[Place]:
    async with opened(settings) as place:
        yield place


def token(url: str) -> str:
    return url.rpartition("/")[2]


async def join(place: Place, url: str, login: str = "bob", password: str = GOOD) -> str:
    made = await place.services.invitations.accept(token(url), login, "Bob", password, **FROM)
    return made.session.user.login


async def test_a_link_makes_one_account_with_what_was_promised(
    place: Place, settings: Settings
) -> None:
    invitations, accounts = place.services.invitations, place.services.accounts
    main = await place.organizations.by_name("main")
    assert main is not None
    team = await place.organizations.add_team(main.id, "tools", "")
    repository = await place.services.repos.create(HOST, "shed", visibility=Visibility.PRIVATE)
    await place.organizations.grant(
        Role.WRITE, granted_by="", repository_id=repository.id, team_id=team.id
    )
    made = await invitations.invite(
        HOST, name="Bob", email="bob@example.org", org="main", teams=["tools"]
    )
    assert not made.mailed and made.url.startswith(f"{place.services.links.public_url}/invite/")
    seen = await invitations.look(token(made.url))
    assert (seen.org, seen.teams, seen.email) == ("main", ("tools",), "bob@example.org")
    signed_in = await invitations.accept(token(made.url), "bob", "Bob B", GOOD, **FROM)
    session = await accounts.session(signed_in.token)
    assert session is not None and session.user.login == "bob" and not session.user.is_admin
    profile = await place.services.people.show(HOST, "bob")
    assert [(m.org, m.role, m.teams) for m in profile.memberships] == [
        ("main", MemberRole.MEMBER, ("tools",))
    ]
    with reading(settings.store / f"{repository.id}.fossil") as db:  # at once
        (letters,) = db.execute("SELECT cap FROM user WHERE login = 'bob'").fetchone()
    assert "i" in letters
    for again in (invitations.look(token(made.url)), join(place, made.url, "eve")):
        with pytest.raises(NotFound):
            await again
    await accounts.sign_in("bob", GOOD, **FROM)


async def test_of_two_clicks_at_once_one_wins(place: Place) -> None:
    made = await place.services.invitations.invite(HOST)
    done = await asyncio.gather(
        join(place, made.url, "bob"), join(place, made.url, "eve"), return_exceptions=True
    )
    assert sorted(type(one) for one in done if isinstance(one, Exception)) == [NotFound]
    assert len(await place.services.accounts.users()) == 1


async def test_no_account_is_taken_over_and_the_link_is_still_good(place: Place) -> None:
    await place.person("ada", admin=True)
    made = await place.services.invitations.invite(HOST)
    with pytest.raises(Conflict, match="taken"):
        await join(place, made.url, "ada", OTHER)
    with pytest.raises(NotSignedIn):
        await place.services.accounts.sign_in("ada", OTHER, **FROM)
    with pytest.raises(InvalidInput):
        await join(place, made.url, "bob", "short")
    assert await join(place, made.url, "bob") == "bob"
    assert not (await place.services.accounts.user("bob")).is_admin


async def test_a_link_does_not_let_one_try_all_logins(place: Place) -> None:
    await place.person("ada", admin=True)
    made = await place.services.invitations.invite(HOST)
    for _ in range(5):
        with pytest.raises(Conflict):
            await join(place, made.url, "ada")
    with pytest.raises(TooManyRequests):
        await join(place, made.url, "bob")


async def test_a_fixed_login_is_the_one_that_is_made(place: Place) -> None:
    made = await place.services.invitations.invite(HOST, login="bob")
    assert await join(place, made.url, "eve") == "bob"
    with pytest.raises(Conflict):
        await place.services.invitations.invite(HOST, login="bob")
    with pytest.raises(InvalidInput):
        await place.services.invitations.invite(HOST, login="root")


async def test_owners_invite_to_their_own_organization_only(place: Place) -> None:
    await place.person("ada", admin=True)
    owner = await place.owner("olga")
    member = await place.person("mia")
    other = await place.organizations.add(
        name="other", title="", created_at=(await place.services.accounts.user("ada")).created_at
    )
    invitations = place.services.invitations
    mine = await invitations.invite(owner, org="main", org_role="owner")
    theirs = await invitations.invite(HOST, org=other.name)
    with pytest.raises(NotFound):
        await invitations.invite(owner, org="other")
    for actor in (owner, member):
        with pytest.raises(Forbidden):
            await invitations.invite(actor)
    with pytest.raises(FossilrepoError):
        await invitations.invite(member, org="main")
    assert [one.id for one in await invitations.list(owner)] == [mine.id]
    assert await invitations.list(member) == []
    assert {one.id for one in await invitations.list(HOST)} == {mine.id, theirs.id}
    with pytest.raises(NotFound):
        await invitations.revoke(owner, theirs.id)
    await invitations.revoke(owner, mine.id)
    with pytest.raises(NotFound):
        await invitations.look(token(mine.url))


async def test_an_owner_who_leaves_leaves_no_door_open(place: Place) -> None:
    owner = await place.owner("olga")
    made = await place.services.invitations.invite(owner, org="main", org_role="owner")
    main = await place.organizations.by_name("main")
    assert main is not None and owner.user_id is not None
    await place.organizations.set_member(main.id, owner.user_id, MemberRole.MEMBER)
    with pytest.raises(NotFound):
        await join(place, made.url)
    assert await place.services.invitations.list(HOST) == []


@pytest.mark.sqlite
async def test_a_link_ends_and_is_kept_as_a_hash(place: Place, settings: Settings) -> None:
    made = await place.services.invitations.invite(HOST, days=1)
    (waiting,) = await place.services.invitations.list(HOST)
    assert waiting.expires_at - waiting.created_at == timedelta(days=1)
    kept = settings.database_file.read_bytes()
    kept += settings.database_file.with_name("fossilrepo.db-wal").read_bytes()
    assert token(made.url).encode() not in kept
    entries = await place.services.audit.recent()
    assert token(made.url) not in str(entries) and entries[0].action == "person.invite"
    for days in (0, 31):
        with pytest.raises(InvalidInput):
            await place.services.invitations.invite(HOST, days=days)
    for email in ("bob", "b@c\nBcc: e@f.g"):
        with pytest.raises(InvalidInput):
            await place.services.invitations.invite(HOST, email=email)
    with pytest.raises(InvalidInput):
        await place.services.invitations.invite(HOST, org="main", teams=["nowhere"])
    with pytest.raises(InvalidInput):
        await place.services.invitations.invite(HOST, org="main", org_role="admin")


# New passwords


async def test_a_link_sets_the_password_once_and_ends_every_session(place: Place) -> None:
    accounts, resets = place.services.accounts, place.services.resets
    bob = await place.person("bob")
    repository = await place.services.repos.create(HOST, "shed")
    before = await accounts.sync_password("bob", repository)
    open_session = await accounts.sign_in("bob", GOOD, **FROM)
    earlier, url = await resets.link(HOST, "bob"), await resets.link(HOST, "bob")
    assert await resets.look(token(url)) == "bob"
    with pytest.raises(NotFound):
        await resets.look(token(earlier))
    with pytest.raises(InvalidInput):
        await resets.use(token(url), "short")
    done = await asyncio.gather(
        *(resets.use(token(url), OTHER) for _ in range(2)), return_exceptions=True
    )
    assert sorted(map(type, done), key=str) == sorted([str, NotFound], key=str)
    assert await accounts.session(open_session.token) is None
    await accounts.sign_in("bob", OTHER, **FROM)
    with pytest.raises(NotSignedIn):
        await accounts.sign_in("bob", GOOD, **FROM)
    assert await accounts.sync_password("bob", repository) == before
    entries = await place.services.audit.recent(subject="bob")
    assert "person.reset" in {entry.action for entry in entries}
    assert token(url) not in str(entries)
    with pytest.raises(Forbidden):
        await resets.link(bob, "bob")


async def test_a_link_ends_when_the_password_is_set_in_another_way(place: Place) -> None:
    await place.person("bob")
    url = await place.services.resets.link(HOST, "bob")
    await place.services.accounts.set_password(HOST, "bob", OTHER)
    with pytest.raises(NotFound):
        await place.services.resets.use(token(url), GOOD)


async def test_who_is_disabled_gets_no_new_password(place: Place) -> None:
    await place.person("bob")
    url = await place.services.resets.link(HOST, "bob")
    await place.services.accounts.set_disabled(HOST, "bob", True)
    with pytest.raises(NotFound):
        await place.services.resets.use(token(url), OTHER)
    with pytest.raises(Conflict):
        await place.services.resets.link(HOST, "bob")


async def test_by_mail_the_answer_is_the_same_for_everybody(settings: Settings) -> None:
    with smtp.running() as post:
        sender = {"server": post.server, "security": "none", "sender": "fossil@example.org"}
        mail = MailSettings.model_validate(sender)
        async with opened(settings.model_copy(update={"mail": mail})) as place:
            resets = place.services.resets
            await place.person("bob", email="Bob@Example.org")
            await place.person("eve")  # has no address
            for asked in ("nobody-here", "eve", "bob", "bob@example.org"):
                assert await resets.ask_by_mail(asked, "192.0.2.1") is None
            await until(lambda: len(post.taken) == 2, what="two mails")
            assert set(post.recipients) == {"Bob@Example.org"}
            links = [
                word for one in range(2) for word in post.text(one).split() if "/reset/" in word
            ]
            used = await asyncio.gather(
                *(resets.use(token(link), OTHER) for link in links), return_exceptions=True
            )
            assert used.count("bob") == 1 and len(links) == 2  # the later link ended the earlier
            await until(lambda: len(post.taken) == 3, what="the notice")
            assert "was set by a link" in post.text() and OTHER not in post.text()
            await place.services.people.configure(HOST, "bob", email="new@example.org")
            await until(lambda: len(post.taken) == 4, what="the notice")
            assert post.recipients[-1] == "Bob@Example.org"
            invited = await place.services.invitations.invite(HOST, email="new@example.org")
            assert invited.mailed and invited.url in post.text()
            post.refuses = "550 not here"
            refused = await place.services.invitations.invite(HOST, email="new@example.org")
            assert not refused.mailed and "not here" in refused.mail_error


async def test_asking_again_and_again_is_slowed_alike_for_unknown_logins(place: Place) -> None:
    await place.person("bob")
    for asked in ("bob", "nobody-here"):
        for _ in range(5):
            await place.services.resets.ask_by_mail(asked, "192.0.2.1")
        with pytest.raises(TooManyRequests, match="new password"):
            await place.services.resets.ask_by_mail(asked, "198.51.100.1")
