"""What slow, vanished and greedy clients can do to the gateway: nothing that lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from fossilrepo.config import FossilServer, Settings
from fossilrepo.web.gateway_stream import TimeLimits
from fossilrepo.web.hosts import NOT_FOUND_TARGET
from tests.helpers import gateway_parts as parts
from tests.helpers.gateway_parts import Served, soon
from tests.helpers.gateway_process import gateway


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with parts.repositories(tmp_path_factory.mktemp("gateway"), NOT_FOUND_TARGET) as served:
        yield served


@pytest.fixture
async def site(served: Served) -> AsyncIterator[parts.Site]:
    async with gateway(served) as (site, _):
        yield site


async def test_a_client_that_hangs_up_ends_its_process_at_fossil(
    site: parts.Site, served: Served
) -> None:
    await soon(lambda: not parts.children_of(served.pid))
    reader, writer = await parts.small_buffers(site.port)
    writer.write(b"GET /demo/raw/x?ci=trunk&filename=big.bin HTTP/1.0\r\n")
    writer.write(b"Host: demo.localhost\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200"), head
    await soon(lambda: parts.children_of(served.pid))
    writer.transport.abort()
    await soon(lambda: not parts.children_of(served.pid), 5)


@pytest.mark.parametrize("sent", [10, 200_000])
async def test_a_body_without_an_end_is_ended_and_holds_no_process(
    served: Served, sent: int
) -> None:
    async with gateway(served, limits=TimeLimits(idle=0.6)) as (site, built):
        head = b"POST /demo/xfer HTTP/1.1\r\nHost: demo.localhost\r\nContent-Length: 999999\r\n"
        answer = parts.Answer(await site.raw(head + b"\r\n" + b"x" * sent))
        assert answer.status == 408
        assert built.stats().in_flight == 0
    await soon(lambda: not parts.children_of(served.pid))


async def test_a_client_that_does_not_read_is_cut_off(served: Served) -> None:
    async with gateway(served, limits=TimeLimits(idle=0.6)) as (site, built):
        _, writer = await asyncio.open_connection("127.0.0.1", site.port, limit=1024)
        writer.write(
            b"GET /demo/raw/x?ci=trunk&filename=big.bin HTTP/1.0\r\nHost: demo.localhost\r\n\r\n"
        )
        await soon(lambda: built.stats().in_flight == 1)
        await soon(lambda: built.stats().in_flight == 0 and built.stats().failed == 1)
        await soon(lambda: not parts.children_of(served.pid))
        writer.transport.abort()


async def test_a_client_that_only_trickles_is_cut_off(served: Served) -> None:
    limits = TimeLimits(idle=5, window=0.5, floor=1000)
    async with gateway(served, limits=limits) as (site, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        head = b"POST /demo/xfer HTTP/1.1\r\nHost: demo.localhost\r\nContent-Length: 9999\r\n\r\n"
        writer.write(head)
        answer = asyncio.create_task(reader.read(100))
        for _ in range(100):
            if answer.done():
                break
            writer.write(b"x")
            await asyncio.sleep(0.05)
        else:
            pytest.fail("it went on for five seconds")
        assert b" 408 " in await answer
        writer.transport.abort()


async def test_a_connection_without_a_request_is_closed(served: Served) -> None:
    async with gateway(served, head_seconds=0.5) as (site, _):
        assert await site.raw(b"GET /demo/timeline HTTP/1.1\r\nHost: de", seconds=5) == b""
        keeps = await site.ask("GET", "/demo/timeline", host=site.host("demo"))
        assert keeps.status == 200


@asynccontextmanager
async def stuck() -> AsyncIterator[Served]:
    """An upstream that takes a request and never answers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await reader.read(65536):
                pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Served(Path("/"), server.sockets[0].getsockname()[1], 0)
    finally:
        server.close()


async def test_one_client_cannot_take_every_place_and_a_full_house_is_503() -> None:
    settings = Settings(fossil=FossilServer(max_requests=4))
    async with (
        stuck() as upstream,
        gateway(upstream, settings=settings, patience=0.3) as (site, built),
    ):

        def hold(address: str) -> asyncio.Task[parts.Answer]:
            return asyncio.create_task(
                site.ask(
                    "GET",
                    "/demo/x",
                    host="demo.localhost",
                    headers=f"X-Forwarded-For: {address}\r\n",
                )
            )

        held = [hold("198.51.100.1") for _ in range(2)]
        await soon(lambda: built.stats().in_flight == 2)
        assert (await hold("198.51.100.1")).status == 503  # its share
        held += [hold("198.51.100.2"), hold("198.51.100.3")]
        await soon(lambda: built.stats().in_flight == 4)
        full = await hold("198.51.100.4")
        assert (full.status, full.one("retry-after")) == (503, "5")
        assert built.stats().refused == 2
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        await soon(lambda: built.stats().in_flight == 0, 5)


async def test_half_sent_bodies_take_no_place(served: Served) -> None:
    settings = Settings(fossil=FossilServer(max_requests=2))
    async with gateway(served, settings=settings, patience=0.3) as (site, _):
        head = b"POST /demo/xfer HTTP/1.1\r\nHost: demo.localhost\r\nContent-Length: 999\r\n\r\nx"
        writers = []
        for _ in range(6):
            _, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.write(head)
            writers.append(writer)
        page = await site.ask("GET", "/demo/timeline", host=site.host("demo"))
        assert page.status == 200
        for writer in writers:
            writer.transport.abort()


async def test_an_answer_cut_short_is_not_passed_on_as_whole() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    upstream = Served(Path("/"), server.sockets[0].getsockname()[1], 0)
    async with gateway(upstream) as (site, built):
        answer = await site.ask("GET", "/demo/x", host=site.host("demo"))
        assert len(answer.body) < 1000
        assert built.stats().failed == 1
    server.close()
