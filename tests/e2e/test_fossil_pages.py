"""Fossil's own pages on a repository's host, in a browser, as a signed-in person."""

from playwright.async_api import Browser

from tests.helpers.host import Host


async def test_tickets_and_wiki_are_edited_after_signing_in_to_fossil(
    host: Host, chromium: Browser
) -> None:
    host.call("repo", "create", "pages")
    base = f"http://pages.localhost:{host.port}/pages"
    page = await chromium.new_page()
    await page.goto(f"{base}/tktnew")
    assert "tktnew" not in page.url or await page.locator("input[name=title]").count() == 0

    await page.goto(f"{base}/login?native")
    await page.fill("input[name=u]", "ada")
    await page.fill("input[name=p]", host.fossil_password("ada", "pages"))
    await page.click("input[name=in]")
    await page.wait_for_load_state()
    cookies = await page.context.cookies(base)
    assert any(c["name"].startswith("fossil-") and c["httpOnly"] for c in cookies)
    assert not await page.context.cookies(f"http://other.localhost:{host.port}/")

    await page.goto(f"{base}/tktnew")
    await page.fill("input[name=title]", "It rains in")
    await page.click("input[name=preview]")
    await page.wait_for_load_state()
    await page.click("input[name=submit]")
    await page.wait_for_url("**/tktview/**")
    assert "It rains in" in await page.inner_text("body")

    await page.goto(f"{base}/wikiedit?name=Roof")
    await page.fill("textarea#wikiedit-content-editor", "Needs a *new* roof.")
    async with page.expect_response("**/wikiajax/save"):
        await page.click("button.wikiedit-save")
    await page.goto(f"{base}/wiki?name=Roof")
    assert "new" in await page.inner_text("body")

    stranger = await chromium.new_page()
    await stranger.goto(f"http://pages.localhost:{host.port}/wiki?name=Roof")
    assert "Needs a" in await stranger.inner_text("body")
