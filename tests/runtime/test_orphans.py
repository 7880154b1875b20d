"""Processes that escaped from a child: ended, waited for, and no others."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from fossilrepo.runtime import proc
from fossilrepo.runtime.orphans import Reaper, become_subreaper, end_orphans, orphans
from fossilrepo.runtime.process import run
from tests.helpers.poll import until
from tests.helpers.runtime import Bad


@pytest.fixture(autouse=True)
def _subreaper() -> Iterator[None]:
    assert become_subreaper()
    yield
    become_subreaper(False)


async def test_an_escaped_process_becomes_ours_and_is_ended(bad: Bad) -> None:
    await run(bad.command("--grandchild", "session", "--exit", 0), timeout=10)
    [escaped] = bad.alive()
    assert escaped in proc.children(os.getpid())
    assert [orphan.pid for orphan in orphans()] == [escaped]
    assert await end_orphans(grace=0.2) == 1
    assert not bad.alive() and escaped not in proc.children(os.getpid())


async def test_programs_that_run_are_no_orphans(bad: Bad) -> None:
    running = asyncio.create_task(run(bad.command(), timeout=20))
    await until(bad.alive)
    assert await end_orphans(grace=0.2) == 0
    assert len(bad.alive()) == 1
    running.cancel()
    await asyncio.wait({running})


async def test_ended_orphans_do_not_pile_up(bad: Bad) -> None:
    await run(bad.command("--grandchild", "session", "--exit", 0), timeout=10)
    [escaped] = bad.alive()
    os.kill(escaped, signal.SIGKILL)
    await until(lambda: not bad.alive())
    reaper = Reaper()
    assert reaper.look() == []
    # With it goes whatever else had ended on its way out of the group.
    assert escaped in reaper.look()
    assert reaper.look() == []
    assert escaped not in proc.children(os.getpid())


async def test_the_reaper_leaves_the_children_of_others_to_them(bad: Bad) -> None:
    process = await asyncio.create_subprocess_exec("sh", "-c", "exit 7")
    reaper = Reaper()
    for _ in range(3):
        reaper.look()
    assert await process.wait() == 7
