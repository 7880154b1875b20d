"""Who may: every route is in the table, every row of it holds, and nothing is open by mistake."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from fossilrepo.config import Settings
from fossilrepo.models import is_name
from fossilrepo.web.app import DOOR, table
from fossilrepo.web.visit import Form, Route, Who
from tests.helpers.site import Answer, Browser, Site, roomy, served

# Written out, so that opening a route takes a change here too.
PUBLIC = {
    *(
        "GET /",
        "GET /login",
        "POST /login",
        "POST /login/second",
        "GET /setup/{token}",
        "POST /setup/{token}",
    ),
    *("GET /healthz", "GET /readyz", "GET /metrics", "GET /internal/tls-ask", "GET /robots.txt"),
    *("GET /invite/{token}", "POST /invite/{token}", "GET /reset/{token}", "POST /reset/{token}"),
    *("GET /forgot", "POST /forgot"),
    *("GET /badge/{name}/mirror.svg", "GET /repos/{name}/activity.atom"),
    *("GET /api/v1/openapi.json", "GET /{name:[a-z0-9-]+}", "GET /static/{rest:.+}"),
}
# All others, by how they begin; the first that fits counts. Of the repositories, the
# organizations and the jobs the services decide, by role; what fits nowhere may not exist.
TABLE: tuple[tuple[str, Who], ...] = (
    (r"POST /logout$", Who.SIGNED_IN),
    (r"\w+ /account(/|$)", Who.SIGNED_IN),
    (r"POST /repos/{name}/access/elevate(/|$)", Who.ADMIN),
    (r"\w+ /(repos|mirrors)(/|$)", Who.SIGNED_IN),
    (r"POST /orgs$", Who.ADMIN),
    (r"\w+ /orgs(/|$)", Who.SIGNED_IN),
    (r"GET /jobs/", Who.SIGNED_IN),
    (r"GET (/api/v1)?/audit(/|$)", Who.SIGNED_IN),
    (r"\w+ /backups/-/(gone|previews)/", Who.SIGNED_IN),
    (r"GET /(activity|activity.atom|search|events|overview)(/|$)", Who.SIGNED_IN),
    (r"\w+ /(people|system|backups)(/|$)", Who.ADMIN),
    (r"POST /api/v1/organizations$", Who.ADMIN),
    (r"\w+ /api/v1/(organizations|where|account|tokens)(/|$)", Who.SIGNED_IN),
    (r"\w+ /api/v1/backup/previews", Who.SIGNED_IN),
    (r"\w+ /api/v1/(repositories|imports|trash|jobs|invitations)(/|$)", Who.SIGNED_IN),
    (r"GET /api/v1/activity$", Who.SIGNED_IN),
    (r"\w+ /api/v1/(mirrors|mirror-rules|upstreams|webhooks|deliveries)(/|$)", Who.SIGNED_IN),
    (r"\w+ /api/v1/(backup|elevations|natives|users|status|doctor|mail|alerts)(/|$)", Who.ADMIN),
)
_ASK = ("GET /", "POST /login", "POST /login/second")  # they lead to signing in, or do it
ROUTES = table()
CHANGES = [route for route in ROUTES if route.changes]


def label(route: Route) -> str:
    return f"{route.method} {route.path}"


def promised(route: Route) -> Who:
    if label(route) in PUBLIC:
        return Who.PUBLIC
    return next(who for begins, who in TABLE if re.match(begins, label(route)))


def path(route: Route) -> str:
    return re.sub(r"{[^}]+}", "nothing-here", route.path)


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        yield site


def test_every_route_is_in_the_table_written_here() -> None:
    for route in ROUTES:
        assert route.who is promised(route), label(route)
    assert len({label(route) for route in ROUTES}) == len(ROUTES)


async def test_every_route_of_the_router_is_in_the_table(site: Site) -> None:
    rows = {site.app[DOOR].route_of(route) for route in site.app.router.routes()}
    assert None not in rows
    assert {label(row) for row in rows if row} == {label(r) for r in ROUTES} | PUBLIC


def refused(answer: Answer) -> bool:
    return answer.status in (401, 403) or answer.location.startswith("/login")


async def ask(browser: Browser, route: Route) -> Answer:
    if route.path.endswith("/events"):
        return await browser.ask("HEAD", path(route))
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
            assert not refused(answer) or label(route) in _ASK, label(route)
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
        if route.who is Who.ADMIN:
            assert answer.status == 403, (label(route), answer.text)
        assert not answer.location.startswith("/login"), label(route)


async def test_an_administrator_gets_every_route(site: Site) -> None:
    browser = await site.admin()
    for route in ROUTES:
        if label(route) in ("POST /logout", *_ASK):
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


def test_no_repository_can_have_the_name_of_a_page() -> None:
    """Below the apex both begin with the same segment."""
    segments = {route.path.split("/")[1] for route in table()}
    pages = {segment for segment in segments if is_name(segment)}
    assert pages == set()
    assert {"repos", "reset", "activity"} <= segments
