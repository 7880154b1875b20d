"""The main paths in a real browser, on a real host: as a person goes them from the start."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.git_servers import TOKEN, USER, HttpGit, http_git
from tests.helpers.host import PASSWORD, Checkout, Host

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[HttpGit]:
    async with http_git(tmp_path / "git") as server:
        yield server


@pytest.fixture
def host(tmp_path: Path) -> Any:
    environment = {
        "FOSSILREPO_SYNC__ALLOWED_NETWORKS": json.dumps(["127.0.0.0/8"]),
        "FOSSILREPO_SYNC__SETTLE": "0s",
    }
    folder = tmp_path / "host"
    folder.mkdir()
    host = Host(folder / "data", environment).start()
    yield host
    host.stop()


@asynccontextmanager
async def person(chromium: Browser, host: Host, **context: Any) -> AsyncIterator[Page]:
    """Somebody's own browser; fails when it complained of anything."""
    complaints: list[str] = []
    opened = await chromium.new_context(base_url=f"http://localhost:{host.port}", **context)
    page = await opened.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    await opened.close()
    assert complaints == []


async def fill(page: Page, **fields: str) -> None:
    for name, value in fields.items():
        await page.fill(f"main [name={name}]", value)


async def see(page: Page, words: str) -> None:
    await page.wait_for_selector(f"main >> text={words} >> visible=true", timeout=20_000)


async def test_from_the_first_minute_to_a_mended_mirror(
    chromium: Browser, host: Host, server: HttpGit, tmp_path: Path
) -> None:
    log = (host.data.parent / "serve.log").read_text()
    (link,) = re.findall(r"/setup/\S+", log)
    async with person(chromium, host) as ada, person(chromium, host) as bob:
        await ada.goto(link)
        await fill(ada, login="ada", name="Ada", password=PASSWORD, again=PASSWORD)
        await ada.click("text=Create the administrator")
        await see(ada, "You are the administrator")
        await ada.click("header >> text=fossilrepo")
        await see(ada, "Make the first repository")
        await ada.click("text=Make the first repository")
        await fill(ada, name="tides", title="Tides")
        await ada.click("main >> text=Private")
        await ada.click("main >> button:has-text('Create')")
        await see(ada, "The repository is ready")

        await invite(ada, bob, host)
        await push(ada, host, tmp_path)
        await mirror(ada, server, "wrong-token")
        await see(ada, "Run now")
        await see(ada, "failing")
        await ada.goto("/")
        await mend(ada)
        assert "A first table" in await asyncio.to_thread(_git_log, server)
        await ada.goto("/search?q=first+table")
        await ada.click("main >> text=A first table")
        await ada.wait_for_url(f"http://tides.localhost:{host.port}/**")


async def invite(ada: Page, bob: Page, host: Host) -> None:
    """Bob joins by a link, sees nothing, is granted, and opens the repository signed in."""
    await ada.goto("/people/-/invite")
    await fill(ada, login="bob")
    await ada.click("text=Make the link")
    link = await ada.inner_text("main code >> nth=0")
    await bob.goto(link)
    await fill(bob, password=PASSWORD, again=PASSWORD)
    await bob.click("text=Make my account")
    await see(bob, "Repositories")
    hidden = await bob.goto("/repos/tides")
    assert hidden is not None and hidden.status == 404
    await ada.goto("/repos/tides/access")
    await fill(ada, to="bob")
    await ada.select_option("#grant-role", "write")
    await ada.click("main >> button:text-is('Grant')")
    await see(ada, "The role is given")
    await bob.goto("/repos/tides")
    await bob.click("text=Open in Fossil")
    await bob.wait_for_url(f"http://tides.localhost:{host.port}/**")
    await bob.goto(f"http://tides.localhost:{host.port}/tides/timeline")
    assert "bob" in await bob.inner_text("body")


async def push(ada: Page, host: Host, tmp_path: Path) -> None:
    """With the password that the page shows; the page then shows the check-in."""
    await ada.goto("/repos/tides")
    await ada.click("text=Show my Fossil password")
    secret = await ada.inner_text("#secret")
    url = f"http://ada:{secret}@127.0.0.1:{host.port}/tides"
    checkout = await asyncio.to_thread(Checkout.cloned, url, tmp_path / "work", "ada")
    await asyncio.to_thread(checkout.commit, "table.txt", "04:12", "A first table")
    await asyncio.to_thread(checkout.push)
    await ada.goto("/")
    await see(ada, "A first table")


async def mirror(ada: Page, server: HttpGit, token: str) -> None:
    """The trial before saving finds the wrong token; it is added all the same."""
    await ada.goto("/repos/tides/mirrors/new")
    await fill(ada, url=server.url(), user=USER, token=token)
    await ada.click("text=Try it and add")
    await see(ada, "does not accept the token")
    await fill(ada, token=token)
    await ada.click("text=Add it anyway")
    await see(ada, "does not accept the token")


async def mend(ada: Page) -> None:
    await ada.goto("/mirrors")
    await ada.click("main >> .name >> nth=0")
    await fill(ada, token=TOKEN)
    await ada.click("main >> button:has-text('Save')")
    await see(ada, "in-sync")


def _git_log(server: HttpGit) -> str:
    command = ["git", "-C", str(server.folder / "project.git"), "log", "--all", "--format=%s"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def test_into_the_past_and_back_and_through_the_trash(
    chromium: Browser, host: Host, tmp_path: Path
) -> None:
    host.admin()
    host.call("repo", "create", "tides")
    url = f"http://ada:{host.fossil_password('ada', 'tides')}@127.0.0.1:{host.port}/tides"
    checkout = await asyncio.to_thread(Checkout.cloned, url, tmp_path / "work", "ada")
    async with person(chromium, host) as ada:
        await ada.goto("/login")
        await fill(ada, login="ada", password=PASSWORD)
        await ada.keyboard.press("Enter")
        await see(ada, "tides")
        for comment in ("A first table", "A wrong table"):
            await asyncio.to_thread(checkout.commit, f"{comment[2]}.txt", comment, comment)
            await asyncio.to_thread(checkout.push)
            await until_listed(ada, comment)
        hash_ = await asyncio.to_thread(checkout.head)

        await ada.goto("/repos/tides/backups")
        await fill(ada, at=f"before {hash_[:12]}")
        await ada.click("text=Go there")
        await ada.click("text=Open a preview")
        await see(ada, "Open the preview")
        await ada.goto("/repos/tides/backups")
        await fill(ada, at=f"before {hash_[:12]}")
        await ada.click("text=Go there")
        await ada.click("text=Restore as new")
        await ada.click("text=Open tides-before", timeout=30_000)
        await see(ada, "A first table")
        assert "A wrong table" not in await ada.inner_text("main")

        await ada.goto("/repos/tides/settings")
        await ada.click("main >> button:text-is('Archive')")
        await see(ada, "archived")
        await ada.goto("/repos/tides/settings")
        await ada.click("main >> button:text-is('Unarchive')")
        await see(ada, "active again")
        await ada.goto("/repos/tides/settings")
        await ada.fill("#delete-confirm", "tides")
        await ada.click("text=Move to the trash")
        await see(ada, "in the trash")
        await ada.click("main >> .name:text-is('tides')")
        await ada.click("button >> text=Bring back")
        await see(ada, "The repository is back")
        await see(ada, "A wrong table")


async def until_listed(page: Page, comment: str) -> None:
    """As a moment that can be restored."""
    for _ in range(40):
        await page.goto("/repos/tides/backups")
        if comment in await page.inner_text("main"):
            return
        await asyncio.sleep(0.25)
    raise AssertionError(f"{comment} is on no moment")
