"""Repositories on the site: made, found, shown, changed, thrown away and brought back."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fossilrepo.config import Settings
from fossilrepo.errors import NotFound
from fossilrepo.models import RepositoryState, Visibility
from tests.helpers.poll import until
from tests.helpers.site import ADMIN, Site, roomy, served


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        yield site


async def test_a_repository_is_made_and_shown(site: Site) -> None:
    browser = await site.admin()
    assert "No repository yet" in (await browser.get("/repos")).text
    fields = {"name": "museum", "title": "The museum", "visibility": "private"}
    done = await browser.post("/repos/-/new", fields)
    assert (done.status, done.location) == (303, "/repos/museum")
    page = (await browser.get("/repos/museum")).text
    assert f"fossil clone http://ada@museum.localhost:{site.port}/ museum.fossil" in page
    assert f"fossil clone http://ada@localhost:{site.port}/museum museum.fossil" in page
    assert "initial empty check-in" in page
    repository = await site.services.repos.get(ADMIN, "museum")
    assert (repository.visibility, repository.created_by) == (Visibility.PRIVATE, "ada")
    (entry, *_) = await site.services.audit.recent(subject="museum")
    assert (entry.actor, entry.address) == ("ada", "127.0.0.1")


BAD_NAMES = ("", ".", "-x", "../x", "a/b", "X", "a" * 64, "é", "login", "a--b")


async def test_a_bad_name_is_told_beside_its_field(site: Site) -> None:
    browser = await site.admin()
    for name in BAD_NAMES:
        fields = {"name": name, "title": "Kept <b>title</b>"}
        answer = await browser.post("/repos/-/new", fields)
        assert answer.status == 422, name
        assert 'id="name-error"' in answer.text, name
        assert 'value="Kept &lt;b&gt;title&lt;/b&gt;"' in answer.text, name
    assert (await site.services.repos.search(ADMIN)).total == 0


async def test_a_taken_name_is_told_beside_its_field(site: Site) -> None:
    browser = await site.admin()
    await browser.post("/repos/-/new", {"name": "museum"})
    answer = await browser.post("/repos/-/new", {"name": "museum"})
    assert answer.status == 409
    assert 'id="name-error"' in answer.text


async def test_what_people_wrote_is_text_and_never_markup(site: Site) -> None:
    browser = await site.admin()
    script = "<script>alert(1)</script>"
    await browser.post(
        "/repos/-/new", {"name": "museum", "title": script, "description": f'"{script}'}
    )
    pages = ("/repos", "/repos/museum", "/repos/museum/settings", "/activity", f"/repos?q={script}")
    for path in pages:
        text = (await browser.get(path)).text
        assert script not in text, path


async def test_the_list_keeps_its_state_in_the_address(site: Site) -> None:
    browser = await site.admin()
    for number in range(3):
        await site.services.repos.create(ADMIN, f"stone-{number}", title="Grey")
    page = (await browser.get("/repos?q=stone+grey&sort=size")).text
    assert page.count('class="name"') == 3
    assert 'value="stone grey"' in page
    assert "/repos?q=stone+grey&amp;sort=change" in page
    assert "Nothing found" in (await browser.get("/repos?q=granite")).text
    assert (await browser.get("/repos?page=9")).location == "/repos"
    for path in ("/repos?page=x&sort=y", "/repos?page=-1", "/repos?page=9999999999999999999999"):
        assert (await browser.get(path)).status in (200, 303), path


async def test_pages_of_a_long_list(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fossilrepo.web.paging.PER_PAGE", 2)
    browser = await site.admin()
    for number in range(5):
        await site.services.repos.create(ADMIN, f"stone-{number}")
    seen: list[str] = []
    path = "/repos"
    while path:
        page = (await browser.get(path)).text
        seen += re.findall(r'class="name" href="/repos/([^"]+)"', page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following[1] if following else ""
    assert seen == [f"stone-{number}" for number in range(5)]


async def test_people_see_what_they_may_know_of(site: Site) -> None:
    await site.person("bob")
    for visibility in Visibility:
        await site.services.repos.create(ADMIN, f"a-{visibility}", visibility=visibility)
    browser = await site.browser().sign_in("bob")
    page = (await browser.get("/repos")).text
    assert "a-public" in page and "a-internal" in page
    assert "a-private" not in page
    assert (await browser.get("/repos/a-private")).status == 404
    shown = (await browser.get("/repos/a-public")).text
    assert f"fossil clone http://bob@a-public.localhost:{site.port}/ a-public.fossil" in shown
    assert "Settings" not in shown
    assert (await browser.get("/repos/a-public/password")).status == 200
    assert (await browser.get("/repos/a-private/password")).status == 404


async def test_the_fossil_password_is_shown_on_request_only(site: Site) -> None:
    browser = await site.admin()
    repository = await site.services.repos.create(ADMIN, "museum")
    secret = await site.services.accounts.sync_password("ada", repository)
    page = await browser.get("/repos/museum")
    assert secret not in page.text
    asked = await browser.get("/repos/museum/password")
    assert secret in asked.text
    assert asked.headers["Cache-Control"] == "no-store"
    piece = await browser.get("/repos/museum/password", {"HX-Request": "true"})
    assert secret in piece.text
    assert "<html" not in piece.text


async def test_settings_are_changed(site: Site) -> None:
    browser = await site.admin()
    await site.services.repos.create(ADMIN, "museum", title="Old")
    assert 'value="Old"' in (await browser.get("/repos/museum/settings")).text
    fields = {"title": "New", "description": "Words", "visibility": "internal"}
    done = await browser.post("/repos/museum/settings", fields)
    assert done.location == "/repos/museum/settings"
    after = await site.services.repos.get(ADMIN, "museum")
    assert (after.title, after.description, after.visibility) == ("New", "Words", "internal")
    wrong = await browser.post("/repos/museum/settings", {**fields, "visibility": "secret"})
    assert wrong.status == 422
    assert "is no visibility" in wrong.text


async def test_rename_archive_and_back(site: Site) -> None:
    browser = await site.admin()
    await site.services.repos.create(ADMIN, "museum")
    await site.services.repos.create(ADMIN, "other")
    taken = await browser.post("/repos/museum/rename", {"name": "other"})
    assert taken.status == 409
    assert 'id="rename-name-error"' in taken.text
    assert (await browser.post("/repos/museum/rename", {"name": "hall"})).location == "/repos/hall"
    assert (await browser.get("/repos/museum")).status == 404
    await browser.post("/repos/hall/archive")
    assert (await site.services.repos.get(ADMIN, "hall")).state is RepositoryState.ARCHIVED
    assert "nobody can push" in (await browser.get("/repos/hall")).text
    await browser.post("/repos/hall/unarchive")
    assert (await site.services.repos.get(ADMIN, "hall")).state is RepositoryState.ACTIVE


async def test_deleting_needs_the_name_and_can_be_undone(site: Site) -> None:
    browser = await site.admin()
    before = await site.services.repos.create(ADMIN, "museum")
    wrong = await browser.post("/repos/museum/delete", {"confirm": "musuem"})
    assert wrong.status == 422
    assert 'id="delete-confirm-error"' in wrong.text
    done = await browser.post("/repos/museum/delete", {"confirm": "museum"})
    assert done.location == "/repos/-/trash"
    assert "museum" in (await browser.get("/repos/-/trash")).text
    assert (await browser.get("/repos/museum")).status == 404
    one = f"/repos/-/trash/{before.id}"
    assert 'value="museum"' in (await browser.get(one)).text
    back = await browser.post(f"{one}/restore", {"name": "hall"})
    assert back.location == "/repos/hall"
    assert (await site.services.repos.get(ADMIN, "hall")).id == before.id
    assert (await browser.get(one)).status == 404


async def test_purging_needs_the_name_and_leaves_no_file(site: Site, settings: Settings) -> None:
    browser = await site.admin()
    before = await site.services.repos.create(ADMIN, "museum")
    await site.services.repos.delete(ADMIN, "museum")
    one = f"/repos/-/trash/{before.id}"
    assert (await browser.post(f"{one}/purge", {"confirm": "no"})).status == 422
    assert list(settings.store.glob("*.fossil"))
    done = await browser.post(f"{one}/purge", {"confirm": "museum"})
    assert done.location == "/repos/-/trash"
    assert not list(settings.store.glob("*.fossil"))
    assert "The trash is empty" in (await browser.get("/repos/-/trash")).text


async def test_an_export_is_a_whole_repository_and_leaves_no_scratch_file(
    site: Site, settings: Settings, tmp_path: Path
) -> None:
    browser = await site.admin()
    repository = await site.services.repos.create(ADMIN, "museum")
    answer = await browser.post("/repos/museum/export")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="museum.fossil"'
    (tmp_path / "copy").write_bytes(answer.content)
    connection = sqlite3.connect(tmp_path / "copy")
    found = connection.execute("SELECT value FROM config WHERE name='project-code'").fetchone()
    assert found == (repository.project_code,)
    assert connection.execute("SELECT count(*) FROM user WHERE cookie IS NOT NULL").fetchone() == (
        0,
    )
    connection.close()
    await until(lambda: not list(settings.scratch.glob("export-*")), what="the scratch file to go")


async def test_a_broken_repository_is_shown_with_its_reason(site: Site, settings: Settings) -> None:
    browser = await site.admin()
    await site.services.repos.create(ADMIN, "museum")
    (file,) = settings.store.glob("*.fossil")
    file.write_bytes(b"no repository any more" * 100)
    page = await browser.get("/repos/museum")
    assert page.status == 200
    assert 'role="alert"' in page.text


async def test_a_name_that_is_gone_is_a_page_that_helps(site: Site) -> None:
    browser = await site.admin()
    answer = await browser.get("/repos/gone")
    assert answer.status == 404
    assert "There is no repository" in answer.text
    assert answer.headers["X-Request-Id"] in answer.text
    with pytest.raises(NotFound):
        await site.services.repos.get(ADMIN, "gone")
