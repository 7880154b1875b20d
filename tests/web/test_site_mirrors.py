"""The pages of the bridge: a mirror added by its form, its page, its stream, its badge."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fossilrepo.config import Settings
from fossilrepo.models import Actor, JobState, Visibility
from tests.helpers.chromium import launched, sign_in
from tests.helpers.git_servers import TOKEN, USER, HttpGit, git, http_git, refs
from tests.helpers.lab import outgoing
from tests.helpers.site import PASSWORD, Browser, Site, served

HERE = Actor.command_line()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[HttpGit]:
    async with http_git(tmp_path / "git") as server:
        yield server


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(outgoing(settings)) as site:
        await site.services.repos.create(HERE, "tools")
        yield site


def form(server: HttpGit, **more: str) -> dict[str, str]:
    return {
        "url": server.url(),
        "user": USER,
        "token": TOKEN,
        "branches": "*",
        "on_change": "1",
        "tags": "1",
        "step": "add",
    } | more


async def added(browser: Browser, server: HttpGit) -> str:
    await browser.get("/repos/tools/mirrors/new")
    answer = await browser.post("/repos/tools/mirrors/new", form(server))
    assert answer.status == 303, answer.text
    return answer.location.removeprefix("/mirrors/")


async def run(site: Site, mirror_id: str) -> None:
    job = await site.services.mirrors.run(HERE, mirror_id, here=True)
    await site.services.jobs.wait(job.id)


async def test_a_mirror_is_added_run_and_shown(site: Site, server: HttpGit) -> None:
    browser = await site.admin()
    mirror_id = await added(browser, server)
    await run(site, mirror_id)
    page = (await browser.get(f"/mirrors/{mirror_id}")).text
    assert "in-sync" in page and "read back and equal" in page and TOKEN not in page
    for path in ("/mirrors", "/repos/tools/mirrors", "/repos/tools"):
        text = (await browser.get(path)).text
        assert f"/mirrors/{mirror_id}" in text and TOKEN not in text
    assert set(refs(server.folder / "project.git")) == {"refs/heads/main"}


async def test_a_remote_is_tried_before_it_is_kept(site: Site, server: HttpGit) -> None:
    browser = await site.admin()
    await browser.get("/repos/tools/mirrors/new")
    tried = await browser.post("/repos/tools/mirrors/new", form(server, step="try"))
    assert tried.status == 200 and "The server answers" in tried.text
    wrong = form(server, token="wrong-token")
    refused = await browser.post("/repos/tools/mirrors/new", wrong)
    assert refused.status >= 400 and "does not accept the token" in refused.text
    assert "wrong-token" not in refused.text and "Add it anyway" in refused.text
    assert await site.services.mirrors.list(HERE) == []
    kept = await browser.post("/repos/tools/mirrors/new", wrong | {"step": "anyway"})
    assert kept.status == 303


async def test_a_take_over_needs_the_name_typed(
    site: Site, server: HttpGit, tmp_path: Path
) -> None:
    work = tmp_path / "theirs"
    subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
    (work / "x").write_text("theirs")
    git(work, "add", ".")
    git(work, "-c", "user.name=<b>T", "-c", "user.email=t@x", "commit", "-qm", "<script>x</script>")
    remote = server.folder / "project.git"
    git(work, "push", "-q", str(remote), "main")
    before = refs(remote)
    browser = await site.admin()
    mirror_id = await added(browser, server)
    await run(site, mirror_id)
    page = (await browser.get(f"/mirrors/{mirror_id}")).text
    assert "would be lost" in page and "&lt;script&gt;" in page and "<script>x" not in page
    wrong = await browser.post(f"/mirrors/{mirror_id}/take-over", {"confirm": "something"})
    assert wrong.status == 422
    await run(site, mirror_id)
    assert refs(remote) == before
    done = await browser.post(f"/mirrors/{mirror_id}/take-over", {"confirm": "tools"})
    assert done.status == 303
    await run(site, mirror_id)
    assert refs(remote) != before


async def test_everything_on_the_page_of_a_mirror_works(site: Site, server: HttpGit) -> None:
    browser = await site.admin()
    mirror_id = await added(browser, server)
    base = f"/mirrors/{mirror_id}"
    dry = await browser.post(f"{base}/dry-run", {})
    assert dry.status == 200 and "Push 1 branch" in dry.text
    for what, state in (("pause", "paused"), ("resume", "behind")):
        assert (await browser.post(f"{base}/{what}", {})).status == 303
        shown = await site.services.mirrors.get(HERE, mirror_id)
        assert shown.mirror.standing.state == state
    asked = await browser.post(f"{base}/run", {})
    assert asked.status == 303
    [job] = await site.services.mirrors.history(HERE, mirror_id)
    assert job.state is JobState.QUEUED
    settings = {"url": server.url(), "branches": "main", "schedule": "1h", "tags": "1"}
    assert (await browser.post(base, settings)).status == 303
    mirror = (await site.services.mirrors.get(HERE, mirror_id)).mirror
    assert (mirror.branches, mirror.schedule, mirror.on_change) == ("main", "1h", False)
    wrong = await browser.post(base, settings | {"schedule": "whenever"})
    assert wrong.status == 422 and "whenever" in wrong.text
    assert (await browser.post(f"{base}/remove", {})).location == "/repos/tools/mirrors"
    assert (await browser.get(base)).status == 404


async def test_names_in_git_are_set_on_the_page(site: Site) -> None:
    browser = await site.admin()
    page = (await browser.get("/repos/tools/mirrors")).text
    user = re.search(r'name="user" value="([^"]+)"', page)
    assert user is not None
    given = {"user": user[1], "name": "Ada L", "email": "ada@example.org"}
    assert (await browser.post("/repos/tools/mirrors/author", given)).status == 303
    assert "ada@example.org" in (await browser.get("/repos/tools/mirrors")).text
    wrong = await browser.post("/repos/tools/mirrors/main-branch", {"main_branch": "-x"})
    assert wrong.status == 422 and "cannot be the name" in wrong.text


async def test_a_reader_sees_how_it_stands_and_can_change_nothing(
    site: Site, server: HttpGit
) -> None:
    mirror_id = await added(await site.admin(), server)
    await site.person("bob")
    bob = await site.browser().sign_in("bob")
    page = (await bob.get(f"/mirrors/{mirror_id}")).text
    assert server.url() in page and "Run now" not in page and "Settings" not in page
    for what in ("run", "pause", "take-over", "remove", "dry-run"):
        answer = await bob.post(f"/mirrors/{mirror_id}/{what}", {"confirm": "tools"})
        assert answer.status == 403, what
    await site.services.repos.configure(HERE, "tools", visibility=Visibility.PRIVATE)
    assert (await bob.get(f"/mirrors/{mirror_id}")).status == 404
    assert (await bob.get(f"/mirrors/{mirror_id}/events")).status == 404
    assert mirror_id not in (await bob.get("/mirrors")).text


async def test_the_badge_is_for_public_repositories(site: Site, server: HttpGit) -> None:
    stranger = site.browser()
    assert (await stranger.get("/badge/tools/mirror.svg")).status == 404
    mirror_id = await added(await site.admin(), server)
    answer = await stranger.get("/badge/tools/mirror.svg")
    assert answer.status == 200 and ">new<" in answer.text
    assert answer.headers["Content-Type"].startswith("image/svg+xml")
    await run(site, mirror_id)
    assert ">in sync<" in (await stranger.get("/badge/tools/mirror.svg")).text
    await site.services.repos.configure(HERE, "tools", visibility=Visibility.PRIVATE)
    assert (await stranger.get("/badge/tools/mirror.svg")).status == 404


async def test_the_stream_tells_of_a_run_until_its_end(site: Site, server: HttpGit) -> None:
    browser = await site.admin()
    mirror_id = await added(browser, server)
    server.hang = asyncio.Event()
    job = await site.services.mirrors.run(HERE, mirror_id, here=True)
    reading = asyncio.ensure_future(browser.get(f"/mirrors/{mirror_id}/events"))
    while not server.requests[3:]:
        await asyncio.sleep(0.02)
    server.hang.set()
    await site.services.jobs.wait(job.id)
    answer = await reading
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert "event: standing" in answer.text and answer.text.rstrip().endswith("data: over")
    assert "in-sync" in answer.text


async def test_a_browser_sees_the_run_end_without_loading_the_page_again(
    site: Site, server: HttpGit
) -> None:
    browser = await site.admin()
    mirror_id = await added(browser, server)
    server.hang = asyncio.Event()
    job = await site.services.mirrors.run(HERE, mirror_id, here=True)
    async with launched() as chromium:
        page = await chromium.new_page(base_url=f"http://localhost:{site.port}")
        troubles: list[str] = []
        page.on(
            "console", lambda said: troubles.append(said.text) if said.type == "error" else None
        )
        await sign_in(page, "ada", PASSWORD)
        await page.goto(f"/mirrors/{mirror_id}")
        await page.wait_for_selector("#standing progress")
        server.hang.set()
        await page.wait_for_selector("#standing .status:has-text('in-sync')")
        assert troubles == []
    await site.services.jobs.wait(job.id)


async def test_webhooks_and_upstreams_have_working_pages(site: Site, server: HttpGit) -> None:
    browser = await site.admin()
    await browser.get("/repos/tools/webhooks")
    made = await browser.post("/repos/tools/webhooks", {"url": server.url("x"), "event-push": "1"})
    assert made.status == 200 and "not shown again" in made.text
    [hook] = await site.services.webhooks.list(HERE, "tools")
    base = f"/repos/tools/webhooks/{hook.id}"
    assert (await browser.post(f"{base}/ping", {})).status == 303
    page = (await browser.get(base)).text
    assert "ping" in page and "401" in page
    [sent] = await site.services.webhooks.deliveries(HERE, hook.id)
    assert (await browser.post(f"{base}/redeliver", {"delivery": sent.id})).status == 303
    assert (await browser.post(base, {"event-wiki": "1"})).status == 303
    [changed] = await site.services.webhooks.list(HERE, "tools")
    assert list(changed.events) == ["wiki"] and not changed.active
    assert (await browser.post(base, {"active": "1"})).status == 422
    assert (await browser.post(f"{base}/remove", {})).status == 303

    await browser.get("/repos/tools/upstream")
    given = {"url": server.url("y"), "direction": "pull", "step": "save"}
    refused = await browser.post("/repos/tools/upstream", given)
    assert refused.status >= 400 and "Save it anyway" in refused.text
    assert (await browser.post("/repos/tools/upstream", given | {"step": "anyway"})).status == 303
    for what in ("run", "pause", "resume", "remove"):
        assert (await browser.post(f"/repos/tools/upstream/{what}", {})).status == 303, what


async def test_rules_have_a_working_page(site: Site, server: HttpGit) -> None:
    browser = await site.admin()
    await browser.get("/orgs/main/mirrors")
    url = server.url("{name}.git")
    wrong = await browser.post("/orgs/main/mirrors", {"url": server.url(), "branches": "*"})
    assert wrong.status == 422 and "{name}" in wrong.text
    given = {"url": url, "token": TOKEN, "branches": "*", "on_change": "1"}
    assert (await browser.post("/orgs/main/mirrors", given)).status == 303
    [rule] = await site.services.mirror_rules.list(HERE, "main")
    assert len(await site.services.mirrors.list(HERE)) >= 1
    changed = {"rule": rule.id, "token": "another-token"}
    assert (await browser.post("/orgs/main/mirrors/token", changed)).status == 303
    gone = {"rule": rule.id, "mirrors": "1"}
    assert (await browser.post("/orgs/main/mirrors/remove", gone)).status == 303
    assert await site.services.mirrors.list(HERE) == []
