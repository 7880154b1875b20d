"""What is told of a repository's history is what Fossil itself tells, however it was read."""

from __future__ import annotations

import asyncio
import os
import random
import re
import sqlite3
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from fossilrepo.config import Settings
from fossilrepo.core import open_services
from fossilrepo.insight import Asked, Contributor, DiskDay, Kept, days_until_full, merged
from fossilrepo.models import Visibility, now
from fossilrepo.services.insights import contributors
from tests.helpers.lab import HERE, Yard, yard

STRANGER = None
WRITERS = ("ada", "bob", "Zoë Ünal")


@pytest.fixture
async def here(settings: Settings, tmp_path: Path) -> AsyncIterator[Yard]:
    async with yard(settings, tmp_path) as one:
        await one.repository("demo")
        await one.committer("demo")
        yield one


class Writer:
    """Does to a repository, at random from a seed, what people do to theirs."""

    def __init__(self, here: Yard, seed: int) -> None:
        self.here, self.chance, self.number = here, random.Random(seed), 0

    async def run(self, *words: str) -> str:
        self.number += 1
        return await self.here.fossil("demo", *words)

    async def step(self) -> None:
        does = self.chance.choice(
            (
                *(self.commit, self.commit, self.commit, self.branch, self.wiki, self.ticket),
                *(self.close, self.technote, self.amend, self.tag, self.move),
            )
        )
        await does()

    def day(self) -> str:
        return f"2024-{self.chance.randint(1, 12):02}-{self.chance.randint(1, 28):02}T12:34:56"

    async def commit(self, *more: str) -> None:
        self.number += 1
        work = self.here.tmp_path / "checkout-demo"
        ending = self.chance.choice(("py", "c", "md", "TXT"))
        name = f"file-{self.number}.{ending}"
        (work / name).write_text(f"{self.number}\n" * self.number)
        await self.run("add", name)
        words = ["commit", "-m", f"change number {self.number} <b>", "--no-warnings"]
        words += ["--allow-older", "--date-override", self.day()]
        await self.run(*words, "--user-override", self.chance.choice(WRITERS), *more)

    async def branch(self) -> None:
        await self.commit("--branch", f"branch-{self.number}")
        if self.chance.random() < 0.5:
            await self.run("update", self.chance.choice(await self.checkins()))

    async def wiki(self) -> None:
        file = self.here.tmp_path / "page.md"
        file.write_text(f"text {self.number}")
        name = f"Page {self.chance.randint(1, 3)}"
        there = name in (await self.run("wiki", "list")).splitlines()
        await self.run("wiki", "commit" if there else "create", name, str(file))

    async def ticket(self) -> None:
        await self.run("ticket", "add", "title", f"a ticket {self.number}", "status", "Open")

    async def close(self) -> None:
        with closing(sqlite3.connect(await self.here.path("demo"))) as db:
            found = [row[0] for row in db.execute("SELECT tkt_uuid FROM ticket")]
        if found:
            await self.run("ticket", "set", self.chance.choice(found), "status", "Closed")

    async def technote(self) -> None:
        file = self.here.tmp_path / "note.md"
        file.write_text(f"note {self.number}")
        words = ("wiki", "create", f"note {self.number}", str(file), "-t", self.day())
        await self.run(*words, "--technote-tags", "news")

    async def amend(self) -> None:
        """A comment, a user or a date corrected later."""
        target = self.chance.choice(await self.checkins())
        what = self.chance.choice(
            (("-m", f"corrected {self.number}"), ("--author", "bob"), ("--date", self.day()))
        )
        await self.run("amend", target, *what)

    async def tag(self) -> None:
        await self.run("tag", "add", f"v{self.number}", self.chance.choice(await self.checkins()))

    async def move(self) -> None:
        """A check-in, and what follows from it, goes to another branch."""
        target = self.chance.choice(await self.checkins())
        await self.run("amend", target, "--branch", f"moved-{self.number}")

    async def checkins(self) -> list[str]:
        with closing(sqlite3.connect(await self.here.path("demo"))) as db:
            found = db.execute(
                "SELECT uuid FROM blob JOIN event ON rid = objid WHERE type = 'ci' ORDER BY rid"
            )
            return [row[0] for row in found]


async def kept(here: Yard, *, whole: bool = False) -> tuple[Kept, list[tuple[Any, ...]]]:
    """What is told after a reading, and every event in an order that is always the same."""
    insights, row = here.services.insights, await here.row("demo")
    await insights.refresh(row, whole=whole)
    told = await insights.of(row)
    assert told is not None
    events = await insights.events(HERE, Asked(), limit=100_000)
    fixed = replace(
        told, read_at=row.created_at, seconds=0.0, contributors=tuple(contributors(told))
    )
    return fixed, sorted(vars_of(one) for one in events)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_reading_what_is_new_ends_as_reading_everything(here: Yard, seed: int) -> None:
    writer = Writer(here, seed)
    for _ in range(3):
        for _ in range(writer.chance.randint(1, 8)):
            await writer.step()
        little, events = await kept(here)
        whole, all_events = await kept(here, whole=True)
        assert little == whole
        assert events == all_events
    await agrees_with_fossil(here, whole)


