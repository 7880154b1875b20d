"""The audit log: who reads which entries of it, what is found, and that no secret gets in."""

from __future__ import annotations

import csv
import inspect
import io
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from fossilrepo.config import Database as DatabaseSettings
from fossilrepo.config import Settings
from fossilrepo.core import open_services
from fossilrepo.db import journal
from fossilrepo.db.engine import Database
from fossilrepo.db.journal import AuditFilter, AuditStore
from fossilrepo.db.migrate import migrate
from fossilrepo.errors import Forbidden, InvalidInput, NotFound
from fossilrepo.models import Actor, Visibility, now
from fossilrepo.rights import MemberRole, Role
from fossilrepo.services import Services
from fossilrepo.services.audit import Audit
from fossilrepo.services.audit_forms import ExportForm, harmless
from fossilrepo.services.audit_log import MOST, AuditSearch, time_of
from tests.helpers.site import roomy

SITE = Actor("ada", is_admin=True, address="192.0.2.7")


@dataclass(frozen=True)
class Place:
    services: Services
    actors: dict[str, Actor]

    async def read(self, login: str = "", **wanted: str) -> list[tuple[str, str]]:
        """(action, subject) of what is found; the site's administrator reads without a login."""
        actor = self.actors[login] if login else SITE
        found = await self.services.audit_log.search(actor, AuditSearch(**wanted))  # type: ignore[arg-type]
        return [(entry.action, entry.subject) for entry in found.entries]


@pytest.fixture
async def place(settings: Settings) -> AsyncIterator[Place]:
    """acme owns the private `one`; bob administers that, olga owns acme, mike is a member."""
    async with open_services(roomy(settings)) as services:
        actors = {}
        for login in ("bob", "olga", "mike"):
            user = await services.accounts.create_user(SITE, login)
            actors[login] = Actor(login, user_id=user.id)
        await services.organizations.create(SITE, "acme")
        await services.repos.create(SITE, "one", org="acme", visibility=Visibility.PRIVATE)
        await services.organizations.set_member(SITE, "acme", "olga", MemberRole.OWNER)
        await services.organizations.set_member(SITE, "acme", "mike", MemberRole.MEMBER)
        await services.grants.grant(SITE, Role.ADMIN, repository="one", user="bob")
        yield Place(services, actors)


