"""Things gathered while the previous ones are dealt with, and the rest between."""

from __future__ import annotations

import asyncio
import time

from fossilrepo.runtime.gathered import Gathered
from tests.helpers.poll import until


async def test_what_costs_much_rests_and_forgets_nothing() -> None:
    seen: list[tuple[float, set[int]]] = []

    async def handle(things: set[int]) -> None:
        seen.append((time.monotonic(), things))
        await asyncio.sleep(0.1)

    one: Gathered[int] = Gathered("numbers", handle, rest=2)
    running = asyncio.create_task(one.run())
    one.add([1])
    await until(lambda: seen, what="the first")
    for number in (2, 3):
        one.add([number])
    await until(lambda: len(seen) == 2, what="the others")
    running.cancel()
    await asyncio.wait({running})
    assert [things for _, things in seen] == [{1}, {2, 3}]
    assert seen[1][0] - seen[0][0] >= 0.3


async def test_what_fails_is_told_and_the_next_is_handled() -> None:
    seen: list[set[int]] = []

    async def handle(things: set[int]) -> None:
        seen.append(things)
        if things == {1}:
            raise ValueError("no")

    one: Gathered[int] = Gathered("numbers", handle)
    running = asyncio.create_task(one.run())
    one.add([1])
    await until(lambda: one.last_error == "ValueError: no", what="the failure")
    one.add([2])
    await until(lambda: seen == [{1}, {2}], what="the next")
    running.cancel()
    await asyncio.wait({running})
