"""Backups on the site: how everything stands, and back to a moment, with real replicas."""

from __future__ import annotations

import asyncio
import html
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from fossilrepo.config import Settings
from fossilrepo.db.backups import BackupStore
from fossilrepo.db.engine import Database
from fossilrepo.errors import FossilrepoError
from fossilrepo.models import Actor, BackupState, Job, Replica, Visibility, now
from fossilrepo.rights import Role
from fossilrepo.services.jobs import Progress
from fossilrepo.services.replication import Replication
from fossilrepo.web.downloads import DOWNLOADS
from fossilrepo.web.safety import safety
from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until, until_sync
from tests.helpers.site import ADMIN, Answer, Browser, Site, roomy, served

# What does not need a running host


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with served(roomy(settings)) as site:
        yield site


async def test_without_repositories_the_page_says_what_to_do_first(site: Site) -> None:
    browser = await site.admin()
    page = (await browser.get("/backups")).text
    assert "No repository yet" in page and "/repos/-/new" in page
    assert "Nothing is deleted" in page
    assert f"file://{site.services.settings.data}/backups" in page


async def test_a_replica_on_the_same_disk_is_called_local_only(site: Site) -> None:
    browser = await site.admin()
    page = (await browser.get("/backups")).text
    assert "Copied on this disk only: protects from mistakes, not from losing the machine" in page
    assert "s3://BUCKET/PREFIX" in page
    checks = (await browser.get("/system")).text
    assert "copied on this disk only" in checks


def plain(page: str) -> str:
    """The text of a page without its tags."""
    return html.unescape(re.sub("<[^>]+>", "", page))


async def test_a_failing_replica_is_shown_first_with_since_why_and_what_to_do(site: Site) -> None:
    """Replication without Litestream: every question to it fails."""
    await site.services.repos.create(ADMIN, "museum")
    replication = site.services.replication
    task = asyncio.create_task(replication.run())
    try:
        await until(lambda: replication.summary()["state"] == "failing", what="a failure")
        browser = await site.admin()
        page = (await browser.get("/backups")).text
        first, _, rest = page.partition('id="h-list"')
        row = next(r for r in replication.statuses().values() if r.label == "museum")
        assert "What needs a look" in first and "museum" in first and "since <time" in first
        for words in (row.reason, row.hint):
            assert words and words.replace("`", "")[1:] in plain(first)
        assert 'class="status bad">failing' in rest
        shown = (await browser.get("/repos/museum")).text
        assert "Not replicated since" in shown and row.reason[1:] in plain(shown)
        await site.person("bob")
        reader = await site.browser().sign_in("bob")
        for_reader = (await reader.get("/repos/museum")).text
        assert "Not replicated since" in for_reader
        assert row.reason[1:] not in plain(for_reader)
        status = await site.services.health.status()
        assert status["backup"]["behind"] == ["control database", "museum"]
        checks = {check.name: check for check in await site.services.health.doctor()}
        assert checks["replicas"].result == "fail" and checks["replicas"].mend
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_failed_trial_restore_is_shown_wherever_the_repository_is(site: Site) -> None:
    made = await site.services.repos.create(ADMIN, "museum")
    database = Database(site.services.settings)
    at, words = now(), "check-in 7 <is> missing"
    store = BackupStore(database)
    await store.note(made.id, label="museum", verify_at=at, verify_error=words)
    await store.add_verification(
        repository_id=made.id,
        label="museum",
        at=at,
        seconds=0.5,
        ok=False,
        detail=words,
        size_bytes=0,
        checkins=0,
    )
    await database.close()
    await site.services.replication.load()
    browser = await site.admin()
    page = (await browser.get("/backups")).text
    assert 'class="status bad">not proven' in page.partition('id="h-list"')[0]
    for path in ("/backups", "/backups/-/trials", "/repos/museum/backups"):
        assert words in plain((await browser.get(path)).text).replace("Check-in", "check-in"), path
        assert "<is>" not in (await browser.get(path)).text
    assert "its trial restore" in (await browser.get("/repos/museum")).text
    checks = {check.name: check for check in await site.services.health.doctor()}
    assert checks["trial restores"].result == "fail" and words in checks["trial restores"].found


