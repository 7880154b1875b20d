"""Who may: every route is in the table, every row of it holds, and nothing is open by mistake."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from fossilrepo.config import Settings
from fossilrepo.web.app import DOOR, table
from fossilrepo.web.visit import Form, Route, Who
from tests.helpers.site import Answer, Browser, Site, roomy, served

# Written out, so that opening a route takes a change here too. All others: administrators.
PUBLIC = {
    *("GET /", "GET /login", "POST /login", "GET /setup/{token}", "POST /setup/{token}"),
    *("GET /healthz", "GET /readyz", "GET /metrics", "GET /internal/tls-ask", "GET /robots.txt"),
    *("GET /api/v1/openapi.json", "GET /{name:[a-z0-9-]+}", "GET /static/{rest:.+}"),
}
SIGNED_IN = {
    *("POST /logout", "GET /account", "POST /account/password", "POST /account/rotate"),
    *("GET /repos", "GET /repos/{name}", "GET /repos/{name}/password", "GET /jobs/{id}"),
    *("GET /api/v1/repositories", "GET /api/v1/repositories/{name}", "GET /api/v1/jobs/{id}"),
}
ROUTES = table()
CHANGES = [route for route in ROUTES if route.changes]


def label(route: Route) -> str:
    return f"{route.method} {route.path}"


def path(route: Route) -> str:
    return re.sub(r"{[^}]+}", "nothing-here", route.path)


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        yield site


def test_the_open_routes_are_those_written_here() -> None:
    by_who: dict[Who, set[str]] = {who: set() for who in Who}
    for route in ROUTES:
        by_who[route.who].add(label(route))
    assert by_who[Who.PUBLIC] == PUBLIC - {"GET /static/{rest:.+}"}
    assert by_who[Who.SIGNED_IN] == SIGNED_IN
    assert len({label(route) for route in ROUTES}) == len(ROUTES)


async def test_every_route_of_the_router_is_in_the_table(site: Site) -> None:
    rows = {site.app[DOOR].route_of(route) for route in site.app.router.routes()}
    assert None not in rows
    assert {label(row) for row in rows if row} == {label(r) for r in ROUTES} | PUBLIC


def refused(answer: Answer) -> bool:
    return answer.status in (401, 403) or answer.location.startswith("/login")


async def ask(browser: Browser, route: Route) -> Answer:
    if not route.changes:
        return await browser.get(path(route))
    if route.form is Form.JSON:
        headers = {"Origin": browser.origin, "X-CSRF-Token": browser.csrf}
        return await browser.ask(route.method, path(route), headers)
    return await browser.post(path(route))


async def test_a_stranger_gets_the_public_routes_only(site: Site) -> None:
    await site.person("ada", is_admin=True)
    for route in ROUTES:
        answer = await ask(site.browser(), route)
        if route.who is Who.PUBLIC:
            assert not refused(answer) or label(route) in ("GET /", "POST /login"), label(route)
        elif route.form is Form.JSON:
            assert answer.status == 401, label(route)
            assert set(answer.headers["WWW-Authenticate"].split()) == {"Bearer"}
        else:
            assert (answer.status, answer.location.split("?")[0]) == (303, "/login"), label(route)


async def test_a_person_gets_no_route_of_administrators(site: Site) -> None:
    await site.person("ada", is_admin=True)
    await site.person("bob")
    browser = await site.browser().sign_in("bob")
    for route in ROUTES:
        if label(route) == "POST /logout":
            continue
        answer = await ask(browser, route)
        assert (answer.status == 403) == (route.who is Who.ADMIN), (label(route), answer.text)
        assert not answer.location.startswith("/login"), label(route)


async def test_an_administrator_gets_every_route(site: Site) -> None:
    browser = await site.admin()
    for route in ROUTES:
        if label(route) in ("POST /logout", "POST /login"):
            continue
        answer = await ask(browser, route)
        assert not refused(answer), (label(route), answer.status, answer.text)
        assert answer.status < 500, (label(route), answer.text)


FORGED = {
    "another site": {"Origin": "https://evil.example"},
    "a repository's host": {"Origin": "http://museum.localhost:{port}"},
    "another port": {"Origin": "http://localhost:1"},
    "https": {"Origin": "https://localhost:{port}"},
    "a sandboxed page": {"Origin": "null"},
    "nobody": {"Origin": ""},
    "a referring repository": {"Origin": "", "Referer": "http://museum.localhost:{port}/repos"},
    "the same site": {"Sec-Fetch-Site": "same-site"},
}


async def test_a_forged_change_is_refused_on_every_route(site: Site) -> None:
    browser = await site.admin()
    for how, changed in FORGED.items():
        headers = {"Origin": browser.origin, "X-CSRF-Token": browser.csrf}
        headers |= {key: value.format(port=site.port) for key, value in changed.items()}
        headers = {key: value for key, value in headers.items() if value}
        for route in CHANGES:
            answer = await browser.ask(route.method, path(route), headers)
            assert answer.status == 403, (how, label(route), answer.text)
    assert (await browser.get("/repos")).status == 200  # and nobody was signed out


async def test_a_change_without_the_sessions_token_is_refused_on_every_route(site: Site) -> None:
    browser = await site.admin()
    for route in CHANGES:
        if route.who is not Who.PUBLIC:
            for token in ("", "x" * 43):
                data = None if route.form is Form.JSON else {"csrf": token}
                headers = {"Origin": browser.origin}
                answer = await browser.ask(route.method, path(route), headers, data=data)
                assert answer.status == 403, (label(route), answer.text)
    assert (await browser.get("/repos")).status == 200


async def test_the_referer_stands_in_for_a_missing_origin(site: Site) -> None:
    browser = await site.admin()
    headers = {"Referer": f"{browser.origin}/people"}
    answer = await browser.ask("POST", "/account/rotate", headers, data={"csrf": browser.csrf})
    assert answer.location == "/account"


async def test_a_token_of_another_session_is_refused(site: Site) -> None:
    browser = await site.admin()
    other = await site.browser().sign_in("ada")
    answer = await browser.post("/account/rotate", {"csrf": other.csrf})
    assert answer.status == 403
    assert other.csrf != browser.csrf


async def test_head_is_answered_like_get_and_other_methods_are_not(site: Site) -> None:
    head = await site.browser().ask("HEAD", "/login")
    assert (head.status, head.content) == (200, b"")
    wrong = await site.browser().ask("DELETE", "/login")
    assert wrong.status == 405
    assert "GET" in wrong.headers["Allow"]


async def test_a_route_beside_the_table_stays_closed(settings: Settings) -> None:
    async def open_to_all(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="a secret")

    async with served(roomy(settings), beside=[("GET", "/beside/the/table", open_to_all)]) as site:
        browser = await site.admin()
        answer = await browser.get("/beside/the/table")
        assert answer.status == 404
        assert "a secret" not in answer.text
