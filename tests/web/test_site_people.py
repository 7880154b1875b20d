"""People and accounts on the site."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest

from fossilrepo.config import Settings
from tests.helpers.poll import until
from tests.helpers.site import ADMIN, PASSWORD, Site, roomy, served

OTHER = "four quite random words"


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        yield site


async def test_a_person_is_made_and_can_sign_in(site: Site) -> None:
    browser = await site.admin()
    fields = {"login": "bob", "name": "Bob B", "password": OTHER, "again": OTHER}
    assert (await browser.post("/people", fields)).location == "/people/bob"
    assert "Bob B" in (await browser.get("/people")).text
    assert not (await site.services.accounts.user("bob")).is_admin
    await site.browser().sign_in("bob", OTHER)


async def test_a_wrong_person_is_told_beside_the_field(site: Site) -> None:
    browser = await site.admin()
    fields = {"login": "nobody", "name": "Kept", "password": OTHER, "again": OTHER}
    answer = await browser.post("/people", fields)
    assert answer.status == 422
    assert 'id="login-error"' in answer.text
    assert 'value="Kept"' in answer.text
    assert OTHER not in answer.text
    taken = await browser.post("/people", {**fields, "login": "ada"})
    assert taken.status == 409


async def test_a_new_password_ends_the_persons_sessions(site: Site) -> None:
    browser = await site.admin()
    await site.person("bob")
    bob = await site.browser().sign_in("bob")
    fields = {"password": OTHER, "again": OTHER}
    assert (await browser.post("/people/bob/password", fields)).location == "/people/bob"
    assert (await bob.get("/repos")).status == 303
    await site.browser().sign_in("bob", OTHER)


async def test_disable_and_enable(site: Site) -> None:
    browser = await site.admin()
    await site.person("bob")
    bob = await site.browser().sign_in("bob")
    await browser.post("/people/bob/disable")
    assert (await bob.get("/repos")).status == 303
    assert "disabled" in (await browser.get("/people/bob")).text
    await browser.post("/people/bob/enable")
    await site.browser().sign_in("bob")


async def test_the_last_administrator_cannot_be_disabled(site: Site) -> None:
    browser = await site.admin()
    answer = await browser.post("/people/ada/disable")
    assert answer.status == 409
    assert "last administrator" in answer.text
    assert (await browser.get("/people")).status == 200


async def test_a_person_that_is_not_there(site: Site) -> None:
    browser = await site.admin()
    for path in ("/people/eve", "/people/-"):
        assert (await browser.get(path)).status == 404


async def test_ones_own_password(site: Site) -> None:
    await site.person("bob")
    browser = await site.browser().sign_in("bob")
    elsewhere = await site.browser().sign_in("bob")
    fields = {"old": PASSWORD, "password": OTHER, "again": OTHER}
    wrong = await browser.post("/account/password", {**fields, "old": "not this one"})
    assert wrong.status == 422
    assert 'id="old-error"' in wrong.text
    assert (await elsewhere.get("/repos")).status == 200
    done = await browser.post("/account/password", fields)
    assert done.location == "/account"
    assert "Your new password is set" in (await browser.get("/account")).text
    assert (await elsewhere.get("/repos")).status == 303
    await site.browser().sign_in("bob", OTHER)


async def test_new_fossil_passwords(site: Site) -> None:
    browser = await site.admin()
    repository = await site.services.repos.create(ADMIN, "museum")
    before = await site.services.accounts.sync_password("ada", repository)
    assert (await browser.post("/account/rotate")).location == "/account"
    after = await site.services.accounts.sync_password("ada", repository)
    assert after != before
    assert after in (await browser.get("/repos/museum/password")).text


async def test_a_notice_is_a_known_one_and_shown_once(site: Site) -> None:
    browser = await site.admin()
    browser.cookies["fossilrepo-notice"] = "<b>you won</b>"
    assert "you won" not in (await browser.get("/repos")).text


async def test_a_change_runs_to_its_end_when_the_browser_leaves(site: Site) -> None:
    browser = await site.admin()
    data = {"csrf": browser.csrf, "login": "bob", "password": OTHER, "again": OTHER}
    body = urlencode(data).encode()
    head = (
        f"POST /people HTTP/1.1\r\nHost: {browser.host}\r\nOrigin: {browser.origin}\r\n"
        f"Cookie: fossilrepo={browser.cookies['fossilrepo']}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(head.encode() + body)
    await writer.drain()
    await asyncio.sleep(0.03)  # the password is being hashed, which takes longer
    writer.transport.abort()

    async def is_there() -> bool:
        entries = await site.services.audit.recent(subject="bob")
        return [entry.action for entry in entries] == ["person.create"]

    await until(is_there, what="the person to be there")
    await site.browser().sign_in("bob", OTHER)
