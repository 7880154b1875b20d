"""The stores of the bridge behave the same on SQLite and on PostgreSQL."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fossilrepo.bridge import Author, Event, MirrorState
from fossilrepo.db.alerts import Alert, AlertStore
from fossilrepo.db.engine import Database
from fossilrepo.db.journal import JobStore
from fossilrepo.db.mirrors import IssueLink, MirrorStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.db.upstreams import UpstreamStore
from fossilrepo.db.webhooks import WebhookStore
from fossilrepo.models import JobState, Repository, new_id, now
from tests.db.test_stores import repository as new_repository


@pytest.fixture
async def repository(database: Database) -> Repository:
    row = new_repository()
    await RepositoryStore(database).add(row)
    return row


def mirror_of(repository: Repository, **values: Any) -> dict[str, Any]:
    given = {"url": "https://h/x", "kind": "git", "created_at": now()}
    return {"id": new_id(), "repository_id": repository.id} | given | values


async def test_mirrors_are_due_when_asked_for_or_by_the_clock(
    database: Database, repository: Repository
) -> None:
    store, at = MirrorStore(database), now()
    wanted = await store.add(**mirror_of(repository, wanted_at=at))
    timed = await store.add(**mirror_of(repository, next_run=at - timedelta(seconds=1)))
    await store.add(**mirror_of(repository, next_run=at + timedelta(hours=1)))
    await store.add(**mirror_of(repository, wanted_at=at, paused_at=at))
    assert {one.id for one in await store.due(at)} == {wanted.id, timed.id}
    changed = await store.update(wanted.id, state="in-sync", wanted_at=None, seen={"r": "h"})
    assert changed is not None and changed.standing.state is MirrorState.IN_SYNC
    assert changed.seen == {"r": "h"}
    assert [one.id for one in await store.due(at)] == [timed.id]
    assert await store.remove(wanted.id) and await store.get(wanted.id) is None
    assert await store.update(wanted.id, state="new") is None


async def test_a_mirror_uses_the_token_of_its_rule_until_it_has_one(
    database: Database, repository: Repository
) -> None:
    store = MirrorStore(database)
    rule = await store.add_rule(
        id=new_id(), org="main", url="https://h/{name}", kind="git", token=b"rule", created_at=now()
    )
    mirror = await store.add(**mirror_of(repository, rule_id=rule.id))
    assert await store.secrets(mirror.id) == (b"rule", None)
    await store.update_rule(rule.id, token=b"new")
    assert (await store.secrets(mirror.id))[0] == b"new"
    await store.update(mirror.id, token=b"own")
    assert (await store.secrets(mirror.id))[0] == b"own"
    assert await store.remove_rule(rule.id)
    kept = await store.get(mirror.id)
    assert kept is not None and kept.rule_id is None


async def test_refs_authors_and_issues_are_kept(database: Database, repository: Repository) -> None:
    store = MirrorStore(database)
    mirror = await store.add(**mirror_of(repository))
    await store.set_refs(mirror.id, {"refs/heads/a": "1", "refs/heads/b": "2"})
    await store.set_refs(mirror.id, {"refs/heads/a": "3"})
    assert await store.refs(mirror.id) == {"refs/heads/a": "3"}
    await store.add_authors(repository.id, [Author("ada", "Ada", "a@x")])
    await store.add_authors(
        repository.id, [Author("ada", "Other", "o@x"), Author("bob", "B", "b@x")]
    )
    await store.set_author(repository.id, Author("ada", "Later", "l@x", since=9))
    assert await store.authors(repository.id) == [
        Author("ada", "Ada", "a@x"),
        Author("ada", "Later", "l@x", since=9),
        Author("bob", "B", "b@x"),
    ]
    await store.set_author(repository.id, Author("ada", "Only", "y@x"), alone=True)
    assert [a.name for a in await store.authors(repository.id)] == ["Only", "B"]
    assert await store.main_branch(repository.id) == "main"
    await store.set_main_branch(repository.id, "trunk")
    assert await store.main_branch(repository.id) == "trunk"
    link = IssueLink("t1", 4, "d", {"1": {"id": "9", "digest": "x"}})
    await store.set_issue(mirror.id, link)
    await store.set_issue(mirror.id, link)
    assert await store.issues(mirror.id) == {"t1": link}


async def test_what_belongs_to_a_repository_goes_with_it(
    database: Database, repository: Repository
) -> None:
    mirrors, upstreams, webhooks = (
        MirrorStore(database),
        UpstreamStore(database),
        WebhookStore(database),
    )
    mirror = await mirrors.add(**mirror_of(repository))
    await mirrors.set_refs(mirror.id, {"r": "h"})
    given = {"repository_id": repository.id, "url": "https://h/", "direction": "pull"}
    first = await upstreams.add(id=new_id(), created_at=now(), **given)
    second = await upstreams.add(id=new_id(), created_at=now(), **given)
    assert await upstreams.get(first.id) is None and await upstreams.of(repository.id) == second
    await webhooks.add(
        id=new_id(), repository_id=repository.id, url=b"u", shown="s", secret=b"x",
        events=["push"], created_at=now(),
    )  # fmt: skip
    await RepositoryStore(database).remove(repository.id)
    assert await mirrors.list() == [] and await mirrors.refs(mirror.id) == {}
    assert await upstreams.list() == [] and await webhooks.all() == []


async def test_a_message_is_told_once_and_sent_by_one(
    database: Database, repository: Repository
) -> None:
    store, at = WebhookStore(database), now()
    webhook = await store.add(
        id=new_id(), repository_id=repository.id, url=b"u", shown="s", secret=b"x",
        events=["push", "wiki"], created_at=at,
    )  # fmt: skip
    assert webhook.events == (Event.PUSH, Event.WIKI) and webhook.active
    message = {
        "id": new_id(), "webhook_id": webhook.id, "event": "push", "body": "{}",
        "created_at": at, "next_at": at, "attempts": 0, "error": "", "answer": "",
    }  # fmt: skip
    assert await store.tell(webhook.id, 5, 0, [message])
    assert not await store.tell(webhook.id, 5, 0, [message | {"id": new_id()}])
    [due] = await store.due(at)
    assert await store.claim(due, at + timedelta(minutes=1)) and not await store.claim(due, at)
    assert await store.due(at) == []
    done = await store.ended(due.id, delivered_at=at, next_at=None, status=200)
    assert done is not None and done.attempts == 1 and done.status == 200
    await store.forget(at + timedelta(days=1))
    assert await store.deliveries(webhook.id, 10) == []


async def test_alerts_are_kept_by_their_subject(database: Database) -> None:
    store = AlertStore(database)
    alert = Alert("mirror x", "failing", now(), None, "text")
    await store.set(alert)
    await store.set(alert)
    assert await store.all() == {"mirror x": alert}
    await store.clear("mirror x")
    assert await store.all() == {}


async def test_runs_of_a_mirror_are_listed_and_old_ones_forgotten(database: Database) -> None:
    store, target = JobStore(database), new_id()
    for number in range(5):
        await store.add(
            id=new_id(), kind="mirror", subject="demo", state=JobState.DONE, target_id=target,
            trigger="change", created_at=now() + timedelta(seconds=number),
        )  # fmt: skip
    await store.keep(target, 2)
    found = await store.of(target, 10)
    assert len(found) == 2 and found[0].created_at > found[1].created_at
    assert found[0].trigger == "change"
