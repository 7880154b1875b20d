"""What git says when it talks to a server, turned into what people can use.

Owns the reading of `push --porcelain` and the hints for the usual failures. Whatever a
server says is a stranger's text: of one line, without control characters, bounded.
"""

from __future__ import annotations

import re

from fossilrepo.errors import FossilrepoError, ToolFailed, Unavailable
from fossilrepo.tools.git_address import GitAddress

LONGEST = 500


class HostKeyChanged(ToolFailed):
    """The server answers with another key than the one that was pinned."""


# The first that fits counts.
_HINTS: tuple[tuple[str, type[FossilrepoError], str, str], ...] = (
    (
        r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED",
        HostKeyChanged,
        "the server's key is not the one that was seen first",
        "if the server really has a new key, trust it on the mirror's page; else somebody is "
        "in between",
    ),
    (
        r"Permission denied \(|publickey",
        ToolFailed,
        "the server does not accept the mirror's key",
        "add the mirror's public key there, with the right to write",
    ),
    (
        r"Authentication failed|could not read (?:Username|Password)|error: 401|HTTP 401",
        ToolFailed,
        "the server does not accept the token",
        "it may have expired: make another one there and set it",
    ),
    (
        r"error: 403|HTTP 403|not allowed to push|Write access .* not granted",
        ToolFailed,
        "the token may not write there",
        "give it the right to write to the repository",
    ),
    (
        r"(?:[Rr]epository|Project) .*not (?:be )?found|error: 404|does not appear to be a git",
        ToolFailed,
        "there is no such repository, or the token may not see it",
        "make it there first, or let it be created",
    ),
    (
        r"error: 30[1278]|unable to update url base from redirection",
        ToolFailed,
        "the server sends us on to another address",
        "write the address where it is now",
    ),
    (
        r"No space left|File too large|disk quota|error: 507",
        Unavailable,
        "there is no room left",
        "",
    ),
    (
        r"Could(?:n't| not) (?:resolve|connect)|Connection (?:refused|timed out|reset|closed)"
        r"|timed out|Failed to connect|early EOF|hung up|error: 5\d\d|Operation too slow"
        r"|from proxy after CONNECT|Empty reply",
        Unavailable,
        "the server does not answer as it should",
        "it is tried again by itself",
    ),
)
_NOISE = re.compile(r"^(?:remote: *|warning: |hint: |To |Pushing to |Total |Compressing |Counting "
                    r"|Enumerating |Writing |Delta |Everything up)")  # fmt: skip
_LINE = re.compile(r"(?P<flag>.)\t(?P<spec>[^\t]*)\t(?P<words>.*)")


def printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text).strip()


def rejections(porcelain: str) -> dict[str, str]:
    """Refs that the server or git refused, each with its words; see git-push(1), OUTPUT."""
    found: dict[str, str] = {}
    for line in porcelain.splitlines():
        match = _LINE.fullmatch(line)
        if match and match["flag"] == "!":
            ref = match["spec"].rpartition(":")[2]
            found[ref] = printable(match["words"])[:LONGEST]
    return found


def explained(what: str, said: str, address: GitAddress) -> FossilrepoError:
    """The failure in words, with git's own last ones."""
    lines = [printable(line) for line in re.split(r"[\r\n]+", said) if line.strip()]
    telling = [line for line in lines if not _NOISE.match(line)] or lines
    last = next((line for line in telling if line.startswith(("fatal:", "error:"))), "")
    words = (last or (telling[-1] if telling else "it gave no reason"))[:LONGEST]
    where = address.host or address.url
    for pattern, kind, meaning, hint in _HINTS:
        if re.search(pattern, said):
            return kind(f"{where}: {meaning}: {words}", hint=hint)
    return ToolFailed(f"{where}: {what}: {words}")
