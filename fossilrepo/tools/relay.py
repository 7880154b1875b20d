"""A way to one Fossil server that its client cannot leave.

Fossil's client follows redirects anywhere, and leaves its proxy when it does (tried:
2.21 then connects directly). So it is given an address on loopback instead; behind it
this relay connects to the server that was named, checks the address it connects to,
speaks TLS where the address says https, and lets no redirect through. Owns one
listening socket per job, whose addresses begin with a random word.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Sequence
from urllib.parse import SplitResult, quote, urlsplit

from fossilrepo.errors import InvalidInput
from fossilrepo.tools.addresses import resolve
from fossilrepo.tools.streams import (
    HEAD_SECONDS,
    LARGEST_HEAD,
    JobSocket,
    both_ways,
    origin_head,
    refuse,
)

CONNECT_SECONDS = 30.0
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Relay(JobSocket):
    """`async with Relay(url, networks) as relay:` and the client is given `relay.url`.

    `relay.refusal` says in words why a request was not let through, empty when all were.
    """

    def __init__(self, url: str, networks: Sequence[str]) -> None:
        super().__init__()
        self._target: SplitResult = urlsplit(url)
        self._networks = networks
        self._word = secrets.token_urlsafe(24)

    def _address(self, port: int) -> str:
        user = self._target.netloc.rpartition("@")[0]
        at = f"{user}@" if user else ""
        return f"http://{at}127.0.0.1:{port}/{self._word}{quote(self._target.path, safe='/%')}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        except InvalidInput as error:
            self.refusal = error.message
            await refuse(writer, 403, "Forbidden")
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.refusal = self.refusal or f"{self._target.hostname} does not answer: {error}"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        method, _, rest = first.partition(" ")
        path = rest.rpartition(" ")[0]
        if not path.startswith(f"/{self._word}"):
            await refuse(writer, 404, "Not Found")
            return
        far_reader, far_writer = await self._connect()
        try:
            target = path.removeprefix(f"/{self._word}") or "/"
            far_writer.write(origin_head(method, target, lines, host=self._authority()))
            far = (far_reader, far_writer)
            await both_ways((reader, writer), far, self._check_answer)
        finally:
            far_writer.close()

    def _authority(self) -> str:
        return self._target.netloc.rpartition("@")[2]

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, scheme = self._target.hostname or "", self._target.scheme
        port = self._target.port or _DEFAULT_PORTS[scheme]
        address = await resolve(host, port, self._networks)
        secure = ssl.create_default_context() if scheme == "https" else None
        async with asyncio.timeout(CONNECT_SECONDS):
            return await asyncio.open_connection(
                address,
                port,
                ssl=secure,
                server_hostname=host if secure else None,
                limit=LARGEST_HEAD,
            )

    def _check_answer(self, head: str) -> None:
        """InvalidInput for a redirect, naming where it leads."""
        status = head.split(" ", 2)[1] if head.count(" ") else ""
        if status[:1] != "3" or status == "304":
            return
        where = ""
        for line in head.split("\r\n")[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "location":
                where = value.strip().rpartition("@")[2][:300]
        raise InvalidInput(f"the address leads on to {where or 'another one'}: give that one")