def vars_of(one: Any) -> tuple[Any, ...]:
    return tuple(getattr(one, name) for name in one.__dataclass_fields__ if name != "id")


async def agrees_with_fossil(here: Yard, told: Kept) -> None:
    """Its timeline, its list of branches, its own statistics."""
    for kind in ("ci", "w", "t", "e"):
        said = await here.fossil("demo", "timeline", "-n", "0", "-t", kind, "-F", "|%H|%d|%a|%c")
        days = Counter(re.findall(r"^\|\w+\|(\d{4}-\d\d-\d\d)", said, re.MULTILINE))
        ours = {day: by_kind[kind] for day, by_kind in told.days.items() if kind in by_kind}
        assert {date.fromisoformat(d).toordinal(): n for d, n in days.items()} == ours, kind
        assert told.counts.get(kind, 0) == days.total()
    said = await here.fossil("demo", "timeline", "-n", "0", "-t", "ci", "-F", "|%H|%d|%a|")
    by_user = Counter(re.findall(r"^\|\w+\|[^|]*\|([^|]*)\|", said, re.MULTILINE))
    assert {p.name: p.checkins for p in contributors(told) if p.checkins} == by_user
    assert sum(told.hours) == by_user.total()
    opened = (await here.fossil("demo", "branch", "list")).replace("*", " ").split()
    closed = (await here.fossil("demo", "branch", "list", "--closed")).replace("*", " ").split()
    assert {b.name for b in told.branches if b.is_open} == set(opened)
    assert {b.name for b in told.branches if not b.is_open} == set(closed)
    statistics = await here.fossil("demo", "dbstat")
    assert f"{told.counts['ci']:,}" == re.findall(r"check-ins:\s+([\d,]+)", statistics)[0]
    files = (await here.fossil("demo", "ls", "-r", told.head)).split()
    assert sum(n for n, _ in told.languages.values()) == len(files)
    pages = (await here.fossil("demo", "wiki", "list")).splitlines()
    assert told.wiki_pages == len([page for page in pages if page.strip()])


