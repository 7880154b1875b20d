"""A proxy on loopback through which git reaches the network, checking where to.

Owns one listening socket per job, open to that job alone (a random password), and
the check of every connection, also after a redirect: only what connects can check
what is connected to. Fossil leaves its proxy at a redirect: it gets a `Relay` instead.
Understands CONNECT and plain requests with an absolute address (RFC 9110, 9112), one
request a connection.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from fossilrepo.errors import InvalidInput
from fossilrepo.tools.addresses import is_within, plain_refused, resolve
from fossilrepo.tools.streams import (
    HEAD_SECONDS,
    JobSocket,
    both_ways,
    origin_head,
    refuse,
)

CONNECT_SECONDS = 30.0


class CheckedProxy(JobSocket):
    """`async with CheckedProxy(networks) as proxy:` runs one; `proxy.url` carries its password.

    Without `plain`, http without TLS goes to the given networks only.
    """

    def __init__(self, networks: Sequence[str], *, plain: bool = True) -> None:
        super().__init__()
        self._networks = networks
        self._plain = plain
        self._password = secrets.token_urlsafe(24)

    def _address(self, port: int) -> str:
        return f"http://job:{self._password}@127.0.0.1:{port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # One of the two ends may be gone, which the other sees by the closed connection.
        with suppress(
            OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            await self._answer(reader, writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        if not self._is_ours(lines):
            await refuse(writer, 407, "Proxy Authentication Required")
            return
        try:
            method, target, _version = first.split(" ")
            host, port, origin_form = _destination(method, target)
            address = await resolve(host, port, self._networks)
            if method != "CONNECT" and not (self._plain or is_within(address, self._networks)):
                raise InvalidInput(plain_refused(host), field="url")
        except (ValueError, InvalidInput) as error:
            self.refusal = str(error)
            await refuse(writer, 403, "Forbidden")
            return
        async with asyncio.timeout(CONNECT_SECONDS):
            far_reader, far_writer = await asyncio.open_connection(address, port)
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                far_writer.write(origin_head(method, origin_form, lines))
            await both_ways((reader, writer), (far_reader, far_writer))
        finally:
            far_writer.close()

    def _is_ours(self, lines: list[str]) -> bool:
        wanted = base64.b64encode(f"job:{self._password}".encode()).decode()
        given = [
            value.strip().removeprefix("Basic ")
            for name, _, value in (line.partition(":") for line in lines)
            if name.lower() == "proxy-authorization"
        ]
        return len(given) == 1 and secrets.compare_digest(given[0], wanted)


def _destination(method: str, target: str) -> tuple[str, int, str]:
    """(host, port, what to ask there); ValueError for what is no request to a proxy."""
    if method == "CONNECT":
        host, _, port = target.rpartition(":")
        return host, int(port), ""
    url = urlsplit(target)
    if url.scheme != "http" or not url.hostname:
        raise ValueError("not a request to a proxy")
    path = url.path or "/"
    return url.hostname, url.port or 80, path + (f"?{url.query}" if url.query else "")