@pytest.fixture(params=["sqlite", "postgresql"])
def configured(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    settings.data.mkdir()
    if request.param == "sqlite":
        return settings
    url = request.getfixturevalue("postgres_database")
    return settings.model_copy(update={"database": DatabaseSettings(url=url)})


@pytest.fixture
async def store(configured: Settings) -> AsyncIterator[AuditStore]:
    database = Database(configured)
    await migrate(database)
    yield AuditStore(database)
    await database.close()


# Who


async def test_administrators_of_the_site_read_everything_and_nobody_else(place: Place) -> None:
    assert ("person.create", "bob") in await place.read()
    for login in place.actors:
        for wanted in ({}, {"words": "one"}, {"actor": login}):
            with pytest.raises(Forbidden):
                await place.read(login, **wanted)


async def test_a_repositorys_administrators_read_its_part_and_no_other(place: Place) -> None:
    assert await place.read("bob", repository="one") == [
        ("grant", "one"),
        ("repository.create", "one"),
    ]
    assert await place.read("olga", repository="one") == await place.read("bob", repository="one")
    await place.services.repos.create(SITE, "two", visibility=Visibility.PRIVATE)
    for login, name in (("mike", "one"), ("bob", "two"), ("bob", "nothing")):
        with pytest.raises(NotFound, match="there is no repository"):
            await place.read(login, repository=name)
    await place.services.grants.grant(SITE, Role.WRITE, repository="one", user="mike")
    with pytest.raises(Forbidden):
        await place.read("mike", repository="one")
    with pytest.raises(NotFound):
        await place.read("bob", repository="one", organization="acme")


async def test_an_organizations_owners_read_its_part_and_its_teams(place: Place) -> None:
    await place.services.organizations.create_team(SITE, "acme", "docs")
    await place.services.organizations.create(SITE, "acme-2")
    await place.services.organizations.create_team(SITE, "acme-2", "docs")
    await place.services.grants.grant(SITE, Role.READ, org="acme", team="docs")
    assert await place.read("olga", organization="acme") == [
        ("grant", "all of acme"),
        ("team.create", "acme/docs"),
        ("organization.member", "acme"),
        ("organization.member", "acme"),
        ("organization.create", "acme"),
    ]
    with pytest.raises(Forbidden):
        await place.read("mike", organization="acme")
    for login, name in (("bob", "acme"), ("olga", "acme-2"), ("olga", "nothing")):
        with pytest.raises(NotFound, match="there is no organization"):
            await place.read(login, organization=name)


async def test_a_part_is_not_about_what_else_has_that_name(place: Place) -> None:
    """A person `one`, an organization `one`: none of a repository's administrator's matter."""
    await place.services.accounts.create_user(SITE, "one")
    await place.services.organizations.create(SITE, "one")
    await place.services.grants.grant(SITE, Role.READ, org="one", user="mike")
    told = await place.read("bob", repository="one")
    assert told == [("grant", "one"), ("repository.create", "one")]
    assert {action for action, _ in await place.read(organization="one")} == {
        "grant",
        "organization.create",
    }


async def test_a_name_that_was_anothers_before_tells_nothing_of_that_time(place: Place) -> None:
    repos = place.services.repos
    await repos.create(SITE, "taken", visibility=Visibility.PRIVATE)
    await repos.configure(SITE, "taken", title="Not for bob")
    await repos.delete(SITE, "taken")
    await repos.rename(SITE, "one", "taken")
    await repos.create(SITE, "one", visibility=Visibility.PRIVATE)
    await repos.configure(SITE, "one", title="Not for bob either")
    assert await place.read("bob", repository="taken") == [
        ("repository.rename", "taken"),
        ("grant", "one"),
        ("repository.create", "one"),
    ]
    assert ("repository.delete", "taken") in await place.read(repository="taken")


async def test_a_repository_that_came_back_has_its_past(place: Place) -> None:
    repos = place.services.repos
    gone = await repos.delete(SITE, "one")
    await repos.create(SITE, "one", visibility=Visibility.PRIVATE)
    await repos.undelete(SITE, gone.id, "once")
    assert await place.read("bob", repository="once") == [
        ("repository.restore", "once"),
        ("repository.delete", "one"),
        ("grant", "one"),
        ("repository.create", "one"),
    ]


async def test_an_organization_that_took_a_free_name_does_not_get_its_past(place: Place) -> None:
    organizations = place.services.organizations
    await organizations.create(SITE, "free")
    await organizations.create_team(SITE, "free", "secret-plans")
    await organizations.delete(SITE, "free")
    await organizations.rename(SITE, "acme", "free")
    told = await place.read("olga", organization="free")
    assert told[0] == ("organization.rename", "free") and told[-1] == (
        "organization.create",
        "acme",
    )
    assert not [subject for _, subject in told if "secret-plans" in subject]


# What is found


async def fill(store: AuditStore, count: int, **changes: object) -> None:
    for number in range(count):
        values = {"actor": "ada", "action": "x.y", "subject": f"s{number}", "detail": {}}
        await store.add(at=now(), address="192.0.2.1", **values | changes)


async def test_entries_are_found_by_all_that_is_asked(store: AuditStore) -> None:
    begin = datetime(2026, 5, 1, 12, tzinfo=UTC)
    rows = [
        ("ada", "192.0.2.1", "repository.create", "Museum", {"id": "aaa"}),
        ("bob", "192.0.2.20", "repository.rename", "museum_2", {"before": "a"}),
        ("bob", "2001:db8::1", "grant", "museum", {"id": "bbb"}),
        ("eve", "", "repo%x", "other", {}),
    ]
    for hour, (actor, address, action, subject, detail) in enumerate(rows):
        await store.add(
            at=begin + timedelta(hours=hour),
            actor=actor,
            address=address,
            action=action,
            subject=subject,
            detail=detail,
        )

    async def found(**wanted: object) -> list[str]:
        return [e.subject for e in await store.search(AuditFilter(**wanted))]  # type: ignore[arg-type]

    assert await found() == ["other", "museum", "museum_2", "Museum"]
    assert await found(words="MUSEUM") == ["museum", "museum_2", "Museum"]
    assert await found(words="museum bob rename") == ["museum_2"]
    assert await found(words="m_seum") == [] and await found(words="_2") == ["museum_2"]
    assert await found(actor="bob") == ["museum", "museum_2"]
    assert await found(action="repository.") == ["museum_2", "Museum"]
    assert await found(action="repo%") == ["other"]
    assert await found(address="192.0.2.2") == ["museum_2"]
    assert await found(since=begin + timedelta(hours=2)) == ["other", "museum"]
    assert await found(until=begin + timedelta(hours=2)) == ["museum_2", "Museum"]
    assert await found(repository=(journal.Span("museum"),)) == ["museum"]
    assert await found(repository=(journal.Span("museum"),), identity="aaa") == []
    by_id = await store.last(("grant", "repository.create"), identity="aaa")
    assert by_id is not None and by_id.subject == "Museum"


async def test_pages_follow_each_other_while_entries_are_written(store: AuditStore) -> None:
    await fill(store, 7)
    seen: list[str] = []
    before = None
    while page := await store.search(AuditFilter(), before=before, limit=3):
        seen += [entry.subject for entry in page]
        before = page[-1].id
        await fill(store, 1, subject="new")
    assert seen == [f"s{number}" for number in reversed(range(7))]


async def test_the_last_page_says_so(place: Place) -> None:
    log = place.services.audit_log
    everything = await log.search(SITE, AuditSearch(), limit=MOST)
    assert everything.older is None
    short = await log.search(SITE, AuditSearch(), limit=3)
    assert short.older == short.entries[-1].id
    rest = await log.search(SITE, AuditSearch(), before=short.older, limit=MOST)
    assert (*short.entries, *rest.entries) == everything.entries and rest.older is None
    exact = await log.search(SITE, AuditSearch(), limit=len(everything.entries))
    assert exact.older is None


def test_a_time_is_read_as_people_write_it() -> None:
    assert time_of("", field="since") is None
    assert time_of("2026-05-01", field="since") == datetime(2026, 5, 1, tzinfo=UTC)
    assert time_of("2026-05-01", field="until", is_end=True) == datetime(2026, 5, 2, tzinfo=UTC)
    at = "2026-05-01T12:00:00Z"
    assert time_of(at, field="until", is_end=True) == datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert time_of("2999-01-01", field="since") == datetime(2999, 1, 1, tzinfo=UTC)
    for text in ("soon", "before abcdef", "2026-13-01"):
        with pytest.raises(InvalidInput) as refused:
            time_of(text, field="until")
        assert refused.value.field == "until"


# Exports


async def exported(place: Place, form: ExportForm, limit: int | None = None) -> list[str]:
    return [
        t
        async for t in await place.services.audit_log.export(SITE, AuditSearch(), form, limit=limit)
    ]


async def test_an_export_has_every_entry_and_comes_in_pieces(place: Place) -> None:
    audit = place.services.audit
    for number in range(MOST + 20):
        await audit.record(SITE, "thing.change", f"t{number}", before={"a": 1}, after={"a": "é"})
    pieces = await exported(place, ExportForm.JSONL)
    assert max(piece.count("\n") for piece in pieces) == MOST
    entries = [json.loads(line) for line in "".join(pieces).splitlines()]
    assert [e["id"] for e in entries] == sorted((e["id"] for e in entries), reverse=True)
    newest = entries[0]
    assert newest["detail"] == {"before": {"a": 1}, "after": {"a": "é"}}
    assert (newest["actor"], newest["address"]) == ("ada", "192.0.2.7")
    rows = list(csv.DictReader(io.StringIO("".join(await exported(place, ExportForm.CSV)))))
    assert [row["id"] for row in rows] == [str(entry["id"]) for entry in entries]
    assert (rows[0]["before"], rows[0]["after"], rows[0]["at"]) == (
        '{"a": 1}',
        '{"a": "é"}',
        newest["at"],
    )
    few = "".join(await exported(place, ExportForm.JSONL, limit=2)).splitlines()
    assert [json.loads(line)["id"] for line in few] == [e["id"] for e in entries[:2]]


async def test_a_refused_export_gives_not_even_a_heading(place: Place) -> None:
    with pytest.raises(Forbidden):
        await place.services.audit_log.export(place.actors["bob"], AuditSearch(), ExportForm.CSV)


async def test_a_spreadsheet_obeys_nothing_in_an_export(place: Place) -> None:
    formulas = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1")
    for text in formulas:
        await place.services.audit.record(Actor(text), text, text, before=text, after=text)
    text = "".join(await exported(place, ExportForm.CSV))
    rows = list(csv.reader(io.StringIO(text, newline="")))[1 : len(formulas) + 1]
    for row in rows:
        assert all(cell == "" or cell[0] not in "=+-@\t\r" for cell in row), row
        assert sum(cell.startswith("'") for cell in row) == 5, row
    assert harmless("=1") == "'=1" and harmless("a=1") == "a=1"
    assert harmless("\x1b[2J") == "\\x1b[2J"


# Writing


async def test_what_looks_like_a_secret_is_left_out_and_told(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "correct horse battery"
    with caplog.at_level(logging.ERROR):
        await place.services.audit.record(
            SITE,
            "thing.change",
            "x",
            password=secret,
            Api_Token=[secret],
            token_id="a2b3c4d5e6f7",
            secret=True,
            key=secret,
            before={"secret_key": secret, "title": secret},
            after={"secretary": secret, "key-abc234": secret},
        )
    found = await place.services.audit_log.search(SITE, AuditSearch(), limit=1)
    assert found.entries[0].detail == {
        "token_id": "a2b3c4d5e6f7",
        "secret": True,
        "before": {"title": secret},
        "after": {"secretary": secret, "key-abc234": secret},
    }
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) == 4 and not any(secret in message for message in errors)


async def test_names_of_a_foreign_file_keep_no_entry_from_being_read(store: AuditStore) -> None:
    """PostgreSQL keeps no NUL in text, and cannot look into JSON that has one."""
    for name in ("n\0", "n\ud800"):
        await Audit(store).record(SITE, "native.adopt", "demo", native=name, all=[name])
        await Audit(store).record(SITE, "thing.change", name)
    wanted = AuditFilter(repository=(journal.Span("demo"),), identity="a2b3c4d5e6f7")
    found = await store.search(wanted)
    assert [entry.detail for entry in found] == [
        {"native": "n?", "all": ["n?"]},
        {"native": "n\ufffd", "all": ["n\ufffd"]},
    ]
    assert [e.subject for e in await store.search(AuditFilter(action="thing."))] == [
        "n?",
        "n\ufffd",
    ]


async def test_a_change_of_state_tells_before_and_after(place: Place) -> None:
    await place.services.repos.archive(SITE, "one")
    await place.services.accounts.set_disabled(SITE, "mike", True)
    await place.services.organizations.remove_member(SITE, "acme", "olga")
    found = await place.services.audit_log.search(SITE, AuditSearch(), limit=3)
    assert [(e.detail["before"], e.detail["after"]) for e in reversed(found.entries)] == [
        ("active", "archived"),
        ({"disabled": False}, {"disabled": True}),
        ("owner", None),
    ]


def test_nothing_changes_or_deletes_an_entry() -> None:
    """Neither the store nor the service has a way to."""
    public = {name for name in vars(AuditStore) if not name.startswith("_")}
    assert public == {"add", "search", "last", "recent"}
    source = inspect.getsource(AuditStore)
    assert "update(" not in source and "delete(" not in source
    assert {n for n in vars(Audit) if not n.startswith("_")} == {
        "record",
        "sign_in_failed",
        "recent",
    }
