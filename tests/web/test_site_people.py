"""People and accounts on the site."""

from __future__ import annotations

import asyncio
import io
import logging
import re
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import aiohttp
import pyotp
import pytest

from fossilrepo import logs
from fossilrepo.config import Mail, Settings
from fossilrepo.services.passwords import AT_ONCE
from tests.helpers import smtp
from tests.helpers.poll import until
from tests.helpers.site import ADMIN, PASSWORD, Answer, Browser, Site, roomy, served

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
    places = site.services.accounts._passwords._places
    await until(lambda: places._value < AT_ONCE, every=0.002, what="the hashing to begin")
    writer.transport.abort()

    async def is_there() -> bool:
        entries = await site.services.audit.recent(subject="bob")
        return [entry.action for entry in entries] == ["person.create"]

    await until(is_there, what="the person to be there")
    await site.browser().sign_in("bob", OTHER)


# Invitations


def link_in(answer: Answer) -> str:
    """The path of the one-time link on the page."""
    found = re.search(r"http://[^<>\s]+(/(?:invite|reset)/[A-Za-z0-9_-]+)", answer.text)
    assert found, answer.text
    return found[1]


async def test_an_invitation_is_taken_up_by_a_stranger(site: Site) -> None:
    browser = await site.admin()
    assert "None" in (await browser.get("/people/-/invite")).text
    fields = {"name": "Bob", "org": "main", "days": "3", "email": "bob@example.org"}
    path = link_in(await browser.post("/people/-/invite", fields))
    assert "bob@example.org" in (await browser.get("/people")).text
    stranger = site.browser()
    page = await stranger.get(path)
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert 'value="Bob"' in page.text and "main" in page.text
    given = {"login": "ada", "name": "Bob", "password": OTHER, "again": OTHER}
    taken = await stranger.post(path, given)
    assert taken.status == 409 and 'id="login-error"' in taken.text and OTHER not in taken.text
    differ = await stranger.post(path, {**given, "login": "bob", "again": "x"})
    assert differ.status == 422 and 'id="again-error"' in differ.text
    joined = await stranger.post(path, {**given, "login": "Bob"})
    assert joined.location == "/repos" and "fossilrepo" in stranger.cookies
    assert "Welcome" in (await stranger.get("/repos")).text
    for spent in (await site.browser().get(path), await site.browser().post(path, given)):
        assert spent.status == 404 and "not valid any more" in spent.text
    shown = (await browser.get("/people/bob")).text
    assert "/orgs/main" in shown and "bob@example.org" in shown


async def test_an_invitation_is_ended_on_the_list(site: Site) -> None:
    browser = await site.admin()
    path = link_in(await browser.post("/people/-/invite", {"login": "bob", "days": "7"}))
    (identity,) = re.findall(
        r"/people/-/invitations/(\w+)/revoke", (await browser.get("/people")).text
    )
    assert (await browser.post(f"/people/-/invitations/{identity}/revoke")).location == "/people"
    assert (await site.browser().get(path)).status == 404
    wrong = await browser.post("/people/-/invite", {"login": "bob", "days": "many"})
    assert wrong.status == 422 and 'id="days-error"' in wrong.text


async def test_the_token_of_a_link_never_reaches_the_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    browser = await site.admin()
    await site.person("bob")
    caplog.set_level(logging.DEBUG)
    invited = link_in(await browser.post("/people/-/invite", {"days": "7"}))
    reset = link_in(await browser.post("/people/bob/reset-link"))
    for path in (invited, reset):
        await site.browser().get(path)
        await site.browser().post(path, {"login": "x", "password": "short", "again": "short"})
    lines = [logs.TextLines().format(record) for record in caplog.records]
    assert any("/invite/" in line for line in lines) and any("/reset/" in line for line in lines)
    for path in (invited, reset):
        assert path.rpartition("/")[2] not in "\n".join(lines)


# New passwords


async def test_a_link_of_an_administrator_sets_a_new_password(site: Site) -> None:
    browser = await site.admin()
    await site.person("bob")
    bob = await site.browser().sign_in("bob")
    path = link_in(await browser.post("/people/bob/reset-link"))
    stranger = site.browser()
    assert "bob" in (await stranger.get(path)).text
    short = await stranger.post(path, {"password": "short", "again": "short"})
    assert short.status == 422 and 'id="password-error"' in short.text
    done = await stranger.post(path, {"password": OTHER, "again": OTHER})
    assert done.location == "/login"
    assert (await bob.get("/repos")).status == 303
    assert (await stranger.get(path)).status == 404
    await site.browser().sign_in("bob", OTHER)


async def test_forgotten_passwords_without_mail(site: Site) -> None:
    stranger = site.browser()
    assert "/forgot" in (await stranger.get("/login")).text
    assert "sends no mail" in (await stranger.get("/forgot")).text


