"""How messages of webhooks get to their addresses: signed, tried again, on record.

Owns the form of a request and when it is tried. The headers are

    X-Fossilrepo-Event: push
    X-Fossilrepo-Delivery: ID              the same for every attempt
    X-Fossilrepo-Timestamp: 1700000000     of this attempt
    X-Fossilrepo-Signature: sha256=HEX     HMAC-SHA256 by the secret of TIMESTAMP, a dot, the body

so that a receiver can check who sent it, that it is whole, and that it is not an old one.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from fossilrepo.bridge import Delivery
from fossilrepo.db.webhooks import WebhookStore
from fossilrepo.errors import FossilrepoError, NotFound
from fossilrepo.models import now
from fossilrepo.services.keys import Keys
from fossilrepo.tools import checked_http

PAUSES = (10.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0)  # seconds after each failure
WITHIN = 10.0  # seconds for an answer
AT_ONCE = 4
LOOK_EVERY = 5.0  # seconds
KEPT = timedelta(days=30)
GONE = 410

log = logging.getLogger(__name__)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What `X-Fossilrepo-Signature` has."""
    digest = hmac.digest(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hex()}"


class Sender:
    def __init__(
        self,
        store: WebhookStore,
        keys: Keys,
        networks: Sequence[str],
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._store = store
        self._keys = keys
        self._networks = networks
        self._pauses = pauses
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Send what is due, until cancelled. Of one webhook one after the other."""
        forgot = -math.inf  # the clock may begin with the machine
        while True:
            self._woken.clear()
            await self.send_due()
            if time.monotonic() - forgot > 3600:
                await self._store.forget(now() - KEPT)
                forgot = time.monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(LOOK_EVERY, *self._pauses)):
                    await self._woken.wait()

    async def send_due(self) -> None:
        by_webhook: dict[str, list[Delivery]] = {}
        for delivery in await self._store.due(now()):
            by_webhook.setdefault(delivery.webhook_id, []).append(delivery)
        limit = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for deliveries in by_webhook.values():
                group.create_task(self._send_all(deliveries, limit))

    async def _send_all(self, deliveries: list[Delivery], limit: asyncio.Semaphore) -> None:
        async with limit:
            for delivery in deliveries:
                until = now() + timedelta(seconds=WITHIN * 3)
                if not await self._store.claim(delivery, until):
                    continue
                done = await self._attempt(delivery)
                if done is None or done.delivered_at is None:
                    return  # the later ones keep their order

    async def _attempt(self, delivery: Delivery) -> Delivery | None:
        result = await self._post(delivery)
        attempts = delivery.attempts + 1
        next_at = None
        if result["delivered_at"] is None and attempts <= len(self._pauses):
            next_at = now() + timedelta(seconds=self._pauses[attempts - 1])
        if result["status"] == GONE:
            await self._store.update(delivery.webhook_id, active=False)
            next_at = None
        if next_at is None and result["delivered_at"] is None:
            result["error"] += f"; given up after {attempts} attempts"
        return await self._store.ended(delivery.id, next_at=next_at, **result)

    async def once(self, delivery: Delivery) -> Delivery:
        """Now, whatever was before; not tried again."""
        result = await self._post(delivery)
        done = await self._store.ended(
            delivery.id, attempts=delivery.attempts + 1, next_at=None, **result
        )
        if done is None:
            raise NotFound("the webhook was removed meanwhile")
        return done

    async def _post(self, delivery: Delivery) -> dict[str, Any]:
        began = time.monotonic()
        result: dict[str, Any] = {"delivered_at": None, "status": None, "error": "", "answer": ""}
        try:
            answer = await self._request(delivery)
        except FossilrepoError as error:
            result["error"] = error.message[:500]
        else:
            result |= {"status": answer.status, "answer": _readable(answer.body[:1024])}
            if 200 <= answer.status < 300:
                result["delivered_at"] = now()
            elif 300 <= answer.status < 400:
                result["error"] = f"it sends us on to another address ({answer.status})"
            else:
                result["error"] = f"it answered with {answer.status}"
        result["seconds"] = round(time.monotonic() - began, 3)
        if result["error"]:
            log.info("the webhook %s was not told: %s", delivery.webhook_id, result["error"])
        return result

    async def _request(self, delivery: Delivery) -> checked_http.Answer:
        locked = await self._store.secrets(delivery.webhook_id)
        if locked is None:
            raise NotFound("the webhook was removed meanwhile")
        url, secret = await asyncio.to_thread(lambda: tuple(map(self._keys.decrypt, locked)))
        body, timestamp = delivery.body.encode(), str(int(time.time()))
        return await checked_http.request(
            "POST",
            url.decode(),
            networks=self._networks,
            headers={
                "Content-Type": "application/json",
                "X-Fossilrepo-Event": str(delivery.event),
                "X-Fossilrepo-Delivery": delivery.id,
                "X-Fossilrepo-Timestamp": timestamp,
                "X-Fossilrepo-Signature": signature(secret.decode(), timestamp, body),
            },
            body=body,
            timeout=WITHIN,
        )


def _readable(content: bytes) -> str:
    text = content.decode("utf-8", "replace")
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
