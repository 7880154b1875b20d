"""What can be known of a Fossil sync message without being Fossil.

Owns a look at the opening of a message (`application/x-fossil`: four bytes of
length, then zlib; the -uncompressed and -debug forms: plain text). One card a
line, `login` first, then `clone`, `pull` or `push` (Fossil's sync protocol,
www/sync.wiki). Decompresses a bounded piece only, and decides nothing that
Fossil enforces itself.
"""

from __future__ import annotations

import zlib

CONTENT_TYPE = "application/x-fossil"
_LOOK_AT = 16 * 1024
_WRITING = (b"push ", b"file ", b"cfile ", b"config ", b"uvfile ", b"private\n")


def is_sync(content_type: str) -> bool:
    return content_type.lower().startswith(CONTENT_TYPE)


def opening(message: bytes, content_type: str) -> bytes | None:
    """The first cards as text, or None when it cannot be read as a sync message."""
    if content_type.partition(";")[0].strip().lower() != CONTENT_TYPE:
        return message[:_LOOK_AT]
    try:
        return zlib.decompressobj().decompress(message[4:], _LOOK_AT)
    except zlib.error:
        return None


def writes(cards: bytes | None) -> bool:
    """Whether the message wants to change the repository; what is unreadable counts as so."""
    return cards is None or any(line.startswith(_WRITING) for line in cards.splitlines(True))


def signs_in(cards: bytes | None) -> bool:
    return cards is None or any(line.startswith(b"login ") for line in cards.splitlines())


def login_of(cards: bytes | None) -> str:
    """The login of the message's login card, as it says itself; empty when there is none."""
    for line in (cards or b"").splitlines():
        words = line.split(b" ")
        if words[0] == b"login" and len(words) == 4:
            return words[1].decode("ascii", "replace")
    return ""


def refused_login(cards: bytes | None) -> bool:
    """Whether an answer says that the login card was wrong."""
    return cards is not None and b"error login\\sfailed" in cards