async def test_forgotten_passwords_by_mail_tell_nothing(settings: Settings) -> None:
    with smtp.running() as post:
        values = {"server": post.server, "security": "none", "sender": "fossil@example.org"}
        mail = Mail.model_validate(values)
        async with served(roomy(settings, mail=mail)) as site:
            await site.person("bob")
            await site.services.people.configure(ADMIN, "bob", email="bob@example.org")
            answers = [await ask_for(site.browser(), who) for who in ("eve", "bob", "x@y.z", "")]
            assert len({(one.status, one.text) for one in answers}) == 1
            assert answers[0].status == 200 and "on its way" in answers[0].text
            await until(lambda: bool(post.taken), what="the mail")
            (path,) = re.findall(r"http://\S+(/reset/\S+)", post.text())
            assert "bob" in (await site.browser().get(path)).text
            assert len(post.taken) == 1
            for _ in range(5):
                await ask_for(site.browser(), "mia")
            slowed = await ask_for(site.browser(), "mia")
            assert slowed.status == 429 and int(slowed.headers["Retry-After"]) > 0


async def ask_for(browser: Browser, who: str) -> Answer:
    await browser.get("/forgot")
    return await browser.post("/forgot", {"who": who})


# A person as a whole


async def test_a_person_is_renamed_made_administrator_and_deleted(site: Site) -> None:
    browser = await site.admin()
    await site.person("bob")
    saved = await browser.post("/people/bob", {"name": "Bob B", "email": "bob@example.org"})
    assert saved.location == "/people/bob"
    wrong = await browser.post("/people/bob", {"name": "Bob C", "email": "nowhere"})
    assert wrong.status == 422 and 'id="email-error"' in wrong.text and "Bob C" in wrong.text
    taken = await browser.post("/people/bob/rename", {"new_login": "ada"})
    assert taken.status == 409 and 'id="new_login-error"' in taken.text
    renamed = await browser.post("/people/bob/rename", {"new_login": "robert"})
    assert renamed.location == "/people/robert"
    assert "Former logins" in (await browser.get("/people/robert")).text
    assert (await browser.get("/people/bob")).status == 404
    await browser.post("/people/robert/make-admin")
    assert (await site.services.accounts.user("robert")).is_admin
    await browser.post("/people/robert/unmake-admin")
    assert not (await site.services.accounts.user("robert")).is_admin
    assert (await browser.post("/people/ada/unmake-admin")).status == 409
    unsure = await browser.post("/people/robert/delete", {"confirm": "bob"})
    assert unsure.status == 422 and 'id="delete-confirm-error"' in unsure.text
    deleted = await browser.post("/people/robert/delete", {"confirm": "robert"})
    assert deleted.location == "/people"
    assert "robert" not in (await browser.get("/people")).text
    again = {"login": "robert", "password": OTHER, "again": OTHER}
    refused = await browser.post("/people", again)
    assert refused.status == 409 and 'id="login-error"' in refused.text


async def test_a_lost_second_factor_is_turned_off(site: Site) -> None:
    browser, factor = await site.admin(), site.services.second_factor
    await site.person("bob")
    bob = await site.services.accounts.user("bob")
    secret = factor.offer(bob).secret
    await factor.confirm(bob, secret, pyotp.TOTP(secret).now())
    assert "second-factor-off" in (await browser.get("/people/bob")).text
    assert (await browser.post("/people/bob/second-factor-off")).location == "/people/bob"
    assert not (await site.services.accounts.user("bob")).has_totp
    await site.browser().sign_in("bob")
    assert (await browser.post("/people/bob/second-factor-off")).status == 409


async def test_a_file_of_people_is_imported(site: Site) -> None:
    browser = await site.admin()
    refused = await send(browser, "login\nbob\nada\n")
    assert refused.status == 422 and "Line 3" in refused.text
    assert (await send(browser, b"login\n\xff\xfe")).status == 422
    assert (await send(browser, "x" * (2**20 + 1))).status in (413, 422)
    done = await send(browser, "login,name\nbob,<b>Bob</b>\neve,\n")
    assert done.status == 200 and done.text.count("/reset/") == 2
    assert "<b>Bob</b>" not in (await browser.get("/people")).text
    path = link_in(done)
    answer = await site.browser().post(path, {"password": OTHER, "again": OTHER})
    assert answer.location == "/login"
    await site.browser().sign_in("bob", OTHER)


async def send(browser: Browser, content: str | bytes) -> Answer:
    form = aiohttp.FormData()
    form.add_field("csrf", browser.csrf)
    sent = io.BytesIO(content.encode() if isinstance(content, str) else content)
    form.add_field("file", sent, filename="people.csv", content_type="text/csv")
    return await browser.ask("POST", "/people/-/import", {"Origin": browser.origin}, data=form)


async def test_people_are_searched_when_there_are_many(site: Site) -> None:
    browser = await site.admin()
    assert 'action="/people"' not in (await browser.get("/people")).text
    rows = "".join(f"p{number},Person {number}\n" for number in range(15))
    await site.services.people.import_csv(ADMIN, "login,name\n" + rows)
    page = (await browser.get("/people?q=person 14")).text
    assert 'action="/people"' in page and "/people/p14" in page and "/people/p13" not in page
    assert "Nobody found" in (await browser.get("/people?q=zzz")).text
