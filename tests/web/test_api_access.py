"""The API's calls for who is inside repositories: what they give, and to whom."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fossilrepo.config import Settings
from fossilrepo.models import Visibility
from fossilrepo.rights import Role
from fossilrepo.web.api_access_models import (
    AccessKeyAnswer,
    ElevationAnswer,
    NativeAnswer,
    NewAccessKeyAnswer,
)
from fossilrepo.web.app import table
from fossilrepo.web.visit import Form
from tests.helpers import hostile
from tests.helpers.site import ADMIN, Site, roomy, served

LOGINS = ("a\nb", "<script>alert(1)</script>", "'; DROP TABLE user;--", "x" * 5000, "\u202eevil")


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        for name in ("demo", "hidden"):
            await site.services.repos.create(ADMIN, name, visibility=Visibility.PRIVATE)
        yield site


def live(site: Site, name: str = "demo") -> Path:
    return (site.services.settings.repos / f"{name}.fossil").resolve(strict=True)


async def ask(
    site: Site, method: str, path: str, body: Any = None, *, login: str = "ada", status: int = 200
) -> Any:
    browser = await site.admin()
    if login != "ada":
        user = await site.services.accounts.user(login)
        made = await site.services.accounts.session_for(user, address="127.0.0.1", agent="test")
        browser.cookies["fossilrepo"], browser.csrf = made.token, made.session.csrf
    headers = {"Origin": browser.origin, "X-CSRF-Token": browser.csrf}
    data = None
    if body is not None:
        headers["Content-Type"], data = "application/json", json.dumps(body).encode()
    answer = await browser.ask(method, f"/api/v1{path}", headers, data=data)
    assert answer.status == status, (answer.status, answer.text)
    return json.loads(answer.text) if answer.text else None


async def test_natives_of_any_login_are_shown_and_adopted(site: Site) -> None:
    bring_along(site)
    found = (await ask(site, "GET", "/repositories/demo/natives"))["natives"]
    assert {one["login"] for one in found} == set(LOGINS)
    assert all(NativeAnswer.model_validate(one).has_password for one in found)
    everywhere = (await ask(site, "GET", "/natives"))["natives"]
    assert {one["login"] for one in everywhere} == set(LOGINS)
    await site.person("joe")
    for login in LOGINS[:-1]:
        body = {"native": login, "person": "joe"}
        done = await ask(site, "POST", "/repositories/demo/natives", body)
        assert done["repositories"] == 1
    done = await ask(site, "POST", "/natives", {"native": LOGINS[-1], "person": "joe"})
    assert done == {"native": LOGINS[-1], "person": "joe", "repositories": 1}
    found = (await ask(site, "GET", "/repositories/demo/natives"))["natives"]
    assert {one["adopted_by"] for one in found} == {"joe"}
    again = {"native": LOGINS[0], "person": "joe"}
    await ask(site, "POST", "/repositories/demo/natives", again, status=409)


def bring_along(site: Site) -> None:
    """Natives with logins that are no logins, in `demo`."""
    for login in LOGINS:
        quoted = login.replace("'", "''")
        values = f"VALUES ('{quoted}', 'x', 'i')"
        hostile.change(live(site), f"INSERT INTO user(login, pw, cap) {values}")


async def test_an_access_key_is_made_looked_at_and_revoked(site: Site) -> None:
    body = {"role": "write", "label": "nightly", "days": 30}
    made = await ask(site, "POST", "/repositories/demo/access-keys", body, status=201)
    assert NewAccessKeyAnswer.model_validate(made).login in made["clone_url"]
    (key,) = (await ask(site, "GET", "/repositories/demo/access-keys"))["access_keys"]
    assert "password" not in key and AccessKeyAnswer.model_validate(key).label == "nightly"
    path = f"/repositories/demo/access-keys/{key['id']}"
    shown = await ask(site, "POST", f"{path}/password")
    assert shown == {"login": key["login"], "password": made["password"]}
    elsewhere = path.replace("demo", "hidden")
    await ask(site, "DELETE", elsewhere, status=404)
    await ask(site, "POST", f"{elsewhere}/password", status=404)
    await ask(site, "DELETE", path, status=204)
    assert (await ask(site, "GET", "/repositories/demo/access-keys"))["access_keys"] == []
    for wrong in ({"role": "admin"}, {"role": "read", "days": 0}, {"role": "read", "secret": "x"}):
        await ask(site, "POST", "/repositories/demo/access-keys", wrong, status=422)


async def test_the_setup_right_is_taken_and_given_back(site: Site) -> None:
    given = await ask(site, "POST", "/repositories/demo/elevation")
    assert ElevationAnswer.model_validate(given).login == "ada"
    (lasting,) = (await ask(site, "GET", "/elevations"))["elevations"]
    assert lasting == given
    await ask(site, "DELETE", "/repositories/demo/elevation", status=204)
    await ask(site, "DELETE", "/repositories/demo/elevation", status=404)
    assert (await ask(site, "GET", "/elevations"))["elevations"] == []


async def test_who_may_only_read_or_not_even_that_gets_nothing_of_it(site: Site) -> None:
    await site.person("bob")
    await site.services.repos.configure(ADMIN, "demo", visibility=Visibility.INTERNAL)
    key, _ = await site.services.access_keys.create(ADMIN, "demo", Role.READ)
    for name, refused in (("demo", 403), ("hidden", 404)):
        one = f"/repositories/{name}"
        for method, path, body in (
            ("GET", "/natives", None),
            ("POST", "/natives", {"native": "x", "person": "bob"}),
            ("GET", "/access-keys", None),
            ("POST", "/access-keys", {"role": "read"}),
            ("POST", f"/access-keys/{key.id}/password", None),
            ("DELETE", f"/access-keys/{key.id}", None),
            ("POST", "/elevation", None),
            ("DELETE", "/elevation", None),
        ):
            await ask(site, method, one + path, body, login="bob", status=refused)
    for path in ("/natives", "/elevations"):
        await ask(site, "GET", path, login="bob", status=403)


async def test_no_page_obeys_a_natives_login(site: Site) -> None:
    bring_along(site)
    browser = await site.admin()
    pages = {route.path for route in table() if route.method == "GET" and route.form is Form.PAGE}
    shown = 0
    for path in sorted(pages):
        if re.search(r"\{(?!name\})|/export|/download|/events", path):
            continue
        answer = await browser.get(path.replace("{name}", "demo"))
        assert answer.status in (200, 302, 303, 404), (path, answer.status, answer.text[-2000:])
        assert "<script>alert" not in answer.text, path
        seen = re.sub(r'<input type="hidden"[^>]*>', "", answer.text)
        assert not any(word in seen for word in ("\u202e", "x" * 200)), path
        shown += "&lt;script&gt;alert" in answer.text
    assert shown, "at least one page lists them"


async def test_a_login_of_two_lines_is_adopted_by_a_form_too(site: Site) -> None:
    bring_along(site)
    found = await site.services.natives.adopt(ADMIN, "demo", "a\r\nb", "ada")
    assert found == 1
    natives = {one.login: one for one in await site.services.natives.list(ADMIN, "demo")}
    assert natives["a\nb"].adopted_by == "ada"
