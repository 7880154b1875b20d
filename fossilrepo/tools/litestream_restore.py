"""What can be restored from a replica, and restoring it.

Owns the list of a replica's files and the choice of the transaction for a moment:
never one whose content was written later than the moment asked for, also when the
clock went backwards in between. Leaves no file behind when it fails.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Literal

from fossilrepo.errors import Damaged, NotFound, Unavailable
from fossilrepo.runtime.process import Command, Finished, run
from fossilrepo.tools.litestream_program import environment, program
from fossilrepo.tools.litestream_words import explain
from fossilrepo.tools.target import Target
from fossilrepo.tools.target_file import FileTarget
from fossilrepo.tools.target_s3 import S3Target

Check = Literal["none", "quick", "full"]

SNAPSHOT = 9
_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})\.ltx")
_DAMAGED = re.compile(
    r"integrity|corrupt|checksum|malformed|invalid ltx|decode (?:database|header|page|ltx)"
)
_KEY = re.compile(r"([0-9a-f]{4})/" + _NAME.pattern)
_TIME_OF_OBJECT = "litestream-timestamp"
_JOURNAL_MODES = slice(18, 20)  # https://sqlite.org/fileformat2.html: 2 is WAL
_HEADER = 40  # bytes up to the time: magic, flags, page size, pages, two txids, milliseconds
_MAGIC, _LATEST = b"LTX1", 10**13  # of a header; milliseconds since 1970, far from now


@dataclass(frozen=True, slots=True)
class Ltx:
    """One file of a replica: the transactions in it, its size in bytes, when it was current."""

    level: int
    min_txid: int
    max_txid: int
    size: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Restored:
    txid: int
    seconds: float


async def ltx(target: Target, name: str) -> list[Ltx]:
    """Every file of the replica of `name`; none when there is no replica.

    A file in a folder whose beginning is none of Litestream's is not among them.

    Times are exact to the millisecond in a folder. In a bucket they are when the server
    got the file: a little later than the content, half a minute for what was compacted.
    """
    if isinstance(target, FileTarget):
        return await asyncio.to_thread(_read_folder, target.folder / name / "ltx")
    found = []
    for stored in await target.list(f"{name}/"):
        match = _KEY.fullmatch(stored.key.removeprefix(f"{name}/"))
        if match is not None:
            level, first, last = (int(part, 16) for part in match.groups())
            found.append(Ltx(level, first, last, stored.size, stored.modified))
    return sorted(found, key=_order)


def _order(file: Ltx) -> tuple[int, int]:
    return file.max_txid, file.level


def _read_folder(folder: Path) -> list[Ltx]:
    found = []
    for level in range(SNAPSHOT + 1):
        with suppress(FileNotFoundError, NotADirectoryError):
            for entry in os.scandir(folder / str(level)):
                match = _NAME.fullmatch(entry.name)
                if match is None:
                    continue
                with suppress(FileNotFoundError):  # compacted away meanwhile
                    size, at = entry.stat().st_size, _time_of(entry.path)
                    if at is not None:
                        found.append(Ltx(level, int(match[1], 16), int(match[2], 16), size, at))
    return sorted(found, key=_order)


def _time_of(path: str) -> datetime | None:
    """From the file's own header: a copied replica has other times on its files.

    None when it is damaged: it can be restored no more.
    """
    with open(path, "rb") as file:
        header = file.read(_HEADER)
    milliseconds = int.from_bytes(header[32:40], "big")
    if len(header) < _HEADER or header[:4] != _MAGIC or milliseconds > _LATEST:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def reachable(files: Iterable[Ltx]) -> dict[int, datetime]:
    """Every transaction that can be restored, with the latest time of any content in it.

    A restore begins at a snapshot (or the first file) and adds files without a gap. Of
    several files that end with one transaction, the earliest time is nearest to it.
    """
    ordered = sorted(files, key=_order)
    reached: list[int] = []
    for file in ordered:
        before = bisect_left(reached, file.max_txid) - 1
        follows = before >= 0 and reached[before] >= file.min_txid - 1
        if (file.min_txid <= 1 or follows) and reached[-1:] != [file.max_txid]:
            reached.append(file.max_txid)
    times: dict[int, datetime] = {}
    for file in ordered:
        times[file.max_txid] = min(file.at, times.get(file.max_txid, file.at))
    latest = accumulate((times[txid] for txid in reached), max)
    return dict(zip(reached, latest, strict=True))


async def restore(
    target: Target,
    name: str,
    output: Path,
    *,
    at: datetime | None = None,
    txid: int | None = None,
    check: Check = "none",
    timeout: float = 3600,  # noqa: ASYNC109 - it ends a process group
) -> Restored:
    """Write `name` as it was `at` a moment (or at `txid`, or newest) to `output`.

    NotFound when there is no replica or the moment is before its first; Unavailable when
    the target cannot be reached; Damaged when what came is not whole.
    """
    if not target.is_local:
        await target.reachable()  # else the program would try for minutes
    if at is not None:
        txid = await _txid_at(target, name, at)
    options = ["-txid", f"{txid:016x}"] if txid is not None else []
    argv = (program(), "restore", "-json", "-integrity-check", check, *options)
    command = Command((*argv, "-o", str(output), target.replica_url(name)), env=environment(target))
    whole = False
    try:
        ended = await run(command, timeout=timeout)
        if ended.returncode != 0:
            raise _failure(target, name, ended)
        summary = json.loads(ended.stdout)
        whole = True
    finally:
        await asyncio.to_thread(_tidy, output, whole)
    return Restored(int(summary["txid"], 16), ended.seconds)


async def _txid_at(target: Target, name: str, at: datetime) -> int:
    files = await ltx(target, name)
    times = reachable(files)
    fitting = sum(latest <= at for latest in times.values())
    txids = list(times)
    if isinstance(target, S3Target):
        exact = _Exact(target, name, files)
        while fitting > 0 and await exact.time(txids[fitting - 1]) > at:
            fitting -= 1
        while fitting < len(txids) and await exact.time(txids[fitting]) <= at:
            fitting += 1
    if not fitting:
        raise _nothing(name, at if times else None)
    return txids[fitting - 1]


class _Exact:
    """Times to the millisecond, which Litestream stores with each object of a bucket."""

    def __init__(self, target: S3Target, name: str, files: list[Ltx]) -> None:
        self._target = target
        self._name = name
        self._files = {file.max_txid: file for file in reversed(files)}
        self._known: dict[int, datetime] = {}

    async def time(self, txid: int) -> datetime:
        if txid not in self._known:
            file = self._files[txid]
            key = f"{file.level:04x}/{file.min_txid:016x}-{file.max_txid:016x}.ltx"
            stored = (await self._target.head(f"{self._name}/{key}")).get(_TIME_OF_OBJECT)
            self._known[txid] = datetime.fromisoformat(stored) if stored else file.at
        return self._known[txid]


def _nothing(name: str, at: datetime | None = None) -> NotFound:
    what = f"of {name}" if at is None else f"of {name} from {at:%Y-%m-%d %H:%M:%S} or before"
    return NotFound(f"there is nothing {what} on the replica", hint="see what can be restored")


def _tidy(output: Path, whole: bool) -> None:
    """Nothing beside the file; the file itself only when it is whole, in rollback mode."""
    for suffix in (".tmp", ".tmp-wal", ".tmp-shm", "-wal", "-shm", ".txid", ".tmp.txid"):
        output.with_name(output.name + suffix).unlink(missing_ok=True)
    if not whole:
        output.unlink(missing_ok=True)
        return
    with output.open("r+b") as file:  # without a log the mode is two bytes of the header
        header = file.read(_JOURNAL_MODES.stop)
        if header[_JOURNAL_MODES] == b"\2\2":
            file.seek(_JOURNAL_MODES.start)
            file.write(b"\1\1")


def _failure(target: Target, name: str, ended: Finished) -> Exception:
    text = ended.stderr
    if re.search(r"no matching backup|txid not available|timestamp does not exist", text):
        return _nothing(name)
    if "no space left" in text:
        return _unavailable(target, ended)
    if _DAMAGED.search(text):
        return Damaged(f"what was restored of {name} is not whole: {_last(text)}")
    return _unavailable(target, ended)


def _unavailable(target: Target, ended: Finished) -> Exception:
    reason, hint = explain(_last(ended.stderr))
    return Unavailable(f"{target.url}: {reason}", hint=hint)


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
