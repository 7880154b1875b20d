"""Organizations, teams, grants and access on the pages: what people see and may send."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from fossilrepo.config import Settings
from fossilrepo.models import Visibility
from fossilrepo.rights import MemberRole, Role
from tests.helpers.site import ADMIN, Browser, Site, roomy, served


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        yield site


async def done(browser: Browser, path: str, **fields: str) -> str:
    """The page that the form leads to."""
    answer = await browser.post(path, fields)
    assert answer.status == 303, (path, answer.status, answer.text)
    page = await browser.get(answer.location)
    assert page.status == 200, (answer.location, page.status)
    return page.text


async def refused(browser: Browser, path: str, words: str, status: int = 404, **fields: str) -> str:
    answer = await browser.post(path, fields)
    assert answer.status == status, (answer.status, answer.text)
    assert words in answer.text, answer.text
    return answer.text


async def test_who_is_alone_is_not_troubled_with_organizations(site: Site) -> None:
    browser = await site.admin()
    assert 'href="/orgs"' not in (await browser.get("/repos")).text
    assert (await browser.get("/orgs")).status == 200
    await site.person("bob")
    assert 'href="/orgs"' in (await browser.get("/repos")).text


async def test_an_organization_from_its_first_day_to_its_last(site: Site) -> None:
    await site.person("bob")
    browser = await site.admin()
    page = await done(browser, "/orgs", name="acme", title="Acme & Sons")
    assert "Acme &amp; Sons" in page and "Nobody is in it yet" in page
    await refused(browser, "/orgs", "exists already", 409, name="acme")
    await refused(browser, "/orgs", "cannot be the name", 422, name="Not A Name")
    page = await done(browser, "/orgs/acme/members", login="Bob", role="member")
    assert "Make an owner" in page
    page = await done(browser, "/orgs/acme/members", login="bob", role="owner")
    assert "Make a member" in page
    typed = await refused(browser, "/orgs/acme/members", "no person", login="nobody")
    assert 'value="nobody"' in typed
    page = await done(
        browser, "/orgs/acme", title="Acme", default_role="write", members_create="yes"
    )
    assert '<option value="write" selected>' in page and "checked" in page
    page = await done(browser, "/orgs/acme/rename", name="apex")
    assert "<h1>apex</h1>" in page
    await refused(browser, "/orgs/apex/delete", "not the name", 422, confirm="acme")
    page = await done(browser, "/orgs/apex/delete", confirm="apex")
    assert "The organization is gone" in page and "/orgs/apex" not in page


async def test_a_team_is_made_filled_granted_and_deleted(site: Site) -> None:
    await site.person("bob")
    browser = await site.admin()
    await site.services.repos.create(ADMIN, "vault", visibility=Visibility.PRIVATE)
    await done(browser, "/orgs/main/members", login="bob", role="member")
    page = await done(browser, "/orgs/main/teams", name="docs", description="Manual")
    assert "<h1>Team docs</h1>" in page and '<option value="bob">' in page
    page = await done(browser, "/orgs/main/teams/docs/members", login="bob")
    assert "nobody else in" in page
    page = await done(browser, "/repos/vault/access/grant", to="team:docs", role="write")
    assert "team main/docs" in page
    theirs = await site.browser().sign_in("bob")
    seen = (await theirs.get("/repos/vault")).text
    assert "<dd>write</dd>" in seen and 'href="/repos/vault/access"' not in seen
    page = await done(browser, "/orgs/main/teams/docs", name="writers", description="All")
    assert "<h1>Team writers</h1>" in page
    await done(browser, "/orgs/main/teams/writers/members/remove", login="bob")
    assert (await theirs.get("/repos/vault")).status == 404
    page = await done(browser, "/orgs/main/teams/writers/delete", confirm="writers")
    assert "/teams/writers" not in page


async def test_access_tells_who_and_why_and_changes_it(site: Site) -> None:
    await site.person("bob")
    browser = await site.admin()
    await site.services.repos.create(ADMIN, "vault", visibility=Visibility.PRIVATE)
    page = await done(browser, "/repos/vault/access/grant", to="Bob", role="admin")
    assert "administrator of the site" in page and "granted" in page
    typed = await refused(browser, "/repos/vault/access/grant", "no person", to="eve", role="read")
    assert 'value="eve"' in typed
    theirs = await site.browser().sign_in("bob")
    page = (await theirs.get("/repos/vault/access")).text
    assert "Who can do what" in page and "setup right" not in page
    page = await done(browser, "/repos/vault/access/revoke", to="bob")
    assert "Nothing is granted on it" in page
    assert (await theirs.get("/repos/vault/access")).status == 404
    where = (await browser.get("/people/bob/where")).text
    assert "Nowhere" in where


async def test_a_key_shows_its_password_when_asked_and_ends(site: Site) -> None:
    browser = await site.admin()
    await site.services.repos.create(ADMIN, "vault")
    made = await browser.post(
        "/repos/vault/access/keys", {"label": "<b>build", "role": "read", "days": "30"}
    )
    assert made.status == 200 and "<b>build" not in made.text and "&lt;b&gt;build" in made.text
    found = re.search(r'id="key-password">([a-z2-7]{24})<', made.text)
    assert found, made.text
    (key,) = await site.services.access_keys.list(ADMIN, "vault")
    page = (await browser.get("/repos/vault/access")).text
    assert found[1] not in page and key.login in page
    again = await browser.post("/repos/vault/access/keys/password", {"key": key.id})
    assert found[1] in again.text
    await refused(browser, "/repos/vault/access/keys", "no number", 422, role="read", days="soon")
    page = await done(browser, "/repos/vault/access/keys/end", key=key.id)
    assert key.login not in page


async def test_the_setup_right_is_taken_shown_and_given_back(site: Site) -> None:
    browser = await site.admin()
    await site.services.repos.create(ADMIN, "vault")
    page = await done(browser, "/repos/vault/access/elevate")
    assert "has it for 15 minutes more" in page
    page = await done(browser, "/repos/vault/access/elevate/end", login="ada")
    assert "Nobody has it" in page


async def test_owners_see_their_organization_and_members_only_look(site: Site) -> None:
    organizations = site.services.organizations
    for login in ("olga", "mike", "eve"):
        await site.person(login)
    await organizations.create(ADMIN, "acme")
    await organizations.set_member(ADMIN, "acme", "olga", MemberRole.OWNER)
    await organizations.set_member(ADMIN, "acme", "mike", MemberRole.MEMBER)
    await site.services.grants.grant(ADMIN, Role.READ, org="acme", user="mike")
    olga, mike, eve = [await site.browser().sign_in(one) for one in ("olga", "mike", "eve")]
    assert 'action="/orgs/acme/members"' in (await olga.get("/orgs/acme")).text
    seen = (await mike.get("/orgs/acme")).text
    assert 'action="/orgs/acme/members"' not in seen and "Leave" in seen
    assert (await eve.get("/orgs/acme")).status == 404
    await refused(mike, "/orgs/acme/members", "Only an owner", 403, login="mike", role="owner")
    invited = await olga.post("/orgs/acme/invite", {"email": "", "role": "member"})
    assert invited.status == 200 and "/invite/" in invited.text
    answer = await mike.post("/orgs/acme/members/remove", {"login": "mike"})
    assert (answer.status, answer.location) == (303, "/orgs")
    assert (await mike.get("/orgs/acme")).status == 404


async def test_a_team_is_granted_roles_on_its_own_page(site: Site) -> None:
    await site.person("bob")
    browser, bob = await site.admin(), await site.browser().sign_in("bob")
    await site.services.repos.create(ADMIN, "vault", visibility=Visibility.PRIVATE)
    await site.services.repos.create(ADMIN, "hidden", visibility=Visibility.PRIVATE)
    await site.services.organizations.set_member(ADMIN, "main", "bob", MemberRole.MEMBER)
    await site.services.organizations.create_team(ADMIN, "main", "docs")
    team = "/orgs/main/teams/docs"
    assert "Nothing yet" in (await browser.get(team)).text
    page = await done(browser, f"{team}/grants", repository="vault", role="read")
    assert 'class="name" href="/repos/vault"' in page
    assert "/repos/vault" not in (await bob.get(team)).text  # he is not in it
    await refused(bob, f"{team}/grants", "Only an owner", 403, role="admin")
    await refused(bob, f"{team}/grants", "no repository", repository="hidden", role="admin")
    await done(browser, f"{team}/members", login="bob")
    assert "/repos/vault" in (await bob.get(team)).text
    assert "team main/docs" in (await bob.get("/account/where")).text
    await done(browser, f"{team}/grants/revoke", repository="vault")
    assert (await bob.get("/repos/vault")).status == 404
    page = await done(browser, f"{team}/grants", repository="", role="write")
    assert "<strong>every repository of main</strong>" in page
    assert (await bob.get("/repos/hidden")).status == 200
    page = await done(browser, f"{team}/grants/revoke", repository="")
    assert "Nothing yet" in page
