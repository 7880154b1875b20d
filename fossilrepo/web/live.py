"""Pages that move by themselves: server-sent events of a mirror's run, and of the whole host.

Owns the streams: how many there may be, when they end, and what one event is. A run's events
are pieces of its page; the host's say only that there is something new, which the page then
asks for. The browser connects again by itself; nothing is lost when it does. While nobody
looks, nothing is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from aiohttp import web

from fossilrepo.errors import Unavailable
from fossilrepo.web import pages_mirrors, render
from fossilrepo.web.visit import Route, Visit, Who

MOST = 100  # streams of runs at once
MOST_WATCHING = 1000  # open overviews at once
LOOK_EVERY = 0.5  # seconds
LONGEST = 600.0  # seconds; the browser connects again
WATCH_EVERY = 2.0  # seconds
BEAT_EVERY = 15.0  # seconds without an event, after which a sign of life is sent

STREAMS: web.AppKey[set[asyncio.Task[None]]] = web.AppKey("streams", set)


async def mirror(visit: Visit) -> web.StreamResponse:
    """Events `standing` while a run is owed or lasts, then `end`."""
    known = await pages_mirrors.known(visit)  # who may not see it gets no stream
    return await _stream(visit, visit.request.app[STREAMS], MOST, partial(_tell, known=known))


async def host(visit: Visit) -> web.StreamResponse:
    """Events `changed`, each with a number: something that the overview shows is another."""
    watch = visit.request.app[WATCH]
    return await _stream(visit, watch.streams, MOST_WATCHING, _beat)


async def _stream(
    visit: Visit,
    streams: set[asyncio.Task[None]],
    most: int,
    tell: Callable[[Visit, web.StreamResponse], Awaitable[None]],
) -> web.StreamResponse:
    if len(streams) >= most:
        raise Unavailable("too many pages are watched at once", hint="load the page again")
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        }
    )
    await response.prepare(visit.request)
    if visit.request.method == "HEAD":
        return response
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a handler runs in one
    streams.add(task)
    try:
        async with asyncio.timeout(LONGEST):
            await tell(visit, response)
    except (TimeoutError, ConnectionError):
        pass
    finally:
        streams.discard(task)
    return response


async def _beat(visit: Visit, response: web.StreamResponse) -> None:
    watch, pulse = visit.request.app[WATCH], visit.services.insights.pulse
    watch.begin(visit)
    # What happened since the page was made, or since the connection broke, counts as new.
    before = visit.request.headers.get("Last-Event-ID") or visit.query("after")
    number = int(before[:18]) if before.isascii() and before.isdigit() else pulse.number
    while True:
        now = await pulse.after(number, within=BEAT_EVERY)
        if now == number:
            await response.write(b": alive\n\n")
            continue
        number = now
        await response.write(f"id: {number}\n".encode() + _event("changed", "look"))


class Watch:
    """Looks at the host for all open overviews together, while there is one."""

    def __init__(self) -> None:
        self.streams: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def begin(self, visit: Visit) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look(visit), name="watch")

    async def _look(self, visit: Visit) -> None:
        seen, services = "", visit.services
        while self.streams:
            health = services.health
            running, failed = await services.jobs.counts()
            children = [(one.name, str(one.state)) for one in health.children()]
            states = sorted(str(r.state) for r in services.replication.statuses().values())
            text = repr((running, failed, children, states, await services.mirrors.states()))
            if seen and text != seen:
                services.insights.pulse.beat()
            seen = text
            await asyncio.sleep(WATCH_EVERY)

    async def end(self) -> None:
        tasks = {*self.streams, *({self._task} if self._task else ())}
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def _tell(visit: Visit, response: web.StreamResponse, known: dict[str, Any]) -> None:
    seen, silent = "", 0.0
    while True:
        text = render.piece(visit, "piece_mirror.html", **known)
        if text != seen:
            await response.write(_event("standing", text))
            seen, silent = text, 0.0
        elif silent >= BEAT_EVERY:
            await response.write(b": alive\n\n")
            silent = 0.0
        if not known["moves"]:
            await response.write(_event("end", "over"))
            return
        await asyncio.sleep(LOOK_EVERY)
        silent += LOOK_EVERY
        known = await pages_mirrors.known(visit)


def _event(name: str, text: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
    return f"event: {name}\n{lines}\n".encode()


async def end_all(app: web.Application) -> None:
    """At the end of the host."""
    await app[WATCH].end()
    streams = app[STREAMS].copy()
    for task in streams:
        task.cancel()
    for task in streams:
        with suppress(asyncio.CancelledError):
            await task


WATCH: web.AppKey[Watch] = web.AppKey("watch", Watch)

ROUTES = (
    Route("GET", "/mirrors/{id}/events", Who.SIGNED_IN, mirror),
    Route("GET", "/events", Who.SIGNED_IN, host),
)