async def test_the_numbers_of_this_projects_own_history_are_fossils(
    here: Yard, tmp_path: Path
) -> None:
    file, git = tmp_path / "own.fossil", ("git", "-C", str(Path(__file__).parents[2]))
    shallow = subprocess.run(
        [*git, "rev-parse", "--is-shallow-repository"], capture_output=True, text=True
    )
    if shallow.stdout.strip() != "false":
        pytest.skip("the tests do not run in a whole clone")
    history = subprocess.run([*git, "fast-export", "HEAD"], check=True, capture_output=True).stdout
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "USER": "ada"}
    words = ["fossil", "import", "--git", str(file)]
    subprocess.run(words, input=history, check=True, capture_output=True, env=environment)
    job = await here.services.imports.file(HERE, "own", file)
    await here.services.jobs.wait(job.id)
    row = await here.row("own")
    await here.services.insights.refresh(row)
    told = await here.services.insights.of(row)
    assert told is not None
    said = subprocess.run(
        ["fossil", "timeline", "-n", "0", "-t", "ci", "-F", "|%H|%d|%a|%c", "-R", file],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout
    days = Counter(re.findall(r"^\|\w+\|(\d{4}-\d\d-\d\d)", said, re.MULTILINE))
    assert told.counts == {"ci": days.total()} and days.total() > 300
    ours = {date.fromordinal(day).isoformat(): kinds["ci"] for day, kinds in told.days.items()}
    assert ours == dict(days)
    listed = subprocess.run([*git, "ls-tree", "-r", "--name-only", "HEAD"], capture_output=True)
    assert sum(n for n, _ in told.languages.values()) == len(listed.stdout.splitlines())
    assert told.readme is not None and "Host your own" in told.readme.text


async def test_a_shunned_check_in_is_told_of_no_more(here: Yard) -> None:
    writer = Writer(here, 7)
    for _ in range(3):
        await writer.commit()
    before, _ = await kept(here)
    last = (await writer.checkins())[-1]
    with closing(sqlite3.connect(await here.path("demo"))) as db:
        db.execute("INSERT INTO shun (uuid, mtime) VALUES (?, 0)", (last,))
        db.commit()
    await writer.run("rebuild")
    after, events = await kept(here)
    assert after.counts["ci"] == before.counts["ci"] - 1
    assert all(last not in one for one in events)
    assert not await here.services.insights.search(HERE, last[:12])


async def test_private_check_ins_are_told_to_nobody(here: Yard) -> None:
    writer = Writer(here, 7)
    await writer.commit()
    before, _ = await kept(here)
    await writer.commit("--private", "--branch", "secret")
    after, events = await kept(here)
    assert after.counts == before.counts and "secret" not in {b.name for b in after.branches}
    assert len(events) == sum(after.counts.values())


async def test_the_readers_see_events_of_what_they_may_read_only(here: Yard) -> None:
    insights, repos = here.services.insights, here.services.repos
    await repos.create(HERE, "hidden", visibility=Visibility.PRIVATE)
    for name in ("demo", "hidden"):
        await here.commit(name, f"a needle in {name}")
        await insights.refresh(await here.row(name))
    found = await insights.search(HERE, "needle")
    assert {one.repository for one in found} == {"demo", "hidden"}
    for told in (
        await insights.search(STRANGER, "needle"),
        await insights.search(STRANGER, "nee IN"),
        [e for e in await insights.events(STRANGER, Asked()) if e.text.startswith("a needle")],
        await insights.events(STRANGER, Asked(repository="demo", kinds=("ci",)), limit=1),
    ):
        assert [one.text for one in told] == ["a needle in demo"]
    assert await insights.events(STRANGER, Asked(repository="hidden")) == []
    assert sum(sum(d.values()) for d in (await insights.days(STRANGER, 0)).values()) == 2
    await repos.delete(HERE, "demo")
    assert await insights.search(STRANGER, "needle") == []


@pytest.mark.parametrize(
    "words", ['"', "'", "needle*", 'a" OR text:needle', "NEAR(", "-needle", "\\", "ne:*", "☃", ""]
)
async def test_what_is_typed_into_a_search_is_words_only(here: Yard, words: str) -> None:
    await here.commit("demo", "a needle in demo")
    await here.services.insights.refresh(await here.row("demo"))
    found = await here.services.insights.search(HERE, words)
    assert [one.text for one in found] in ([], ["a needle in demo"])


async def test_a_hash_is_found_by_its_beginning_and_a_word_by_its_own(here: Yard) -> None:
    uuid = await here.commit("demo", "Größere Änderung am Tor")
    await here.services.insights.refresh(await here.row("demo"))
    for words in (uuid[:8], "größ", "TOR", "änderung grö"):
        (found,) = await here.services.insights.search(HERE, words)
        assert found.hash == uuid
    assert await here.services.insights.search(HERE, "or") == []


async def test_what_was_purged_leaves_nothing(here: Yard) -> None:
    await here.commit("demo", "a needle in demo")
    await here.services.insights.refresh(await here.row("demo"))
    row = await here.services.repos.delete(HERE, "demo")
    await here.services.repos.purge(HERE, row.id)
    assert await here.services.insights.search(HERE, "needle") == []
    assert await here.services.insights.of(row) is None


def test_the_same_persons_names_are_one_by_their_address() -> None:
    at = now()
    names = [("ada", 3), ("ADA@example.org", 1), ("bob", 9), ("ada2", 1)]
    found = merged(
        [Contributor((name,), count, 0, at, at) for name, count in names],
        {"ada": "ada@example.org", "bob": "bob@example.org"},
    )
    assert [(one.names, one.checkins) for one in found] == [
        (("bob",), 9),
        (("ada", "ADA@example.org"), 4),
        (("ada2",), 1),
    ]


def test_the_day_on_which_the_disk_is_full() -> None:
    days = [DiskDay(day, 0, 1000 - 100 * day, 1000) for day in range(5)]
    assert days_until_full(days) == 6
    assert days_until_full(days[:3]) is None
    assert days_until_full([replace(day, free=500) for day in days]) is None


async def test_two_processes_that_read_one_history_do_it_in_turn(
    here: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `repo insights` does beside a running host, while a long history is kept in parts."""
    monkeypatch.setattr("fossilrepo.db.insights.PART", 1)
    writer = Writer(here, 7)
    for _ in range(6):
        await writer.commit()
    async with open_services(here.services.settings) as command:
        demo = await command.repos.get(HERE, "demo")
        for services in (here.services, command):
            await services.insights.refresh(demo)
        await asyncio.gather(
            *(one.insights.refresh(demo, whole=True) for one in (here.services, command) * 2)
        )
        kept = await command.insights.of(demo)
        assert kept is not None and kept.counts["ci"] == len(await writer.checkins())
        found = await command.insights.events(HERE, Asked(repository="demo", kinds=("ci",)), 100)
        assert len(found) == len({one.hash for one in found}) == len(await writer.checkins())
