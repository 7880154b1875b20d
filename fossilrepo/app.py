"""The composition root: builds every part from the settings, starts and stops them in order.

Read this and `core.py` to see the whole: the core that the command line uses too
(database, files, services), and around it what only the running host has (the lock,
the Fossil child, the watcher, the site). Nothing else knows how parts fit together.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from aiohttp import web

from fossilrepo.children import CADDY, FossilPort, caddy_child, fossil_child, litestream_child
from fossilrepo.config import Settings, split_listen
from fossilrepo.core import Core, open_core, prepare
from fossilrepo.errors import Conflict, FossilrepoError
from fossilrepo.models import is_id
from fossilrepo.runtime import systemd
from fossilrepo.runtime.gathered import Gathered
from fossilrepo.runtime.locks import acquire_single
from fossilrepo.runtime.supervisor import Supervisor
from fossilrepo.runtime.watcher import Fingerprints, Watcher
from fossilrepo.services import Services
from fossilrepo.services.backup_report import report
from fossilrepo.services.shelf import SUFFIX
from fossilrepo.web import opening
from fossilrepo.web.app import make_app
from fossilrepo.web.connections import HeadDeadline
from fossilrepo.web.gateway import Gateway
from fossilrepo.web.hosts import PublicUrl

log = logging.getLogger(__name__)

RESCAN_EVERY = 300.0  # seconds
DRAIN = 5.0  # seconds for requests in flight at stop


async def serve(
    settings: Settings,
    *,
    announce: Callable[[str], None],
    stop: asyncio.Event | None = None,
) -> None:
    """Run everything until SIGTERM, SIGINT or `stop`; returns after an ordered end.

    Raises FossilrepoError when it cannot start (data in use, a port taken), or
    when a part of it died.
    """
    stop = stop or asyncio.Event()
    deaths: list[str] = []

    def fatal(name: str, error: BaseException) -> None:
        deaths.append(f"{name}: {error}")
        stop.set()

    await asyncio.to_thread(prepare, settings)
    _raise_handles()
    with acquire_single(settings.run_dir / "lock", what=f"fossilrepo on {settings.data}"):
        async with open_core(settings, fatal) as core:
            await _run(settings, core, announce, stop)
    if deaths:
        raise FossilrepoError(f"a part of fossilrepo died: {deaths[0]}", hint="see the log")


def _raise_handles() -> None:
    """Two files are kept open for each repository."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _run(
    settings: Settings, core: Core, announce: Callable[[str], None], stop: asyncio.Event
) -> None:
    services = core.services
    async with AsyncExitStack() as stack:
        if not await asyncio.to_thread(core.shelf.empty_scratch):
            core.tasks.keep("scratch files", core.shelf.empty_scratch_later)
        await services.jobs.recognise_interrupted()
        await core.replacing.clear_stale()
        await services.previews.clear_at_start()
        port = FossilPort(settings.fossil.listen)
        listening = await _open_door(settings, services, stack)
        walls = await core.probe_walls()
        await services.retention.note_target()
        children = [fossil_child(settings, walls, port), litestream_child(settings, core)]
        if settings.caddy.enabled:
            children.append(await caddy_child(settings, core, port))
        supervisor = Supervisor(children, state_file=settings.run_dir / "children.json")
        services.health.attach(supervisor, walls, core.tasks.troubles)
        core.mending.attach(supervisor)
        stack.push_async_callback(supervisor.stop)
        await services.replication.guard_all()
        await asyncio.gather(core.folder.scan(at_start=True), supervisor.start())
        await _start_replication(core, stack)
        _start_watcher(settings, core)
        core.tasks.keep("adoption", core.adoption.run)
        core.tasks.keep("previews", services.previews.run)
        core.tasks.keep("elevations", services.elevation.run)
        core.tasks.keep("drift", core.drift.run)
        core.tasks.keep("people in repositories", core.projection.run)
        core.tasks.keep("former names", services.repos.former.run)
        core.tasks.keep("mirrors", services.runs.run)
        core.tasks.keep("rules for mirrors", services.mirror_rules.run)
        core.tasks.keep("webhooks", services.webhooks.run)
        core.tasks.keep("alerts", services.alerts.run)
        core.tasks.keep("insights", services.insights.run)
        core.tasks.keep("skins", services.skins.dress_all)
        if settings.caddy.enabled:
            core.tasks.keep("certificates", services.certificates.run)
            port.on_move = lambda: core.tasks.spawn("caddy", supervisor.restart(CADDY))
        await _start_site(settings, services, core, port, listening, stack)
        await _start_control(settings, services, stack)
        await _announce(services, announce)
        systemd.tell("READY=1")
        core.tasks.spawn("watchdog of systemd", systemd.keep_alive())
        _stop_on_signals(stop, stack)
        await stop.wait()
        systemd.tell("STOPPING=1")
        announce("stopping")


# Litestream and who asks it


async def _start_replication(core: Core, stack: AsyncExitStack) -> None:
    """Its tasks end before Litestream does, or they would take its end for a failure."""
    services, replication = core.services, core.services.replication
    tasks = [
        core.tasks.spawn("replication", replication.run()),
        core.tasks.keep("mending", core.mending.run),
        core.tasks.keep("manifest", core.manifest.run),
        core.tasks.keep("verification", services.verification.run),
        core.tasks.keep("retention", services.retention.run),
    ]

    async def end() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await replication.flush()

    stack.push_async_callback(end)


# The watcher


