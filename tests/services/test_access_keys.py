"""Access keys: what they open, for how long, and who may make and see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from fossilrepo.errors import Forbidden, InvalidInput, NotFound
from fossilrepo.models import KEY_LOGIN, check_login, now
from fossilrepo.rights import Role
from tests.helpers import hostile, opened
from tests.helpers.inside import HERE, Client, caps, create, granted, live
from tests.helpers.opened import Front


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    async with opened.running() as front:
        await create(front)
        yield front


async def test_a_key_opens_its_repository_as_its_role_says_until_it_is_revoked(
    front: Front, tmp_path: Path
) -> None:
    await create(front, "other")
    keys = front.services.access_keys
    reading, read_word = await keys.create(HERE, "demo", Role.READ, label="nightly build")
    writing, write_word = await keys.create(HERE, "demo", Role.WRITE)
    reader = Client(front, tmp_path, reading.login, read_word)
    writer = Client(front, tmp_path, writing.login, write_word)
    assert await reader.can_clone("demo") and not await reader.can_push("demo")
    assert await writer.can_push("demo")
    assert not await writer.can_clone("other") and writing.login not in caps(front, "other")
    await keys.revoke(HERE, "demo", writing.id)
    assert not await writer.can_clone("demo"), "revoked, and at once"
    assert await reader.can_clone("demo")
    assert await keys.reveal(HERE, "demo", reading.id) == read_word
    actions = [e.action for e in await front.services.audit.recent(subject="demo")]
    assert actions[:3] == ["access-key.reveal", "access-key.revoke", "access-key.create"]


async def test_a_key_expires_by_itself_and_is_still_listed(front: Front) -> None:
    keys, store = front.services.access_keys, front.services.access_keys._store
    key, _ = await keys.create(HERE, "demo", Role.WRITE, days=1)
    assert key.expires_at is not None and key.expires_at > now() + timedelta(hours=23)
    (listed,) = await keys.list(HERE, "demo")
    secret = (await front.services.access.picture()).inside.keys[key.repository_id][0][1]
    await store.remove_key(key.id)
    await store.add_key(
        id=key.id,
        repository_id=key.repository_id,
        login=key.login,
        label="",
        role="write",
        secret=secret,
        created_by="",
        created_at=key.created_at,
        expires_at=now() - timedelta(seconds=1),
    )
    assert caps(front, "demo")[key.login] != ""
    await keys.drop_expired()
    assert caps(front, "demo")[key.login] == ""
    assert hostile.rows(live(front, "demo"), f"SELECT pw FROM user WHERE login='{key.login}'") == [
        (None,)
    ]
    assert [one.id for one in await keys.list(HERE, "demo")] == [listed.id]


async def test_an_archived_repository_is_written_by_no_key(front: Front) -> None:
    key, _ = await front.services.access_keys.create(HERE, "demo", Role.WRITE)
    assert "i" in caps(front, "demo")[key.login]
    await front.services.repos.archive(HERE, "demo")
    assert not set("iwk") & set(caps(front, "demo")[key.login])
    await front.services.repos.unarchive(HERE, "demo")
    assert "i" in caps(front, "demo")[key.login]


async def test_only_who_runs_the_repository_makes_sees_and_ends_its_keys(front: Front) -> None:
    await create(front, "other")
    keys = front.services.access_keys
    writer = await granted(front, Role.WRITE, "the-writer")
    boss = await granted(front, Role.ADMIN, "the-boss")
    theirs, _ = await keys.create(HERE, "other", Role.WRITE)
    mine, _ = await keys.create(boss, "demo", Role.READ)
    for refused in (
        keys.create(writer, "demo", Role.READ),
        keys.list(writer, "demo"),
        keys.reveal(writer, "demo", mine.id),
        keys.revoke(writer, "demo", mine.id),
    ):
        with pytest.raises(Forbidden):
            await refused
    for hidden in (
        keys.list(boss, "other"),
        keys.reveal(boss, "other", theirs.id),
        keys.revoke(boss, "demo", theirs.id),
        keys.reveal(boss, "demo", theirs.id),
        keys.reveal(boss, "demo", theirs.login),
    ):
        with pytest.raises(NotFound):
            await hidden
    assert [key.id for key in await keys.list(HERE, "other")] == [theirs.id]


async def test_a_key_cannot_administer_and_its_login_is_nobody_elses(front: Front) -> None:
    keys = front.services.access_keys
    with pytest.raises(InvalidInput):
        await keys.create(HERE, "demo", Role.ADMIN)
    for days in (0, -1, 100_000):
        with pytest.raises(InvalidInput):
            await keys.create(HERE, "demo", Role.READ, days=days)
    assert await keys.list(HERE, "demo") == []
    key, _ = await keys.create(HERE, "demo", Role.READ)
    assert KEY_LOGIN.fullmatch(key.login)
    with pytest.raises(InvalidInput):
        check_login(key.login)


async def test_the_last_use_is_noted_when_fossil_is_signed_in_to(
    front: Front, tmp_path: Path
) -> None:
    keys = front.services.access_keys
    key, word = await keys.create(HERE, "demo", Role.READ)
    assert key.last_used is None
    assert await Client(front, tmp_path, key.login, word).can_clone("demo")
    (used,) = await keys.list(HERE, "demo")
    assert used.last_used is not None and abs(now() - used.last_used) < timedelta(minutes=1)
    await keys.used("key-aaaaaa")
    await keys.used("ada")
    await keys.used("x" * 10_000)
