"""From the site into a repository's own pages by a ticket, through the gateway and Caddy."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from fossilrepo.db.backups import BackupStore
from fossilrepo.models import Preview, Repository, RepositoryState, Visibility, new_id, now
from fossilrepo.rights import Role
from fossilrepo.services.opening import digest
from fossilrepo.services.projection import READ
from fossilrepo.tools.fossil_users import password_hash
from tests.helpers import gateway_parts as parts
from tests.helpers import opened
from tests.helpers.opened import Front, Way, wanted
from tests.helpers.poll import until
from tests.helpers.site import ADMIN

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    async with opened.running() as front:
        await made(front, "demo", Visibility.PRIVATE)
        yield front


async def made(front: Front, name: str, visibility: Visibility) -> Repository:
    return await front.services.repos.create(ADMIN, name, visibility=visibility)


def file_of(front: Front, repository: Repository) -> Path:
    return front.data / "repos" / ".store" / f"{repository.id}.fossil"


def rows(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, timeout=10)) as db, db:
        return db.execute(statement, values).fetchall()


def users(path: Path) -> dict[object, object]:
    return dict(rows(path, "SELECT login, cap FROM user"))  # type: ignore[arg-type]


def gives_nothing(answer: parts.Answer) -> bool:
    """No cookie of Fossil's, no way on, and nobody may frame or keep it."""
    assert "no-store" in answer.one("cache-control")
    assert "frame-ancestors 'none'" in answer.one("content-security-policy")
    assert not answer.all("location")
    return not any(line.startswith("fossil-") for line in answer.all("set-cookie"))


# The way in, and out again


@pytest.mark.parametrize("caddy", [False, True], ids=["gateway", "caddy"])
async def test_a_person_is_led_in_to_what_they_wanted_and_out_again(caddy: bool) -> None:
    async with opened.running(caddy=caddy) as front:
        await made(front, "demo", Visibility.PRIVATE)
        way = await front.way()
        asked = await way.ask("GET", "/demo/timeline?n=5")
        login = await way.ask("GET", asked.one("location"))
        assert wanted(login) == {"to": "/demo/timeline?n=5"}
        begun = await way.begin(login.one("location"))
        nonce = way.cookies[way.host][("__Host-" if caddy else "") + "fossilrepo-open"]
        assert begun.one("location").startswith(f"{front.origin()}/repos/demo/open?")
        assert wanted(begun)["nonce"] == digest(nonce)
        page = await way.ticket(begun)
        assert page.one("cache-control") == "no-store"
        assert f"form-action 'self' {front.origin('demo')}/;" in page.one("content-security-policy")
        done = await way.end()
        assert (done.status, done.one("location")) == (303, "/demo/timeline?n=5")
        (cookie,) = (line for line in way.lines if line.startswith("fossil-"))
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"path=/demo", "httponly", "samesite=lax"} <= attributes
        assert ("secure" in attributes) == caddy
        assert not any(part.startswith(("domain", "max-age", "expires")) for part in attributes)
        assert await way.is_signed_in()

        form = urlencode({"csrf": way.csrf}).encode()
        out = await way.ask(
            "POST", f"{front.origin()}/logout", {**FORM, "Origin": front.origin()}, form
        )
        assert out.status == 303
        assert not await way.is_signed_in(), "Fossil's cookie is still in the browser"


async def test_signing_out_on_the_site_reaches_every_repository_and_browser(front: Front) -> None:
    await made(front, "other", Visibility.PUBLIC)
    ways = [await front.way(name=name) for name in ("demo", "demo", "other")]
    for way in ways:
        assert (await way.open()).status == 303
        assert await way.is_signed_in()
    user = await front.services.accounts.user("ada")
    await front.services.opening.sign_out_everywhere(user.id)
    assert [await way.is_signed_in() for way in ways] == [False, False, False]
    assert (await ways[0].open()).status == 303, "the session on the site is another matter"


async def test_fossils_own_sign_out_is_for_this_repository(front: Front) -> None:
    await made(front, "other", Visibility.PUBLIC)
    here, there = await front.way(), await front.way(name="other")
    for way in (here, there):
        await way.open()
    assert (await here.ask("POST", "/demo/login", FORM, b"out=Logout")).status == 302
    assert not await here.is_signed_in()
    assert await there.is_signed_in()
    assert (await here.ask("GET", f"{front.origin()}/account")).status == 200


