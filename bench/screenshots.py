"""Pictures of every page, with the sample data: light and dark, phone and desktop.

    .venv/bin/python bench/screenshots.py [FOLDER]      docs/screenshots unless another is named

Needs the tests' environment (`./run test --collect-only` makes it). Starts a host of its own on
loopback and ends it. The pictures that the README shows are kept; the others are made anew by
whoever wants to look at them.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from playwright.async_api import Browser

from tests.helpers.chromium import launched
from tests.helpers.host import PASSWORD, Host
from tests.helpers.poll import until_sync

PAGES = {
    "overview": "/",
    "activity": "/activity",
    "search": "/search?q=moon",
    "repositories": "/repos",
    "repository": "/repos/demo-tides",
    "insights": "/repos/demo-tides/insights",
    "access": "/repos/demo-tides/access",
    "repository-backups": "/repos/demo-tides/backups",
    "repository-mirrors": "/repos/demo-tides/mirrors",
    "repository-settings": "/repos/demo-tides/settings",
    "new-repository": "/repos/-/new",
    "import": "/repos/-/import",
    "trash": "/repos/-/trash",
    "mirrors": "/mirrors",
    "backups": "/backups",
    "forecast": "/backups/-/forecast",
    "organizations": "/orgs",
    "organization": "/orgs/demo",
    "people": "/people",
    "person": "/people/ines.demo",
    "invite": "/people/-/invite",
    "audit": "/audit",
    "system": "/system",
    "account": "/account",
}
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}


async def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as scratch:
        Path(scratch).chmod(0o711)
        host = Host(Path(scratch) / "data").start()
        try:
            host.admin()
            host.call("demo")
            until_sync(lambda: _has_failed(host), timeout=60, what="the mirror's failure")
            async with launched() as chromium:
                for width in WIDTHS:
                    for scheme in ("light", "dark"):
                        await _pictures(chromium, host, folder, width, scheme)
        finally:
            host.stop()


def _has_failed(host: Host) -> bool:
    return "failing" in host.call("mirror", "list").stdout


async def _pictures(chromium: Browser, host: Host, folder: Path, width: str, scheme: str) -> None:
    wide, high = WIDTHS[width]
    context = await chromium.new_context(
        base_url=f"http://localhost:{host.port}",
        viewport={"width": wide, "height": high},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = await context.new_page()
    await page.goto("/login")
    await page.fill("#login", "ada")
    await page.fill("#password", PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/repos")
    for name, path in PAGES.items():
        answer = await page.goto(path)
        if answer is None or answer.status != 200:
            raise SystemExit(f"{path}: {answer.status if answer else 'no answer'}")
        file = folder / f"{name}-{width}-{scheme}.png"
        await page.screenshot(path=file, full_page=True)
        print(file, f"{file.stat().st_size:,} bytes")
    await context.close()


if __name__ == "__main__":
    default = Path(__file__).parents[1] / "docs" / "screenshots"
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else default))
