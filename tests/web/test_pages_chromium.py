"""The pages in a real browser: with scripts and without, narrow and wide, by keyboard too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from axe_playwright_python.async_playwright import Axe

from tests.helpers.chromium import sign_in
from tests.helpers.host import PASSWORD, Checkout, Host

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

PAGES = [
    *("/repos", "/repos/-/new", "/repos/-/import", "/repos/-/import?way=clone", "/repos/-/trash"),
    *("/repos/-/import?way=git", "/repos/tools", "/repos/tools/settings", "/repos/tools/password"),
    *("/people/-/new", "/people/-/invite", "/people/-/import", "/forgot"),
    *("/people", "/people/ada", "/account", "/audit", "/system", "/nothing/here"),
    *("/orgs", "/orgs/main", "/orgs/main/teams/docs", "/repos/tools/access", "/account/where"),
    *("/people/ada/where", "/people/-/natives"),
    *("/backups", "/backups/-/forecast", "/backups/-/trials", "/backups/-/control"),
    *("/", "/activity", "/search?q=tools", "/repos/tools/insights"),
    *("/repos/tools/backups", "/repos/tools/backups/moment", "/repos/tools/backups/in-place"),
]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("chromium") / "data").start()
    try:
        host.admin()
        host.call("repo", "create", "tools", "--title", "Small tools with quite a long title")
        host.call("team", "create", "main/docs")
        yield host
    finally:
        host.stop()


@asynccontextmanager
async def signed_in(chromium: Browser, host: Host, **context: Any) -> AsyncIterator[Page]:
    """A page of a signed-in administrator; fails when the browser complained of anything."""
    complaints: list[str] = []
    opened = await chromium.new_context(base_url=f"http://localhost:{host.port}", **context)
    page = await opened.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda said: (
            complaints.append(said.text)
            if said.type in ("error", "warning") and "Failed to load resource" not in said.text
            else None
        ),
    )
    await sign_in(page, "ada", PASSWORD)
    yield page
    await opened.close()
    assert complaints == []


async def focus_on(page: Page, name: str) -> None:
    await page.wait_for_function("name => document.activeElement.id === name", arg=name)


async def test_the_main_way_with_scripts(chromium: Browser, host: Host) -> None:
    context = {"permissions": ["clipboard-read", "clipboard-write"]}
    async with signed_in(chromium, host, **context) as page:
        await page.evaluate("window.stayed = true")
        await page.click("text=New repository")
        await page.wait_for_url("**/repos/-/new")
        await focus_on(page, "name")
        await page.fill("#name", "localhost")  # a good form, and a reserved name
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#name-error")
        await focus_on(page, "name")
        await page.fill("#name", "museum")
        await page.click("text=Create")
        await page.wait_for_url("**/repos/museum")
        await page.click("text=Show my Fossil password")
        secret = await page.inner_text("#secret")
        assert secret == host.fossil_password("ada", "museum")
        await page.click('button[data-copy="secret"]')
        assert await page.evaluate("navigator.clipboard.readText()") == secret
        assert await page.evaluate("window.stayed")  # no page was loaded whole
        await page.go_back()
        await page.wait_for_url("**/repos/-/new")
        await page.wait_for_function("document.title === 'New repository · fossilrepo'")


async def test_searching_keeps_the_address_and_the_focus(chromium: Browser, host: Host) -> None:
    async with signed_in(chromium, host) as page:
        await page.click("#q")
        await page.keyboard.type("small")
        await page.wait_for_url("**/repos?q=small")
        await page.wait_for_selector("text=tools")
        assert await page.evaluate("document.activeElement.id") == "q"
        await page.keyboard.type(" nothing")
        await page.wait_for_selector("text=Nothing found")
        await page.reload()
        assert await page.input_value("#q") == "small nothing"


async def test_an_upload_shows_its_end(
    chromium: Browser, host: Host, fossil_template: Path
) -> None:
    async with signed_in(chromium, host) as page:
        await page.goto("/repos/-/import")
        await page.fill("#name", "tools")
        await page.set_input_files("#file", fossil_template)
        await page.click("text=Upload and import")
        await page.wait_for_selector("#name-error")
        await page.fill("#name", "brought")
        await page.set_input_files("#file", fossil_template)
        await page.click("text=Upload and import")
        await page.wait_for_url("**/jobs/*")
        await page.click("text=Open brought")
        await page.wait_for_url("**/repos/brought")


async def test_everything_works_without_scripts(
    chromium: Browser, host: Host, fossil_template: Path
) -> None:
    async with signed_in(chromium, host, java_script_enabled=False) as page:
        await page.click("text=New repository")
        await page.fill("#name", "plain")
        await page.click("main button")
        await page.wait_for_url("**/repos/plain")
        await page.click("text=Show my Fossil password")
        assert await page.inner_text("#secret") == host.fossil_password("ada", "plain")
        await page.goto("/repos?q=small")
        assert await page.locator(".name").all_inner_texts() == ["tools"]
        await page.goto("/repos/-/import")
        await page.fill("#name", "sent")
        await page.set_input_files("#file", fossil_template)
        await page.click("text=Upload and import")
        await page.wait_for_url("**/jobs/*")
        await page.click("text=Open sent", timeout=20_000)  # the page renews itself
        await page.goto("/repos/plain/settings")
        await page.fill("#delete-confirm", "plain")
        await page.click("text=Move to the trash")
        await page.wait_for_url("**/repos/-/trash")
        await page.click("main >> text=plain")
        await page.click("button >> text=Bring back")
        await page.wait_for_url("**/repos/plain")
        await page.click("text=Sign out")
        await page.wait_for_url("**/login")


_WITHOUT_LABEL = """() => [...document.querySelectorAll(
    'input:not([type=hidden]):not([hidden]), button, progress, meter, pre')].filter(one =>
    !one.labels?.length && !one.ariaLabel && !one.textContent.trim()).map(one => one.outerHTML)"""
_TWICE = """() => { const ids = [...document.querySelectorAll('[id]')].map(one => one.id);
    return ids.filter((id, at) => ids.indexOf(id) !== at); }"""


async def test_pages_fit_and_are_labelled(chromium: Browser, host: Host) -> None:
    async with signed_in(chromium, host) as page:
        for path in PAGES:
            await page.goto(path)
            assert await page.locator("h1").count() == 1, path
            assert await page.evaluate(_WITHOUT_LABEL) == [], path
            assert await page.evaluate(_TWICE) == [], path
            for width in (360, 390, 1280, 3840):
                await page.set_viewport_size({"width": width, "height": 800})
                needed = await page.evaluate("document.documentElement.scrollWidth")
                assert needed <= width, (path, width)


async def test_light_and_dark_follow_the_system(chromium: Browser, host: Host) -> None:
    page, grounds = await chromium.new_page(), set()
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        await page.goto(f"http://localhost:{host.port}/login")
        grounds.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2


async def test_by_keyboard_the_content_is_one_step_away(chromium: Browser, host: Host) -> None:
    async with signed_in(chromium, host) as page:
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.className") != "skip":
            await page.reload()
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        inside = "document.querySelector('main').contains(document.activeElement)"
        assert await page.evaluate(inside)
        width = "getComputedStyle(document.activeElement).outlineWidth"
        assert await page.evaluate(width) == "3px"


async def test_a_repository_cannot_use_the_session(chromium: Browser, host: Host) -> None:
    """The site's cookie is not sent to a repository's host, nor can its pages write here."""
    async with signed_in(chromium, host) as page:
        cookies = await page.context.cookies(f"http://tools.localhost:{host.port}/")
        assert cookies == []
        await page.goto(f"http://tools.localhost:{host.port}/timeline")
        script = """(url) => { const form = document.createElement('form');
            form.method = 'POST'; form.action = url;
            form.innerHTML = '<input name=name value=stolen>';
            document.body.append(form); form.submit(); }"""
        async with page.expect_navigation():
            await page.evaluate(script, f"http://localhost:{host.port}/repos/-/new")
        await page.goto(f"http://localhost:{host.port}/repos?q=stolen")
        assert "Nothing found" in await page.content()


async def test_the_quick_switcher_goes_anywhere_by_keyboard(chromium: Browser, host: Host) -> None:
    async with signed_in(chromium, host) as page:
        await page.wait_for_selector("h1:has-text('Repositories')")
        await page.keyboard.press("Control+k")
        await page.wait_for_selector("#goal-list a")
        await page.keyboard.type("tools")
        first = page.locator("#goal-list a", has_text="tools").first
        await first.wait_for()
        await page.wait_for_function(
            "() => document.querySelector('#goal-list a').getAttribute('href') === '/repos/tools'"
        )
        await page.keyboard.press("Enter")
        await page.wait_for_selector("h1:has-text('tools')")
        assert page.url.endswith("/repos/tools")
        await page.keyboard.press("Control+k")
        await page.keyboard.type("zzz nothing zzz")
        await page.wait_for_selector("text=in everything")
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("h1:has-text('Search')")
        assert "/search?q=zzz" in page.url
        await page.click("a[data-goals]")
        assert await page.locator("#goals").evaluate("one => one.open")
        await page.keyboard.press("Escape")
        assert not await page.locator("#goals").evaluate("one => one.open")


async def test_an_open_overview_shows_a_push_by_itself(
    chromium: Browser, host: Host, tmp_path: Path
) -> None:
    url = f"http://ada:{host.fossil_password('ada', 'tools')}@127.0.0.1:{host.port}/tools"
    checkout = await asyncio.to_thread(Checkout.cloned, url, tmp_path / "work", "ada")
    async with signed_in(chromium, host) as page:
        await page.goto("/")
        async with page.expect_response("**/events?after=*"):
            await page.reload()
        await asyncio.to_thread(checkout.commit, "saw.txt", "sharp", "A saw that sings")
        await asyncio.to_thread(checkout.push)
        await page.wait_for_selector("text=A saw that sings", timeout=10_000)
        await page.click("text=All activity")
        await page.wait_for_selector("text=A saw that sings")


_SHIFTED = """() => new Promise(done => {
    let shifted = 0;
    new PerformanceObserver(list => {
      for (const one of list.getEntries()) shifted += one.value;
    }).observe({type: "layout-shift", buffered: true});
    setTimeout(() => done(shifted), 300); })"""


async def test_the_first_page_is_small_and_still_and_asks_nobody_else(
    chromium: Browser, host: Host
) -> None:
    async with signed_in(chromium, host) as page:
        network = await page.context.new_cdp_session(page)
        await network.send("Network.enable")
        await network.send("Network.setCacheDisabled", {"cacheDisabled": True})
        sizes, asked = [], []
        network.on("Network.loadingFinished", lambda one: sizes.append(one["encodedDataLength"]))
        network.on("Network.requestWillBeSent", lambda one: asked.append(one["request"]["url"]))
        await page.goto("/")
        assert await page.evaluate(_SHIFTED) == 0
        assert len(sizes) >= 5 and sum(sizes) < 60 * 1024, sizes
        assert all(url.startswith(f"http://localhost:{host.port}/") for url in asked), asked


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_has_a_fault_that_axe_finds(
    chromium: Browser, host: Host, scheme: Literal["light", "dark"]
) -> None:
    async with signed_in(chromium, host, color_scheme=scheme) as page:
        found: dict[str, list[str]] = {}
        for path in PAGES:
            await page.goto(path)
            results = await Axe().run(page)
            for one in results.response["violations"]:
                where = [node["html"][:200] for node in one["nodes"][:3]]
                found.setdefault(f"{one['id']}: {one['help']}", []).append(f"{path}: {where}")
        assert found == {}