async def known(site: Site, count: int) -> None:
    """Rows of replicas as a host left them behind."""
    database = Database(site.services.settings)
    try:
        at = now()
        await BackupStore(database).note_all(
            {
                f"{number:a>12}": {
                    "label": f"stone-{number}",
                    "state": BackupState.OFF,
                    "since": at,
                }
                for number in range(count)
            }
        )
    finally:
        await database.close()
    await site.services.replication.load()


async def test_many_replicas_are_paged_and_found(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fossilrepo.web.paging.PER_PAGE", 5)
    await known(site, 12)
    browser = await site.admin()
    seen: list[str] = []
    path = "/backups"
    while path:
        page = (await browser.get(path)).text
        seen += re.findall(r'class="name" href="/repos/([^"/]+)/backups"', page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = html.unescape(following[1]) if following else ""
    assert sorted(seen) == sorted(f"stone-{number}" for number in range(12))
    found = (await browser.get("/backups?q=stone-11&sort=state")).text
    assert "/repos/stone-11/backups" in found and "/repos/stone-1/backups" not in found
    assert "Nothing found" in (await browser.get("/backups?q=granite")).text
    for path in ("/backups?page=99&sort=x", "/backups?page=-1", "/backups?sort=proof"):
        assert (await browser.get(path)).status == 200, path


async def test_letting_an_earlier_place_go_wants_its_address(site: Site) -> None:
    database = Database(site.services.settings)
    for url in ("file:///srv/old", f"file://{site.services.settings.data}/backups"):
        await BackupStore(database).add_target(url)
    await database.close()
    browser = await site.admin()
    page = (await browser.get("/backups")).text
    path = re.search(r'href="(/backups/-/targets/\d+)">let go', page)
    assert path and page.count("let go…") == 1  # the place in use cannot be
    wrong = await browser.post(path[1], {"confirm": "file:///srv"})
    assert wrong.status == 422 and "let-go-confirm-error" in wrong.text
    early = await browser.post(path[1], {"confirm": "file:///srv/old"})
    assert early.status == 409 and "not proven yet" in early.text
    assert (await browser.get("/backups/-/targets/99")).status == 404


class Told(Replication):
    """Nothing but what was told."""

    def __init__(self, row: Replica, place: str) -> None:
        self._row, self._where = row, place

    def standing(self, repository_id: str) -> Replica:
        return self._row

    @property
    def place(self):  # type: ignore[no-untyped-def]
        return self._where


WELL = {"state": BackupState.CURRENT}
LINES: dict[str, tuple[dict[str, Any], str, str]] = {
    "safe": (
        WELL | {"synced_at": 0, "proven_at": 0},
        "s3",
        r"Replicated \d\.\d s ago, restored and checked <time.*>just now<",
    ),
    "this disk only": (
        WELL | {"synced_at": 0, "proven_at": 0},
        "this disk",
        r"Replicated .* ago, on this disk only, restored",
    ),
    "behind": (
        {"state": BackupState.BEHIND, "behind_since": 3},
        "s3",
        r"What changed in the last \d\.\d s is not on the replica yet, not restored on trial yet",
    ),
    "not proven": (
        WELL | {"synced_at": 0, "verify_error": "it is short"},
        "s3",
        r"Replicated .* ago, but its trial restore .* failed",
    ),
    "not known": (
        {"synced_at": 0},
        "s3",
        r"How it is replicated is not known now, it was whole there .*, not restored",
    ),
    "new": ({}, "s3", r"On its way to the replica for the first time, not restored"),
    "not replicated": (
        {"state": BackupState.OFF, "reason": "it is broken: <b>"},
        "s3",
        r"Not replicated: it is broken: &lt;b&gt;",
    ),
}


@pytest.mark.parametrize("word", LINES)
def test_one_line_says_how_safe_it_is(word: str) -> None:
    """Numbers in the rows are seconds ago."""
    known_of_it, place, line = LINES[word]
    values: dict[str, Any] = {
        key: now() - timedelta(seconds=value) if isinstance(value, int) else value
        for key, value in known_of_it.items()
    }
    row = Replica("a", **values)
    said = safety(Told(row, place), "a", tells_why=True)
    assert said.word == word
    assert re.match(line, said.line), said.line


async def test_a_file_that_nobody_takes_away_goes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fossilrepo.web.downloads.KEEP", 1.5)
    jobs, downloads = site.services.jobs, site.app[DOWNLOADS]
    await site.services.repos.create(ADMIN, "museum")
    made: list[Path] = []

    async def start(path: Path) -> Job:
        async def work(_progress: Progress) -> None:
            made.append(path)
            await asyncio.to_thread(path.write_bytes, b"content")

        return await jobs.start("a file", "museum", ADMIN, work)

    job = await downloads.made_by(start, "museum.fossil")
    browser = await site.admin()
    await jobs.wait(job.id)
    assert (await browser.get(f"/jobs/{job.id}/file")).content == b"content"
    await until(lambda: downloads.of(job.id) is None, what="the end of the file")
    await until(lambda: not made[0].parent.exists(), what="the end of the file on the disk")
    late = await browser.get(f"/jobs/{job.id}/file")
    assert late.status == 404 and "restore it again" in late.text


async def test_a_file_of_a_repository_is_not_for_who_lost_their_role_in_it(site: Site) -> None:
    services = site.services
    await services.repos.create(ADMIN, "museum", visibility=Visibility.PRIVATE)
    await site.person("bob")
    await services.grants.grant(ADMIN, Role.ADMIN, repository="museum", user="bob")

    async def start(path: Path) -> Job:
        async def work(_progress: Progress) -> None:
            await asyncio.to_thread(path.write_bytes, b"content")

        return await services.jobs.start("a file", "museum", Actor("bob"), work)

    job = await site.app[DOWNLOADS].made_by(start, "museum.fossil")
    await services.jobs.wait(job.id)
    browser = await site.browser().sign_in("bob")
    assert (await browser.get(f"/jobs/{job.id}/file")).content == b"content"
    await services.grants.grant(ADMIN, Role.READ, repository="museum", user="bob")
    assert (await browser.get(f"/jobs/{job.id}/file")).status == 404
    assert 'href="/repos/museum/backups"' in (await browser.get(f"/jobs/{job.id}")).text

    async def fail(_progress: Progress) -> None:
        raise FossilrepoError("it is gone")

    failed = await services.jobs.start("restore to a file", "gone", Actor("bob"), fail)
    await services.jobs.wait(failed.id)
    page = (await browser.get(f"/jobs/{failed.id}")).text
    assert 'href="/backups"' not in page, "a page that is not for them"


# A running host


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("backups") / "data").start()
    try:
        host.admin()
        yield host
    finally:
        assert host.stop() == 0
    assert "Traceback" not in host.log(), host.log()[-5000:]


@pytest.fixture(scope="module")
def museum(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A repository of three pushes, for the tests that leave it as it is."""
    return pushed(host, "museum", tmp_path_factory.mktemp("museum"))


@asynccontextmanager
async def signed_in(host: Host) -> AsyncIterator[Browser]:
    port = host.port
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield await Browser(session, port, f"localhost:{port}").sign_in("ada")


def pushed(host: Host, name: str, folder: Path, count: int = 3) -> Checkout:
    """A repository of this name with so many pushes, all on the replica; the last one apart."""
    host.call("repo", "create", name)
    client = Checkout.cloned(
        host.url(name, "ada", host.fossil_password("ada", name)), folder / name, "ada"
    )
    for number in range(count):
        client.commit(f"file-{number}.txt", f"{number}\n" * (number + 1), f"change {number}")
        if number == count - 1:
            wait_until_current(host, name)
        client.push()
    wait_until_current(host, name)
    return client


def wait_until_current(host: Host, name: str) -> None:
    until_sync(lambda: is_current(host, name), timeout=20, what=f"{name} on the replica")


def is_current(host: Host, name: str) -> bool:
    backup = host.json("repo", "show", name)["backup"]
    return bool(backup["state"] == "current" and backup["lag_s"] == 0)


async def ended(browser: Browser, answer: Answer, state: str = "done") -> str:
    """The page of the job that the form led to, once it ended in this state."""
    assert answer.status == 303, (answer.status, answer.text)
    path = answer.location
    assert path.startswith("/jobs/")

    async def page() -> str:
        text = (await browser.get(path)).text
        return text if "Ended" in text else ""

    text = await until(page, timeout=30, every=0.1, what="the end of the job")
    assert f'">{state}</span>' in text, text
    return text


async def test_the_time_line_of_pushes_and_a_new_repository_from_a_moment(
    host: Host, museum: Checkout
) -> None:
    last = museum.head()
    async with signed_in(host) as browser:
        page = (await browser.get("/repos/museum/backups")).text
        for number in range(3):
            assert f"change {number}" in page
        assert page.index("change 2") < page.index("change 0")  # newest first
        moment = f"before {last[:16]}"
        look = await browser.get(f"/repos/museum/backups/moment?at={quote(moment)}")
        assert last[:16] in look.text and "Restore as new" in look.text
        made = await browser.post(
            "/repos/museum/backups/new", {"at": moment, "name": "museum-before"}
        )
        page = await ended(browser, made)
        assert 'href="/repos/museum-before"' in page
        taken = await browser.post("/repos/museum/backups/new", {"at": moment, "name": "museum"})
        assert taken.status == 409 and "name-error" in taken.text
    assert host.json("repo", "show", "museum-before")["checkins"] == 3
    assert host.json("repo", "show", "museum")["checkins"] == 4


async def test_a_moment_that_cannot_be_read_is_told_beside_its_field(
    host: Host, tmp_path: Path
) -> None:
    host.call("repo", "create", "when")
    async with signed_in(host) as browser:
        answer = await browser.get("/repos/when/backups/moment?at=the+day+after+never")
        assert answer.status == 422
        assert 'id="at-error"' in answer.text and 'value="the day after never"' in answer.text
        assert (await browser.get("/repos/nothing/backups")).status == 404
        for path in ("new", "file", "preview"):
            fields = {"at": "the day after never", "name": "x"}
            answer = await browser.post(f"/repos/when/backups/{path}", fields)
            assert answer.status == 422, path


async def test_in_place_shows_what_would_change_wants_the_name_and_can_be_undone(
    host: Host, tmp_path: Path
) -> None:
    client = pushed(host, "hall", tmp_path, 2)
    moment = f"before {client.head()[:16]}"
    async with signed_in(host) as browser:
        path = "/repos/hall/backups/in-place"
        page = (await browser.get(f"{path}?at={quote(moment)}")).text
        assert "change 1" in page and "push" in page  # what goes, and that clones push it back
        wrong = await browser.post(path, {"at": moment, "confirm": "hal"})
        assert wrong.status == 422 and "confirm-error" in wrong.text
        assert host.json("repo", "show", "hall")["checkins"] == 3
        await ended(browser, await browser.post(path, {"at": moment, "confirm": "hall"}))
        assert host.json("repo", "show", "hall")["checkins"] == 2
        assert "/repos/hall/backups/undo" in (await browser.get("/repos/hall/backups")).text
        await ended(browser, await browser.post("/repos/hall/backups/undo"))
        assert host.json("repo", "show", "hall")["checkins"] == 3
        host.call("repo", "create", "untouched")
        nothing = await browser.post("/repos/untouched/backups/undo")
        assert nothing.status == 404 and 'role="alert"' in nothing.text


async def test_a_preview_is_opened_shown_and_ended(host: Host, museum: Checkout) -> None:
    async with signed_in(host) as browser:
        page = await ended(browser, await browser.post("/repos/museum/backups/preview", {"at": ""}))
        link = re.search(r'href="(http://(museum--[a-z2-7]{6})\.localhost:\d+/)"', page)
        assert link, page
        for path in ("/backups", "/repos/museum/backups"):
            assert link[2] in (await browser.get(path)).text, path
        closed = await browser.post(f"/backups/-/previews/{link[2]}/close")
        assert closed.status == 303
        assert link[2] not in (await browser.get("/backups")).text
        assert (await browser.post("/backups/-/previews/museum/close")).status == 404


async def test_a_moment_is_taken_away_as_a_file_without_secrets(
    host: Host, museum: Checkout, tmp_path: Path
) -> None:
    async with signed_in(host) as browser:
        page = await ended(browser, await browser.post("/repos/museum/backups/file", {"at": ""}))
        link = re.search(r'href="(/jobs/\w+/file)"', page)
        assert link
        for _ in range(2):  # a download that broke can be begun again
            file = await browser.get(link[1])
            assert file.status == 200
        assert 'filename="museum.fossil"' in file.headers["Content-Disposition"]
        assert (await browser.get("/jobs/aaaaaaaaaaaa/file")).status == 404
    (tmp_path / "taken").write_bytes(file.content)
    with sqlite3.connect(tmp_path / "taken") as connection:
        count = "SELECT count(*) FROM event WHERE type = 'ci'"
        assert connection.execute(count).fetchone() == (4,)
        secrets = "SELECT count(*) FROM user WHERE length(pw) = 40 OR cookie IS NOT NULL"
        assert connection.execute(secrets).fetchone() == (0,)
    connection.close()


async def test_a_trial_restore_is_asked_for_and_shown(host: Host, museum: Checkout) -> None:
    async with signed_in(host) as browser:
        await ended(browser, await browser.post("/backups/-/verify", {"name": "museum"}))
        assert 'class="status good">proven' in (await browser.get("/backups")).text
        assert "museum" in (await browser.get("/backups/-/trials?name=museum")).text
        shown = (await browser.get("/repos/museum")).text
        assert "restored and checked" in shown
        assert 'class="status good">proven' in (await browser.get("/repos/museum/backups")).text


async def test_what_was_deleted_and_purged_comes_back_by_its_identity(
    host: Host, tmp_path: Path
) -> None:
    pushed(host, "attic", tmp_path, 1)
    identity = host.json("repo", "show", "attic")["id"]
    async with signed_in(host) as browser:
        await browser.post("/repos/attic/delete", {"confirm": "attic"})
        assert f"/backups/-/gone/{identity}" in (await browser.get("/backups")).text
        purged = await browser.post(f"/repos/-/trash/{identity}/purge", {"confirm": "attic"})
        assert purged.status == 303

        async def listed() -> bool:
            page = (await browser.get("/backups")).text
            return f"/backups/-/gone/{identity}" in page and "can be brought back until" in page

        await until(listed, what="the purged one among what can come back")
        past = (await browser.get(f"/backups/-/gone/{identity}")).text
        assert "It was purged" in past and "/undo" not in past and "/in-place" not in past
        made = await browser.post(
            f"/backups/-/gone/{identity}/new", {"at": "", "name": "attic-again"}
        )
        await ended(browser, made)
        assert (await browser.get("/backups/-/gone/aaaaaaaaaaaa")).status == 404
    assert host.json("repo", "show", "attic-again")["checkins"] == 2


async def test_the_page_of_the_control_database_says_how_to_get_and_use_it(host: Host) -> None:
    async with signed_in(host) as browser:
        page = (await browser.get("/backups/-/control")).text
    assert str(host.data / "fossilrepo.db") in page
    command = re.search(r'<code id="newest">fossilrepo ([^<]+)</code>', page)
    assert command
    host.call(*command[1].split()[:-1], str(host.data.parent / "restored.db"))
    connection = sqlite3.connect(host.data.parent / "restored.db")
    assert connection.execute("SELECT login FROM users").fetchall() == [("ada",)]
    connection.close()


async def test_the_forecast_is_a_page_of_its_own_and_a_piece_of_the_other(host: Host) -> None:
    async with signed_in(host) as browser:
        page = await browser.get("/backups/-/forecast")
        assert "Grows by" in page.text and "<html" in page.text
        piece = await browser.get("/backups/-/forecast", {"HX-Request": "true"})
        assert "Grows by" in piece.text and "<html" not in piece.text
