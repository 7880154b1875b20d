"""Webhooks against a real receiver: signed, in order, tried again, and nowhere else."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fossilrepo.bridge import Event
from fossilrepo.config import Settings
from fossilrepo.db.engine import Database
from fossilrepo.db.webhooks import WebhookStore
from fossilrepo.errors import Forbidden, InvalidInput, NotFound
from fossilrepo.models import Actor
from fossilrepo.services.keys import Keys
from fossilrepo.services.webhook_delivery import Sender
from tests.helpers.lab import HERE, Yard, yard
from tests.helpers.poll import until


@dataclass
class Receiver:
    """Remembers what it got; `answers` are the next statuses, then 200."""

    port: int = 0
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def url(self, path: str = "hook?token=in-the-address") -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    async def answer(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        status = self.answers.pop(0) if self.answers else 200
        headers = {"Location": "http://127.0.0.1:1/"} if 300 <= status < 400 else {}
        return web.Response(status=status, text="an answer", headers=headers)

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    one = Receiver()
    app = web.Application()
    app.router.add_post("/{rest:.*}", one.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.port = runner.addresses[0][1]
    yield one
    await runner.cleanup()


@pytest.fixture
async def here(settings: Settings, tmp_path: Path) -> AsyncIterator[Yard]:
    async with yard(settings, tmp_path) as one:
        await one.repository("demo")
        await one.commit("demo", "before the webhook")
        yield one


async def told(here: Yard, name: str = "demo") -> None:
    """What the watcher and the duty do after a change."""
    await here.services.webhooks.changed(await here.row(name))
    await here.services.webhooks._sender.send_due()


async def test_a_push_is_told_with_a_signature_that_checks(here: Yard, receiver: Receiver) -> None:
    _, secret = await here.services.webhooks.add(HERE, "demo", receiver.url())
    checkin = await here.commit("demo", "news")
    await told(here)
    [(headers, body)] = receiver.got
    timestamp = headers["X-Fossilrepo-Timestamp"]
    expected = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    assert headers["X-Fossilrepo-Signature"] == f"sha256={expected.hexdigest()}"
    assert headers["X-Fossilrepo-Event"] == "push"
    message = json.loads(body)
    assert message["id"] == headers["X-Fossilrepo-Delivery"]
    assert message["repository"]["name"] == "demo"
    [entry] = message["checkins"]
    assert entry["hash"] == checkin and entry["comment"] == "news" and entry["branch"] == "trunk"
    assert checkin in entry["url"]


async def test_each_kind_of_event_is_told_once(here: Yard, receiver: Receiver) -> None:
    await here.services.webhooks.add(HERE, "demo", receiver.url())
    page = here.tmp_path / "page.md"
    page.write_text("text")
    await here.commit("demo", "news")
    await here.fossil("demo", "wiki", "create", "Start", str(page))
    await here.fossil("demo", "ticket", "add", "title", "broken", "status", "Open")
    await told(here)
    await told(here)
    assert sorted(body["event"] for body in receiver.bodies()) == ["push", "ticket", "wiki"]


async def test_only_chosen_events_are_told(here: Yard, receiver: Receiver) -> None:
    await here.services.webhooks.add(HERE, "demo", receiver.url(), events=[Event.TICKET])
    await here.commit("demo", "news")
    await here.fossil("demo", "ticket", "add", "title", "broken", "status", "Open")
    await told(here)
    assert [body["event"] for body in receiver.bodies()] == ["ticket"]


async def test_a_failure_is_tried_again_with_the_same_id(
    here: Yard, receiver: Receiver, settings: Settings
) -> None:
    webhook, _ = await here.services.webhooks.add(HERE, "demo", receiver.url())
    receiver.answers = [500, 301]
    await here.commit("demo", "news")
    await here.services.webhooks.changed(await here.row("demo"))
    database = Database(here.services.settings)
    sender = Sender(
        WebhookStore(database), Keys(settings.key_file), ["127.0.0.0/8"], (0.01, 0.01, 0.01)
    )

    async def is_there() -> bool:
        await sender.send_due()
        [one] = await here.services.webhooks.deliveries(HERE, webhook.id)
        return one.delivered_at is not None

    await until(is_there)
    await database.close()
    [one] = await here.services.webhooks.deliveries(HERE, webhook.id)
    assert one.attempts == 3 == len(receiver.got) and one.status == 200
    assert len({headers["X-Fossilrepo-Delivery"] for headers, _ in receiver.got}) == 1
    assert one.answer == "an answer" and one.error == ""


async def test_it_is_given_up_after_the_last_try_and_can_be_sent_again(
    here: Yard, receiver: Receiver, settings: Settings
) -> None:
    webhook, _ = await here.services.webhooks.add(HERE, "demo", receiver.url())
    receiver.answers = [503, 503]
    await here.commit("demo", "news")
    await here.services.webhooks.changed(await here.row("demo"))
    database = Database(here.services.settings)
    sender = Sender(WebhookStore(database), Keys(settings.key_file), ["127.0.0.0/8"], (0.01,))

    async def is_over() -> bool:
        await sender.send_due()
        [one] = await here.services.webhooks.deliveries(HERE, webhook.id)
        return one.next_at is None

    await until(is_over)
    await database.close()
    [one] = await here.services.webhooks.deliveries(HERE, webhook.id)
    assert one.delivered_at is None and "given up after 2 attempts" in one.error
    sent = await here.services.webhooks.redeliver(HERE, one.id)
    assert sent.delivered_at is not None and receiver.bodies()[-1]["id"] == one.id


async def test_a_receiver_that_is_gone_switches_it_off(here: Yard, receiver: Receiver) -> None:
    webhook, _ = await here.services.webhooks.add(HERE, "demo", receiver.url())
    receiver.answers = [410]
    await here.commit("demo", "news")
    await told(here)
    [one] = await here.services.webhooks.list(HERE, "demo")
    assert one.id == webhook.id and not one.active


async def test_a_ping_is_sent_at_once(here: Yard, receiver: Receiver) -> None:
    webhook, _ = await here.services.webhooks.add(HERE, "demo", receiver.url())
    sent = await here.services.webhooks.ping(HERE, webhook.id)
    assert sent.delivered_at is not None and receiver.bodies()[0]["event"] == "ping"


@pytest.mark.parametrize(
    "url",
    ["ftp://example.org/", "https://", "https://u:p@example.org/", "javascript:x", "http://a b/"],
)
async def test_wrong_addresses_are_refused(here: Yard, url: str) -> None:
    with pytest.raises(InvalidInput):
        await here.services.webhooks.add(HERE, "demo", url)


async def test_private_places_get_nothing(
    settings: Settings, tmp_path: Path, receiver: Receiver
) -> None:
    closed = settings.model_copy()
    async with yard(closed, tmp_path) as one:
        await one.repository("demo")
        one.services.webhooks._sender._networks = []
        webhook, _ = await one.services.webhooks.add(HERE, "demo", receiver.url())
        for url in (receiver.url(), f"http://localhost:{receiver.port}/", "http://10.1.1.1/"):
            await one.services.webhooks.configure(HERE, webhook.id, url=url)
            sent = await one.services.webhooks.ping(HERE, webhook.id)
            assert sent.delivered_at is None and "private network" in sent.error
    assert receiver.got == []


async def test_neither_address_nor_secret_is_kept_in_the_open(
    here: Yard, receiver: Receiver, settings: Settings
) -> None:
    webhook, secret = await here.services.webhooks.add(HERE, "demo", receiver.url())
    assert "in-the-address" not in webhook.url
    for file in settings.data.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"in-the-address" not in content and secret.encode() not in content, file


async def test_webhooks_are_for_administrators(here: Yard, receiver: Receiver) -> None:
    await here.services.accounts.create_user(HERE, "eve")
    eve = Actor("eve", user_id=(await here.services.accounts.user("eve")).id)
    webhook, _ = await here.services.webhooks.add(HERE, "demo", receiver.url())
    with pytest.raises(Forbidden):
        await here.services.webhooks.list(eve, "demo")
    calls: list[Callable[..., Any]] = [
        here.services.webhooks.ping,
        here.services.webhooks.remove,
        here.services.webhooks.deliveries,
    ]
    for call in calls:
        with pytest.raises(NotFound):
            await call(eve, webhook.id)
    assert receiver.got == []


async def test_messages_are_sent_once_by_two_senders_at_once(
    here: Yard, receiver: Receiver, settings: Settings
) -> None:
    await here.services.webhooks.add(HERE, "demo", receiver.url())
    await here.commit("demo", "news")
    await here.services.webhooks.changed(await here.row("demo"))
    sender = here.services.webhooks._sender
    await asyncio.gather(sender.send_due(), sender.send_due())
    assert len(receiver.got) == 1
