"""Pages that move by themselves: server-sent events of a mirror's run.

Owns the streams: how many there may be, when they end, and what one event is: a piece of the
page as it is now. The browser connects again by itself; nothing is lost when it does.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from aiohttp import web

from fossilrepo.errors import Unavailable
from fossilrepo.web import pages_mirrors, render
from fossilrepo.web.visit import Route, Visit, Who

MOST = 100  # streams at once
LOOK_EVERY = 0.5  # seconds
LONGEST = 600.0  # seconds; the browser connects again
BEAT_EVERY = 15.0  # seconds without an event, after which a sign of life is sent

STREAMS: web.AppKey[set[asyncio.Task[None]]] = web.AppKey("streams", set)


async def mirror(visit: Visit) -> web.StreamResponse:
    """Events `standing` while a run lasts, then `end`."""
    known = await pages_mirrors.known(visit)  # who may not see it gets no stream
    streams = visit.request.app[STREAMS]
    if len(streams) >= MOST:
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
            await _tell(visit, response, known)
    except (TimeoutError, ConnectionError):
        pass
    finally:
        streams.discard(task)
    return response


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
        if known["live"] is None:
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
    streams = app[STREAMS].copy()
    for task in streams:
        task.cancel()
    for task in streams:
        with suppress(asyncio.CancelledError):
            await task


ROUTES = (Route("GET", "/mirrors/{id}/events", Who.SIGNED_IN, mirror),)
