"""Webhooks: addresses that are told, by signed messages, of what happens in a repository.

Owns their rows, who may change them (a repository's administrators), and the messages: one JSON
document for each kind of event. How a message gets there is in `webhook_delivery`.
"""

from __future__ import annotations

import asyncio
import builtins
import json
import secrets
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from fossilrepo.bridge import Delivery, Event, Webhook
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.db.webhooks import WebhookStore
from fossilrepo.errors import Conflict, InvalidInput, NotFound
from fossilrepo.models import Actor, Repository, RepositoryState, iso, new_id, now
from fossilrepo.rights import Role
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.keys import Keys
from fossilrepo.services.links import Links
from fossilrepo.services.shelf import Shelf
from fossilrepo.services.webhook_delivery import Sender
from fossilrepo.tools import checked_http, fossil_events
from fossilrepo.tools.fossil_events import Arrival, Arrived

MOST = 20  # of one repository
MOST_ENTRIES = 100  # in one message
_LONGEST_SECRET = 200
_LISTS = {
    Event.PUSH: "checkins",
    Event.TICKET: "tickets",
    Event.WIKI: "wiki",
    Event.TECHNOTE: "technotes",
    Event.FORUM: "posts",
}
LIVING = (RepositoryState.ACTIVE, RepositoryState.ARCHIVED)


