"""Debian's Chromium, driven by Playwright.

Owns how the browser is found and started for tests: without a window, without
the network chatter of a fresh profile, and without its own sandbox, which
refuses to run as root.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page, async_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


def executable() -> str:
    """The path of the browser; `./run test` installs it."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "chromium is missing: install the package chromium"
    return found


@asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    """A running browser; `await browser.new_page()` gives a page with its own cookies."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


async def sign_in(page: Page, login: str, password: str) -> None:
    """As a person does it, on a page whose context has the site's address as its base."""
    await page.goto("/login")
    await page.fill("#login", login)
    await page.fill("#password", password)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/repos")