# What is refused


async def test_a_ticket_is_good_once(front: Front) -> None:
    way = await front.way()
    await way.open()
    assert "fossilrepo-open" in way.cookies[way.host], "the nonce still fits"
    replayed = await way.end()
    assert replayed.status == 403
    assert gives_nothing(replayed)
    assert b'href="/.fossilrepo/open' in replayed.body


async def test_a_stolen_ticket_opens_nothing(front: Front) -> None:
    """Without the nonce, with another browser's, on another host."""
    await made(front, "other", Visibility.PUBLIC)
    for thief, name in ((Way(front, "eve", "demo"), "demo"), (await front.way(), "demo")):
        victim = await front.way(name=name)
        await victim.ticket(await victim.begin())
        await thief.begin()
        stolen = await thief.end(victim.fields)
        assert stolen.status == 403
        assert gives_nothing(stolen)
        assert (await victim.end()).status == 403, "it was shown to somebody: it is worth nothing"
    victim = await front.way()
    await victim.ticket(await victim.begin())
    there = Way(front, "eve", "other")
    there.cookies[there.host] = dict(victim.cookies[victim.host])
    elsewhere = await there.end(victim.fields)
    assert elsewhere.status == 403
    assert gives_nothing(elsewhere)


@pytest.mark.parametrize(
    "origin", ["null", "", "http://demo.localhost:{port}", "http://localhost:1", "https://evil.com"]
)
async def test_a_form_from_elsewhere_is_refused(front: Front, origin: str) -> None:
    """An attacker's ticket in a victim's browser would make the victim act as the attacker."""
    way = await front.way()
    await way.ticket(await way.begin())
    refused = await way.end(Origin=origin.format(port=front.door.port))
    assert refused.status == 403
    assert gives_nothing(refused)


async def test_a_ticket_in_an_address_is_not_taken(front: Front) -> None:
    way = await front.way()
    await way.ticket(await way.begin())
    asked = await way.ask("GET", f"/.fossilrepo/session?{urlencode(way.fields)}")
    assert asked.status == 405
    assert gives_nothing(asked)
    assert (await way.end({})).status == 403


async def test_rights_lost_on_the_way_count(front: Front) -> None:
    demo = await front.services.repos.get(ADMIN, "demo")
    await front.site.person("bob")
    await front.services.repos.configure(ADMIN, "demo", visibility=Visibility.INTERNAL)
    hidden, disabled = await front.way("bob"), await front.way("bob")
    await hidden.ticket(await hidden.begin())
    await front.services.repos.configure(ADMIN, "demo", visibility=Visibility.PRIVATE)
    assert (await hidden.end()).status == 403
    await front.services.repos.configure(ADMIN, "demo", visibility=Visibility.INTERNAL)
    await disabled.ticket(await disabled.begin())
    await front.services.accounts.set_disabled(ADMIN, "bob", True)
    assert (await disabled.end()).status == 403
    assert "bob" not in users(file_of(front, demo))


TO_FRONT = (
    *("//evil.com", "https://evil.com/", "/\\evil.com", "\\\\evil.com", "javascript:alert(1)"),
    *("/demo\r\nSet-Cookie: a=b", "/demo\x00", "/.fossilrepo/open", "/demo/login", "", "/" * 400),
)


@pytest.mark.parametrize("to", TO_FRONT)
async def test_nobody_is_led_off_the_host(front: Front, to: str) -> None:
    way = await front.way()
    begun = await way.begin(f"/.fossilrepo/open?to={quote(to)}")
    assert wanted(begun)["to"] == "/demo"
    await way.ticket(begun)
    done = await way.end({**way.fields, "to": to})
    assert (done.status, done.one("location")) == (303, "/demo")
    assert not any(line.startswith("a=") for line in way.lines)


# Fossil's sign-in page


@pytest.mark.parametrize(
    "path", ["/demo/login", "/demo//login", "/demo/%6cogin?x=1", "/demo/login/", "/demo/login/x?g="]
)
async def test_the_sign_in_page_of_a_repository_is_the_sites(front: Front, path: str) -> None:
    answer = await Way(front, "", "demo").ask("GET", path)
    assert (answer.status, answer.one("location")) == (302, "/.fossilrepo/open")


