"""Folders watched: what changed, told in gathered sets, and a look at everything now and then.

Owns the one inotify instance (through watchfiles), the order "watch first, then
look", and the recovery when a folder goes and comes back. Handlers are called
one after the other and may raise: that is kept and logged, and the watch goes
on. Must not know what is in the files.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from watchfiles import Change, awatch
from watchfiles._rust_notify import WatchfilesRustInternalError
from watchfiles.main import FileChange

log = logging.getLogger(__name__)
logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it reports every change as news

Place = tuple[int, int] | None
Batches = AsyncGenerator[set[FileChange], None]


class Watcher:
    """Watches some folders, not what is below their subfolders.

    `on_change` gets the paths that changed within `gather` seconds, without those that
    `ignore` names. `rescan` is called once the watch stands, every `rescan_every` seconds
    and whenever a folder went or came back: then anything may have changed unseen.
    `trouble` says why a folder is not watched now, `last_error` what a handler last raised.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        on_change: Callable[[set[Path]], Awaitable[None]],
        ignore: Callable[[Path], bool],
        rescan: Callable[[], Awaitable[None]],
        rescan_every: float = 300.0,
        gather: float = 0.08,
        look_every: float = 2.0,
    ) -> None:
        self.last_error = ""
        self.trouble = ""
        self._folders = tuple(folders)
        self._on_change = on_change
        self._ignore = ignore
        self._rescan = rescan
        self._rescan_every = rescan_every
        self._gather = gather
        self._look_every = look_every
        self._next_rescan = 0.0

    async def run(self) -> None:
        """Watch until cancelled. Only a mistake in this class ends it otherwise."""
        while True:
            places = _places(self._folders)
            try:
                await self._watch(places)
            except (OSError, WatchfilesRustInternalError) as error:
                # A folder went between the look and the watch, or the kernel's limits are reached.
                self._say(f"the folders cannot be watched: {error}")
                await self._safely(self._rescan())
                await asyncio.sleep(self._look_every)
            except ExceptionGroup as group:
                if group.split(WatchfilesRustInternalError)[1] is not None:
                    raise
                # A file name that is no text ends the watch; the next one begins with a look.
                log.warning("the watch begins anew: %s", group.exceptions[0])
                await asyncio.sleep(self._look_every)

    async def _watch(self, places: dict[Path, Place]) -> None:
        """Handle what comes until a folder is not the one any more that is watched."""
        present = [folder for folder, place in places.items() if place is not None]
        missing = [str(folder) for folder in self._folders if folder not in present]
        trouble = f"not there to be watched: {', '.join(missing)}" if missing else ""
        if not present:
            self._say(trouble)
            await asyncio.sleep(self._look_every)
            return
        async with contextlib.aclosing(self._batches(present)) as batches:
            first = asyncio.create_task(anext(batches), name="first change")
            with_first = _chain(first, batches)
            try:
                # One turn of the loop, and the watch stands; its events wait in the kernel.
                await asyncio.sleep(0)
                if first.done():
                    first.result()  # raises why it does not stand
                self._say(trouble)
                await self._look()
                async for changes in with_first:
                    await self._handle(changes)
                    if time.monotonic() >= self._next_rescan:
                        await self._look()
                    if self._went(changes) or _places(self._folders) != places:
                        return
            finally:
                first.cancel()
                await asyncio.wait({first})

    def _batches(self, folders: list[Path]) -> Batches:
        return awatch(
            *folders,
            watch_filter=None,
            recursive=False,
            step=int(self._gather * 750),  # it wakes up as often as that: smaller costs at idle
            debounce=int(self._gather * 4000),
            rust_timeout=int(self._look_every * 1000),
            yield_on_timeout=True,
        )

    async def _handle(self, changes: set[FileChange]) -> None:
        paths = {Path(name) for _, name in changes}
        paths = {path for path in paths if path not in self._folders and not self._ignore(path)}
        if paths:
            await self._safely(self._on_change(paths))

    def _went(self, changes: set[FileChange]) -> bool:
        """A new folder may have the inode of the old one, so its end itself counts."""
        return any(
            change is Change.deleted and Path(name) in self._folders for change, name in changes
        )

    async def _look(self) -> None:
        await self._safely(self._rescan())
        self._next_rescan = time.monotonic() + self._rescan_every

    async def _safely(self, handling: Awaitable[None]) -> None:
        try:
            await handling
        except Exception as error:
            log.exception("a change in the watched folders could not be handled")
            self.last_error = f"{type(error).__name__}: {error}"

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            log.warning("%s", trouble)
        self.trouble = trouble


async def _chain(first: asyncio.Task[set[FileChange]], rest: Batches) -> Batches:
    yield await first
    async for changes in rest:
        yield changes


def _places(folders: Sequence[Path]) -> dict[Path, Place]:
    """Which folder stands behind each path now."""
    places: dict[Path, Place] = {}
    for folder in folders:
        places[folder] = None
        with contextlib.suppress(OSError):
            found = os.stat(folder)
            places[folder] = (found.st_dev, found.st_ino)
    return places


class Fingerprints:
    """Whether a SQLite file really changed since it was last asked about.

    Reading a live database in WAL mode touches its `-shm` and opens its `-wal` for
    writing, which raises events: without this, whoever reads upon an event never rests.
    """

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[int, ...]] = {}

    def changed(self, path: Path) -> bool:
        """True when file or `-wal` have another size or time than at the last call.

        A file seen for the first time, or seen to be gone, has changed.
        """
        now = tuple(_print(path))
        before = self._seen.get(path, ())
        if now:
            self._seen[path] = now
        else:
            self._seen.pop(path, None)
        return now != before


def _print(path: Path) -> Iterator[int]:
    for file in (path, path.with_name(path.name + "-wal")):
        try:
            found = os.stat(file)
        except OSError:
            continue
        # An empty -wal comes and goes with readers and says nothing.
        if found.st_size or file is path:
            yield from (found.st_ino, found.st_size, found.st_mtime_ns)
