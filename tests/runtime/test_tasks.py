"""Background tasks: held, named, loud when they die, ended in bounded time."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest

from fossilrepo.runtime.tasks import Tasks
from tests.helpers.poll import until


class Deaths:
    def __init__(self) -> None:
        self.seen: list[tuple[str, BaseException]] = []

    def __call__(self, name: str, error: BaseException) -> None:
        self.seen.append((name, error))


async def test_a_task_that_raises_is_handed_on_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        raise RuntimeError("broken")

    deaths = Deaths()
    tasks = Tasks(deaths)
    tasks.spawn("worker", fail())
    await until(lambda: deaths.seen)
    [(name, error)] = deaths.seen
    assert name == "worker" and str(error) == "broken"
    assert "task worker failed" in caplog.text and "Traceback" in caplog.text
    assert tasks.names() == []


async def test_a_duty_that_fails_is_begun_again_and_told(caplog: pytest.LogCaptureFixture) -> None:
    began: list[int] = []

    async def duty() -> None:
        began.append(1)
        if len(began) < 2:
            raise ValueError("not now")
        await asyncio.sleep(100)

    deaths = Deaths()
    tasks = Tasks(deaths)
    tasks.keep("duty", duty)
    await until(lambda: len(began) == 2)
    [trouble] = tasks.troubles()
    assert (trouble.name, trouble.count, trouble.error) == ("duty", 1, "not now")
    assert not deaths.seen and "duty failed and is begun again" in caplog.text
    assert await tasks.close() == []


async def test_a_task_that_ends_or_is_cancelled_on_purpose_is_no_death() -> None:
    async def work() -> int:
        return 5

    deaths = Deaths()
    tasks = Tasks(deaths)
    assert await tasks.spawn("short", work()) == 5
    long = tasks.spawn("long", asyncio.sleep(100))
    assert tasks.names() == ["long"]
    long.cancel()
    await asyncio.wait({long})
    assert not deaths.seen and tasks.names() == []


async def test_a_cancellation_that_nobody_asked_for_is_a_death() -> None:
    async def await_something_cancelled() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    deaths = Deaths()
    tasks = Tasks(deaths)
    tasks.spawn("worker", await_something_cancelled())
    await until(lambda: deaths.seen)
    assert deaths.seen[0][0] == "worker"


async def test_tasks_are_held_though_nobody_else_does() -> None:
    done: list[bool] = []

    async def work() -> None:
        await asyncio.sleep(0.05)
        done.append(True)

    tasks = Tasks(Deaths())
    tasks.spawn("held", work())
    gc.collect()
    await until(lambda: done)


async def test_closing_ends_all_and_waits_for_their_end() -> None:
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.05)
            ended.append(name)

    tasks = Tasks(Deaths())
    for name in ("a", "b"):
        tasks.spawn(name, work(name))
    await asyncio.sleep(0)
    assert await tasks.close() == []
    assert sorted(ended) == ["a", "b"]
    assert await tasks.close() == []


async def test_closing_is_bounded_and_names_who_did_not_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = asyncio.Event()

    async def deaf() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    tasks = Tasks(Deaths())
    task = tasks.spawn("deaf", deaf())
    await asyncio.sleep(0)
    started = time.monotonic()
    assert await tasks.close(0.2) == ["deaf"]
    assert time.monotonic() - started < 1
    assert "deaf" in caplog.text
    release.set()
    await task


async def test_an_error_while_closing_is_not_swallowed() -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            raise RuntimeError("cannot tidy up")

    deaths = Deaths()
    tasks = Tasks(deaths)
    tasks.spawn("worker", work())
    await asyncio.sleep(0)
    await tasks.close()
    assert [name for name, _ in deaths.seen] == ["worker"]


async def test_nothing_starts_after_closing() -> None:
    tasks = Tasks(Deaths())
    await tasks.close()
    with pytest.raises(RuntimeError, match="already stopping"):
        tasks.spawn("late", asyncio.sleep(1))


async def test_a_task_may_close_the_others() -> None:
    tasks = Tasks(Deaths())
    tasks.spawn("other", asyncio.sleep(100))
    assert await tasks.spawn("closer", tasks.close()) == []
