"""The programs that a running host supervises: Fossil, Litestream, Caddy.

Owns what is asked before each start: ports, walls, whose replica it is, where requests go.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import closing

from fossilrepo.config import Settings, split_listen
from fossilrepo.core import Core
from fossilrepo.errors import ConfigError, Conflict, Unavailable
from fossilrepo.runtime.process import Command
from fossilrepo.runtime.supervisor import ChildSpec
from fossilrepo.services.mending import CHILD
from fossilrepo.tools import jail, litestream
from fossilrepo.tools.caddy import Caddy, Doors, listener
from fossilrepo.tools.jail import Walls
from fossilrepo.web.gateway_stream import Upstream
from fossilrepo.web.hosts import NOT_FOUND_TARGET

log = logging.getLogger(__name__)

CADDY = "caddy"


# The Fossil child


class FossilPort:
    """The port of the Fossil server: the configured one, or a free one at every start."""

    def __init__(self, listen: str) -> None:
        self.address, self._wanted = split_listen(listen)
        self.current: int | None = None
        self.on_move: Callable[[], object] = lambda: None  # who has the port in their settings
        if self._wanted and not _is_free(self.address, self._wanted):
            raise Conflict(
                f"fossil.listen {listen} is in use by another program",
                hint="stop it, or set fossil.listen to another port (0: any free port)",
                field="fossil.listen",
            )

    def choose(self) -> int:
        """The port for the next start: the one before, where it is still free."""
        before = self.current
        if self._wanted or (before and _is_free(self.address, before)):
            self.current = self._wanted or before
        else:
            self.current = _free_port(self.address)
            if before:
                self.on_move()
        return self.current or 0

    async def answers(self) -> bool:
        """True once something speaks HTTP on the port."""
        if self.current is None:
            return False
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(self.address, self.current)
                writer.write(b"GET /-/ready HTTP/1.0\r\nHost: localhost\r\n\r\n")
                answer = await reader.read(5)
                writer.close()
        except (OSError, TimeoutError):
            return False
        return answer == b"HTTP/"

    def upstream(self) -> Upstream | None:
        return Upstream(self.address, self.current) if self.current else None


def fossil_child(settings: Settings, walls: Walls, port: FossilPort) -> ChildSpec:
    """`fossil server` on the served names, behind the walls that this machine has."""

    async def command() -> Command:
        return jail.server_command(
            walls,
            settings.repos,
            port.choose(),
            NOT_FOUND_TARGET,
            max_file_size=settings.limits.repository + settings.limits.push,
        )

    return ChildSpec(name="fossil", command=command, ready=port.answers)


# Caddy


async def caddy_child(settings: Settings, core: Core, port: FossilPort) -> ChildSpec:
    """Caddy on the public ports; Conflict when another program has one of them."""
    caddy = core.caddy
    await asyncio.to_thread(caddy.prepare)
    await asyncio.to_thread(_need_ports, settings, caddy)

    async def command() -> Command:
        await asyncio.to_thread(caddy.prepare)
        # It shares its ports with any other Caddy, which would get half of the visitors.
        await asyncio.to_thread(_need_ports, settings, caddy)
        links, fossil = core.services.links, port.current or port.choose()
        doors = Doors(f"127.0.0.1:{links.listening}", f"{port.address}:{fossil}", links.port)
        core.services.certificates.installed(doors)
        return caddy.command(doors)

    return ChildSpec(
        name=CADDY, command=command, ready=caddy.is_up, stop_grace=10.0, on_line=listener(log)
    )


def _need_ports(settings: Settings, caddy: Caddy) -> None:
    for key in ("http_port", "https_port"):
        wanted: int = getattr(settings.caddy, key)
        for address in caddy.addresses():
            if reason := _why_not(address, wanted):
                raise Conflict(
                    f"caddy.{key}: port {wanted} of {address} cannot be used: {reason}",
                    hint="stop the program that has it (`ss -ltnp`), set another port, or let "
                    "this account use ports below 1024: the service does (`service install`)",
                    field=f"caddy.{key}",
                )


# Litestream and what asks it


def litestream_child(settings: Settings, core: Core) -> ChildSpec:
    """Litestream on the store and the control database; the host serves without it too."""
    target, control = core.services.replication.target, core.services.replication.control
    file = settings.run_dir / "litestream.yml"

    async def command() -> Command:
        await _claim_target(core)
        text = litestream.configuration(
            settings,
            target,
            port=_free_port("127.0.0.1"),
            socket=control.socket.relative_to(settings.data),  # its address may have 107 bytes
            state_dir=settings.litestream_state / target.key,
        )
        await asyncio.to_thread(litestream.write_configuration, file, text)
        return await asyncio.to_thread(litestream.server_command, settings, target, file)

    async def ready() -> bool:
        await control.info()
        return True

    def said(identity: str | None, level: int, message: str) -> None:
        row = core.services.replication.standing(identity) if identity else None
        label = row.label if row else ""
        if level < logging.WARNING or (row and row.purged_at):
            level = logging.DEBUG  # its news are our details, and what is purged may be gone
        log.log(level, "Litestream: %s%s", f"{label}: " if label else "", message)

    return ChildSpec(
        name=CHILD,
        command=command,
        ready=ready,
        stop_grace=10.0,  # it ships what is left; while the target is away it would never end
        needed=False,
        on_line=litestream.Lines(said).feed,
    )


async def _claim_target(core: Core) -> None:
    """Never write over the replica of another host; ConfigError when the target holds one."""
    replication = core.services.replication
    try:
        await core.manifest.claim()
    except Conflict as error:
        replication.refusal = error
        raise ConfigError(error.message, hint=error.hint, field="backup.url") from error
    except Unavailable as error:
        replication.refusal = error
        if not any(row.synced_at for row in replication.statuses().values()):
            raise  # it was never looked at, so nothing is known of it
    replication.refusal = None


# Ports


def _is_free(address: str, port: int) -> bool:
    return not _why_not(address, port)


def _why_not(address: str, port: int) -> str:
    """Why nothing can listen there, in the system's words; empty when it can."""
    is_six = ":" in address
    with closing(socket.socket(socket.AF_INET6 if is_six else socket.AF_INET)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_six:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError as error:
            return error.strerror or "unknown"
    return ""


def _free_port(address: str) -> int:
    with closing(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
