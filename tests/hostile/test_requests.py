"""What a program could send to the site: injections, tricks with paths, everything too large.

Every parameter of every route gets some of them, and all together get all; nothing breaks (no
500), nothing is reflected into a header, and nothing of another path is shown.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from fossilrepo.config import Settings
from fossilrepo.models import Visibility
from fossilrepo.web.api import CALLS
from fossilrepo.web.app import table
from fossilrepo.web.visit import Form
from tests.helpers.site import ADMIN, Answer, Browser, Site, roomy, served

INJECTIONS = (
    "' OR 1=1 --",
    '"; DROP TABLE users; --',
    "x\r\nSet-Cookie: fossilrepo=evil",
    "%0d%0aX-Evil: 1",
    "\u0000",
    "../../etc/passwd",
    "..%2f..%2fsecret.key",
    "{{ 7*7 }}${7*7}",
    "<script>alert(1)</script>",
    "\ud7ff\ufffe\U0001f40d" * 20,
    "9" * 400,
    "-1",
    "1e309",
    "nan",
)
QUERY = ("q", "sort", "page", "limit", "offset", "at", "since", "until", "before", "name", "person")


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        await site.services.repos.create(ADMIN, "vault", visibility=Visibility.PRIVATE)
        yield site


def parts(path: str) -> list[str]:
    """What is fixed of a route's path and, at odd places, its parameters."""
    return re.split(r"({[^}]+})", path)


def unharmed(answer: Answer, what: object) -> None:
    assert answer.status < 500, (what, answer.text[-2000:])
    assert "X-Evil" not in answer.headers, what
    assert "evil" not in answer.headers.get("Set-Cookie", ""), what
    if "html" in answer.headers.get("Content-Type", "html"):
        assert "<script>alert(1)" not in answer.text, what
    assert "${49}" not in answer.text and "{{ 49" not in answer.text, what


@pytest.mark.timeout(90)
async def test_no_parameter_of_any_route_breaks_anything(site: Site) -> None:
    browser = await site.admin()
    for number, route in enumerate(table()):
        if route.changes or route.form is Form.TEXT or route.path == "/events":
            continue
        mine = [INJECTIONS[(number + step) % len(INJECTIONS)] for step in (0, 3, 7, 10)]
        for text in mine if route.form is Form.PAGE else INJECTIONS:
            safe = quote(text, safe="")
            if "{" in route.path:
                path = "".join(safe if i % 2 else part for i, part in enumerate(parts(route.path)))
                unharmed(await browser.get(path), (path, text))
        path = re.sub(r"{[^}]+}", "vault", route.path)
        for text in mine:
            query = "&".join(f"{name}={quote(text, safe='')}" for name in QUERY)
            unharmed(await browser.get(f"{path}?{query}"), (path, text))
    assert len(await site.services.accounts.users()) == 1


async def test_bodies_that_are_no_bodies_are_refused(site: Site) -> None:
    _, token = await site.services.api_tokens.create(ADMIN, "ada")
    browser = site.browser()
    bodies = (
        b"[" * 100_000,
        b'{"name": ' + b'"a' * 10,
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b'"text"',
        json.dumps({"name": ["x"] * 1000}).encode(),
        json.dumps({"name": "x" * 500_000}).encode(),
        b'{"name": "a\\u0000b"}',
        b'{"name": "\\ud800"}',
    )
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for call in CALLS:
        if call.body is None:
            continue
        path = "/api/v1" + re.sub(r"{[^}]+}", "vault", call.path)
        for body in bodies:
            answer = await browser.ask(call.method, path, headers, data=body)
            assert 400 <= answer.status < 500, (call.method, path, body[:40], answer.text)


async def test_what_is_too_large_is_refused_and_the_next_request_works(site: Site) -> None:
    browser = await site.admin()

    async def gone_on() -> None:
        assert (await browser.get("/repos")).status == 200

    for path in (f"/repos?q={'x' * 7000}", "/" + "a" * 7000, "/repos/" + "%2e" * 2000):
        answer = await browser.get(path)
        assert answer.status in (200, 400, 404, 414), answer.status
    await gone_on()
    form = f"csrf={browser.csrf}&name=".encode() + b"x" * (2 * 2**20)
    headers = {"Origin": browser.origin, "Content-Type": "application/x-www-form-urlencoded"}
    answer = await browser.ask("POST", "/repos/-/new", headers, data=io.BytesIO(form))
    assert answer.status == 413, answer.text
    await gone_on()
    many = {f"field{number}": "x" for number in range(5000)}
    answer = await browser.post("/repos/-/new", many)
    assert answer.status < 500, answer.text
    await gone_on()


async def test_paths_do_not_lead_out_of_their_place(site: Site) -> None:
    stranger = site.browser()
    for path in (
        "/static/../config.toml",
        "/static/%2e%2e/%2e%2e/secret.key",
        "/static/..%2f..%2fsecret.key",
        "/static/%00",
        "//evil.example/",
        "/\\evil.example",
        "/repos/../api/v1/status",
        "/api/v1/../../repos/vault",
        "/api/v1/repositories/vault%2f..%2fvault",
        "/;/repos/vault",
        "/repos/vault/..;/settings",
    ):
        answer = await stranger.get(path)
        assert answer.status in (303, 400, 401, 404), (path, answer.status)
        assert not answer.location.startswith(("//", "http", "/\\")), (path, answer.location)
        assert "vault" not in answer.text.replace("next=", ""), (path, answer.text)


async def test_a_token_in_an_address_is_no_token(site: Site) -> None:
    _, token = await site.services.api_tokens.create(ADMIN, "ada")
    browser = site.browser()
    for path in (
        f"/api/v1/status?token={token}",
        f"/api/v1/status?access_token={token}",
        f"/api/v1/status?Authorization=Bearer%20{token}",
        f"/api/v1/status#{token}",
    ):
        assert (await browser.get(path)).status == 401, path
    for headers in ({"X-Api-Token": token}, {"Authorization": token}, {"Cookie": f"t={token}"}):
        assert (await browser.get("/api/v1/status", headers)).status == 401, headers
    assert (await _with(browser, f"Bearer {token}")).status == 200


async def _with(browser: Browser, authorization: str) -> Answer:
    return await browser.get("/api/v1/status", {"Authorization": authorization})
