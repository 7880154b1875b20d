"""HTTP to addresses that people typed: APIs of Git servers, webhooks, pings.

Owns the rules of such a request: https (http only within the allowed networks), the address
that was checked is the one that is connected to, no redirect is followed, no proxy, no cookies,
and an answer of bounded size. Addresses can hold secrets, so errors name scheme and host only.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from fossilrepo import __version__
from fossilrepo.errors import InvalidInput, Unavailable
from fossilrepo.tools.addresses import is_within, plain_refused, resolve

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

LARGEST = 1 << 20  # bytes of an answer that are kept
AGENT = f"fossilrepo/{__version__}"


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` by names in lower case; `cut`: there was more than `body`."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


def check_address(url: str, field_name: str = "url") -> str:
    """The address itself when it may be asked; looks at no network. InvalidInput otherwise."""
    if len(url) > 2000 or not url.isprintable() or " " in url or "\\" in url:
        raise _wrong("the address has blanks or control characters in it", field_name)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _wrong("the address cannot be read", field_name) from None
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise _wrong("the address must begin with https:// and name a host", field_name)
    if parts.username is not None or parts.password is not None:
        raise _wrong("the address has a user or a password in it", field_name)
    return url


def shown(url: str) -> str:
    """Scheme and host, which are all that may be told of it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


async def request(
    method: str,
    url: str,
    *,
    networks: Sequence[str],
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = 20.0,  # noqa: ASYNC109 - of the whole exchange
) -> Answer:
    """Any status is an answer. InvalidInput for where nothing may go, Unavailable for no answer."""
    import aiohttp

    parts = urlsplit(check_address(url))
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(timeout):
            address = await resolve(host, port, networks)
            if parts.scheme == "http" and not is_within(address, networks):
                raise InvalidInput(plain_refused(host), field="url")
            connector = aiohttp.TCPConnector(
                resolver=_pinned(address), ssl=await asyncio.to_thread(_tls), force_close=True
            )
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trust_env=False,
                    auto_decompress=True,
                ) as session,
                session.request(
                    method,
                    _by_name(parts),
                    headers={"User-Agent": AGENT, **(headers or {})},
                    data=body,
                    allow_redirects=False,
                ) as answer,
            ):
                content = await _bounded(answer)
                return Answer(
                    answer.status,
                    content[:LARGEST],
                    {name.lower(): value for name, value in answer.headers.items()},
                    len(content) > LARGEST,
                )
    except TimeoutError:
        raise Unavailable(f"{shown(url)} did not answer within {timeout:g} s") from None
    except aiohttp.ClientConnectorCertificateError:
        raise Unavailable(f"{shown(url)} has no certificate that can be trusted") from None
    except aiohttp.ClientConnectionError as error:
        why = getattr(error, "os_error", None)
        words = why.strerror if isinstance(why, OSError) and why.strerror else "it broke off"
        raise Unavailable(f"{shown(url)} cannot be reached: {words}") from None
    except (aiohttp.ClientError, ValueError):
        raise Unavailable(f"{shown(url)} gave no answer that can be read") from None


async def _bounded(answer: Any) -> bytes:
    content = b""
    async for piece in answer.content.iter_chunked(1 << 16):
        content += piece
        if len(content) > LARGEST:
            break
    return content


def _by_name(parts: SplitResult) -> str:
    return parts._replace(fragment="").geturl()


def _pinned(address: str) -> AbstractResolver:
    """Whatever is asked for, the address that was checked: it may be another one a moment later."""
    from aiohttp.abc import AbstractResolver

    class Pinned(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: int = socket.AF_UNSPEC
        ) -> list[Any]:
            kind = socket.AF_INET6 if ":" in address else socket.AF_INET
            flags = socket.AI_NUMERICHOST
            known = {"hostname": host, "host": address, "port": port}
            return [{**known, "family": kind, "proto": 0, "flags": flags}]

        async def close(self) -> None:
            pass

    return Pinned()


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _wrong(why: str, name: str) -> InvalidInput:
    return InvalidInput(why, hint="for example https://example.org/path", field=name)
