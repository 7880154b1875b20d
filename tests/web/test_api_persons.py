"""People, invitations and mail over the API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fossilrepo.config import Mail, Settings
from fossilrepo.models import Actor
from fossilrepo.web.api_call import BASE
from tests.helpers import smtp
from tests.helpers.site import ADMIN, Site, roomy, served


class Api:
    """Calls with the token of one person."""

    def __init__(self, site: Site, token: str) -> None:
        self.site, self.token = site, token

    async def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = await self.site.browser().ask(method, BASE + path, headers, json=body)
        return answer.status, json.loads(answer.text) if answer.text else None


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        yield site


async def calls_of(site: Site, login: str) -> Api:
    await site.person(login)
    _, token = await site.services.api_tokens.create(ADMIN, login)
    return Api(site, token)


async def test_a_person_is_changed_renamed_and_deleted(site: Site) -> None:
    api = await calls_of(site, "ada")
    await site.person("bob")
    status, changed = await api("PATCH", "/users/bob", {"name": "Bob", "email": "b@example.org"})
    assert (status, changed["name"], changed["email"]) == (200, "Bob", "b@example.org")
    assert (await api("PATCH", "/users/bob", {"is_admin": True}))[0] == 422  # no such key there
    assert (await api("POST", "/users/bob/rename", {"login": "robert"}))[1]["login"] == "robert"
    assert (await api("POST", "/users/robert/rename", {"login": "ada"}))[0] == 409
    _, shown = await api("GET", "/users/robert")
    assert shown["former_logins"] == ["bob"] and shown["memberships"] == []
    assert shown["second_factor"] is False and shown["native_elsewhere"] == []
    assert (await api("POST", "/users/robert/admin", {"is_admin": True}))[1]["is_admin"] is True
    assert (await api("POST", "/users/robert/admin", {"is_admin": False}))[1]["is_admin"] is False
    assert (await api("POST", "/users/ada/admin", {"is_admin": False}))[0] == 409
    assert await api("DELETE", "/users/robert") == (204, None)
    assert (await api("GET", "/users/robert"))[0] == 404
    assert (await api("DELETE", "/users/ada"))[0] == 409


async def test_links_come_once_and_invitations_are_listed_and_ended(site: Site) -> None:
    api = await calls_of(site, "ada")
    status, made = await api("POST", "/invitations", {"login": "bob", "org": "main"})
    assert status == 201 and "/invite/" in made["url"] and made["mailed"] is False
    (waiting,) = (await api("GET", "/invitations"))[1]["invitations"]
    assert (waiting["login"], waiting["org_role"]) == ("bob", "member")
    assert "url" not in waiting
    assert await api("DELETE", f"/invitations/{waiting['id']}") == (204, None)
    assert (await api("DELETE", f"/invitations/{waiting['id']}"))[0] == 404
    _, link = await api("POST", "/users/ada/reset-link")
    assert await site.services.resets.look(link["url"].rpartition("/")[2]) == "ada"
    status, made = await api("POST", "/users/import", {"csv": "login\neve\nmia\n"})
    assert (status, [one["login"] for one in made["users"]]) == (201, ["eve", "mia"])
    assert (await api("POST", "/users/import", {"csv": "login\neve\n"}))[0] == 422


async def test_persons_see_and_end_no_invitations_but_those_of_their_organization(
    site: Site,
) -> None:
    bob = await calls_of(site, "bob")
    ada = Actor("ada", True, user_id=(await site.services.accounts.user("ada")).id)
    made = await site.services.invitations.invite(ada, org="main")
    assert (await bob("GET", "/invitations"))[1] == {"invitations": []}
    assert (await bob("DELETE", f"/invitations/{made.id}"))[0] == 404
    assert (await bob("GET", "/invitations?org=main"))[0] == 404
    assert (await bob("POST", "/invitations", {}))[0] == 403
    assert (await bob("POST", "/invitations", {"org": "main"}))[0] == 404
    for method, path in (
        ("GET", "/users/ada"),
        ("PATCH", "/users/bob"),
        ("DELETE", "/users/bob"),
        ("POST", "/users/bob/admin"),
        ("POST", "/users/ada/reset-link"),
        ("POST", "/users/import"),
        ("POST", "/mail/test"),
    ):
        assert (await bob(method, path, {}))[0] == 403, path


async def test_mail_is_tried(settings: Settings) -> None:
    with smtp.running() as post:
        values = {"server": post.server, "security": "none", "sender": "fossil@example.org"}
        mail = Mail.model_validate(values)
        async with served(roomy(settings, mail=mail)) as site:
            api = await calls_of(site, "ada")
            assert (await api("POST", "/mail/test", {"to": "bob@example.org"}))[0] == 204
            assert post.recipients == ["bob@example.org"]
            assert (await api("POST", "/mail/test", {"to": "bob"}))[0] == 422
            post.refuses = "550 nobody here"
            status, answer = await api("POST", "/mail/test", {"to": "bob@example.org"})
            assert status == 503 and "nobody here" in answer["error"]