@pytest.mark.parametrize("query", ["?native", "?native=1&g=timeline", "?anon=1", "?anon"])
async def test_native_users_and_anonymous_sign_in_at_fossil(front: Front, query: str) -> None:
    answer = await Way(front, "", "demo").ask("GET", f"/demo/login{query}")
    assert answer.status == 200
    assert b'name="p"' in answer.body


async def test_the_fossil_password_opens_fossils_own_form(front: Front) -> None:
    repository = await front.services.repos.get(ADMIN, "demo")
    password = await front.services.opening.password(ADMIN, "ada", repository)
    way = Way(front, "ada", "demo")
    form = urlencode({"u": "ada", "p": password, "in": "Login"}).encode()
    assert (await way.ask("POST", "/demo/login", FORM, form)).status == 302
    assert await way.is_signed_in()


async def test_who_lacks_rights_is_not_sent_in_circles(front: Front) -> None:
    way = await front.way()
    await way.open()
    asked = await way.ask("GET", "/demo/setup")
    answer = await way.ask("GET", asked.one("location"))
    assert answer.status == 403
    assert b"needs more rights" in answer.body
    assert b'href="/.fossilrepo/open?to=%2Fdemo%2Fsetup"' in answer.body


# The page on the site


async def test_who_is_not_signed_in_comes_back_after_it(front: Front) -> None:
    stranger = Way(front, "ada", "demo")
    begun = await stranger.begin("/.fossilrepo/open?to=/demo/wiki")
    asked = await stranger.ask("GET", begun.one("location"))
    assert asked.status == 303
    where = wanted(asked)["next"]
    assert where == begun.one("location").removeprefix(front.origin())
    stranger.cookies[front.apex] = (await front.way()).cookies[front.apex]
    boosted = {"HX-Request": "true", "HX-Boosted": "true"}
    by_script = await stranger.ask("GET", f"{front.origin()}{where}", boosted)
    assert by_script.one("hx-redirect") == where, "another page's policy would stop the form"
    page = await stranger.ask("GET", f"{front.origin()}{where}")
    assert b"data-submit" in page.body


async def test_what_one_may_not_read_cannot_be_opened(front: Front) -> None:
    await front.site.person("bob")
    way, pages = await front.way("bob"), []
    for name in ("demo", "unknown", "demo--abcdef"):
        for query in ("", f"?nonce={'0' * 64}"):
            page = await way.ask("GET", f"{front.origin()}/repos/{name}/open{query}")
            assert page.status == 404, name
            pages.append(page.body.replace(name.encode(), b"NAME"))
    assert all(b"there is no repository" in page.lower() for page in pages)
    assert not rows(front.data / "fossilrepo.db", "SELECT * FROM visits")


async def test_an_address_without_a_nonce_begins_at_the_repository(front: Front) -> None:
    way = await front.way()
    page = await way.ask("GET", f"{front.origin()}/repos/demo/open?to=/demo/wiki")
    assert page.one("location") == f"{front.origin('demo')}/.fossilrepo/open?to=%2Fdemo%2Fwiki"
    odd = await way.ask("GET", f"{front.origin()}/repos/demo/open?nonce=x")
    assert odd.status == 422


# Readers, natives, previews


async def test_a_reader_is_written_into_the_repository_on_first_use(front: Front) -> None:
    await front.site.person("bob")
    inner = await made(front, "inner", Visibility.INTERNAL)
    assert "bob" not in users(file_of(front, inner))
    way = await front.way("bob", "inner")
    await way.ticket(await way.begin())
    assert "bob" not in users(file_of(front, inner)), "looking at the page is no use"
    assert (await way.end()).status == 303
    assert await way.is_signed_in()
    assert users(file_of(front, inner))["bob"] == READ
    await front.services.repos.configure(ADMIN, "inner", visibility=Visibility.PRIVATE)
    assert not await way.is_signed_in()


