"""Names that repositories had: where they lead, and who may take them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from fossilrepo.errors import Conflict
from fossilrepo.models import Actor, now
from fossilrepo.rights import MemberRole, Role
from tests.helpers import hostile, opened
from tests.helpers.inside import FORM, HERE, Client, create, granted, live, person
from tests.helpers.opened import Front


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    async with opened.running() as front:
        await create(front)
        yield front


def remembered(file: Path) -> str:
    query = "SELECT value FROM config WHERE name = 'last-sync-url'"
    ((url,),) = hostile.rows(file, query)
    return str(url)


async def test_an_old_name_leads_the_stock_client_to_the_new_one(
    front: Front, tmp_path: Path
) -> None:
    ada = await person(front, tmp_path, "ada")
    before = ada.fossil.home / "demo.fossil"
    assert await ada.can_push("demo")
    await front.services.repos.rename(HERE, "demo", "showcase")
    old, new = ada.url("demo"), ada.url("showcase")

    fresh = tmp_path / "fresh.fossil"
    said = await ada.run("clone", "--once", "--no-open", old, fresh)
    assert said.endswith("exit 0") and fresh.exists(), said
    assert "exit 0" in await ada.run("pull", "--once", old, "-R", before)
    await _push(ada, before, old, tmp_path)
    checkins = hostile.rows(live(front, "showcase"), "SELECT comment FROM event")
    assert ("by the old name",) in checkins

    # Without --once the client remembers where it was sent, and still who it is.
    assert "exit 0" in await ada.run("pull", old, "-R", before)
    assert remembered(before) == new.replace(f":{ada.password}", "")


async def _push(ada: Client, file: Path, url: str, folder: Path) -> None:
    work = folder / "work"
    for words in (
        ("open", "--nosync", "--force", file, "--workdir", work),
        ("settings", "autosync", "off"),
        ("commit", "-m", "by the old name", "--allow-empty", "--no-warnings", "--allow-fork"),
        ("push", "--once", url),
    ):
        cwd = work if work.exists() else folder
        await asyncio.to_thread(ada.fossil.run, *words, cwd=cwd)


async def test_a_message_to_the_old_host_is_led_on_with_the_login_that_signs_it(
    front: Front,
) -> None:
    """The client itself is not used: it leaves the proxy by which it finds these hosts."""
    await front.services.repos.rename(HERE, "demo", "showcase")
    way = await front.way()
    kind = {"Content-Type": hostile.PLAIN_SYNC}
    for login, shown in (("ada", "ada@"), ("a/b@evil.example", ""), ("", "")):
        message = hostile.signed(login, "0" * 40, "pull x y\n") if login else b"pull x y\n"
        got = await way.ask("POST", "/", kind, message)
        assert got.status == 302
        assert got.one("location") == front.origin("showcase").replace("//", f"//{shown}") + "/"


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/", "/"),
        ("/timeline?n=5", "/timeline?n=5"),
        ("/demo/timeline?n=5", "/showcase/timeline?n=5"),
        ("/demo", "/"),
        ("/demo-not/x", "/demo-not/x"),
        ("//evil.example/x", "//evil.example/x"),
    ],
)
async def test_a_page_of_the_old_host_leads_to_the_same_of_the_new_one(
    front: Front, path: str, leads_to: str
) -> None:
    await front.services.repos.rename(HERE, "demo", "showcase")
    got = await front.door.ask("GET", path, host=f"demo.{front.apex}")
    assert (got.status, got.one("location")) == (302, front.origin("showcase") + leads_to)


async def test_nothing_else_is_led_on(front: Front) -> None:
    await front.services.repos.rename(HERE, "demo", "showcase")
    way = await front.way()
    assert (await way.ask("GET", "/.fossilrepo/open?ticket=x")).status == 404
    posted = await way.ask("POST", "/demo/login", FORM, b"u=x")
    assert posted.status == 302, "a form is not sent again by a browser"
    other = await front.way(name="never-there")
    assert (await other.ask("GET", "/")).status == 404
    await front.services.repos.delete(HERE, "showcase")
    assert (await way.ask("GET", "/")).status == 404


async def test_a_lead_ends_when_the_name_is_taken_and_follows_further_renames(
    front: Front,
) -> None:
    repos = front.services.repos
    await repos.rename(HERE, "demo", "second")
    await repos.rename(HERE, "second", "third")
    assert (repos.former.present("demo"), repos.former.present("second")) == ("third", "third")
    await repos.create(HERE, "demo")
    assert (repos.former.present("demo"), repos.former.present("second")) == (None, "third")
    await repos.rename(HERE, "third", "second")
    assert (repos.former.present("second"), repos.former.present("third")) == (None, "second")


async def test_a_lead_ends_after_ninety_days(front: Front) -> None:
    repos = front.services.repos
    before = await repos.get(HERE, "demo")
    await repos.rename(HERE, "demo", "showcase")
    store = repos.former._store
    former = await store.former_name("demo")
    assert former is not None and timedelta(days=89) < former.until - now() < timedelta(days=91)
    assert former.repository_id == before.id
    await store.keep_name(replace(former, until=now() - timedelta(seconds=1)))
    await repos.former.load()
    assert repos.former.present("demo") is None


async def test_a_freed_name_is_kept_for_its_organization(front: Front) -> None:
    services, repos = front.services, front.services.repos
    await repos.delete(HERE, "demo")
    member, outsider = await two_people(front)
    with pytest.raises(Conflict, match="kept for its organization") as refusal:
        await repos.create(outsider, "demo", org="other")
    assert refusal.value.field == "name" and "main" not in refusal.value.message
    store, other = services.organizations._store, await services.access.owned(HERE, "other")
    assert member.user_id is not None
    await store.set_member(other.id, member.user_id, MemberRole.OWNER)
    with pytest.raises(Conflict):  # for the organization, not for its people elsewhere
        await repos.create(member, "demo", org="other")
    assert await repos.create(member, "demo")
    await repos.rename(HERE, "demo", "moved")
    with pytest.raises(Conflict):
        await repos.create(outsider, "demo", org="other")
    await repos.create(outsider, "mine", org="other")
    with pytest.raises(Conflict):
        await repos.rename(outsider, "mine", "demo")
    former = await repos.former._store.former_name("demo")
    assert former is not None
    past = now() - timedelta(seconds=1)
    await repos.former._store.keep_name(replace(former, until=past))
    assert (await repos.rename(outsider, "mine", "demo")).name == "demo"
    await services.repos.delete(HERE, "demo")
    assert (await repos.create(HERE, "demo")).org == "main", "who runs the site may"


async def test_a_kept_name_follows_its_organizations_new_name(front: Front) -> None:
    await front.services.repos.delete(HERE, "demo")
    member, _ = await two_people(front)
    await front.services.organizations.rename(HERE, "main", "first")
    assert (await front.services.repos.create(member, "demo", org="first")).org == "first"


async def two_people(front: Front) -> tuple[Actor, Actor]:
    """A member of `main` and one of `other`, who may both create repositories there."""
    store = front.services.organizations._store
    await create(front, "somewhere")
    people = [await granted(front, Role.READ, login, "somewhere") for login in ("meg", "oz")]
    await store.add(name="other", title="", created_at=now(), default_role=None)
    directory = await store.directory()
    for actor, name in zip(people, ("main", "other"), strict=True):
        assert actor.user_id is not None
        org = directory.organizations[name]
        await store.set_member(org.id, actor.user_id, "owner")
    return people[0], people[1]
