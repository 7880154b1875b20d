"""Which headers pass between the client, us and Fossil.

Owns both directions. Towards Fossil only what Fossil reads is passed on, so a
client cannot set what only a proxy may (HTTPS, X-Forwarded-*, Remote-User) and
nothing of the site's own sessions and tickets reaches Fossil. Must not look at bodies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from multidict import CIMultiDict

Headers = Iterable[tuple[bytes, bytes]]
OUR_COOKIES = ("__Host-fossilrepo", "fossilrepo")  # how their names begin; Fossil's do not
SANDBOX = "sandbox allow-scripts allow-popups allow-forms"

# What cgi.c of Fossil reads from a request, and what a later version may use harmlessly.
_TO_FOSSIL = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "authorization", "content-type"),
        *("cookie", "if-modified-since", "if-none-match", "origin", "range", "referer"),
        *("user-agent",),
    }
)
_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te"),
        *("proxy-connection", "trailer", "transfer-encoding", "upgrade"),
    }
)
_STATUS = re.compile(r"HTTP/1\.[01] ([2-5][0-9]{2})(?: (.*))?")


@dataclass(frozen=True, slots=True)
class ResponseHead:
    status: int
    reason: str
    headers: CIMultiDict[str]

    @property
    def length(self) -> int | None:
        value = self.headers.get("Content-Length", "")
        return int(value) if value.isascii() and value.isdigit() else None


def request_head(
    method: str, target: str, received: Headers, *, host: str, client: str, https: bool, length: int
) -> bytes:
    """The head that Fossil gets, in HTTP/1.0: one request, and the end of the answer is the end."""
    lines = [f"{method} {target} HTTP/1.0".encode("ascii"), b"Host: " + host.encode("ascii")]
    lines.append(b"X-Forwarded-For: " + client.encode("ascii"))
    if https:
        lines.append(b"HTTPS: on")
    if length or method == "POST":
        lines.append(b"Content-Length: %d" % length)
    received = list(received)
    dropped = _named_in_connection(received)
    for name, value in received:
        key = name.decode("latin-1").lower()
        if key not in _TO_FOSSIL or key in dropped:
            continue
        if key == "cookie":
            value = _without_ours(value)
        if value:
            lines.append(name + b": " + value)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _named_in_connection(received: Headers) -> set[str]:
    named = (value for name, value in received if name.lower() == b"connection")
    return {item.strip().lower() for value in named for item in value.decode("latin-1").split(",")}


def _without_ours(value: bytes) -> bytes:
    """The Cookie header without the site's own cookies."""
    cookies = [item.strip() for item in value.decode("latin-1").split(";")]
    kept = [item for item in cookies if item and not item.startswith(OUR_COOKIES)]
    return "; ".join(kept).encode("latin-1")


def parse_response_head(head: bytes) -> ResponseHead:
    """Fossil's status line and headers without the hop-by-hop ones; ValueError when malformed."""
    lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    status = _STATUS.fullmatch(lines[0])
    if status is None:
        raise ValueError("no HTTP status line")
    pairs = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or any(c in value for c in "\r\n\0"):
            raise ValueError("a malformed header line")
        pairs.append((name, value.strip()))
    connection = [value for name, value in pairs if name.lower() == "connection"]
    dropped = {item.strip().lower() for value in connection for item in value.split(",")}
    headers = CIMultiDict(
        (name, value)
        for name, value in pairs
        if name.lower() not in _HOP_BY_HOP and name.lower() not in dropped
    )
    return ResponseHead(int(status[1]), (status[2] or "").strip(), headers)


def for_this_host(cookie: str) -> str | None:
    """A Set-Cookie of Fossil's as the browser may have it: of one host, and not across sites.

    None for a name that is ours.
    """
    parts = [part.strip() for part in cookie.split(";")]
    if parts[0].startswith(OUR_COOKIES):
        return None
    kept = [part for part in parts if part and not part.lower().startswith("domain")]
    if not any(part.lower().startswith("samesite") for part in kept):
        kept.append("SameSite=Lax")
    return "; ".join(kept)


def take_powers(headers: CIMultiDict[str]) -> None:
    """Lets a raw page run only in an origin of its own (a policy beside Fossil's own one)."""
    headers.add("Content-Security-Policy", SANDBOX)
    headers["X-Content-Type-Options"] = "nosniff"


def keep_to(headers: CIMultiDict[str], url: str) -> None:
    """Ties a page to its repository, where others, and the site, share its origin.

    A script that got into one of Fossil's pages can ask, post to, frame and load nothing but what
    is below `url`. Windows that it opens on the site are cut off by the site's own policy.
    """
    tied = " ".join(f"{kind} {url}/;" for kind in ("connect-src", "form-action", "frame-src"))
    policy = f"script-src {url}/ 'unsafe-inline'; {tied} worker-src 'none'; base-uri 'none'"
    headers.add("Content-Security-Policy", policy)
