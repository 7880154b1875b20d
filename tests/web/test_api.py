"""The API: the whole life of a repository and of people, its errors, and its description."""

from __future__ import annotations

import io
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fossilrepo.config import Settings
from fossilrepo.models import Actor
from fossilrepo.web.api import CALLS
from fossilrepo.web.api_models import JobAnswer, RepositoryAnswer, Status
from fossilrepo.web.api_person_models import UserAnswer
from tests.helpers.poll import until
from tests.helpers.site import ADMIN, PASSWORD, Answer, Browser, Site, roomy, served


@dataclass
class Client:
    """A program with a bearer token."""

    browser: Browser
    token: str

    async def ask(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None
    ) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}"}
        data = raw
        if body is not None:
            headers["Content-Type"], data = "application/json", json.dumps(body).encode()
        return await self.browser.ask(
            method, f"/api/v1{path}", headers, data=io.BytesIO(data) if data else None
        )

    async def done(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = await self.ask(method, path, body)
        assert answer.status == status, (answer.status, answer.text)
        return json.loads(answer.text) if answer.text else None

    async def refused(self, status: int, method: str, path: str, body: Any = None) -> Any:
        answer = await self.ask(method, path, body)
        assert answer.status == status, (answer.status, answer.text)
        problem = json.loads(answer.text)
        assert set(problem) == {"error", "hint", "field"}
        assert problem["error"]
        return problem


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        yield site


async def client(site: Site, login: str = "ada", *, is_admin: bool = True) -> Client:
    await site.person(login, is_admin=is_admin)
    _, token = await site.services.api_tokens.create(Actor(login), login)
    return Client(site.browser(), token)


async def test_the_life_of_a_repository(site: Site, tmp_path: Path) -> None:
    api = await client(site)
    made = await api.done("POST", "/repositories", {"name": "museum", "title": "Old"}, 201)
    assert made["clone_url"] == f"http://museum.localhost:{site.port}/"
    assert set(made) == set(RepositoryAnswer.model_fields)
    assert (await api.done("GET", "/repositories/museum"))["id"] == made["id"]
    listed = await api.done("GET", "/repositories?q=muse&sort=change&limit=10&offset=0")
    assert (listed["total"], listed["repositories"][0]["name"]) == (1, "museum")
    changed = await api.done("PATCH", "/repositories/museum", {"visibility": "private"})
    assert (changed["visibility"], changed["title"]) == ("private", "Old")
    assert (await api.done("POST", "/repositories/museum/rename", {"name": "hall"}))[
        "name"
    ] == "hall"
    assert (await api.done("POST", "/repositories/hall/archive"))["state"] == "archived"
    await api.refused(409, "POST", "/repositories/hall/archive")
    assert (await api.done("POST", "/repositories/hall/unarchive"))["state"] == "active"
    secret = await api.done("GET", "/repositories/hall/sync-password")
    assert secret["login"] == "ada" and len(secret["password"]) == 24
    copy = await api.ask("GET", "/repositories/hall/export")
    (tmp_path / "copy").write_bytes(copy.content)
    connection = sqlite3.connect(tmp_path / "copy")
    assert connection.execute("SELECT count(*) FROM event").fetchone() == (1,)
    connection.close()
    assert (await api.done("DELETE", "/repositories/hall"))["state"] == "trashed"
    trashed = (await api.done("GET", "/trash"))["repositories"]
    assert [one["id"] for one in trashed] == [made["id"]]
    one = f"/trash/{made['id']}"
    assert (await api.done("POST", f"{one}/restore", {"name": "back"}))["name"] == "back"
    await api.done("DELETE", "/repositories/back")
    assert await api.done("DELETE", one, status=204) is None
    await api.refused(404, "DELETE", one)
    actions = [entry.action for entry in await site.services.audit.recent(actor="ada")]
    assert actions.count("repository.delete") == 2


async def test_a_file_is_uploaded_and_its_job_followed(site: Site, fossil_template: Path) -> None:
    api = await client(site)
    content = fossil_template.read_bytes()
    answer = await api.ask("PUT", "/imports/museum?title=Up&visibility=internal", raw=content)
    assert answer.status == 202
    job = json.loads(answer.text)
    assert set(job) == set(JobAnswer.model_fields)

    async def ended() -> Any:
        found = await api.done("GET", f"/jobs/{job['id']}")
        return found if found["finished_at"] else None

    assert (await until(ended, timeout=20, what="the end of the import"))["state"] == "done"
    made = await api.done("GET", "/repositories/museum")
    assert (made["title"], made["visibility"]) == ("Up", "internal")
    assert (await api.done("GET", "/jobs"))["jobs"][0]["id"] == job["id"]


async def test_imports_over_the_network_are_checked_before_they_begin(site: Site) -> None:
    api = await client(site)
    both = {"name": "x", "clone": "https://example.org", "git": "https://example.org"}
    await api.refused(422, "POST", "/imports", both)
    await api.refused(422, "POST", "/imports", {"name": "x"})
    await api.refused(403, "POST", "/imports", {"name": "x", "git": "/etc"})
    problem = await api.refused(
        422, "POST", "/imports", {"name": "X", "clone": "https://a.example"}
    )
    assert problem["field"] == "name"
    assert (await api.done("GET", "/jobs"))["jobs"] == []


async def test_people(site: Site) -> None:
    api = await client(site)
    body = {"login": "bob", "name": "Bob", "password": PASSWORD}
    made = await api.done("POST", "/users", body, 201)
    assert set(made) >= set(UserAnswer.model_fields)
    assert [one["login"] for one in (await api.done("GET", "/users"))["users"]] == ["ada", "bob"]
    browser = await site.browser().sign_in("bob")
    assert (await api.done("POST", "/users/bob/disable"))["disabled"] is True
    assert (await browser.get("/repos")).status == 303
    assert (await api.done("POST", "/users/bob/enable"))["disabled"] is False
    await api.done("POST", "/users/bob/password", {"password": "four other words"}, 204)
    await api.done("POST", "/users/bob/rotate", status=204)
    await site.browser().sign_in("bob", "four other words")
    assert (await api.done("GET", "/users/bob"))["name"] == "Bob"
    await api.refused(404, "GET", "/users/eve")
    await api.refused(409, "POST", "/users", body)


async def test_errors_name_the_field_and_never_repeat_a_secret(site: Site) -> None:
    api = await client(site)
    assert (await api.refused(422, "POST", "/repositories", {"name": "A b"}))["field"] == "name"
    assert (await api.refused(422, "POST", "/repositories", {}))["field"] == "name"
    assert (await api.refused(422, "POST", "/repositories", {"name": "a", "x": 1}))["field"] == "x"
    assert (await api.refused(422, "POST", "/repositories", []))["error"]
    wrong = await api.refused(422, "POST", "/users", {"login": "bob", "password": {"a": "hush"}})
    assert wrong["field"] == "password"
    assert "hush" not in json.dumps(wrong)
    await api.refused(404, "GET", "/nothing")
    await api.refused(405, "PUT", "/repositories")
    broken = await api.ask("POST", "/repositories", raw=b"{")
    assert broken.status == 422
    large = await api.ask("POST", "/repositories", {"name": "x", "title": "x" * 2**21})
    assert large.status == 413
    assert json.loads(large.text)["error"]


async def test_a_token_is_needed_and_only_a_good_one_counts(site: Site) -> None:
    api = await client(site)
    wrong = Client(site.browser(), "frt_" + "x" * 43)
    await wrong.refused(401, "GET", "/repositories")
    await Client(site.browser(), "").refused(401, "GET", "/repositories")
    (token,) = await site.services.api_tokens.list(ADMIN)
    assert token["login"] == "ada"
    await site.services.api_tokens.revoke(ADMIN, token["id"])
    await api.refused(401, "GET", "/repositories")


async def test_a_person_without_rights_reads_what_they_may(site: Site) -> None:
    await site.services.repos.create(ADMIN, "open")
    bob = await client(site, "bob", is_admin=False)
    await site.services.repos.configure(ADMIN, "open", title="Seen")
    assert (await bob.done("GET", "/repositories/open"))["title"] == "Seen"
    await bob.refused(403, "POST", "/repositories", {"name": "x"})
    await bob.refused(403, "GET", "/users")


async def test_a_browser_needs_its_token_in_a_header(site: Site) -> None:
    browser = await site.admin()
    assert (await browser.get("/api/v1/repositories")).status == 200
    own = {"Origin": browser.origin, "Content-Type": "application/json"}
    body = b'{"name": "museum"}'
    bare = await browser.ask("POST", "/api/v1/repositories", own, data=body)
    assert bare.status == 403
    token = {**own, "X-CSRF-Token": browser.csrf}
    foreign = {**token, "Origin": f"http://evil.localhost:{site.port}"}
    assert (await browser.ask("POST", "/api/v1/repositories", foreign, data=body)).status == 403
    plain = {**token, "Content-Type": "text/plain"}
    assert (await browser.ask("POST", "/api/v1/repositories", plain, data=body)).status == 422
    assert (await browser.ask("POST", "/api/v1/repositories", token, data=body)).status == 201


async def test_status_is_what_the_interface_promises(site: Site) -> None:
    api = await client(site)
    found = await api.done("GET", "/status")
    assert set(Status.model_fields) <= set(found)
    assert found["backup"].keys() >= {"url", "lag_s", "behind"}


async def test_the_description_is_of_every_call(site: Site) -> None:
    answer = await site.browser().get("/api/v1/openapi.json")
    document = json.loads(answer.text)
    described = {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, methods in document["paths"].items()
        for method in methods
    }
    assert described == {(call.method, call.path) for call in CALLS}
    names = [
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
    ]
    assert len(set(names)) == len(names)
    wanted = set(re.findall(r'"#/components/schemas/(\w+)"', answer.text))
    assert wanted <= set(document["components"]["schemas"])


@pytest.mark.parametrize("header", [{}, {"Range": "bytes=0-9"}, {"If-None-Match": "*"}])
async def test_an_export_comes_whole_whatever_is_asked_for_and_nothing_fails_after_it(
    site: Site, header: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    api = await client(site)
    await api.done("POST", "/repositories", {"name": "museum"}, 201)
    headers = {"Authorization": f"Bearer {api.token}", **header}
    for _ in range(2):  # one after the other on one connection
        answer = await api.browser.get("/api/v1/repositories/museum/export", headers)
        assert answer.status == 200
        assert answer.content.startswith(b"SQLite format 3\0")
        assert len(answer.content) == int(answer.headers["Content-Length"]) > 100_000
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
