"""Watched folders: what is told, what is not, and what the watch survives."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from fossilrepo.runtime.watcher import Fingerprints, Watcher
from tests.helpers.poll import until


class Watched:
    """Two folders under a running watcher, and what it told."""

    def __init__(self, root: Path) -> None:
        self.names, self.store = root / "names", root / "names" / ".store"
        self.told: list[set[Path]] = []
        self.rescans = 0
        self.failures: list[Exception] = []
        self.on_rescan: Callable[[], None] = lambda: None
        self.watcher: Watcher | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def paths(self) -> set[Path]:
        return set().union(*self.told)

    @property
    def trouble(self) -> str:
        return self.watcher.trouble if self.watcher else ""

    async def on_change(self, paths: set[Path]) -> None:
        self.told.append(paths)
        if self.failures:
            raise self.failures.pop()

    async def rescan(self) -> None:
        self.rescans += 1
        self.on_rescan()
        if self.failures:
            raise self.failures.pop()

    async def start(self, rescan_every: float = 300) -> None:
        self.watcher = Watcher(
            [self.names, self.store],
            on_change=self.on_change,
            ignore=lambda path: path.name.endswith("-shm") or path == self.store,
            rescan=self.rescan,
            rescan_every=rescan_every,
            look_every=0.2,
        )
        self.task = asyncio.create_task(self.watcher.run())
        await until(lambda: self.rescans)


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    """Folders that are there; the test starts the watcher."""
    folders = Watched(tmp_path)
    folders.store.mkdir(parents=True)
    yield folders
    if folders.task is not None:
        assert not folders.task.done(), "the watcher ended by itself"
        started = time.monotonic()
        folders.task.cancel()
        await asyncio.wait({folders.task})
        assert folders.task.cancelled() and time.monotonic() - started < 1


async def test_changes_in_both_folders_are_told(watched: Watched) -> None:
    await watched.start()
    (watched.names / "a").write_text("x")
    (watched.store / "b").write_text("x")
    await until(lambda: watched.paths == {watched.names / "a", watched.store / "b"})
    watched.told.clear()
    (watched.names / "a").rename(watched.names / "c")
    await until(lambda: watched.paths >= {watched.names / "a", watched.names / "c"})
    watched.told.clear()
    (watched.names / "link").symlink_to("nowhere")
    (watched.names / "c").unlink()
    await until(lambda: watched.paths == {watched.names / "link", watched.names / "c"})


async def test_many_changes_come_gathered(watched: Watched) -> None:
    await watched.start()
    names = {watched.store / str(number) for number in range(200)}
    for name in names:
        name.touch()
    await until(lambda: watched.paths == names)
    assert len(watched.told) <= 4


async def test_a_change_is_told_soon(watched: Watched) -> None:
    await watched.start()
    started = time.monotonic()
    (watched.store / "file").touch()
    await until(lambda: watched.told, every=0.005)
    assert time.monotonic() - started < 1


async def test_what_is_ignored_or_deeper_is_not_told(watched: Watched) -> None:
    below = watched.store / "below"
    below.mkdir()
    await watched.start()
    for name in (watched.store / "x-shm", below / "file"):
        name.touch()
    (watched.store / "last").touch()
    await until(lambda: watched.store / "last" in watched.paths)
    assert watched.paths <= {watched.store / "last", below}


async def test_what_is_made_while_looking_at_everything_is_told(watched: Watched) -> None:
    """The watch stands before the first look, so nothing falls between them."""
    watched.on_rescan = (watched.store / "in-between").touch
    await watched.start()
    await until(lambda: watched.store / "in-between" in watched.paths)


async def test_everything_is_looked_at_now_and_then_even_when_nothing_happens(
    watched: Watched,
) -> None:
    await watched.start(rescan_every=0.3)
    await until(lambda: watched.rescans >= 3)
    assert watched.told == []


async def test_everything_is_looked_at_also_under_steady_changes(watched: Watched) -> None:
    await watched.start(rescan_every=0.3)

    def write_again() -> bool:
        (watched.store / "busy-shm").write_text("x")
        return watched.rescans >= 3

    await until(write_again)


async def test_a_handler_that_raises_is_logged_and_the_watch_goes_on(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.failures.append(ValueError("the first look failed"))
    await watched.start()
    assert watched.watcher is not None
    assert watched.watcher.last_error == "ValueError: the first look failed"
    watched.failures.append(RuntimeError("the change failed"))
    (watched.store / "one").touch()
    await until(lambda: not watched.failures)
    assert watched.watcher.last_error == "RuntimeError: the change failed"
    assert "Traceback" in caplog.text
    (watched.store / "two").touch()
    await until(lambda: watched.store / "two" in watched.paths)


async def test_a_folder_that_goes_and_comes_back_is_watched_again(watched: Watched) -> None:
    await watched.start()
    assert watched.watcher is not None
    before = watched.rescans
    shutil.rmtree(watched.store)
    await until(lambda: watched.rescans > before)
    assert str(watched.store) in watched.watcher.trouble
    (watched.names / "meanwhile").touch()
    await until(lambda: watched.names / "meanwhile" in watched.paths)
    between = watched.rescans
    watched.store.mkdir()
    await until(lambda: watched.watcher.trouble == "" and watched.rescans > between)
    (watched.store / "again").touch()
    await until(lambda: watched.store / "again" in watched.paths)


async def test_a_folder_replaced_at_once_is_watched_again(watched: Watched) -> None:
    await watched.start()
    for number in range(3):
        before = watched.rescans
        if number % 2:
            watched.store.rename(watched.names.parent / f"old{number}")
        else:
            watched.store.rmdir()
        watched.store.mkdir()
        await until(lambda before=before: watched.rescans > before)  # type: ignore[misc]
        file = watched.store / f"file{number}"
        file.touch()
        await until(lambda file=file: file in watched.paths)  # type: ignore[misc]
        file.unlink()
        await until(lambda: not list(watched.store.iterdir()))


async def test_a_kernel_that_has_no_more_watches_is_asked_again(watched: Watched) -> None:
    free = os.dup(0)
    os.close(free)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        await watched.start()
        assert watched.watcher is not None
        assert "cannot be watched" in watched.watcher.trouble
        looked = watched.rescans
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    # The trouble is over before the watch stands; the look after that is the sign.
    await until(lambda: watched.trouble == "" and watched.rescans > looked)
    (watched.store / "file").touch()
    await until(lambda: watched.store / "file" in watched.paths)


async def test_folders_may_come_later(watched: Watched) -> None:
    shutil.rmtree(watched.names)
    starting = asyncio.create_task(watched.start())
    await until(lambda: watched.trouble)
    watched.store.mkdir(parents=True)
    await starting
    (watched.store / "file").touch()
    await until(lambda: watched.store / "file" in watched.paths)


async def test_all_folders_share_one_inotify_instance(watched: Watched) -> None:
    def instances() -> int:
        links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
        return sum(os.path.lexists(fd) and "inotify" in os.readlink(fd) for fd in links)

    await until(lambda: instances() == 0, what="the watchers of tests before to be gone")
    await watched.start()
    assert instances() == 1


# Fingerprints


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A database in WAL mode with a table."""
    path = tmp_path / "names" / ".store" / "live.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE t (x)")
    return path