async def test_natives_are_told_how_and_a_name_that_collides_is_explained(front: Front) -> None:
    repository = await front.services.repos.get(ADMIN, "demo")
    way = await front.way()
    assert b"login?native" not in (await way.ticket(await way.begin())).body
    path = file_of(front, repository)
    ((code,),) = rows(path, "SELECT value FROM config WHERE name = 'project-code'")
    pw = password_hash(str(code), "bob", "their own")
    rows(path, "INSERT INTO user (login, pw, cap) VALUES ('bob', ?, 'ei')", pw)
    assert b"/login?native" in (await way.ticket(await way.begin())).body
    await front.site.person("bob")
    await front.services.repos.configure(ADMIN, "demo", visibility=Visibility.INTERNAL)
    refused = await (await front.way("bob")).open()
    assert refused.status == 409
    assert gives_nothing(refused)
    assert b"a user of this name" in refused.body


async def test_a_preview_is_opened_by_who_may_read_the_repository(front: Front) -> None:
    repository = await front.services.repos.get(ADMIN, "demo")
    name = await _preview(front, repository)
    await front.site.person("bob")
    stranger = await front.way("bob", name)
    assert (await stranger.ticket(await stranger.begin())).status == 404
    await front.services.repos.configure(ADMIN, "demo", visibility=Visibility.INTERNAL)
    for login in ("ada", "bob"):
        way = await front.way(login, name)
        assert (await way.open()).one("location") == f"/{name}"
        assert await way.is_signed_in()
    user = await front.services.accounts.user("bob")
    await front.services.opening.sign_out_everywhere(user.id)
    assert not await way.is_signed_in()


async def _preview(front: Front, repository: Repository) -> str:
    opening = front.services.opening
    store, shelf = opening._backups, opening._shelf
    assert isinstance(store, BackupStore)
    preview = Preview(
        id=new_id(),
        repository_id=repository.id,
        name="demo--abcdef",
        moment=None,
        created_by="ada",
        created_at=now(),
        expires_at=now() + timedelta(hours=1),
    )
    scratch = shelf.scratch / "preview.fossil"
    await asyncio.to_thread(shutil.copy, file_of(front, repository), scratch)
    await asyncio.to_thread(shelf.place_preview, scratch, preview.id)
    await store.add_preview(preview)
    await asyncio.to_thread(shelf.serve_preview, preview.name, preview.id)
    return preview.name


async def test_a_name_that_changed_hands_leaves_no_scripts_behind(front: Front) -> None:
    way = await front.way()
    await way.open()
    assert not (await way.begin()).all("clear-site-data")
    await front.services.repos.delete(ADMIN, "demo")
    after = await made(front, "demo", Visibility.PRIVATE)
    assert after.state is RepositoryState.ACTIVE
    assert (await way.begin()).one("clear-site-data") == '"storage"'
    await way.open()
    assert not (await way.begin()).all("clear-site-data")


# Cookies, keys


async def test_only_a_window_of_its_own_begins(front: Front) -> None:
    for kind in ("iframe", "image", "empty"):
        way = await front.way()
        answer = await way.ask("GET", "/.fossilrepo/open", {"Sec-Fetch-Dest": kind})
        assert answer.status == 403
        assert not way.lines
    posted = await way.ask("POST", "/.fossilrepo/open", body=b"x")
    assert posted.status == 405
    assert (await way.ask("GET", "/.fossilrepo/other")).status == 404


async def test_the_use_of_an_access_key_is_noted_when_fossil_took_it(
    front: Front, tmp_path: Path
) -> None:
    keys = front.services.access_keys
    key, password = await keys.create(ADMIN, "demo", Role.READ, label="build")
    url = f"{front.site.browser().host}/demo"
    fossil = parts.Fossil(tmp_path / "home")

    def clone(word: str) -> str:
        address = f"http://{key.login}:{word}@{url}"
        return fossil.run("clone", "--once", address, f"{word}.fossil", ok=False)

    assert "exit 0" not in await asyncio.to_thread(clone, "wrong")
    (unused,) = await keys.list(ADMIN, "demo")
    assert unused.last_used is None
    said = await asyncio.to_thread(clone, password)
    assert "exit 0" in said, said

    async def is_noted() -> bool:
        return (await keys.list(ADMIN, "demo"))[0].last_used is not None

    await until(is_noted)
