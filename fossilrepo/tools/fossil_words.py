"""The comments of Fossil's timeline as people read them.

Owns what Fossil 2.21 puts into those that it makes itself: marks of HTML, links, signs for verbs.
"""

from __future__ import annotations

import re
from html import unescape

_TAG = re.compile(r"<[^<>]*>")
_LINK = re.compile(r"\[[0-9a-f]{10,64}\|([^\]|]*)\]")
_VERBS = {"+": "Added", "-": "Deleted", ":": "Edited"}


def plain_text(kind: str, text: str) -> str:
    """`kind` is the event's type: ci, w, t, e, f, g."""
    if kind == "w":
        verb = _VERBS.get(text[:1])
        return f"{verb} wiki page: {text[1:]}" if verb else text
    if kind in ("t", "g"):
        plain = unescape(_TAG.sub("", text))
        return " ".join(_LINK.sub(r"[\1]", plain).split())
    return text.strip()
