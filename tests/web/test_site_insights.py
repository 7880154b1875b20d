"""Overview, activity, feeds, search and insights: what they tell, to whom, and while it changes."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from xml.etree import ElementTree as Xml

import aiohttp
import pytest

from fossilrepo.config import Settings
from fossilrepo.insight import Readme
from fossilrepo.models import Actor, Visibility
from fossilrepo.services.api_tokens import Scope
from fossilrepo.web import charts, live
from fossilrepo.web.readme import rendered
from tests.helpers.checkins import Committer
from tests.helpers.poll import until
from tests.helpers.site import Browser, Site, roomy, served

HERE = Actor.command_line()
ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        yield site


async def repository(
    site: Site, folder: Path, name: str, *comments: str, private: bool = False
) -> Committer:
    """A new one with these check-ins, all of them read."""
    seen = Visibility.PRIVATE if private else Visibility.PUBLIC
    row = await site.services.repos.create(HERE, name, visibility=seen)
    file = site.services.settings.store / f"{row.id}.fossil"
    committer = await asyncio.to_thread(Committer, file, folder / name)
    for comment in comments:
        await asyncio.to_thread(committer.commit, comment)
    await site.services.insights.refresh(row)
    return committer


async def bob(site: Site) -> Browser:
    await site.person("bob")
    return await site.browser().sign_in("bob")


# Overview


async def test_the_first_page_leads_a_new_administrator_on(site: Site, tmp_path: Path) -> None:
    assert (await site.browser().get("/")).location == "/login"
    browser = await site.admin()
    page = (await browser.get("/")).text
    for words in ("First steps", "Make the first repository", "Nothing happened yet", "Storage"):
        assert words in page, words
    await repository(site, tmp_path, "tools", "A sharper saw")
    page = (await browser.get("/")).text
    assert "A sharper saw" in page and "1 repository served" in page
    assert page.count(">done<") == 2
    copy = tmp_path / "kept.key"
    copy.write_bytes(site.services.settings.key_file.read_bytes())
    site.services.checkup.confirm_copy(copy)
    page = (await browser.get("/")).text
    assert page.count(">done<") == 3 and "Be told when something breaks" in page
    piece = await browser.get("/overview", {"HX-Request": "true"})
    assert piece.text.lstrip().startswith('<div id="overview"')
    assert (await browser.get("/overview")).location == "/"


async def test_what_is_bad_comes_first(site: Site, tmp_path: Path) -> None:
    await repository(site, tmp_path, "tools")
    await repository(site, tmp_path, "garden", "Apple trees")
    insights, row = site.services.insights, await site.services.repos.get(HERE, "tools")
    file = site.services.settings.store / f"{row.id}.fossil"
    file.write_bytes(file.read_bytes()[:5000])
    for name in ("tools", "garden"):
        await insights.changed(await site.services.repos.get(HERE, name))
    running = asyncio.create_task(insights.run())
    try:
        await until(insights.unread, what="the trouble")
    finally:
        running.cancel()
    browser = await site.admin()
    page = (await browser.get("/")).text
    assert "Needs attention" in page and "its history cannot be read" in page
    assert page.index("Needs attention") < page.index("The last year")
    assert [one.label for one in insights.unread()] == ["tools"]
    assert "fossilrepo_insights_unread 1.0" in (await browser.get("/metrics")).text
    assert "the history of tools cannot be read" in (await browser.get("/system")).text


async def test_a_person_sees_what_they_may_read_and_nothing_of_the_host(
    site: Site, tmp_path: Path
) -> None:
    await repository(site, tmp_path, "tools", "A sharper saw")
    await repository(site, tmp_path, "vault", "Gold bars", private=True)
    browser = await bob(site)
    page = (await browser.get("/")).text
    assert "A sharper saw" in page
    for words in ("Gold bars", "vault", "Storage", "Programs", "First steps", "Last jobs"):
        assert words not in page, words
    for path in ("/activity", "/search?q=gold", "/activity?q=gold", "/activity?repository=vault"):
        text = (await browser.get(path)).text
        assert "Gold bars" not in text and ">vault<" not in text, path
    assert (await browser.get("/repos/vault/insights")).status == 404
    admin = await site.admin()
    assert "Gold bars" in (await admin.get("/search?q=gold")).text


# Activity and feeds


async def test_activity_is_narrowed_by_its_address(site: Site, tmp_path: Path) -> None:
    await repository(site, tmp_path, "tools", "A sharper saw", "A blunter saw")
    await repository(site, tmp_path, "garden", "Apple trees")
    browser = await site.admin()
    page = (await browser.get("/activity")).text
    assert "A sharper saw" in page and "Apple trees" in page
    narrow = (await browser.get("/activity?repository=garden&kind=ci")).text
    assert "Apple trees" in narrow and "saw" not in narrow
    found = (await browser.get("/activity?q=SHARP")).text
    assert "A sharper saw" in found and "blunter" not in found and "Apple" not in found
    for path in ("user=nobody-here", "kind=w", "org=nowhere", "repository=%00%27"):
        assert "Nothing found" in (await browser.get(f"/activity?{path}")).text, path
    for path in ("before=x", "before=2026-01-01_1", "before=2026-01-01T00:00:00+00:00_%C2%B2"):
        assert (await browser.get(f"/activity?{path}")).status == 200, path


async def test_a_long_activity_has_pages(site: Site, tmp_path: Path) -> None:
    await repository(site, tmp_path, "tools", *(f"change {n:03}" for n in range(55)))
    browser = await site.admin()
    first = (await browser.get("/activity")).text
    older = re.search(r'href="([^"]+)">Older', first)
    assert older and "change 054" in first and "change 000" not in first
    second = (await browser.get(older[1].replace("&amp;", "&"))).text
    assert "change 000" in second and "change 054" not in second and "Newest" in second


def entries(answer: str) -> list[str]:
    feed = Xml.fromstring(answer)  # noqa: S314 - our own
    return [one.findtext(f"{ATOM}title") or "" for one in feed.iter(f"{ATOM}entry")]


async def test_feeds_are_for_who_may_read_them(site: Site, tmp_path: Path) -> None:
    await repository(site, tmp_path, "tools", "A sharper <saw> & a \x07 bell")
    await repository(site, tmp_path, "vault", "Gold bars", private=True)
    stranger = site.browser()
    public = await stranger.get("/repos/tools/activity.atom")
    assert public.headers["Content-Type"].startswith("application/atom+xml")
    assert entries(public.text)[0].startswith("tools: A sharper <saw> & a")
    assert (await stranger.get("/repos/vault/activity.atom")).status == 404
    assert (await stranger.get("/repos/nothing/activity.atom")).status == 404
    assert (await stranger.get("/activity.atom")).status == 401
    assert (await stranger.get("/orgs/main/activity.atom")).status == 401
    _, token = await site.services.api_tokens.create(HERE, "ada", scope=Scope.READ)
    basic = base64.b64encode(f"x:{token}".encode()).decode()
    for header in (f"Basic {basic}", f"Bearer {token}"):
        told = await stranger.get("/activity.atom", {"Authorization": header})
        assert "vault: Gold bars" in entries(told.text), header
        told = await stranger.get("/orgs/main/activity.atom?kind=ci", {"Authorization": header})
        assert told.status == 200
    for wrong in ("Basic ä", "Basic =", "Basic " + base64.b64encode(b"x:y").decode(), "Basic"):
        assert (await stranger.get("/activity.atom", {"Authorization": wrong})).status == 401


async def test_a_password_that_a_browser_sends_by_itself_changes_nothing(site: Site) -> None:
    _, token = await site.services.api_tokens.create(HERE, "ada")
    basic = base64.b64encode(f"x:{token}".encode()).decode()
    browser = site.browser()
    headers = {"Authorization": f"Basic {basic}", "Origin": "https://evil.example"}
    answer = await browser.ask("POST", "/api/v1/repositories", headers, json={"name": "evil"})
    assert answer.status == 401
    assert (await site.services.repos.search(HERE)).total == 0


# Search


async def test_search_and_the_quick_switcher_find_what_there_is(site: Site, tmp_path: Path) -> None:
    await repository(site, tmp_path, "tools", "A sharper saw")
    await site.person("sawyer")
    browser = await site.admin()
    page = (await browser.get("/search?q=saw")).text
    assert "A sharper saw" in page and "/people/sawyer" in page
    assert "Nothing found" in (await browser.get("/search?q=xyzzy")).text
    assert "Finds repositories" in (await browser.get("/search")).text
    htmx = {"HX-Request": "true"}
    goals = (await browser.get("/search/quick?q=tool", htmx)).text
    assert 'href="/repos/tools"' in goals and "in everything" in goals
    assert 'href="/repos/-/new"' in (await browser.get("/search/quick?q=new+rep", htmx)).text
    assert (await browser.get("/search/quick?q=a+b")).location == "/search?q=a+b"
    page = (await browser.get("/search?q=%3Cscript%3Ealert(1)%3C/script%3E")).text
    assert "<script>alert" not in page
    other = (await (await bob(site)).get("/search/quick?q=", htmx)).text
    assert "/people" not in other and "/system" not in other and 'href="/repos/tools"' in other


# Insights and readme


async def test_insights_of_a_repository_are_numbers_with_their_tables(
    site: Site, tmp_path: Path
) -> None:
    await site.services.repos.create(HERE, "empty")
    browser = await site.admin()
    assert "Not read yet" in (await browser.get("/repos/empty/insights")).text
    await repository(site, tmp_path, "tools", "one", "two")
    page = (await browser.get("/repos/tools/insights")).text
    for words in ("<strong>3</strong> check-ins", "trunk", "<code>.txt</code>", "Numbers"):
        assert words in page, words
    assert page.count('role="img"') >= 3 and 'style="' not in page


async def test_a_readme_is_shown_and_can_do_nothing(site: Site, tmp_path: Path) -> None:
    committer = await repository(site, tmp_path, "tools")
    (tmp_path / "tools" / "README.md").write_text(
        "# Tools\n\n<img src=x onerror=alert(1)> [home](javascript:alert(1)) **bold**"
    )
    await asyncio.to_thread(committer.commit, "read me")
    row = await site.services.repos.get(HERE, "tools")
    await site.services.insights.refresh(row)
    page = (await (await site.admin()).get("/repos/tools")).text
    assert "<strong>bold</strong>" in page and "<h3>Tools</h3>" in page
    assert "<img src=x" not in page and 'href="javascript' not in page


@pytest.mark.parametrize(
    "typed",
    [
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert(1))",
        "[a](data:text/html,x)",
        "[a](//evil.example/x)",
        "[a](http://[::1)",
        "![a](http://evil.example/pixel.png)",
        "[![a](x.png)](vbscript:x)",
        "<javascript:alert(1)>",
        "<a href=javascript:alert(1)>x</a>",
        "[a]: javascript:alert(1)\n[a]",
        "<script>alert(1)</script>",
        "`<script>`\n\n    <script>\n",
    ],
)
def test_what_a_readme_cannot_do(typed: str) -> None:
    html = rendered(Readme("README.md", typed), "http://tools.localhost/")
    assert "<script" not in html and "<img" not in html and "onerror" not in html
    for target in re.findall(r'href="([^"]*)"', html):
        assert re.match(r"(https?://(?!evil)|mailto:|#)", target), target


def test_links_of_a_readme_lead_into_the_repository() -> None:
    html = rendered(Readme("README.md", "[a](docs/a b.md) [b](#c) [d](/e)"), "http://t.localhost/")
    assert 'href="http://t.localhost/doc/tip/e"' in html and 'href="#c"' in html
    plain = rendered(Readme("README", "<b>*x*"), "http://t.localhost/")
    assert plain == "<pre>&lt;b&gt;*x*</pre>"


def test_a_picture_tells_its_numbers_in_words_too() -> None:
    today = date(2026, 11, 25)
    picture = charts.calendar({today.toordinal(): 3}, today, "check-in")
    assert "3 check-ins on 2026-11-25" in picture.svg
    assert picture.rows[-1] == ("2026-11", "3") and len(picture.rows) >= 12
    chart = charts.bars([("<b>", 2.0), ("c", 0.0)], "l", heads=("a", "b"))
    assert "<b>" not in chart.svg and chart.rows == (("<b>", "2"), ("c", "0"))
    weeks = charts.running(({1: 2, today.toordinal(): 1}, {2: 1}), (1, -1), today, weeks=2)
    assert [value for _, value in weeks] == [1.0, 2.0]
    assert charts.line([], "l", heads=("a", "b")).rows == ()


# Live


async def lines(response: aiohttp.ClientResponse, begins: bytes) -> bytes:
    async with asyncio.timeout(10):
        while not (line := await response.content.readline()).startswith(begins):
            assert line, "the stream ended"
    return line


async def test_an_open_overview_hears_of_a_change_and_of_one_that_it_missed(
    site: Site, tmp_path: Path
) -> None:
    committer = await repository(site, tmp_path, "tools")
    browser = await site.admin()
    row = await site.services.repos.get(HERE, "tools")
    url = f"http://127.0.0.1:{site.port}/events"
    headers = {"Host": browser.host, "Cookie": f"fossilrepo={browser.cookies['fossilrepo']}"}
    async with site.session.get(url, headers=headers) as response:
        await asyncio.to_thread(committer.commit, "a change")
        await site.services.insights.refresh(row)
        number = (await lines(response, b"id:")).split()[1].decode()
        assert (await lines(response, b"event:")) == b"event: changed\n"
    await asyncio.to_thread(committer.commit, "another")
    await site.services.insights.refresh(row)
    async with site.session.get(url, headers={**headers, "Last-Event-ID": number}) as response:
        await lines(response, b"event: changed")
    page = (await browser.get("/")).text  # made before the change, and connected after it
    await asyncio.to_thread(committer.commit, "a third")
    await site.services.insights.refresh(row)
    (path,) = re.findall(r'sse-connect="([^"]+)"', page)
    async with site.session.get(url.replace("/events", path), headers=headers) as response:
        await lines(response, b"event: changed")
    watch = site.app[live.WATCH]
    await until(lambda: not watch.streams, what="the end of the streams")
    stranger = await site.session.get(url, headers={"Host": browser.host}, allow_redirects=False)
    assert stranger.status == 303


async def test_an_overview_too_many_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_WATCHING", 0)
    assert (await (await site.admin()).get("/events")).status == 503
