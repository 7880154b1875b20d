"""The ways in: the set-up link, sign-in and out, the session's cookie, where one goes on to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fossilrepo.config import Server, Settings
from fossilrepo.models import Visibility
from fossilrepo.web.auth import safe_next
from tests.helpers.site import ADMIN, PASSWORD, Browser, Site, roomy, served


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        yield site


@pytest.fixture
async def first_day(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings), empty=True) as site:
        yield site


@pytest.fixture
async def https_site(settings: Settings) -> AsyncIterator[Site]:
    server = Server(listen="127.0.0.1:0", domain="example.org", public_url="https://example.org")
    async with served(roomy(settings, server=server)) as site:
        yield site


NEW = {"login": "ada", "name": "Ada", "password": PASSWORD, "again": PASSWORD}


async def test_the_set_up_link_makes_the_first_administrator_once(first_day: Site) -> None:
    browser = first_day.browser()
    assert (await browser.get("/")).location == "/login"
    assert "Look at the terminal" in (await browser.get("/login")).text
    link = f"/setup/{await first_day.services.accounts.setup_token()}"
    assert "password" in (await browser.get(link)).text
    done = await browser.post(link, NEW)
    assert (done.status, done.location) == (303, "/repos")
    page = await browser.get("/repos")
    assert "Welcome" in page.text
    assert "Welcome" not in (await browser.get("/repos")).text
    assert (await first_day.services.accounts.user("ada")).is_admin
    again = await first_day.browser().post(link, {**NEW, "login": "eve"})
    assert again.status == 404
    assert (await first_day.browser().get(link)).status == 404
    assert "Look at the terminal" not in (await first_day.browser().get("/login")).text


async def test_a_wrong_set_up_link_tells_what_to_do(first_day: Site) -> None:
    await first_day.services.accounts.setup_token()
    answer = await first_day.browser().get("/setup/not-the-token")
    assert answer.status == 404
    assert "prints a new one" in answer.text


WRONG_SET_UPS = (
    ({"password": "short", "again": "short"}, "fewer than 10 characters"),
    ({"again": "something else"}, "two passwords differ"),
    ({"login": "root"}, "is reserved"),
    ({"login": "Ada Lovelace"}, "cannot be a login"),
)


async def test_a_wrong_set_up_form_says_what_is_wrong(first_day: Site) -> None:
    link = f"/setup/{await first_day.services.accounts.setup_token()}"
    for change, words in WRONG_SET_UPS:
        answer = await first_day.browser().post(link, {**NEW, **change})
        assert answer.status == 422, words
        assert words in answer.text
        assert 'aria-invalid="true"' in answer.text, words
        assert 'value="Ada"' in answer.text, words
        assert PASSWORD not in answer.text, words
    assert await first_day.services.accounts.needs_setup()


async def test_sign_in_and_out(site: Site) -> None:
    await site.person("ada", is_admin=True)
    browser = site.browser()
    asked = await browser.get("/people?x=1")
    assert asked.location == "/login?next=/people%3Fx%3D1"
    assert 'value="/people?x=1"' in (await browser.get(asked.location)).text
    fields = {"login": "Ada", "password": PASSWORD, "next": "/people?x=1"}
    done = await browser.post("/login", fields)
    assert (done.status, done.location) == (303, "/people?x=1")
    assert (await browser.get("/login")).location == "/repos"
    kept = dict(browser.cookies)
    await browser.get("/account")
    out = await browser.post("/logout")
    assert (out.status, out.location) == (303, "/login")
    assert not browser.cookies
    browser.cookies = kept  # a copy of the cookie is worth nothing any more
    assert (await browser.get("/repos")).location.startswith("/login")


async def test_a_wrong_password_tells_nothing_and_slows_down(site: Site) -> None:
    await site.person("ada")
    browser = site.browser()
    wrong = await browser.post("/login", {"login": "ada", "password": "wrong"})
    unknown = await browser.post("/login", {"login": "eve", "password": "wrong"})
    assert wrong.status == unknown.status == 401
    assert wrong.text == unknown.text.replace('value="eve"', 'value="ada"')
    for _ in range(5):
        last = await browser.post("/login", {"login": "ada", "password": "wrong"})
    assert last.status == 429
    assert int(last.headers["Retry-After"]) >= 1
    assert not browser.cookies


async def test_a_sign_in_that_a_foreign_page_sends_is_refused(site: Site) -> None:
    await site.person("ada")
    fields = {"login": "ada", "password": PASSWORD}
    for origin in ("https://evil.example", f"http://museum.localhost:{site.port}"):
        answer = await site.browser().post("/login", fields, {"Origin": origin})
        assert answer.status == 403
        assert "Set-Cookie" not in answer.headers


async def test_signing_in_again_ends_the_session_before(site: Site) -> None:
    await site.person("ada")
    browser = await site.browser().sign_in("ada")
    before = dict(browser.cookies)
    await browser.sign_in("ada")
    assert browser.cookies != before
    browser.cookies = before
    assert (await browser.get("/repos")).status == 303


ELSEWHERE = (
    *("//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example"),
    *("evil.example", "javascript:alert(1)", "/ /evil", "/login", "/logout", ""),
)


async def test_sign_in_never_leads_off_the_site(site: Site) -> None:
    await site.person("ada")
    for target in ELSEWHERE:
        assert safe_next(target) == "/repos", target
    assert safe_next("/people?x=1") == "/people?x=1"
    fields = {"login": "ada", "password": PASSWORD, "next": ELSEWHERE[0]}
    assert (await site.browser().post("/login", fields)).location == "/repos"


async def test_the_cookie_on_plain_http(site: Site) -> None:
    await site.person("ada")
    browser = site.browser()
    await browser.post("/login", {"login": "ada", "password": PASSWORD})
    (cookie,) = browser.set_cookies
    assert cookie.startswith("fossilrepo=")
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/"} <= parts
    assert "secure" not in parts
    assert "domain" not in cookie.lower()


async def test_the_cookie_on_https(https_site: Site) -> None:
    await https_site.person("ada")
    browser = https_site.browser("example.org")
    fields, headers = {"login": "ada", "password": PASSWORD}, {"Origin": "https://example.org"}
    assert (await browser.post("/login", fields, headers)).status == 303
    (cookie,) = browser.set_cookies
    assert cookie.startswith("__Host-fossilrepo=")
    assert "secure" in cookie.lower()
    assert "domain" not in cookie.lower()
    assert (await browser.get("/repos")).status == 200
    browser.cookies = {"fossilrepo": browser.cookies["__Host-fossilrepo"]}
    assert (await browser.get("/repos")).status == 303  # what a sub-host could set counts nothing


async def test_only_the_configured_origin_counts(https_site: Site) -> None:
    await https_site.person("ada")
    fields = {"login": "ada", "password": PASSWORD}
    for origin in ("http://example.org", "https://example.org:8443", "https://a.example.org"):
        browser = https_site.browser("example.org")
        assert (await browser.post("/login", fields, {"Origin": origin})).status == 403


async def test_a_second_session_cookie_makes_nobody_signed_in(site: Site) -> None:
    await site.person("ada")
    browser = await site.browser().sign_in("ada")
    value = browser.cookies["fossilrepo"]
    both = {"Cookie": f"fossilrepo={'x' * 43}; fossilrepo={value}"}
    assert (await browser.get("/repos", both)).location.startswith("/login")
    assert (await browser.get("/repos")).status == 200


async def test_plain_http_from_elsewhere_is_warned_about(site: Site) -> None:
    warning = "came over plain http"
    assert warning in (await site.browser(f"192.0.2.7:{site.port}").get("/login")).text
    for host in ("localhost", f"127.0.0.1:{site.port}", f"[::1]:{site.port}"):
        assert warning not in (await site.browser(host).get("/login")).text


async def test_an_address_as_host_works_like_the_name(site: Site) -> None:
    await site.person("ada")
    browser = await site.browser(f"192.0.2.7:{site.port}").sign_in("ada")
    assert (await browser.get("/repos")).status == 200


async def test_a_foreign_host_gets_a_plain_404(site: Site) -> None:
    for host in ("evil.example", "a.b.localhost", "MUSEUM.localhost", "_x.localhost"):
        answer = await site.browser(host).get("/login")
        assert answer.status == 404, host
        assert "Sign in" not in answer.text, host


async def test_a_repository_host_goes_to_the_gateway(site: Site) -> None:
    await site.services.repos.create(ADMIN, "museum")
    there = await site.browser(f"museum.localhost:{site.port}").get("/login")
    assert (there.status, there.location) == (302, "/museum/login")
    assert there.headers["X-Request-Id"]
    gone = await site.browser(f"nothing.localhost:{site.port}").get("/login")
    assert gone.status == 404


async def test_the_path_form_is_for_fossil_and_leads_browsers_on(site: Site) -> None:
    await site.services.repos.create(ADMIN, "museum")
    await site.services.repos.create(ADMIN, "secret", visibility=Visibility.PRIVATE)
    browser = site.browser()
    shown = await browser.get("/museum")
    assert (shown.status, shown.location) == (302, f"http://museum.localhost:{site.port}/")
    assert (await browser.get("/secret")).text.count("no page at this address") == 1
    assert (await browser.get("/nothing")).status == 404
    sync = {"Content-Type": "application/x-fossil"}
    for path in ("/museum", "/museum/xfer"):
        # Fossil does not run here: the gateway says so, and nobody asked for a form's token.
        assert (await browser.ask("POST", path, sync, data=b"")).status == 502
    assert (await browser.ask("POST", "/museum/login", sync, data=b"")).status == 404
    assert (await browser.ask("POST", "/login", sync, data=b"")).status == 404
    form = await browser.ask("POST", "/museum", {"Content-Type": "text/plain"}, data=b"")
    assert form.status == 405


async def test_a_disabled_person_is_out_at_once(site: Site) -> None:
    await site.person("ada", is_admin=True)
    await site.person("bob")
    browser: Browser = await site.browser().sign_in("bob")
    await site.services.accounts.set_disabled(ADMIN, "bob", True)
    assert (await browser.get("/repos")).location.startswith("/login")
    again = await site.browser().post("/login", {"login": "bob", "password": PASSWORD})
    assert again.status == 401


async def test_a_piece_of_a_page_leads_whole_pages_to_sign_in(site: Site) -> None:
    await site.person("ada", is_admin=True)
    piece = await site.browser().get("/system/children", {"HX-Request": "true"})
    assert (piece.status, piece.headers["HX-Redirect"], piece.text) == (401, "/login", "")
    boosted = {"HX-Request": "true", "HX-Boosted": "true"}
    assert (await site.browser().get("/people", boosted)).location == "/login?next=/people"
