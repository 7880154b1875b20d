"""A host whose repositories are below the apex, in a browser: open, edit, and stay in bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from tests.helpers.chromium import sign_in
from tests.helpers.host import PASSWORD, Checkout, Host
from tests.helpers.poll import until_sync

# What a script could do that got into one of Fossil's pages: each ends in the console, or here.
ATTACKS = """async () => {
  const tried = {};
  const ask = async (name, path, more) => {
    try { await fetch(path, more); tried[name] = "done"; }
    catch (error) { tried[name] = "refused"; }
  };
  await ask("own", "/demo/timeline");
  await ask("site", "/account");
  await ask("other", "/other/timeline");
  await ask("post", "/logout", {method: "POST"});
  const frame = document.createElement("iframe");
  frame.src = "/other/timeline";
  document.body.append(frame);
  await new Promise(done => setTimeout(done, 1000));
  try { tried.frame = frame.contentDocument.body.innerText ? "done" : "refused"; }
  catch (error) { tried.frame = "refused"; }
  const opened = window.open("/account");
  await new Promise(done => setTimeout(done, 1500));
  try { tried.window = opened.document.body.innerText.includes("Sign out") ? "done" : "refused"; }
  catch (error) { tried.window = "refused"; }
  const script = "/demo/doc/trunk/worker.js";
  try { await navigator.serviceWorker.register(script); tried.worker = "done"; }
  catch (error) { tried.worker = "refused"; }
  return tried;
}"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path / "data", {"FOSSILREPO_SERVER__ROUTING": "path"}).start()
    one.admin()
    yield one
    one.stop()


async def signed_in(host: Host, chromium: Browser) -> Page:
    context = await chromium.new_context(base_url=f"http://localhost:{host.port}")
    page = await context.new_page()
    await sign_in(page, "ada", PASSWORD)
    return page


async def test_a_person_opens_a_repository_and_edits_in_it(host: Host, chromium: Browser) -> None:
    host.call("repo", "create", "demo")
    host.call("repo", "create", "other")
    shown = host.json("repo", "show", "demo")
    assert shown["url"] == f"http://localhost:{host.port}/demo/"
    assert shown["clone_url"] == f"http://localhost:{host.port}/demo"
    page = await signed_in(host, chromium)
    for name in ("demo", "other"):
        await page.goto(f"/repos/{name}")
        await page.click("text=Open in Fossil")
        await page.wait_for_url(f"**/{name}/timeline")
        assert "ada" in await page.inner_text("body")
        await page.goto(f"/{name}/wikiedit?name=Roof")
        await page.fill("textarea#wikiedit-content-editor", "Needs a *new* roof.")
        async with page.expect_response("**/wikiajax/save"):
            await page.click("button.wikiedit-save")
        await page.goto(f"/{name}/wiki?name=Roof")
        assert "new" in await page.inner_text("body")
    await page.goto("/demo/timeline")
    tried = await page.evaluate(ATTACKS)
    assert tried.pop("own") == "done"
    assert set(tried.values()) == {"refused"} and len(tried) == 6, tried
    await page.goto("/repos")
    assert page.url.endswith("/repos"), "still signed in"
    # A way to a repository from before it had another name.
    host.call("repo", "rename", "demo", "new")
    until_sync(lambda: host.get("/demo/timeline")[0] == 302, what="the way on")
    await page.goto("/demo/timeline?n=3")
    assert page.url == f"http://localhost:{host.port}/new/timeline?n=3"
    missing = await page.goto("/nothing/timeline")
    assert missing is not None and missing.status == 404


def test_checkouts_from_before_and_after_work(host: Host, tmp_path: Path) -> None:
    host.call("repo", "create", "demo")
    password = host.fossil_password("ada", "demo")
    url = f"http://ada:{password}@localhost:{host.port}/demo"
    work = Checkout.cloned(url, tmp_path / "work", "ada")
    made = work.commit("a.txt", "text")
    work.push()
    status, page = host.get("/demo/timeline?n=5")
    assert status == 200 and made[:10] in page
    assert host.get("/robots.txt")[1].count("Disallow: /*/annotate") == 1
