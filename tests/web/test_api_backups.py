"""The API of backups: how they stand, and back to a moment, on a running host."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from fossilrepo.web import api_backup_models as m
from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until
from tests.helpers.site import Browser
from tests.web.test_api import Client
from tests.web.test_site_backups import pushed, wait_until_current


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("api-backups") / "data").start()
    try:
        host.admin()
        yield host
    finally:
        assert host.stop() == 0
    assert "Traceback" not in host.log(), host.log()[-5000:]


@pytest.fixture(scope="module")
def museum(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A repository of two pushes, which every test leaves as it was."""
    return pushed(host, "museum", tmp_path_factory.mktemp("museum"), 2)


@asynccontextmanager
async def client(host: Host) -> AsyncIterator[Client]:
    token = host.call("api-token", "create", "ada").stdout.strip().splitlines()[-1]
    port = host.port
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Client(Browser(session, port, f"localhost:{port}"), token)


async def done(api: Client, path: str, body: Any = None) -> dict[str, Any]:
    """What the job that this starts ended with."""
    job = await api.done("POST", path, body, 202)

    async def ended() -> Any:
        found = await api.done("GET", f"/jobs/{job['id']}")
        return found if found["finished_at"] else None

    found: dict[str, Any] = await until(ended, timeout=30, every=0.1, what="the end of the job")
    assert found["state"] == "done", found
    return found


async def test_the_document_is_that_of_the_command_line(host: Host, museum: Checkout) -> None:
    async with client(host) as api:
        found = await api.done("GET", "/backup")
        assert set(found) == set(m.Backup.model_fields)
        (one,) = found["repositories"]
        assert set(one) == set(m.ReplicaAnswer.model_fields)
        assert (one["name"], one["state"], one["lag_s"]) == ("museum", "current", 0)
        told = host.json("backup", "status")
        assert set(told) == set(found)
        assert {key: told[key] for key in ("url", "place")} == {
            "url": f"file://{host.data}/backups",
            "place": "this disk",
        }
        shown = await api.done("GET", "/repositories/museum")
        assert shown["backup"]["state"] == "current"


async def test_back_to_a_moment_in_every_way(host: Host, museum: Checkout) -> None:
    last = museum.head()
    before = f"before {last[:16]}"
    base = "/repositories/museum/backup"
    async with client(host) as api:
        points = await api.done("GET", f"{base}/points")
        assert set(points) >= set(m.Points.model_fields)
        assert points["points"]
        difference = await api.done("GET", f"{base}/compare?at={before.replace(' ', '+')}")
        assert last[:10] in json.dumps(difference)
        await done(api, f"{base}/restore", {"at": before, "as": "museum-before"})
        assert (await api.done("GET", "/repositories/museum-before"))["checkins"] == 2
        await done(api, f"{base}/restore", {"at": before, "in_place": True})
        assert (await api.done("GET", "/repositories/museum"))["checkins"] == 2
        await done(api, f"{base}/undo")
        assert (await api.done("GET", "/repositories/museum"))["checkins"] == 3
        job = await done(api, f"{base}/file", {})
        file = await api.ask("GET", f"/jobs/{job['id']}/file")
        assert file.content.startswith(b"SQLite format 3\0")


async def test_what_is_asked_wrongly_is_refused_with_the_field(host: Host) -> None:
    host.call("repo", "create", "wrong")
    base = "/repositories/wrong/backup"
    async with client(host) as api:
        for body in ({}, {"as": "x", "in_place": True}, {"in_place": "maybe"}, {"to": "x"}):
            await api.refused(422, "POST", f"{base}/restore", body)
        bad = {"at": "the day after never", "as": "x"}
        assert (await api.refused(422, "POST", f"{base}/restore", bad))["field"] == "at"
        await api.refused(409, "POST", f"{base}/restore", {"as": "wrong"})
        await api.refused(404, "POST", "/repositories/nothing/backup/restore", {"as": "x"})
        await api.refused(404, "GET", "/repositories/nothing/backup/points")
        await api.refused(404, "POST", "/backup/verify", {"names": ["nothing"]})
        await api.refused(404, "DELETE", "/backup/previews/wrong--aaaaaa")
        await api.refused(404, "GET", "/jobs/aaaaaaaaaaaa/file")


async def test_previews_trials_deleted_ones_and_the_forecast(host: Host) -> None:
    host.call("repo", "create", "loft")
    wait_until_current(host, "loft")
    async with client(host) as api:
        await done(api, "/repositories/loft/backup/preview", {})
        (open_one,) = (await api.done("GET", "/backup/previews"))["previews"]
        assert set(open_one) == set(m.PreviewAnswer.model_fields)
        await api.done("DELETE", f"/backup/previews/{open_one['name']}", status=204)
        assert (await api.done("GET", "/backup/previews"))["previews"] == []
        await done(api, "/backup/verify", {"names": ["loft"]})
        (run, *_) = (await api.done("GET", "/backup/verifications?name=loft"))["verifications"]
        assert set(run) >= set(m.Verification.model_fields)
        assert (run["name"], run["ok"]) == ("loft", True)
        await api.done("DELETE", "/repositories/loft")
        (deleted,) = (await api.done("GET", "/backup/deleted"))["deleted"]
        assert (deleted["name"], deleted["state"], deleted["until"]) == ("loft", "trashed", None)
        forecast = await api.done("GET", "/backup/forecast")
        assert forecast["total_bytes"] > 0
        assert set(forecast) >= set(m.Forecast.model_fields)


async def test_metrics_tell_of_every_replica(host: Host, museum: Checkout) -> None:
    async with client(host) as api:
        text = (await api.browser.get("/metrics")).text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[:1] not in ("#", ""))
    of_it = [key for key in lines if 'repository="museum"' in key]
    names = {key.partition("{")[0] for key in of_it}
    assert {"fossilrepo_backup_lag_seconds", "fossilrepo_backup_last_synced_timestamp_seconds"} <= (
        names
    )
    assert lines['fossilrepo_backup_state{state="current"}'] != "0.0"
    assert lines["fossilrepo_backup_local_only"] == "1.0"
    assert "fossilrepo_backup_verifications_total" in lines