def _start_watcher(settings: Settings, core: Core) -> None:
    """Names in `repos/`, content in `repos/.store/`.

    Replication hears of a change at once; what else follows from it waits its turn.
    """
    prints = Fingerprints()
    names: Gathered[Path] = Gathered("a change of names", lambda _: core.folder.scan(), rest=4)
    content: Gathered[str] = Gathered("a change of content", core.folder.content_changed)

    async def on_change(paths: set[Path]) -> None:
        in_names = {path for path in paths if path.parent == settings.repos}
        identities = changed(paths - in_names)
        core.services.replication.changed(identities)
        content.add(identities)
        names.add(in_names)

    def changed(paths: set[Path]) -> set[str]:
        files = {_main_file(path) for path in paths}
        return {
            file.name.removesuffix(SUFFIX)
            for file in files
            if is_id(file.name.removesuffix(SUFFIX)) and prints.changed(file)
        }

    async def rescan() -> None:
        stored = await asyncio.to_thread(core.shelf.stored_ids)
        files = {settings.store / f"{identity}{SUFFIX}" for identity in stored}
        identities = await asyncio.to_thread(changed, files)
        core.services.replication.changed(identities)
        content.add(identities)
        names.add({settings.repos})

    watcher = Watcher(
        [settings.repos, settings.store],
        on_change=on_change,
        ignore=_not_content,
        rescan=rescan,
        rescan_every=RESCAN_EVERY,
    )
    for name, part in (("watcher", watcher), ("names", names), ("content", content)):
        core.tasks.spawn(name, part.run())


def _main_file(path: Path) -> Path:
    for side in ("-wal", "-journal"):
        if path.name.endswith(SUFFIX + side):
            return path.with_name(path.name.removesuffix(side))
    return path


def _not_content(path: Path) -> bool:
    return path.name.endswith("-shm") or path.name in (
        ".store",
        ".served",
        ".previews",
        "dev",
        "tmp",
    )


# The site


async def _open_door(
    settings: Settings, services: Services, stack: AsyncExitStack
) -> socket.socket:
    """The site's socket: those who come early wait until the site answers."""
    host, wanted = split_listen(settings.server.listen)
    listening = await asyncio.to_thread(_listen, host, wanted, settings.server.listen)
    stack.callback(listening.close)
    services.links.bind(int(listening.getsockname()[1]))
    port_file = settings.run_dir / "site-port"
    port_file.write_text(f"{services.links.listening}\n")
    stack.callback(port_file.unlink, missing_ok=True)
    return listening


async def _start_site(
    settings: Settings,
    services: Services,
    core: Core,
    port: FossilPort,
    listening: socket.socket,
    stack: AsyncExitStack,
) -> None:
    gateway = Gateway(
        settings=settings,
        public=partial(_public_url, services),
        lookup=core.shelf.host_state,
        upstream=port.upstream,
        read_only_reason=services.health.read_only_reason,
        former=services.repos.former.present,
        ours=opening.answer,
        key_used=services.access_keys.used,
    )
    app = make_app(services, gateway)
    deadline = HeadDeadline()
    app.middlewares.insert(0, deadline.middleware)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN, handler_cancellation=True)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, listening, backlog=512).start()
    if runner.server is not None:
        core.tasks.spawn("silent connections", deadline.run(runner.server))


def _public_url(services: Services) -> PublicUrl:
    return PublicUrl.of(
        services.links.public_url if services.links.configured else "",
        domain=services.links.domain,
        listening_port=services.links.port or 80,
        by_path=services.links.by_path,
    )


def _listen(host: str, port: int, key: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(512)
    except OSError as error:
        listening.close()
        raise Conflict(
            f"server.listen {key} cannot be used: {error.strerror}",
            hint="stop the program that has it, or set server.listen to another port",
            field="server.listen",
        ) from None
    return listening


async def _start_control(settings: Settings, services: Services, stack: AsyncExitStack) -> None:
    """A socket in the data folder, where the command line asks the running host."""

    async def status(_request: web.Request) -> web.Response:
        return web.json_response(await services.health.status())

    async def backup(_request: web.Request) -> web.Response:
        await services.replication.take_in()
        targets = await services.retention.targets()
        return web.json_response(report(services.replication, targets))

    app = web.Application()
    app.router.add_get("/status", status)
    app.router.add_get("/backup", backup)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    settings.control_socket.unlink(missing_ok=True)
    # A socket's path may have 107 bytes: the folder is named by its descriptor.
    folder = os.open(settings.run_dir, os.O_RDONLY | os.O_DIRECTORY)
    stack.callback(os.close, folder)
    name = settings.control_socket.name
    await web.UnixSite(runner, f"/proc/self/fd/{folder}/{name}").start()
    settings.control_socket.chmod(0o600)
    stack.callback(settings.control_socket.unlink, missing_ok=True)


async def _announce(services: Services, announce: Callable[[str], None]) -> None:
    announce(f"fossilrepo is running at {services.links.public_url}/")
    if await services.accounts.needs_setup():
        token = await services.accounts.setup_token()
        announce("there is no administrator yet; make one here (the link works once):")
        announce(f"  {services.links.public_url}/setup/{token}")
        if os.environ.get("SSH_CONNECTION") and services.links.domain == "localhost":
            port = services.links.port or 80
            announce("from another machine, first: ")
            announce(f"  ssh -L {port}:127.0.0.1:{port} THIS-MACHINE")


def _stop_on_signals(stop: asyncio.Event, stack: AsyncExitStack) -> None:
    """The first signal ends in order; a second one is Python's own, at once."""
    loop = asyncio.get_running_loop()

    def begin_to_stop(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, begin_to_stop, number)
        except (RuntimeError, ValueError):  # not the main thread: whoever runs us stops us
            return
        stack.callback(loop.remove_signal_handler, number)
