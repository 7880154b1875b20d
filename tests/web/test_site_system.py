"""What machines ask, the system and activity pages, and what is on every answer."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator

import pytest

from fossilrepo.config import Log, Settings
from fossilrepo.errors import NotFound
from fossilrepo.logs import request_id
from fossilrepo.models import Visibility
from tests.helpers.forks import ROOT
from tests.helpers.site import ADMIN, Site, roomy, served


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        yield site


async def test_alive_and_ready(site: Site) -> None:
    browser = site.browser()
    assert (await browser.get("/healthz")).text == "ok\n"
    assert (await browser.get("/readyz")).status == 200  # this process has no children
    assert (await browser.get("/robots.txt")).text == "User-agent: *\nDisallow: /\n"


async def test_a_certificate_is_for_what_is_served(site: Site) -> None:
    repos = site.services.repos
    for name in ("live", "old", "thrown"):
        await repos.create(ADMIN, name, visibility=Visibility.PRIVATE)
    await repos.archive(ADMIN, "old")
    await repos.delete(ADMIN, "thrown")

    async def ask(domain: str, **headers: str) -> int:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return (await site.browser().get(f"/internal/tls-ask?domain={domain}", named)).status

    for domain in ("localhost", "live.localhost", "old.localhost"):
        assert await ask(domain) == 200, domain
    wrong = ["thrown", "nothing", "a.live", "LIVE", "-", "", "live.localhost"]
    for name in wrong:
        assert await ask(f"{name}.localhost") == 404, name
    for domain in ("", "example.org", "live", "live.localhost.evil.example", "live.localhost."):
        assert await ask(domain) == 404, domain
    for header in ("X_Forwarded_For", "X_Forwarded_Proto", "Forwarded", "X_Real_IP"):
        assert await ask("live.localhost", **{header: "127.0.0.1"}) == 404, header

    served = site.services.settings.served
    (served / "../.previews/aaaaaaaaaaaa.fossil").touch()
    (served / "live--aaaaaa.fossil").symlink_to("../.previews/aaaaaaaaaaaa.fossil")
    assert await ask("live--aaaaaa.localhost") == 200  # a preview that is open
    assert await ask("live--bbbbbb.localhost") == 404


async def test_metrics_are_for_this_machine_and_for_who_runs_the_site(site: Site) -> None:
    await site.person("ada", is_admin=True)
    browser = site.browser()
    text = (await browser.get("/metrics")).text
    names = ("repositories", "read_only", "disk_free_bytes", "gateway_requests_total")
    for name in (*names, "insights_unread"):
        assert re.search(rf"^fossilrepo_{name} [0-9.e+]+$", text, re.M), name
    proxied = {"X-Forwarded-For": "192.0.2.1"}
    assert (await browser.get("/metrics", proxied)).status == 403
    _, token = await site.services.api_tokens.create(ADMIN, "ada")
    right = {**proxied, "Authorization": f"Bearer {token}"}
    assert (await browser.get("/metrics", right)).status == 200
    await site.person("bob")
    _, token = await site.services.api_tokens.create(ADMIN, "bob")
    common = {**proxied, "Authorization": f"Bearer {token}"}
    assert (await browser.get("/metrics", common)).status == 403, "every name is in them"
    wrong = {**proxied, "Authorization": "Bearer frt_wrong"}
    assert (await browser.get("/metrics", wrong)).status == 401


async def test_the_system_page(site: Site) -> None:
    browser = await site.admin()
    page = (await browser.get("/system")).text
    for words in ("Fossil 2.", "secret key", "control database", "Free", "This process supervises"):
        assert words in page, words
    assert (await browser.get("/system/children")).location == "/system"
    piece = await browser.get("/system/children", {"HX-Request": "true"})
    assert piece.text.lstrip().startswith('<div id="children"')


async def test_every_answer_has_an_id_of_ours_and_closed_headers(site: Site) -> None:
    browser = await site.admin()
    seen = set()
    for path in ("/repos", "/login", "/nothing/here", "/healthz", "/api/v1/status", "/people/eve"):
        answer = await browser.get(path, {"X-Request-Id": "forged"})
        number = answer.headers["X-Request-Id"]
        assert re.fullmatch("[0-9a-f]{16}", number)
        seen.add(number)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] == "no-store"
    assert len(seen) == 6


async def test_log_lines_carry_the_id_of_their_request(site: Site) -> None:
    seen: list[tuple[str, str]] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((request_id.get(), record.getMessage()))

    keeper, logger = Keeper(), logging.getLogger("fossilrepo")
    level = logger.level
    logger.addHandler(keeper)
    logger.setLevel(logging.INFO)
    try:
        browser = await site.admin()
        answer = await browser.post("/repos/-/new", {"name": "museum"})
    finally:
        logger.removeHandler(keeper)
        logger.setLevel(level)
    lines = [text for number, text in seen if number == answer.headers["X-Request-Id"]]
    assert "repository.create museum by ada" in lines
    assert any(line.startswith("POST /repos/-/new 303") for line in lines)


async def test_an_unexpected_error_is_a_page_with_its_number_and_one_log_entry(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await site.admin()

    def fails(*_: object) -> None:
        raise ZeroDivisionError("a secret detail")

    monkeypatch.setattr(type(site.services.health), "disk", fails)
    for headers in ({}, {"HX-Request": "true"}):
        caplog.clear()
        answer = await browser.get("/system", headers)
        assert answer.status == 500
        assert answer.headers["X-Request-Id"] in answer.text
        assert "secret detail" not in answer.text
        errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert len(errors) == 1
        assert errors[0].exc_info


async def test_static_files_are_kept_for_ever_under_their_hash(site: Site) -> None:
    browser = site.browser()
    await site.person("ada")
    page = await browser.get("/login")
    paths = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)
    assert len(paths) == 5
    weight = len(page.content)
    for path in paths:
        answer = await browser.get(path, {"Accept-Encoding": "gzip"})
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]
        weight += int(answer.headers["Content-Length"])
        plain = await browser.get(path, {"Accept-Encoding": "identity"})
        assert plain.content == answer.content
        assert (await browser.get(path.replace("/static/", "/static/0"))).status == 404
    assert weight < 60 * 1024
    for path in ("/static/../templates/base.html", "/static/%2e%2e/pyproject.toml", "/static/"):
        assert (await browser.get(path)).status in (303, 404)


async def test_the_site_says_that_it_is_read_only(settings: Settings) -> None:
    limits = settings.limits.model_validate({"free_disk": "90%"})
    async with served(settings.model_copy(update={"limits": limits})) as site:
        if site.services.health.read_only_reason() is None:
            pytest.skip("this disk has more than 90 % free")
        browser = await site.admin()
        assert "Read-only for now" in (await browser.get("/repos")).text
        refused = await browser.post("/repos/-/new", {"name": "museum"})
        assert refused.status == 503
        with pytest.raises(NotFound):
            await site.services.repos.get(ADMIN, "museum")


async def test_the_dashboard_asks_for_metrics_that_there_are(site: Site) -> None:
    """docs/grafana.json and the alerts of docs/operations.md name no metric that is not told."""
    await site.admin()
    text = (await site.browser().get("/metrics")).text
    told = set(re.findall(r"^(?:# TYPE )?(fossilrepo_\w+)", text, re.M))
    for name in ("grafana.json", "operations.md"):
        text = (ROOT / "docs" / name).read_text()
        asked = set(re.findall(r"\bfossilrepo_[a-z_]+", text))
        assert len(asked) > 5
        assert asked <= told, asked - told


async def test_slow_requests_are_told_with_where_their_time_went(settings: Settings) -> None:
    settings = roomy(settings).model_copy(update={"log": Log.model_validate({"slow": "0.001s"})})
    async with served(settings) as site:
        browser = await site.admin()
        await browser.get("/repos/demo?q=not-to-be-told")
        await site.browser().post("/login", {"login": "ada", "password": "wrong-not-to-be-told"})
        page = (await browser.get("/system")).text
        assert re.search(r"<code>GET /repos/demo</code><p[^>]*>.*database \d+ ms", page)
        slow = (await site.services.health.status())["slow"]
        assert all(set(one) == {"at", "asked", "status", "seconds", "spent"} for one in slow)
        assert "not-to-be-told" not in str(slow)
        guess = next(one for one in slow if one["asked"] == "POST /login")
        assert re.search(r"password \d+ ms", guess["spent"])
        told = (await site.browser().get("/metrics")).text
        for kind, least in (("site", 3), ("api", 0), ("repository", 0)):
            of_kind = re.findall(rf'^fossilrepo_request\S*{{kind="{kind}".*', told, re.M)
            value = dict(line.rsplit(" ", 1) for line in of_kind)
            some = float(value[f'fossilrepo_requests_slow_total{{kind="{kind}"}}'])
            every = value[f'fossilrepo_request_seconds_bucket{{kind="{kind}",le="+Inf"}}']
            assert least <= some <= float(every)


async def test_one_time_links_are_not_told(settings: Settings) -> None:
    settings = roomy(settings).model_copy(update={"log": Log.model_validate({"slow": "0.00001s"})})
    async with served(settings) as site:
        await site.browser().get(f"/setup/{'Aa1' * 10}")
        (one,) = site.services.health.timings.slow()
        assert one.asked == "GET /setup/**********"


async def test_a_client_that_takes_its_time_is_not_our_slowness(settings: Settings) -> None:
    settings = roomy(settings).model_copy(update={"log": Log.model_validate({"slow": "1.5s"})})
    async with served(settings) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        head = "POST /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += f"Origin: http://localhost:{site.port}\r\nContent-Length: 11\r\n"
        head += "Content-Type: application/x-www-form-urlencoded\r\n\r\nlogin="
        writer.write(head.encode())
        await asyncio.sleep(2.0)
        writer.write(b"abcde")
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 4"), answer[:200]
        assert sum(site.services.health.timings.counted["site"].buckets) == 1
        assert site.services.health.timings.slow() == []


async def test_the_page_says_that_nothing_was_slow(site: Site) -> None:
    page = (await (await site.admin()).get("/system")).text
    assert "None since the start has taken longer than 2.0 s" in page
