"""The gateway alone in a process, so that its memory can be read from outside.

Called with the port to listen on, Fossil's port, and settings as JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from fossilrepo.config import Settings
from fossilrepo.models import HostState
from fossilrepo.web.connections import HeadDeadline
from fossilrepo.web.gateway import Gateway
from fossilrepo.web.gateway_pages import not_found
from fossilrepo.web.gateway_stream import TimeLimits, Upstream
from fossilrepo.web.hosts import HostKind, PublicUrl, first_segment, parse_host, path_form
from tests.helpers.gateway_parts import Served, Site, free_port

KNOWN = {"demo": HostState.SERVED, "other": HostState.SERVED, "moving": HostState.MAINTENANCE}
KNOWN["stale"] = HostState.SERVED  # known to us, gone at Fossil


def application(
    settings: Settings,
    port: int,
    fossil: Upstream | None,
    *,
    limits: TimeLimits | None = None,
    reason: str | None = None,
    patience: float = 10.0,
    head_seconds: float = 15.0,
) -> tuple[web.Application, Gateway, HeadDeadline]:
    """An app that dispatches by host as the real one does, with an apex that only says so."""
    public = PublicUrl.of(
        settings.server.public_url,
        domain=settings.server.domain,
        listening_port=port,
        by_path=settings.server.routing == "path",
    )

    async def ours(request: web.Request, name: str, path: str) -> web.StreamResponse:
        return web.Response(text=f"ours for {name}: {path}")

    gateway = Gateway(
        settings=settings,
        public=lambda: public,
        lookup=lambda name: KNOWN.get(name, HostState.UNKNOWN),
        upstream=lambda: fossil,
        read_only_reason=lambda: reason,
        ours=ours,
        limits=limits,
        patience=patience,
    )

    async def dispatch(request: web.Request) -> web.StreamResponse:
        host = parse_host(request.headers.getall("Host", []), public)
        if host.kind is HostKind.REPOSITORY:
            return await gateway.handle(request, host.name)
        if host.kind is HostKind.REFUSED:
            return not_found(request)
        name = first_segment(request.raw_path)
        if public.by_path and name and gateway.knows(name):
            return await gateway.handle(request, name, below=True)
        name = path_form(request.path)
        if name and request.path != "/healthz":
            return await gateway.handle_path_form(request, name)
        return web.Response(text="apex")

    deadline = HeadDeadline(seconds=head_seconds)
    app = web.Application(middlewares=[deadline.middleware])
    app.router.add_route("*", "/{path:.*}", dispatch)
    return app, gateway, deadline


@asynccontextmanager
async def gateway(
    served: Served | None, *, settings: Settings | None = None, **options: object
) -> AsyncIterator[tuple[Site, Gateway]]:
    port = free_port()
    upstream = Upstream("127.0.0.1", served.port) if served else None
    settings = settings or Settings()
    app, built, deadline = application(settings, port, upstream, **options)  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    watch = asyncio.create_task(deadline.run(runner.server))  # type: ignore[arg-type]
    try:
        yield Site(port), built
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
        await runner.cleanup()


async def serve(port: int, fossil_port: int, settings: Settings) -> None:
    app, _, _ = application(settings, port, Upstream("127.0.0.1", fossil_port))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.sleep(600)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), Settings(**json.loads(sys.argv[3]))))
