"""The timeline and its counts, on both engines."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fossilrepo.db.engine import Database
from fossilrepo.db.insights import PART, InsightStore
from fossilrepo.db.repositories import Readable, RepositoryStore
from fossilrepo.db.timeline import Timeline
from fossilrepo.insight import Asked, Big, DiskDay, Entry, Known, Read, Readme, Tickets
from tests.db.test_stores import repository

AT = datetime(2026, 3, 1, 23, 59, 59, 999000, tzinfo=UTC)


def an_entry(number: int, **changes: object) -> Entry:
    one = Entry(f"{number:040x}", "ci", AT + timedelta(days=number), "ada", "Näht", "trunk")
    return replace(one, **changes)  # type: ignore[arg-type]


def a_reading(*entries: Entry, whole: bool = True) -> Read:
    return Read(
        known=Known(7, {"ci": len(entries)}, ""),
        whole=whole,
        entries=entries,
        head="f" * 64,
        open_branches=frozenset({"trunk"}),
        contacts={"ada": "ada@example.org"},
        tickets=Tickets(1, 0, {739000: 1}, {}),
        languages={".py": (2, 100)},
        biggest=(Big("a.bin", "e" * 64, 9_000_000_000),),
        pushes={739000: 2},
        wiki_pages=1,
        readme=Readme("README.md", "# Read me"),
    )


@pytest.fixture
async def store(database: Database) -> InsightStore:
    await RepositoryStore(database).add(repository(id="a" * 12))
    return InsightStore(database)


async def keep(store: InsightStore, read: Read) -> bool:
    return await store.keep("a" * 12, read, seen="1", size=5_000_000_000, at=AT, seconds=0.1)


async def test_what_was_read_is_told_again(store: InsightStore) -> None:
    assert await keep(store, a_reading(an_entry(1), an_entry(2, kind="w", branch="")))
    kept = await store.of("a" * 12)
    assert kept is not None and kept.tickets == Tickets(1, 0, {739000: 1}, {})
    assert kept.biggest[0].size == 9_000_000_000 and kept.sizes == {AT.toordinal(): 5_000_000_000}
    assert [(b.name, b.checkins, b.is_open) for b in kept.branches] == [("trunk", 1, True)]
    (ada,) = kept.contributors
    assert (ada.checkins, ada.others, ada.last_at) == (1, 1, AT + timedelta(days=2))
    assert kept.days == {AT.toordinal() + 1: {"ci": 1}, AT.toordinal() + 2: {"w": 1}}
    assert await store.unread() == ["a" * 12]  # the row was never seen with this fingerprint
    await store.forget("a" * 12)
    assert await store.of("a" * 12) is None


async def test_an_event_that_is_corrected_counts_where_it_is_now(store: InsightStore) -> None:
    await keep(store, a_reading(an_entry(1), an_entry(2)))
    moved = an_entry(1, at=AT + timedelta(days=40), user="bob", branch="other", text="corrected")
    assert await keep(store, a_reading(moved, whole=False))
    kept = await store.of("a" * 12)
    assert kept is not None and set(kept.days) == {AT.toordinal() + 2, AT.toordinal() + 40}
    assert {u.name: u.checkins for u in kept.contributors} == {"ada": 1, "bob": 1}
    assert {b.name for b in kept.branches} == {"trunk", "other"} and sum(kept.hours) == 2


async def test_the_same_again_is_nothing_new(store: InsightStore) -> None:
    await keep(store, a_reading())
    assert not await keep(store, a_reading(whole=False))


async def test_words_are_found_by_their_beginnings(store: InsightStore, database: Database) -> None:
    await keep(store, a_reading(an_entry(1, text="Näht den Saum, 100%"), an_entry(2, text="x'y")))
    timeline = Timeline(database)

    async def found(*words: str, readable: Readable | None = None) -> list[str]:
        return [one.text for one in await timeline.search(readable, words, Asked())]

    assert await found("saum") == ["Näht den Saum, 100%"]
    assert await found("näh", "sau") == ["Näht den Saum, 100%"]
    assert await found("näh", "other") == [] and await found("aum") == []
    assert len(await found("ada")) == 2 and await found("0" * 39 + "2") == ["x'y"]
    assert await found("saum", readable=Readable()) == []
    assert await found("saum", readable=Readable(repositories=("a" * 12,))) != []
    await keep(store, a_reading(an_entry(1, text="Corrected"), whole=False))
    assert await found("saum") == [] and await found("corr") == ["Corrected"]


async def test_a_list_goes_on_after_its_last_event(store: InsightStore, database: Database) -> None:
    entries = [an_entry(n, at=AT + timedelta(days=n // 3)) for n in range(10)]
    await keep(store, a_reading(*entries))
    timeline, seen, asked = Timeline(database), [], Asked()
    while page := await timeline.events(None, asked, 3):
        seen += [one.hash for one in page]
        asked = replace(asked, before=(page[-1].at, page[-1].id))
    assert len(seen) == 10 and set(seen) == {one.hash for one in entries}


async def test_days_of_the_disk_are_kept_once_each(store: InsightStore) -> None:
    for free in (5, 4):
        await store.keep_disk(DiskDay(739000, 10**13, free, 10))
    assert await store.disk(738999) == [DiskDay(739000, 10**13, 4, 10)]
    assert await store.disk(739001) == []


def a_long_history(count: int, word: str) -> Read:
    hour = timedelta(hours=1)
    return a_reading(*(an_entry(n, at=AT + n * hour, text=f"{word} {n}") for n in range(count)))


async def test_a_long_history_lets_other_writers_have_their_turn(
    store: InsightStore, database: Database
) -> None:
    ended, written = asyncio.Event(), 0

    async def others() -> None:
        nonlocal written
        while not ended.is_set():
            await store.keep_disk(DiskDay(739000 + written, 1, 1, 10))
            written += 1

    writing = asyncio.create_task(others())
    assert await keep(store, a_long_history(6 * PART, "first"))
    ended.set()
    await writing
    assert written >= 5
    kept = await store.of("a" * 12)
    assert kept is not None and kept.contributors[0].checkins == 6 * PART
    assert sum(kept.hours) == 6 * PART
    # Shorter now, as after a restore: nothing stays of what there was.
    assert await keep(store, a_long_history(3 * PART, "second"))
    timeline = Timeline(database)
    assert len(await timeline.events(None, Asked(), 10 * PART)) == 3 * PART
    assert await timeline.search(None, ["first"], Asked()) == []
    assert len(await timeline.search(None, ["second", "17"], Asked(), 1000)) > 1


async def test_a_long_history_that_was_cut_off_is_not_taken_for_read(
    store: InsightStore, database: Database
) -> None:
    timeline = Timeline(database)
    await keep(store, a_long_history(2 * PART, "first"))
    keeping = asyncio.create_task(keep(store, a_long_history(4 * PART, "second")))
    while not await timeline.search(None, ["second"], Asked(), 1):
        await asyncio.sleep(0.01)
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping
    assert await store.known("a" * 12) is None and await store.unread() == ["a" * 12]
    assert await timeline.search(None, ["second"], Asked(), 1) != []
    # As a short one, in one transaction, and whole.
    assert await keep(store, a_reading(an_entry(1, text="third")))
    assert [one.text for one in await timeline.events(None, Asked())] == ["third"]
    assert await timeline.search(None, ["second"], Asked(), 1) == []
    await keep(store, a_long_history(2 * PART, "fourth"))
    await store.forget("a" * 12)
    assert await timeline.events(None, Asked()) == []