def read(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        [(count,)] = database.execute("SELECT count(*) FROM t").fetchall()
    return int(count)


def test_a_fingerprint_tells_writing_from_reading(live: Path) -> None:
    prints = Fingerprints()
    assert prints.changed(live) and not prints.changed(live)
    with closing(sqlite3.connect(live)) as writer:
        writer.execute("SELECT * FROM t").fetchall()
        for _ in range(3):
            writer.execute("INSERT INTO t VALUES (1)")
            writer.commit()
            assert prints.changed(live)
            for _ in range(3):
                read(live)
                assert not prints.changed(live)


def test_readers_that_come_and_go_alone_are_no_change(live: Path) -> None:
    prints = Fingerprints()
    prints.changed(live)
    for _ in range(3):
        read(live)
        assert not prints.changed(live)


def test_a_file_that_goes_or_is_replaced_has_changed(live: Path, tmp_path: Path) -> None:
    prints = Fingerprints()
    assert not prints.changed(tmp_path / "never there")
    prints.changed(live)
    shutil.copy2(live, tmp_path / "copy")
    (tmp_path / "copy").replace(live)
    assert prints.changed(live)
    live.unlink()
    assert prints.changed(live) and not prints.changed(live)


async def test_reading_upon_every_change_comes_to_rest(watched: Watched, live: Path) -> None:
    """One commit into a live file, which is read whenever a change is told."""
    prints, reads = Fingerprints(), 0
    tell = watched.on_change

    async def look(paths: set[Path]) -> None:
        nonlocal reads
        await tell(paths)
        if prints.changed(live):
            reads += 1
            assert read(live) == 1
        else:
            read(live)  # as a visitor's page does

    watched.on_change = look  # type: ignore[method-assign]
    prints.changed(live)
    with closing(sqlite3.connect(live)) as writer:
        writer.execute("SELECT * FROM t").fetchall()
        await watched.start()
        writer.execute("INSERT INTO t VALUES (1)")
        writer.commit()
        await until(lambda: reads)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            read(live)
            await asyncio.sleep(0.02)
        assert 1 <= reads <= 2
