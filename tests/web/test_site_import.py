"""Importing on the site: a file as it arrives, the other forms, and the page of the job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from fossilrepo.config import Limits, Settings
from fossilrepo.errors import NotFound
from fossilrepo.models import JobState, Trust
from tests.helpers.poll import until
from tests.helpers.site import ADMIN, Answer, Browser, Site, roomy, served


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        yield site


async def upload(browser: Browser, name: str, content: bytes, token: str | None = None) -> Answer:
    form = aiohttp.FormData()
    form.add_field("csrf", browser.csrf if token is None else token)
    form.add_field("name", name)
    form.add_field("title", "Brought along")
    form.add_field("visibility", "private")
    form.add_field("file", content, filename="x.fossil", content_type="application/octet-stream")
    headers = {"Origin": browser.origin}
    return await browser.ask("POST", "/repos/-/import/file", headers, data=form)


async def test_an_uploaded_file_becomes_a_repository(
    site: Site, settings: Settings, fossil_template: Path
) -> None:
    browser = await site.admin()
    answer = await upload(browser, "museum", fossil_template.read_bytes())
    assert answer.status == 303
    job_id = answer.location.removeprefix("/jobs/")
    job = await site.services.jobs.wait(job_id)
    assert (job.state, job.error) == (JobState.DONE, "")
    page = (await browser.get(answer.location)).text
    assert 'href="/repos/museum"' in page
    assert "hx-trigger" not in page.split("<dialog")[0]
    repository = await site.services.repos.get(ADMIN, "museum")
    assert repository.trust is Trust.UNTRUSTED
    assert (repository.title, repository.visibility) == ("Brought along", "private")
    await until(lambda: not list(settings.scratch.iterdir()), what="the scratch folder to be empty")


async def test_a_file_that_is_no_repository_fails_with_the_reason(
    site: Site, settings: Settings
) -> None:
    browser = await site.admin()
    answer = await upload(browser, "museum", b"just some words" * 1000)
    job = await site.services.jobs.wait(answer.location.removeprefix("/jobs/"))
    assert job.state is JobState.FAILED
    page = (await browser.get(answer.location)).text
    assert "failed" in page and "Try again" in page
    with pytest.raises(NotFound):
        await site.services.repos.get(ADMIN, "museum")
    await until(lambda: not list(settings.scratch.iterdir()), what="the scratch folder to be empty")


async def test_an_upload_without_the_sessions_token_is_refused(
    site: Site, settings: Settings, fossil_template: Path
) -> None:
    browser = await site.admin()
    for token in ("", "x" * 43):
        answer = await upload(browser, "museum", fossil_template.read_bytes(), token)
        assert answer.status == 403
    assert not await site.services.jobs.recent(ADMIN)
    assert not list(settings.scratch.iterdir())


async def test_the_token_must_come_before_the_file(site: Site, fossil_template: Path) -> None:
    browser = await site.admin()
    form = aiohttp.FormData()
    form.add_field("name", "museum")
    form.add_field("file", fossil_template.read_bytes(), filename="x.fossil")
    form.add_field("csrf", browser.csrf)
    headers = {"Origin": browser.origin}
    answer = await browser.ask("POST", "/repos/-/import/file", headers, data=form)
    assert answer.status == 403


async def test_what_is_wrong_with_an_upload_stands_in_its_form(
    site: Site, fossil_template: Path
) -> None:
    browser = await site.admin()
    answer = await upload(browser, "Bad Name", fossil_template.read_bytes())
    assert answer.status == 422
    assert 'id="name-error"' in answer.text
    assert 'value="Brought along"' in answer.text
    empty = await browser.post("/repos/-/import/file", {"name": "museum"})
    assert empty.status == 422
    assert 'id="file-error"' in empty.text


async def test_an_upload_past_the_limit_is_refused_at_once(settings: Settings) -> None:
    limits = Limits.model_validate({"free_disk": "0%", "upload": "100KiB"})
    async with served(settings.model_copy(update={"limits": limits})) as site:
        browser = await site.admin()
        answer = await upload(browser, "museum", bytes(300_000))
        assert answer.status == 413
        assert "larger than" in answer.text
        assert not list(settings.scratch.iterdir())


BAD_ADDRESSES = ("", "/etc", "file:///etc", "ext::sh -c id", "-x", "ssh://-oProxy")


async def test_an_address_that_is_none_is_refused(site: Site) -> None:
    browser = await site.admin()
    for url in BAD_ADDRESSES:
        for way in ("clone", "git"):
            path = f"/repos/-/import/{way}"
            answer = await browser.post(path, {"name": "museum", "url": url})
            assert answer.status in (403, 422), (way, url, answer.location)
            assert f'action="{path}"' in answer.text, (way, url)
    assert not await site.services.jobs.recent(ADMIN)


async def test_a_running_job_renews_itself_in_place(site: Site, fossil_template: Path) -> None:
    browser = await site.admin()
    answer = await upload(browser, "museum", fossil_template.read_bytes())
    first = await browser.get(answer.location, {"HX-Request": "true"})
    assert "<html" not in first.text
    assert 'id="job"' in first.text

    async def ended() -> bool:
        piece = await browser.get(answer.location, {"HX-Request": "true"})
        return "hx-trigger" not in piece.text and "Open museum" in piece.text

    await until(ended, timeout=20, what="the piece to say that the job is done")


async def test_a_job_is_for_who_asked_and_for_administrators(
    site: Site, fossil_template: Path
) -> None:
    admin = await site.admin()
    await site.person("bob")
    answer = await upload(admin, "museum", fossil_template.read_bytes())
    bob = await site.browser().sign_in("bob")
    assert (await bob.get(answer.location)).status == 404
    await site.services.jobs.wait(answer.location.removeprefix("/jobs/"))
