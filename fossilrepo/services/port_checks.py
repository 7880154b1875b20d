"""Whether the ports that the host listens at answer while it runs, or are free for it.

Owns the questions that set-up and doctor ask. A port of 0 is any free one and is not asked about.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import dataclass

from fossilrepo.config import Settings, split_listen
from fossilrepo.services.health import Check

_SECONDS = 2.0
_TAKEN = "see which: `ss -ltnp`, and stop it or name another port in the configuration"


@dataclass(frozen=True, slots=True)
class Port:
    """`host` is empty for every address of this machine."""

    what: str
    host: str
    number: int


def wanted(settings: Settings) -> list[Port]:
    """Every port of this configuration that is named in it."""
    found = [
        Port("site", *split_listen(settings.server.listen)),
        Port("Fossil", *split_listen(settings.fossil.listen)),
    ]
    if settings.caddy.enabled:
        for host in settings.caddy.bind or [""]:
            found.append(Port("Caddy, http", host, settings.caddy.http_port))
            found.append(Port("Caddy, https", host, settings.caddy.https_port))
    return [port for port in found if port.number]


def free(port: Port) -> Check:
    """Whether a program of this account could listen there now. Blocks for a moment."""
    name = f"port {port.number}"
    family = socket.AF_INET6 if ":" in port.host else socket.AF_INET
    try:
        with socket.create_server((port.host, port.number), family=family):
            return Check(name, "ok", "free")
    except OSError as error:
        if error.errno == errno.EACCES:
            mend = "the service may: `fossilrepo service install`"
            return Check(name, "warn", "this account may not use it", mend)
        if error.errno == errno.EADDRNOTAVAIL:
            mend = "correct the address in the configuration"
            return Check(name, "fail", f"{port.host} is no address of this machine", mend)
        return Check(name, "fail", "another program has it", _TAKEN)


async def ports(settings: Settings, *, runs: bool) -> Check:
    """All of them in one: that they answer while the host runs, else that they are free."""
    asked = wanted(settings)
    if runs:
        answers = await asyncio.gather(*map(_answers, asked))
        silent = [port for port, answered in zip(asked, answers, strict=True) if not answered]
        if silent:
            words = f"nothing answers at {', '.join(map(_words, silent))}"
            return Check("ports", "fail", words, "see `fossilrepo status`, and the log")
        return Check("ports", "ok", f"{', '.join(map(_words, asked)) or 'those chosen'} answer")
    found = [(port, await asyncio.to_thread(free, port)) for port in asked]
    for result in ("fail", "warn"):
        for port, check in found:
            if check.result == result:
                return Check("ports", check.result, f"{_words(port)}: {check.found}", check.mend)
    return Check("ports", "ok", f"{', '.join(map(_words, asked)) or 'any'}: free")


def _words(port: Port) -> str:
    return f"{port.number} ({port.what})"


async def _answers(port: Port) -> bool:
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(port.host, port.host)  # noqa: S104
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port.number)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
