"""Alerts, received by a real server: once when something breaks, once when it is well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fossilrepo.config import Settings
from fossilrepo.errors import Conflict, ToolFailed
from fossilrepo.models import now
from fossilrepo.services.alerts import Alerts
from fossilrepo.tools import notify
from tests.helpers.git_servers import TOKEN, USER, http_git
from tests.helpers.lab import HERE, Yard, yard


@dataclass
class Inbox:
    port: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)
    pings: int = 0
    broken: bool = False

    async def post(self, request: web.Request) -> web.Response:
        if self.broken:
            return web.Response(status=500)
        self.messages.append(json.loads(await request.read()))
        return web.Response()

    async def ping(self, _request: web.Request) -> web.Response:
        self.pings += 1
        return web.Response()

    def titles(self) -> list[str]:
        return [message["title"] for message in self.messages]


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    one = Inbox()
    app = web.Application()
    app.router.add_post("/", one.post)
    app.router.add_get("/alive", one.ping)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.port = runner.addresses[0][1]
    yield one
    await runner.cleanup()


@pytest.fixture
async def here(settings: Settings, tmp_path: Path, inbox: Inbox) -> AsyncIterator[Yard]:
    given = {
        "urls": [f"json://127.0.0.1:{inbox.port}/"],
        "ping_url": f"http://127.0.0.1:{inbox.port}/alive",
    }
    async with yard(settings, tmp_path, **given) as one:
        await one.repository("demo")
        one.services.alerts._patience = 0.0
        yield one


async def looked(alerts: Alerts) -> None:
    await alerts._tell_changes(await alerts.look())


async def test_a_mirror_that_fails_is_told_once_and_so_is_that_it_is_well(
    here: Yard, inbox: Inbox, tmp_path: Path
) -> None:
    async with http_git(tmp_path / "served") as server:
        mirror = await here.services.mirrors.add(
            HERE, "demo", server.url(), user=USER, token="wrong-token"
        )
        for _ in range(3):
            job = await here.services.mirrors.run(HERE, mirror.id, here=True)
            await here.services.jobs.wait(job.id)
            await looked(here.services.alerts)
        assert inbox.titles() == ["demo: its mirror fails"]
        assert f"/mirrors/{mirror.id}" in inbox.messages[0]["message"]
        assert "wrong-token" not in json.dumps(inbox.messages)
        await here.services.mirrors.configure(HERE, mirror.id, token=TOKEN)
        job = await here.services.mirrors.run(HERE, mirror.id, here=True)
        await here.services.jobs.wait(job.id)
        await looked(here.services.alerts)
        await looked(here.services.alerts)
    assert inbox.titles()[1:] == ["Well again: demo: its mirror fails"]


async def test_what_is_mended_before_anybody_was_told_is_not_told(here: Yard, inbox: Inbox) -> None:
    here.services.alerts._patience = 3600.0
    mirror = await here.services.mirrors.add(HERE, "demo", "http://127.0.0.1:1/x.git")
    job = await here.services.mirrors.run(HERE, mirror.id, here=True)
    await here.services.jobs.wait(job.id)
    await looked(here.services.alerts)
    await here.services.mirrors.remove(HERE, mirror.id)
    await looked(here.services.alerts)
    assert inbox.messages == []


async def test_a_restart_tells_nothing_again(
    here: Yard, inbox: Inbox, settings: Settings, tmp_path: Path
) -> None:
    mirror = await here.services.mirrors.add(HERE, "demo", "http://127.0.0.1:1/x.git")
    job = await here.services.mirrors.run(HERE, mirror.id, here=True)
    await here.services.jobs.wait(job.id)
    await looked(here.services.alerts)
    given = {"urls": [f"json://127.0.0.1:{inbox.port}/"]}
    async with yard(settings, tmp_path, **given) as again:
        again.services.alerts._patience = 0.0
        await looked(again.services.alerts)
    assert len(inbox.messages) == 1


async def test_a_message_that_could_not_be_sent_is_sent_later(here: Yard, inbox: Inbox) -> None:
    inbox.broken = True
    mirror = await here.services.mirrors.add(HERE, "demo", "http://127.0.0.1:1/x.git")
    job = await here.services.mirrors.run(HERE, mirror.id, here=True)
    await here.services.jobs.wait(job.id)
    alerts = here.services.alerts
    await looked(alerts)
    assert "json" in alerts.last_error and str(inbox.port) not in alerts.last_error
    inbox.broken, alerts._quiet_until = False, 0.0
    await looked(alerts)
    assert inbox.titles() == ["demo: its mirror fails"] and alerts.last_error == ""


async def test_a_token_that_ends_soon_is_told_twice_before(here: Yard, inbox: Inbox) -> None:
    mirror = await here.services.mirrors.add(
        HERE, "demo", "http://127.0.0.1:1/x.git", schedule="1d"
    )
    store = here.services.alerts._mirrors
    for days in (20, 13, 10, 1):
        await store.update(mirror.id, token_expires_at=now() + timedelta(days=days))
        await looked(here.services.alerts)
    assert len(inbox.messages) == 2 and all("token" in title for title in inbox.titles())


async def test_the_ping_is_sent_only_while_all_is_well(here: Yard, inbox: Inbox) -> None:
    alerts = here.services.alerts
    alerts._look_every = 0.01
    duty = asyncio.ensure_future(alerts.run())
    while not inbox.pings:
        await asyncio.sleep(0.01)
    duty.cancel()
    await asyncio.wait({duty})
    mirror = await here.services.mirrors.add(HERE, "demo", "http://127.0.0.1:1/x.git")
    job = await here.services.mirrors.run(HERE, mirror.id, here=True)
    await here.services.jobs.wait(job.id)
    assert await alerts.look() != []


async def test_a_trial_goes_to_every_address(here: Yard, inbox: Inbox) -> None:
    await here.services.alerts.test(HERE)
    assert len(inbox.messages) == 1


async def test_without_addresses_a_trial_says_so(settings: Settings, tmp_path: Path) -> None:
    async with yard(settings, tmp_path) as one:
        with pytest.raises(Conflict, match=r"no address"):
            await one.services.alerts.test(HERE)


async def test_addresses_that_act_on_the_machine_are_refused() -> None:
    for url in ("syslog://", "macosx://", "exec://x"):
        with pytest.raises(ToolFailed, match="not allowed"):
            await notify.notify([url], "t", "b")
    with pytest.raises(ToolFailed, match="no address of Apprise"):
        await notify.check(["nonsense-without-scheme"])
