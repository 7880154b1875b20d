"""Tokens over the API: what each scope opens, over every call, and how tokens end."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pyotp
import pytest

from fossilrepo.config import Settings
from fossilrepo.services.api_tokens import Scope
from fossilrepo.web.api import ROUTES
from fossilrepo.web.auth import scope_of
from fossilrepo.web.visit import Route
from tests.helpers.site import ADMIN, Site, roomy, served

# Written out, so that a call that changes something takes a decision here too.
WRITE = {
    *("POST /repositories", "PATCH /repositories/{name}", "DELETE /repositories/{name}"),
    *(f"POST /repositories/{{name}}/{what}" for what in ("rename", "archive", "unarchive")),
    *(
        f"POST /repositories/{{name}}/backup/{what}"
        for what in ("file", "preview", "restore", "undo")
    ),
    *("POST /imports", "PUT /imports/{name}", "POST /trash/{id}/restore"),
    "DELETE /backup/previews/{preview}",
    *("POST /mirrors/{id}/run", "POST /mirrors/{id}/dry-run"),
    "POST /repositories/{name}/upstream/run",
}
READ_BUT_SECRET = {"GET /repositories/{name}/sync-password"}


def label(route: Route) -> str:
    return f"{route.method} {route.path.removeprefix('/api/v1')}"


def promised(route: Route) -> Scope:
    if label(route) in WRITE:
        return Scope.WRITE
    if route.method == "GET" and label(route) not in READ_BUT_SECRET:
        return Scope.READ
    return Scope.ADMIN


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        yield site


def test_the_scope_of_every_call_is_the_one_written_here() -> None:
    assert {label(route): scope_of(route) for route in ROUTES} == {
        label(route): promised(route) for route in ROUTES
    }
    assert {label(route) for route in ROUTES} >= WRITE | READ_BUT_SECRET


async def test_a_narrow_token_is_stopped_at_every_wider_call_and_at_no_other(site: Site) -> None:
    narrow = [scope for scope in Scope if scope is not Scope.ADMIN]
    for scope in narrow:
        _, token = await site.services.api_tokens.create(ADMIN, "ada", scope=scope)
        for route in ROUTES:
            path = re.sub(r"{[^}]+}", "nothing-here", route.path)
            headers = {"Authorization": f"Bearer {token}"}
            stopped = not scope.covers(promised(route))
            if not stopped and route.path.endswith("/doctor"):
                continue  # takes seconds
            answer = await site.browser().ask(route.method, path, headers)
            said = "this token has the scope" in answer.text
            assert said == stopped, (scope, label(route), answer.status, answer.text[:200])
            assert answer.status == 403 or not stopped
    assert [user.login for user in await site.services.accounts.users()] == ["ada"]
    assert len(await site.services.api_tokens.list(ADMIN)) == len(narrow), "it makes no other"


async def test_a_token_opens_no_page_and_is_good_until_it_is_ended(site: Site) -> None:
    browser, tokens = site.browser(), site.services.api_tokens
    _, token = await tokens.create(ADMIN, "ada", days=1)
    headers = {"Authorization": f"Bearer {token}"}
    assert (await browser.get("/api/v1/account", headers)).status == 200
    assert (await browser.get("/account", headers)).location.startswith("/login")
    (kept,) = await tokens.list(ADMIN)
    assert kept["last_used"] is not None
    assert kept["expires_at"] - kept["created_at"] == timedelta(days=1)
    await tokens.revoke(ADMIN, kept["id"])
    assert (await browser.get("/api/v1/account", headers)).status == 401


async def test_tokens_are_made_listed_and_ended_by_their_person_only(site: Site) -> None:
    await site.services.accounts.create_user(ADMIN, "bob")
    theirs, _ = await site.services.api_tokens.create(ADMIN, "ada", "of ada")
    _, first = await site.services.api_tokens.create(ADMIN, "bob")
    bob = {"Authorization": f"Bearer {first}"}
    browser = site.browser()
    made = await browser.ask("POST", "/api/v1/tokens", bob, json={"label": "job", "days": 3})
    assert made.status == 201 and '"scope":"read"' in made.text, "the least, unless asked for more"
    listed = (await browser.get("/api/v1/tokens", bob)).text
    assert "job" in listed and "of ada" not in listed and "frt_" not in listed
    for body in ({"login": "ada"}, {"scope": "all"}, {"days": 0}, {"days": 99999}):
        assert (await browser.ask("POST", "/api/v1/tokens", bob, json=body)).status in (403, 422)
    assert (await browser.ask("DELETE", f"/api/v1/tokens/{theirs}", bob)).status == 404
    own = re.search(r'"id":"([a-z2-7]{12})"', made.text)
    assert own and (await browser.ask("DELETE", f"/api/v1/tokens/{own[1]}", bob)).status == 204
    await site.services.accounts.set_disabled(ADMIN, "bob", True)
    assert (await browser.get("/api/v1/account", bob)).status == 401


async def test_an_administrator_switches_a_lost_second_factor_off(site: Site) -> None:
    factor = site.services.second_factor
    bob = await site.services.accounts.create_user(ADMIN, "bob")
    secret = factor.offer(bob).secret
    await factor.confirm(bob, secret, pyotp.TOTP(secret).now())
    told = []
    for login, status in (("bob", 403), ("ada", 204), ("ada", 409)):
        _, token = await site.services.api_tokens.create(ADMIN, login)
        headers = {"Authorization": f"Bearer {token}"}
        browser = site.browser()
        answer = await browser.ask("POST", "/api/v1/users/bob/second-factor-off", headers)
        assert answer.status == status, answer.text
        told.append(
            '"second_factor":true'
            in (
                await browser.get(
                    "/api/v1/users/bob" if login == "ada" else "/api/v1/account", headers
                )
            ).text
        )
    assert told == [True, False, False]
