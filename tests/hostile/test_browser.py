"""Hostile pages of repositories, in a real browser with a real session on the site.

Two kinds of attacker: a page that a writer has put into the repository, and, worse, one
with every power of the repository's origin and no policy of Fossil's, as if that had a hole.
The site lies on a domain of two labels, where hosts beside each other are the same site to a
browser: SameSite cookies come along with everything that is tried.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from fossilrepo.logs import blank_secrets
from fossilrepo.models import Visibility
from fossilrepo.web.app import table
from fossilrepo.web.visit import Form
from tests.helpers import chromium, opened
from tests.helpers import gateway_parts as parts
from tests.helpers.opened import Front
from tests.helpers.site import ADMIN

EVIL_JS = b"""
const found = {ran: true, origin: self.origin};
try { found.cookie = document.cookie; } catch (error) { found.cookie = error.name; }
try { found.storage = localStorage.length; } catch (error) { found.storage = error.name; }
try { found.opener = opener.document.title; } catch (error) { found.opener = error.name; }
const page = fetch("/evil/setup", {credentials: "include"}).then((a) => a.text());
page.then((text) => { found.page = text; }, (error) => { found.page = error.name; })
  .finally(() => { document.title = JSON.stringify(found); });
"""
EVIL_HTML = b'<!doctype html><title>wait</title><script src="/evil/doc/trunk/evil.js"></script>'

# One loop for all: the host and the browser live in it.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Victim:
    """A browser where `ada` is signed in on the site and in the repository `evil`."""

    front: Front
    context: BrowserContext

    async def at(self, url: str) -> Page:
        page = await self.context.new_page()
        await page.goto(url)
        return page

    async def on_evil_ground(self) -> Page:
        """A page on the repository's host that may do whatever its origin may."""
        page = await self.context.new_page()
        session = await self.context.new_cdp_session(page)
        await session.send("Page.setBypassCSP", {"enabled": True})
        await page.goto(f"{self.front.origin('evil')}/evil/timeline")
        return page

    async def is_signed_in_as(self) -> str:
        page = await self.at(f"{self.front.origin()}/account")
        who = page.locator(".who a[href='/account']")
        return await who.inner_text() if await who.count() else ""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def front(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    """One host for all of these; each test has a browser's profile of its own."""
    async with opened.running(domain="fossil.localhost") as front:
        repository = await front.services.repos.create(ADMIN, "evil", visibility=Visibility.PUBLIC)
        await front.services.repos.create(ADMIN, "safe", visibility=Visibility.PRIVATE)
        await front.site.person("eve")
        password = await front.services.opening.password(ADMIN, "ada", repository)
        await asyncio.to_thread(plant, front, password, tmp_path_factory.mktemp("evil"))
        yield front


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium.launched() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def victim(front: Front, browser: Browser) -> AsyncIterator[Victim]:
    way = await front.way()
    context = await browser.new_context()
    await context.add_cookies(
        [
            {
                "name": "fossilrepo",
                "value": way.cookies[front.apex]["fossilrepo"],
                "url": front.origin(),
                "httpOnly": True,
                "sameSite": "Lax",
            }
        ]
    )
    page = await context.new_page()
    await page.goto(f"{front.origin()}/repos/evil")
    await page.get_by_text("Open in Fossil").click()
    await page.wait_for_url(f"{front.origin('evil')}/evil/**")
    assert await page.locator("text=Logout").count()
    yield Victim(front, context)
    await context.close()


def plant(front: Front, password: str, folder: Path) -> None:
    """A writer pushes the pages, as any writer can."""
    fossil = parts.Fossil(folder / "home", "ada")
    url = f"http://ada:{password}@localhost:{front.door.port}/evil"
    fossil.run("clone", "--once", "--admin-user", "ada", url, "evil.fossil")
    fossil.run("open", "--nosync", "evil.fossil", "--workdir", "work")
    work = fossil.home / "work"
    fossil.run("settings", "autosync", "off", cwd=work)
    fossil.commit(work, "evil.js", EVIL_JS)
    fossil.commit(work, "evil.html", EVIL_HTML)
    fossil.run("push", "--once", url, cwd=work)


# Pages in the repository


@pytest.mark.parametrize(
    "path", ["doc/trunk/evil.html", "raw?ci=trunk&filename=evil.html&m=text/html"]
)
async def test_a_page_in_the_repository_runs_without_any_power(victim: Victim, path: str) -> None:
    page = await victim.at(f"{victim.front.origin('evil')}/evil/{path}")
    await expect(page).not_to_have_title("wait")
    found = await page.evaluate("JSON.parse(document.title)")
    assert found["ran"], "the script did run: the rest is not for lack of it"
    assert found["origin"] == "null"
    assert found["cookie"] == "SecurityError"
    assert found["storage"] == "SecurityError"
    assert found["page"] == "TypeError", "not even its own repository's pages as the victim"


async def test_a_page_in_the_repository_posts_nothing_to_fossil_as_the_victim(
    victim: Victim,
) -> None:
    page = await victim.at(f"{victim.front.origin('evil')}/evil/doc/trunk/evil.html")
    async with page.expect_navigation() as navigation:
        await page.evaluate(SUBMIT, {"url": "/.fossilrepo/session", "fields": {"ticket": "x"}})
    assert (await navigation.value).status == 403


SUBMIT = """({url, fields, target}) => {
  const form = document.createElement("form");
  form.method = "post";
  form.action = url;
  if (target) form.target = target;
  for (const [name, value] of Object.entries(fields || {})) {
    const field = document.createElement("input");
    field.name = name;
    field.value = value;
    form.append(field);
  }
  document.body.append(form);
  form.submit();
}"""

# Pages with every power of the repository's origin


async def test_nothing_of_the_site_can_be_read(victim: Victim) -> None:
    page, apex = await victim.on_evil_ground(), victim.front.origin()
    assert await page.evaluate("document.cookie") == "", "Fossil's cookie is not for scripts"
    for path in ("/repos", "/account", "/api/v1/repositories", "/repos/evil/password"):
        read = """(url) => fetch(url, {credentials: "include"})
          .then((answer) => answer.text(), (error) => error.name)"""
        assert await page.evaluate(read, apex + path) == "TypeError", path
    blind = """(url) => fetch(url, {credentials: "include", mode: "no-cors"})
      .then((answer) => answer.text(), (error) => error.name)"""
    assert await page.evaluate(blind, f"{apex}/account") in ("", "TypeError")
    image = """(url) => new Promise((done) => {
      const script = document.createElement("script");
      script.onload = () => done("loaded");
      script.onerror = () => done("refused");
      script.src = url;
      document.head.append(script);
    })"""
    assert await page.evaluate(image, f"{apex}/api/v1/repositories") == "refused"


async def test_the_site_cannot_be_framed(victim: Victim) -> None:
    page, front = await victim.on_evil_ground(), victim.front
    framed = """(url) => new Promise((done) => {
      const frame = document.createElement("iframe");
      frame.onload = () => done();
      frame.src = url;
      document.body.append(frame);
    })"""
    addresses = [f"{front.origin()}{path}" for path in ("/account", "/repos/evil/open")]
    for url in [*addresses, f"{front.origin('evil')}/.fossilrepo/open"]:
        await page.evaluate(framed, url)
        frame = page.frames[-1]
        words = await frame.locator("body").inner_text()
        assert "ada" not in words, url
        assert not await frame.locator("form").count(), url


async def test_a_window_of_the_site_is_out_of_reach(victim: Victim) -> None:
    page = await victim.on_evil_ground()
    async with victim.context.expect_page() as opening:
        await page.evaluate("(url) => { window.w = window.open(url); }", victim.front.origin())
    window = await opening.value
    await window.wait_for_selector("h1:has-text('Overview')")
    reach = """() => { try { return w.closed ? "cut off" : w.document.title; }
      catch (error) { return error.name; } }"""
    assert await page.evaluate(reach) in ("cut off", "SecurityError")
    assert await window.evaluate("window.opener") is None


LOGGED = re.compile(r"POST (\S+) (\d+) ")


def forms() -> list[str]:
    """A path for every form of the site that changes something."""
    filled = {"name": "evil", "login": "ada", "token": "0" * 32}
    routes = [route for route in table() if route.changes and route.form is Form.PAGE]
    return [
        re.sub(r"\{(\w+)[^}]*\}", lambda found: filled.get(found[1], "x"), route.path)
        for route in routes
    ]


async def test_no_form_of_the_site_can_be_sent_from_a_repository(
    victim: Victim, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="fossilrepo.web.middleware")  # the page sees no status
    page, front = await victim.on_evil_ground(), victim.front
    before = await front.services.audit.recent()
    send = """async ([urls, type]) => {
      const one = (url) => fetch(url, {
        method: "POST", mode: "no-cors", credentials: "include",
        headers: {"Content-Type": type}, body: "confirm=evil&name=evil2&csrf=",
      }).catch(() => null);
      await Promise.all(urls.map(one));
    }"""
    paths = forms()
    assert len(paths) > 20
    urls = [front.origin() + path for path in paths]
    await page.evaluate(send, [urls, "application/x-www-form-urlencoded"])
    await page.evaluate(send, [[f"{front.origin()}/api/v1/repositories"], "text/plain"])
    statuses = {
        (found[1], found[2]) for one in caplog.records if (found := LOGGED.match(one.getMessage()))
    }
    every = {blank_secrets(path) for path in (*paths, "/api/v1/repositories")}
    assert statuses == {(path, "403") for path in every}
    assert await front.services.audit.recent() == before
    assert await victim.is_signed_in_as() == "ada", "it was not signed out either"


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data"])
async def test_a_form_that_navigates_is_refused_too(victim: Victim, kind: str) -> None:
    page, front = await victim.on_evil_ground(), victim.front
    await page.evaluate("(kind) => { HTMLFormElement.prototype.kind = kind; }", kind)
    script = SUBMIT.replace("form.action = url;", "form.action = url; form.enctype = form.kind;")
    async with page.expect_navigation() as navigation:
        fields = {"name": "planted", "visibility": "public"}
        await page.evaluate(script, {"url": f"{front.origin()}/repos/-/new", "fields": fields})
    assert (await navigation.value).status == 403
    assert (await front.services.repos.search(ADMIN)).total == 2


# Signed in as somebody else


async def test_nobody_is_made_to_act_as_the_attacker_in_a_repository(victim: Victim) -> None:
    """The attacker's ticket in the victim's browser, with the attacker's nonce beside it."""
    front = victim.front
    attacker = await front.way("eve", "evil")
    await attacker.ticket(await attacker.begin())
    nonce = attacker.cookies[attacker.host]["fossilrepo-open"]
    page = await victim.on_evil_ground()
    await page.evaluate(
        "(text) => { document.cookie = text; }", f"fossilrepo-open={nonce}; path=/.fossilrepo"
    )
    async with page.expect_navigation() as navigation:
        url = f"{front.origin('evil')}/.fossilrepo/session"
        await page.evaluate(SUBMIT, {"url": url, "fields": attacker.fields})
    assert (await navigation.value).status == 403
    shown = await victim.at(f"{front.origin('evil')}/evil/timeline")
    assert await shown.locator(".status").inner_text() == "ada"


async def test_nobody_is_made_to_act_as_the_attacker_on_the_site(victim: Victim) -> None:
    """By the sign-in form, and by a cookie that a host beside the site sets for all of them."""
    front = victim.front
    page = await victim.on_evil_ground()
    async with page.expect_navigation() as navigation:
        fields = {"login": "eve", "password": "correct horse battery"}
        await page.evaluate(SUBMIT, {"url": f"{front.origin()}/login", "fields": fields})
    assert (await navigation.value).status == 403
    assert await victim.is_signed_in_as() == "ada"
    token = (await front.way("eve")).cookies[front.apex]["fossilrepo"]
    page = await victim.on_evil_ground()
    for path in ("/", "/account"):
        toss = f"fossilrepo={token}; domain=fossil.localhost; path={path}"
        await page.evaluate("(text) => { document.cookie = text; }", toss)
    assert await victim.is_signed_in_as() != "eve"


async def test_the_way_into_another_repository_cannot_be_walked_for_the_victim(
    victim: Victim,
) -> None:
    """A script gets neither the ticket nor the page behind it."""
    page, front = await victim.on_evil_ground(), victim.front
    begin = """(url) => fetch(url, {credentials: "include"})
      .then((answer) => answer.text(), (error) => error.name)"""
    assert await page.evaluate(begin, f"{front.origin('safe')}/.fossilrepo/open") == "TypeError"
    own = f"{front.origin('evil')}/.fossilrepo/open?to={quote('/evil/setup')}"
    assert "ticket" not in await page.evaluate(begin, own)
    cookies = await victim.context.cookies(front.origin("safe"))
    assert not [one for one in cookies if one["name"].startswith("fossil-")]


# The way in, as people walk it


@pytest.mark.parametrize(
    ("domain", "script"), [("localhost", True), ("fossil.localhost", False)], ids=["script", "none"]
)
async def test_opening_in_a_browser(browser: Browser, domain: str, script: bool) -> None:
    async with opened.running(domain=domain) as front:
        await front.services.repos.create(ADMIN, "demo", visibility=Visibility.PRIVATE)
        context = await browser.new_context(java_script_enabled=script)
        page = await context.new_page()
        await page.goto(f"{front.origin('demo')}/demo/timeline?n=3")
        await page.fill("[name=login]", "ada")
        await page.fill("[name=password]", "correct horse battery")
        await page.click("main form button")
        if not script:
            await page.click("form[data-submit] button")
        await page.wait_for_url(f"{front.origin('demo')}/demo/timeline?n=3")
        assert await page.locator(".status").inner_text() == "ada"
        await context.close()
