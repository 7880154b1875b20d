"""How long requests took: counted, and the slow ones told with where their time went."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from fossilrepo.services.timings import BOUNDS, KEPT, Timings
from fossilrepo.traces import CLIENT, span, traced


async def test_spans_of_tasks_and_threads_are_summed_up_by_name() -> None:
    def in_a_thread() -> None:
        with span("disk"):
            time.sleep(0.02)

    async def in_a_task() -> None:
        with span("database"):
            await asyncio.sleep(0.03)

    with traced() as trace:
        await asyncio.gather(in_a_task(), in_a_task(), asyncio.to_thread(in_a_thread))
    with span("database"):  # of nobody
        pass
    assert {name: count for name, (count, _) in trace.spans.items()} == {"database": 2, "disk": 1}
    assert trace.spans["database"][1] >= 0.06 and trace.spans["disk"][1] >= 0.02
    assert re.fullmatch(r"database \d+ ms \(2 times\), disk \d+ ms", trace.words())


async def test_what_the_client_took_is_not_ours() -> None:
    with traced() as trace:
        with span(CLIENT):
            await asyncio.sleep(0.6)
        await asyncio.sleep(0.02)
    assert 0.02 <= trace.ours() < 0.6


async def test_two_requests_do_not_share_a_trace() -> None:
    async def request(name: str) -> dict[str, tuple[int, float]]:
        with traced() as trace:
            with span(name):
                await asyncio.sleep(0.01)
            return trace.spans

    first, second = await asyncio.gather(request("a"), request("b"))
    assert (set(first), set(second)) == ({"a"}, {"b"})


def test_a_span_that_fails_counts_too() -> None:
    with traced() as trace, pytest.raises(OSError), span("fossil"):
        raise OSError
    assert trace.spans["fossil"][0] == 1


def test_every_request_is_in_one_bucket_and_the_slow_ones_are_told() -> None:
    timings = Timings(slow=1.0)
    for seconds in (0.0, BOUNDS[0], 0.3, 0.999, 1.0, 99.0):
        timings.add("api", f"GET /{seconds}", 200, seconds, "database 3 ms")
    counted = timings.counted["api"]
    assert sum(counted.buckets) == 6 and counted.buckets[0] == 2 and counted.buckets[-1] == 1
    assert counted.seconds == pytest.approx(sum((0.0, BOUNDS[0], 0.3, 0.999, 1.0, 99.0)))
    assert [one.asked for one in timings.slow()] == ["GET /99.0", "GET /1.0"]
    assert counted.slow == 2 and timings.counted["site"].slow == 0


def test_what_is_kept_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    timings = Timings(slow=1.0)
    for number in range(KEPT + 5):
        timings.add("site", f"GET /{number}/" + "x" * 1000, 200, 2.0, "")
    assert len(timings.slow()) == KEPT and timings.slow()[0].asked.startswith(f"GET /{KEPT + 4}/")
    assert len(timings.slow()[0].asked) < 210
    assert len(caplog.records) == KEPT + 5
    assert caplog.records[0].getMessage().startswith("slow: GET /0/xxx")
