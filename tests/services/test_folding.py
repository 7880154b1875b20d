"""Long logs are written into their databases, with the real Litestream, and hold up nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from fossilrepo.services.folding import LIMIT, Folding
from fossilrepo.tools.wal_guard import WalGuard
from tests.helpers.replicated import Replicated, replicated

FORCED = 500_000_000  # bytes of a log from which Litestream wants a checkpoint of its own


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Replicated]:
    with replicated(tmp_path / "data") as one:
        await one.up()
        await one.sync()
        yield one


@pytest.fixture
def guard(one: Replicated) -> WalGuard:
    guard = WalGuard()
    assert guard.hold(one.file)
    return guard


async def test_a_log_of_half_a_gigabyte_is_read_and_folded_in(
    one: Replicated, guard: WalGuard
) -> None:
    with closing(sqlite3.connect(one.file, isolation_level=None)) as db:
        while guard.unfolded(one.file) <= FORCED:
            db.execute("INSERT INTO blob VALUES (zeroblob(20000000))")
    first = await one.control.sync(one.file, timeout=60)
    again = await one.control.sync(one.file, timeout=60)
    assert (again.txid, again.replicated_txid) == (first.txid, first.txid), "it changes the file"
    await Folding(guard, one.control).fold(one.file, quiet=False)
    assert guard.unfolded(one.file) < LIMIT
    after = await one.push()
    assert after.replicated_txid == after.txid <= first.txid + 3
    guard.close()


async def test_nobody_who_writes_waits_for_a_litestream_that_is_slow(
    one: Replicated, guard: WalGuard
) -> None:
    one.write(rows=3, size=2 * LIMIT)
    assert one.process is not None
    os.kill(one.process.pid, signal.SIGSTOP)
    folding = asyncio.create_task(Folding(guard, one.control).fold(one.file, quiet=False))
    await asyncio.sleep(0.5)
    with closing(sqlite3.connect(one.file, timeout=1.0)) as db, db:
        db.execute("INSERT INTO blob VALUES ('in the middle')")
    assert not folding.done()
    os.kill(one.process.pid, signal.SIGCONT)
    await folding
    assert guard.unfolded(one.file) < LIMIT
    guard.close()
