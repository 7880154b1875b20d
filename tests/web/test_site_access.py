"""Who may bring a repository where, move it, and what is shown to those who may not."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from fossilrepo.config import Caddy, Settings
from fossilrepo.models import Visibility
from fossilrepo.rights import MemberRole, Role
from tests.helpers.site import ADMIN, Browser, Site, roomy, served

NEW, IMPORT = 'href="/repos/-/new"', 'href="/repos/-/import"'


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        yield site


async def member(site: Site, login: str, org: str, role: MemberRole) -> Browser:
    await site.person(login)
    await site.services.organizations.set_member(ADMIN, org, login, role)
    return await site.browser().sign_in(login)


async def places(site: Site) -> dict[str | None, str]:
    """Every repository with its organization."""
    found = await site.services.repos.search(ADMIN, "")
    return {one.name: one.org for one in found.repositories}


async def test_who_may_create_nowhere_sees_no_button_and_is_told_so(site: Site) -> None:
    bob = await member(site, "bob", "main", MemberRole.MEMBER)
    page = (await bob.get("/repos")).text
    assert NEW not in page and IMPORT not in page and "/repos/-/trash" not in page
    for path in ("/repos/-/new", "/repos/-/import"):
        answer = await bob.get(path)
        assert answer.status == 403 and "in any organization" in answer.text
    sent = {"name": "mine", "url": "https://example.org/x", "org": "main"}
    for path in ("/repos/-/new", "/repos/-/import/clone", "/repos/-/import/git"):
        assert (await bob.post(path, sent)).status == 403
    form = aiohttp.FormData({"csrf": bob.csrf, "name": "mine"})
    form.add_field("file", b"nothing", filename="x.fossil")
    answer = await bob.ask("POST", "/repos/-/import/file", {"Origin": bob.origin}, data=form)
    assert answer.status == 403
    assert await places(site) == {}


async def test_members_create_where_their_organization_lets_them(site: Site) -> None:
    organizations = site.services.organizations
    bob = await member(site, "bob", "main", MemberRole.MEMBER)
    await organizations.configure(ADMIN, "main", members_create=True)
    page = (await bob.get("/repos")).text
    assert NEW in page and IMPORT in page and "/repos/-/trash" not in page
    assert 'name="org"' not in (await bob.get("/repos/-/new")).text
    await organizations.create(ADMIN, "acme")
    assert 'name="org"' not in (await bob.get("/repos/-/new")).text  # not his: no choice
    refused = await bob.post("/repos/-/new", {"name": "theirs", "org": "acme"})
    assert refused.status == 422 and "no organization" in refused.text
    made = await bob.post("/repos/-/new", {"name": "mine"})
    assert (made.status, made.location) == (303, "/repos/mine")


async def test_a_repository_is_made_and_imported_where_it_was_said(
    site: Site, fossil_template: Path
) -> None:
    browser = await site.admin()
    await site.services.organizations.create(ADMIN, "acme")
    for path in ("/repos/-/new", *(f"/repos/-/import?way={w}" for w in ("file", "clone", "git"))):
        page = (await browser.get(path)).text
        assert "<option>acme</option><option selected>main</option>" in page, path
    await browser.post("/repos/-/new", {"name": "one", "org": "acme"})
    form = aiohttp.FormData({"csrf": browser.csrf, "name": "two", "org": "acme"})
    form.add_field("file", fossil_template.read_bytes(), filename="x.fossil")
    sent = {"Origin": browser.origin}
    answer = await browser.ask("POST", "/repos/-/import/file", sent, data=form)
    assert answer.status == 303, answer.text
    await site.services.jobs.wait(answer.location.rpartition("/")[2])
    assert await places(site) == {"one": "acme", "two": "acme"}
    wrong = await browser.post("/repos/-/new", {"name": "NOT ONE", "org": "acme"})
    assert "<option selected>acme</option>" in wrong.text


async def test_an_only_organization_of_another_name_takes_new_repositories(site: Site) -> None:
    browser = await site.admin()
    await site.services.organizations.rename(ADMIN, "main", "museum")
    assert (await browser.post("/repos/-/new", {"name": "one"})).status == 303
    assert (await site.services.repos.get(ADMIN, "one")).org == "museum"


async def test_a_repository_moves_between_organizations_of_one_owner(site: Site) -> None:
    await site.services.organizations.create(ADMIN, "acme")
    olga = await member(site, "olga", "main", MemberRole.OWNER)
    await site.services.repos.create(ADMIN, "vault", visibility=Visibility.PRIVATE)
    assert "Move to another" not in (await olga.get("/repos/vault/settings")).text
    refused = await olga.post("/repos/vault/move", {"org": "acme"})
    assert refused.status == 422 and "no organization" in refused.text
    await site.services.organizations.set_member(ADMIN, "acme", "olga", MemberRole.OWNER)
    assert "<option>acme</option>" in (await olga.get("/repos/vault/settings")).text
    assert (await olga.post("/repos/vault/move", {"org": "acme"})).status == 303
    assert 'href="/orgs/acme"' in (await olga.get("/repos/vault")).text


async def test_an_organization_is_linked_only_for_who_can_open_it(site: Site) -> None:
    await site.person("eve")
    eve = await site.browser().sign_in("eve")
    await site.services.repos.create(ADMIN, "vault", visibility=Visibility.PRIVATE)
    await site.services.grants.grant(ADMIN, Role.ADMIN, repository="vault", user="eve")
    for path in ("/repos/vault", "/repos/vault/access"):
        page = await eve.get(path)
        assert page.status == 200 and 'href="/orgs/main"' not in page.text, path
    assert (await eve.get("/orgs/main")).status == 404


async def test_everyone_sees_where_they_can_go_and_nobody_elses(site: Site) -> None:
    await site.person("bob")
    await site.services.repos.create(ADMIN, "vault", visibility=Visibility.PRIVATE)
    await site.services.repos.create(ADMIN, "open")
    bob = await site.browser().sign_in("bob")
    page = (await bob.get("/account/where")).text
    assert 'href="/repos/open"' in page and "vault" not in page
    assert (await bob.get("/people/ada/where")).status == 403
    browser = await site.admin()
    assert "everyone (public)" in (await browser.get("/people/bob/where")).text


@pytest.mark.parametrize("enabled", [True, False])
async def test_it_is_said_that_certificates_make_names_public(
    settings: Settings, enabled: bool
) -> None:
    caddy = Caddy(enabled=enabled, email="ada@example.org") if enabled else Caddy()
    async with served(roomy(settings, caddy=caddy)) as site:
        browser = await site.admin()
        if enabled:  # the site's address is then the domain's own, and its cookie that of https
            browser.host = settings.server.domain
            browser.cookies = {"__Host-fossilrepo": browser.cookies["fossilrepo"]}
        for path in ("/repos/-/new", "/repos/-/import"):
            answer = await browser.get(path)
            page = answer.text
            assert answer.status == 200
            assert ("certificates are listed publicly" in page) is enabled


async def test_users_of_files_are_said_to_be_a_person_in_all_of_them(site: Site) -> None:
    browser = await site.admin()
    assert "There are none" in (await browser.get("/people/-/natives")).text
    wrong = await browser.post("/people/-/natives", {"native": "joe", "person": "ada"})
    assert wrong.status == 404 and "form-error" in wrong.text


async def test_a_change_inside_fossil_is_told_with_what_became_of_it(site: Site) -> None:
    browser = await site.admin()
    await site.services.repos.create(ADMIN, "vault")
    file = site.services.settings.repos / "vault.fossil"
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE user SET cap = 's' WHERE login = 'ada'")
        db.execute("INSERT INTO user(login, pw, cap, mtime) VALUES ('new<b>', 'x', 'o', 0)")
        db.commit()
    await site.services.repos.configure(ADMIN, "vault", visibility=Visibility.PRIVATE)
    page = (await browser.get("/repos/vault/access")).text
    assert re.search(r"<strong>ada</strong> <span>s</span> <span class=\"soft\">put back to", page)
    assert "new&lt;b&gt;" in page and "a new user: o" in page and "new<b>" not in page


async def test_another_administrator_may_take_the_setup_right_too(site: Site) -> None:
    browser = await site.admin()
    await site.services.repos.create(ADMIN, "vault")
    await site.person("zoe", is_admin=True)
    zoe = await site.browser().sign_in("zoe")
    assert (await zoe.post("/repos/vault/access/elevate")).status == 303
    page = (await browser.get("/repos/vault/access")).text
    assert "Take it from zoe" in page and "Take it for 15 minutes" in page
    assert (await browser.post("/repos/vault/access/elevate")).status == 303
    page = (await browser.get("/repos/vault/access")).text
    assert "Give it back now" in page and "Take it for 15 minutes" not in page
