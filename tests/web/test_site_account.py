"""A person's own account on the site: password, second factor, sessions, tokens."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator

import pyotp
import pytest

from fossilrepo.config import Settings
from tests.helpers.site import PASSWORD, Browser, Site, roomy, served


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        await site.person("bob")
        yield site


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[1]


async def switched_on(browser: Browser) -> tuple[str, list[str]]:
    """The secret and the recovery codes of a second factor, through the pages."""
    page = (await browser.get("/account/second-factor")).text
    assert "<svg" in page
    secret = found(r'name="secret" value="([A-Z2-7]+)"', page)
    code = pyotp.TOTP(secret).at(int(time.time()) - 30)
    open_browser = await browser.post("/account/second-factor", {"secret": secret, "code": code})
    assert open_browser.status == 422 and secret in open_browser.text
    answer = await browser.post(
        "/account/second-factor", {"secret": secret, "code": code, "old": PASSWORD}
    )
    assert answer.status == 200, answer.text
    shown = found(r'<pre id="codes" class="codes">([^<]+)', answer.text)
    codes = shown.split()
    assert len(codes) == 10
    return secret, codes


async def test_a_second_factor_is_set_up_asked_for_and_switched_off(site: Site) -> None:
    browser = await site.browser().sign_in("bob")
    wrong = await browser.post(
        "/account/second-factor", {"secret": "", "code": "123456", "old": PASSWORD}
    )
    assert wrong.status == 422
    secret, codes = await switched_on(browser)
    assert "10 recovery codes left" in (await browser.get("/account")).text
    fresh = site.browser()
    asked = await fresh.post("/login", {"login": "bob", "password": PASSWORD, "next": "/account"})
    assert asked.status == 200 and "One more step" in asked.text and not fresh.cookies
    token = found(r'name="token" value="([^"]+)"', asked.text)
    bad = await fresh.post("/login/second", {"token": token, "code": "000000"})
    assert bad.status == 422 and not fresh.cookies and token in bad.text
    code = pyotp.TOTP(secret).at(int(time.time()))
    sent = {"token": token, "code": code, "next": "/account"}
    inside = await fresh.post("/login/second", sent)
    assert (inside.status, inside.location) == (303, "/account")
    assert (await fresh.get("/account")).status == 200
    stale = await site.browser().post("/login/second", sent)
    assert stale.status == 401, "the way from the password is good once"
    new = await fresh.post("/account/second-factor/codes", {"old": PASSWORD})
    assert codes[0] not in new.text and new.status == 200
    refused = await fresh.post("/account/second-factor/end", {"old": "wrong password"})
    assert refused.status == 422 and "not your password" in refused.text
    ended = await fresh.post("/account/second-factor/end", {"old": PASSWORD})
    assert ended.status == 303
    await site.browser().sign_in("bob")


async def test_a_new_password_ends_other_sessions_and_renews_this_one(site: Site) -> None:
    here, there = site.browser(), site.browser()
    for browser in (here, there):
        await browser.sign_in("bob")
    before = dict(here.cookies)
    wrong = {"old": "x" * 12, "password": PASSWORD + " 2", "again": PASSWORD + " 2"}
    answer = await here.post("/account/password", wrong)
    assert answer.status == 422 and "not your password" in answer.text
    assert (await there.get("/account")).status == 200
    done = await here.post("/account/password", wrong | {"old": PASSWORD})
    assert done.status == 303 and here.cookies["fossilrepo"] != before["fossilrepo"]
    assert (await here.get("/account")).status == 200
    assert (await there.get("/account")).status == 303
    stolen = site.browser()
    stolen.cookies.update(before)
    assert (await stolen.get("/account")).status == 303


async def test_a_cookie_from_before_the_sign_in_never_becomes_a_session(site: Site) -> None:
    browser = site.browser()
    browser.cookies["fossilrepo"] = planted = "x" * 43
    await browser.sign_in("bob")
    assert browser.cookies["fossilrepo"] != planted
    attacker = site.browser()
    attacker.cookies["fossilrepo"] = planted
    assert (await attacker.get("/account")).status == 303


async def test_sessions_are_shown_and_ended(site: Site) -> None:
    here, there = site.browser(), site.browser()
    for browser in (here, there):
        await browser.sign_in("bob")
    page = (await here.get("/account")).text
    assert page.count("this one") == 1
    (other,) = re.findall(r'action="/account/sessions/([a-z2-7]{12})/end"', page)
    assert (await here.post(f"/account/sessions/{other}/end")).status == 303
    assert (await there.get("/account")).status == 303
    await there.sign_in("bob")
    assert (await here.post("/account/sessions/end")).status == 303
    assert (await there.get("/account")).status == 303
    assert (await here.get("/account")).status == 200
    stranger = await site.admin()
    mine = (await here.get("/api/v1/account/sessions")).text
    own = found(r'"id":"([a-z2-7]{12})"', mine)
    assert (await stranger.post(f"/account/sessions/{own}/end")).status == 404


async def test_name_and_address_are_ones_own(site: Site) -> None:
    browser = await site.browser().sign_in("bob")
    wanted = {"name": "Bob <b>", "email": "bob@example.org"}
    for old in ("", "wrong password"):  # a link for a new password could be sent there
        refused = await browser.post("/account", wanted | {"old": old})
        assert refused.status == 422 and "not your password" in refused.text
    assert (await site.services.accounts.user("bob")).email == ""
    done = await browser.post("/account", wanted | {"old": PASSWORD})
    assert done.status == 303
    assert (await browser.post("/account", wanted)).status == 303, "the address is the same"
    page = (await browser.get("/account")).text
    assert "Bob &lt;b&gt;" in page and "bob@example.org" in page
    bad = {"name": "Bob", "email": "no address", "old": PASSWORD}
    wrong = await browser.post("/account", bad)
    assert wrong.status == 422 and "no address" in wrong.text


@pytest.mark.parametrize(
    ("scope", "reads", "creates", "grants"),
    [("read", 200, 403, 403), ("write", 200, 201, 403), ("admin", 200, 201, 200)],
)
async def test_a_token_does_what_its_scope_says(
    site: Site, scope: str, reads: int, creates: int, grants: int
) -> None:
    browser = await site.admin()
    wrong = await browser.post("/account/tokens", {"label": "job", "scope": scope, "days": "0"})
    assert wrong.status == 422 and f'value="{scope}" selected' in wrong.text
    made = await browser.post("/account/tokens", {"label": "job", "scope": scope, "days": "9"})
    token = found(r'id="token">(frt_[^<]+)<', made.text)
    assert token not in (await browser.get("/account")).text
    program = site.browser()
    headers = {"Authorization": f"Bearer {token}"}

    async def ask(method: str, path: str, **body: str) -> int:
        return (await program.ask(method, f"/api/v1{path}", headers, json=body or None)).status

    assert await ask("GET", "/repositories") == reads
    assert await ask("POST", "/repositories", name="made") == creates
    if creates == 201:
        assert await ask("POST", "/repositories/made/grants", user="bob", role="read") == grants
        assert await ask("GET", "/repositories/made/sync-password") == grants
        assert await ask("PATCH", "/repositories/made", title="A title") == 200
        assert await ask("PATCH", "/repositories/made", visibility="internal") == grants
        assert await ask("PATCH", "/repositories/made", org="main") == grants
    assert await ask("POST", "/tokens", scope="admin") == (201 if scope == "admin" else 403)
    listed = (await browser.get("/account")).text
    identity = found(r'action="/account/tokens/([a-z2-7]{12})/end"', listed)
    assert (await browser.post(f"/account/tokens/{identity}/end")).status == 303
    assert await ask("GET", "/repositories") == 401