class Webhooks:
    def __init__(
        self,
        store: WebhookStore,
        repositories: RepositoryStore,
        access: Access,
        shelf: Shelf,
        keys: Keys,
        links: Links,
        audit: Audit,
        sender: Sender,
    ) -> None:
        self._store = store
        self._repositories = repositories
        self._access = access
        self._shelf = shelf
        self._keys = keys
        self._links = links
        self._audit = audit
        self._sender = sender

    # Looking and changing

    async def list(self, actor: Actor, repository_name: str) -> builtins.list[Webhook]:
        repository = await self._access.repository(actor, repository_name, Role.ADMIN)
        return await self._store.of(repository.id)

    async def add(
        self,
        actor: Actor,
        repository_name: str,
        url: str,
        *,
        events: Sequence[Event] = tuple(Event),
        secret: str = "",
    ) -> tuple[Webhook, str]:
        """The webhook, and the secret that its messages are signed with: shown this once.

        It tells of what comes from now on.
        """
        repository = await self._access.repository(actor, repository_name, Role.ADMIN)
        if len(await self._store.of(repository.id)) >= MOST:
            raise Conflict(f"{repository_name} has {MOST} webhooks, and there may be no more")
        checked_http.check_address(url)
        secret = _checked_secret(secret) or secrets.token_urlsafe(32)
        path = self._shelf.file(repository.id)
        made = await self._store.add(
            id=new_id(),
            repository_id=repository.id,
            url=await self._locked(url),
            shown=_shown(url),
            secret=await self._locked(secret),
            events=_checked_events(events),
            created_by=actor.login,
            created_at=now(),
            last_rcvid=await asyncio.to_thread(fossil_events.newest, path),
        )
        await self._record(actor, "add", repository, made)
        return made, secret

    async def configure(
        self,
        actor: Actor,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[Event] | None = None,
        active: bool | None = None,
        secret: str | None = None,
    ) -> Webhook:
        """Change what is given; switched on again, it tells of what comes from then on."""
        webhook, repository = await self._webhook(actor, webhook_id)
        changes: dict[str, Any] = {}
        if url is not None:
            checked_http.check_address(url)
            changes |= {"url": await self._locked(url), "shown": _shown(url)}
        if events is not None:
            changes["events"] = _checked_events(events)
        if secret:
            changes["secret"] = await self._locked(_checked_secret(secret))
        if active is not None:
            changes["active"] = active
            if active and not webhook.active:
                path = self._shelf.file(repository.id)
                changes["last_rcvid"] = await asyncio.to_thread(fossil_events.newest, path)
        changed = await self._store.update(webhook_id, **changes) if changes else webhook
        await self._record(
            actor,
            "configure",
            repository,
            webhook,
            events=[str(event) for event in events] if events is not None else None,
            active=active,
        )
        return changed or webhook

    async def remove(self, actor: Actor, webhook_id: str) -> Webhook:
        webhook, repository = await self._webhook(actor, webhook_id)
        await self._store.remove(webhook_id)
        await self._record(actor, "remove", repository, webhook)
        return webhook

    # What was sent

    async def deliveries(
        self, actor: Actor, webhook_id: str, limit: int = 50
    ) -> builtins.list[Delivery]:
        await self._webhook(actor, webhook_id)
        return await self._store.deliveries(webhook_id, limit)

    async def ping(self, actor: Actor, webhook_id: str) -> Delivery:
        """A trial message, sent now and once."""
        webhook, repository = await self._webhook(actor, webhook_id)
        delivery_id = new_id()
        body = self._body("ping", delivery_id, repository, {})
        made = await self._store.queue(
            id=delivery_id,
            webhook_id=webhook.id,
            event="ping",
            body=body,
            created_at=now(),
            next_at=None,
        )
        return await self._sender.once(made)

    async def redeliver(self, actor: Actor, delivery_id: str) -> Delivery:
        """The same message with the same id, sent now."""
        delivery = await self._store.delivery(delivery_id)
        if delivery is None:
            raise _nothing("message", delivery_id)
        webhook, repository = await self._webhook(actor, delivery.webhook_id)
        await self._record(actor, "redeliver", repository, webhook, delivery=delivery.id)
        return await self._sender.once(delivery)

    # Telling

    async def changed(self, repository: Repository) -> None:
        """Queue what arrived since the last time."""
        if repository.state not in LIVING:
            return
        for webhook in await self._store.of(repository.id):
            if webhook.active:
                await self._tell(webhook, repository)

    async def _tell(self, webhook: Webhook, repository: Repository) -> None:
        path = self._shelf.file(repository.id)
        found = await asyncio.to_thread(fossil_events.arrived_after, path, webhook.last_rcvid)
        if found.newest == webhook.last_rcvid:
            return
        messages = self._messages(webhook, repository, found)
        done = await self._store.tell(webhook.id, found.newest, webhook.last_rcvid, messages)
        if done and messages:
            self._sender.wake()

    def _messages(
        self, webhook: Webhook, repository: Repository, found: Arrived
    ) -> builtins.list[dict[str, Any]]:
        messages = []
        for event in webhook.events:
            entries = [one for one in found.entries if one.event is event]
            if not entries:
                continue
            delivery_id, at = new_id(), now()
            told = [self._entry(repository, one) for one in entries[:MOST_ENTRIES]]
            content = {
                "pushed_by": sorted({one.pushed_by for one in entries if one.pushed_by}),
                _LISTS[event]: told,
                "more": max(0, len(entries) - MOST_ENTRIES) + (found.more if told else 0),
            }
            messages.append(
                {
                    "id": delivery_id,
                    "webhook_id": webhook.id,
                    "event": str(event),
                    "body": self._body(event, delivery_id, repository, content),
                    "created_at": at,
                    "next_at": at,
                    "attempts": 0,
                    "error": "",
                    "answer": "",
                }
            )
        return messages

    def _entry(self, repository: Repository, one: Arrival) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "hash": one.hash,
            "at": iso(one.at),
            "author": one.user,
            "pushed_by": one.pushed_by,
            "comment": one.comment,
            "url": f"{self._links.repo_url(repository.label)}info/{one.hash}",
        }
        if one.event is Event.PUSH:
            entry |= {"branch": one.branch, "tags": list(one.tags)}
        return entry

    def _body(
        self, event: str, delivery_id: str, repository: Repository, content: dict[str, Any]
    ) -> str:
        name = repository.label
        return json.dumps(
            {
                "event": str(event),
                "id": delivery_id,
                "created_at": iso(now()),
                "repository": {
                    "id": repository.id,
                    "name": name,
                    "url": self._links.repo_url(name),
                    "clone_url": self._links.clone_url(name, None),
                },
                **content,
            }
        )

    async def run(self) -> None:
        """Deliver what is due, until cancelled; first what happened while nobody looked."""
        for repository_id in {webhook.repository_id for webhook in await self._store.all()}:
            repository = await self._repositories.get(repository_id)
            if repository is not None:
                await self.changed(repository)
        await self._sender.run()

    # Helpers

    async def _locked(self, text: str) -> bytes:
        return await asyncio.to_thread(self._keys.encrypt, text.encode())

    async def _webhook(self, actor: Actor, webhook_id: str) -> tuple[Webhook, Repository]:
        webhook = await self._store.get(webhook_id)
        repository = await self._repositories.get(webhook.repository_id) if webhook else None
        if webhook is None or repository is None:
            raise _nothing("webhook", webhook_id)
        if not await self._access.may(actor, repository, Role.ADMIN):
            raise _nothing("webhook", webhook_id)
        return webhook, repository

    async def _record(
        self, actor: Actor, verb: str, repository: Repository, webhook: Webhook, **detail: Any
    ) -> None:
        await self._audit.record(
            actor,
            f"repository.webhook-{verb}",
            repository.label,
            id=repository.id,
            webhook=webhook.id,
            url=webhook.url,
            **{key: value for key, value in detail.items() if value is not None},
        )


def _nothing(what: str, key: str) -> NotFound:
    return NotFound(f"there is no {what} {key[:40]!r}", hint="see `fossilrepo webhook list`")


def _shown(url: str) -> str:
    """The address without what may be secret: the path and the query often are."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/" + (
        "…" if parts.path.strip("/") or parts.query else ""
    )


def _checked_events(events: Sequence[Event]) -> builtins.list[str]:
    if not events:
        raise InvalidInput("a webhook has to tell of something", field="events")
    return [str(event) for event in Event if event in set(events)]


def _checked_secret(secret: str) -> str:
    if secret and (len(secret) > _LONGEST_SECRET or len(secret) < 16 or not secret.isprintable()):
        raise InvalidInput("the secret must have 16 to 200 printable characters", field="secret")
    return secret
