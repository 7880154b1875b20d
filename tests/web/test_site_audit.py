"""The audit page and its exports, on the site and over the API."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator

import pytest

from fossilrepo.config import Settings
from fossilrepo.models import Actor, Visibility
from fossilrepo.rights import MemberRole, Role
from fossilrepo.services.api_tokens import Scope
from fossilrepo.services.audit_log import MOST, PAGE
from tests.helpers.site import ADMIN, Site, roomy, served


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        yield site


async def test_the_page_shows_before_and_after_and_leads_to_the_subject(site: Site) -> None:
    browser = await site.admin()
    await site.services.repos.create(ADMIN, "museum")
    await site.services.repos.configure(ADMIN, "museum", title="<b>Ours</b>")
    await site.services.repos.rename(ADMIN, "museum", "gallery")
    page = " ".join((await browser.get("/audit?q=gallery")).text.split())
    assert '<a href="/repos/gallery">gallery</a>' in page
    assert "museum</span>" in page and "</span>gallery</p>" in page
    page = " ".join((await browser.get("/audit?action=repository.configure")).text.split())
    assert "title:" in page and "&lt;b&gt;Ours&lt;/b&gt;" in page and "<b>Ours" not in page
    await site.services.repos.delete(ADMIN, "gallery")
    page = (await browser.get("/audit?action=repository.delete")).text
    assert "gallery" in page and 'href="/repos/gallery"' not in page


async def test_the_page_is_narrowed_by_each_field(site: Site) -> None:
    browser = await site.admin()
    audit = site.services.audit
    await audit.record(Actor("bob", address="192.0.2.1"), "thing.one", "first")
    await audit.record(Actor("eve", address="192.0.2.2"), "thing.two", "second")
    for query in ("q=first", "actor=bob", "action=thing.o", "address=192.0.2.1"):
        page = (await browser.get(f"/audit?{query}")).text
        assert "<strong>first" in page and "<strong>second" not in page, query
    for query in ("q=nothing", "since=2999-01-01", "until=2001-01-01"):
        page = await browser.get(f"/audit?{query}")
        assert page.status == 200 and "Nothing found" in page.text, query
    wrong = await browser.get("/audit?since=soon&q=kept")
    assert wrong.status == 422 and "is no time" in wrong.text and 'value="kept"' in wrong.text
    assert (await browser.get("/audit?before=x")).status == 200


async def test_older_entries_are_on_the_next_page_of_the_same_search(site: Site) -> None:
    browser = await site.admin()
    for number in range(PAGE + 1):
        await site.services.audit.record(ADMIN, "thing.change", f"number-{number}")
    page = (await browser.get("/audit?action=thing.")).text
    assert "number-1<" in page and "number-0<" not in page
    older = page.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    assert older.startswith("/audit?action=thing.&before=")
    page = (await browser.get(older)).text
    assert "number-0<" in page and "number-1<" not in page and 'rel="next"' not in page
    assert 'href="/audit?action=thing."' in page  # back to the newest


async def test_who_administers_a_part_reads_that_part_and_exports_it(site: Site) -> None:
    services = site.services
    await site.person("bob")
    await services.repos.create(ADMIN, "museum", visibility=Visibility.PRIVATE)
    await services.repos.create(ADMIN, "vault", visibility=Visibility.PRIVATE)
    await services.grants.grant(ADMIN, Role.ADMIN, repository="museum", user="bob")
    browser = await site.browser().sign_in("bob")
    for path in ("/audit", "/audit/export", "/api/v1/audit", "/api/v1/audit/export"):
        assert (await browser.get(path)).status == 403, path
        assert (await browser.get(f"{path}?since=soon")).status in (403, 422), path
        missing = await browser.get(f"{path}?repository=nothing")
        hidden = await browser.get(f"{path}?repository=vault")
        assert missing.status == hidden.status == 404, path
        assert (await browser.get(f"{path}?organization=main")).status == 404, path
        own = await browser.get(f"{path}?repository=museum")
        assert own.status == 200 and "museum" in own.text and "vault" not in own.text, path
        assert "person.create" not in own.text and "person: create" not in own.text, path
    assert (await browser.get("/audit?since=soon")).status == 403
    page = (await browser.get("/audit?repository=museum")).text
    assert '<input type="hidden" name="repository" value="museum">' in page
    assert 'href="/audit/export?repository=museum&amp;format=csv"' in page
    await services.organizations.set_member(ADMIN, "main", "bob", MemberRole.OWNER)
    assert (await browser.get("/audit?organization=main")).status == 200


async def test_a_search_is_exported_whole_as_a_file(site: Site) -> None:
    browser = await site.admin()
    for number in range(MOST + 1):
        await site.services.audit.record(ADMIN, "thing.change", f"=number-{number}")
    for base in ("/audit/export", "/api/v1/audit/export"):
        answer = await browser.get(f"{base}?action=thing.&format=csv")
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert 'filename="audit-' in answer.headers["Content-Disposition"]
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert len(rows) == MOST + 1 and rows[-1]["subject"] == "'=number-0"
    answer = await browser.get("/audit/export?action=thing.&format=jsonl")
    subjects = [json.loads(line)["subject"] for line in answer.text.splitlines()]
    assert subjects == [f"=number-{number}" for number in reversed(range(MOST + 1))]
    assert (await browser.ask("HEAD", "/audit/export?format=csv")).status == 200
    assert (await browser.get("/audit/export?format=xls")).status == 422


async def test_the_api_gives_pages_of_a_search(site: Site) -> None:
    await site.services.repos.create(ADMIN, "museum")
    for number in range(3):
        await site.services.audit.record(ADMIN, "thing.change", f"n{number}", before=0, after=1)
    _, token = await site.services.api_tokens.create(ADMIN, "ada", "t", None, Scope.READ)
    headers = {"Authorization": f"Bearer {token}"}
    browser = site.browser()
    first = json.loads((await browser.get("/api/v1/audit?action=thing.&limit=2", headers)).text)
    assert [entry["subject"] for entry in first["entries"]] == ["n2", "n1"]
    assert first["entries"][0]["detail"] == {"before": 0, "after": 1}
    path = f"/api/v1/audit?action=thing.&limit=2&before={first['older']}"
    rest = json.loads((await browser.get(path, headers)).text)
    assert [entry["subject"] for entry in rest["entries"]] == ["n0"] and rest["older"] is None
