"""Lines out of a stream of bytes, as they come.

Owns the splitting: at line feeds, and at carriage returns, by which programs
draw their progress. Memory is bounded whatever a program writes: a line keeps
its first 4 KiB. Must not raise on any input.
"""

from __future__ import annotations

import re
from collections.abc import Callable

LONGEST = 4096
_ENDS = re.compile(rb"[\r\n]+")


class Lines:
    """Calls `on_line` with each line, without its end; empty ones are left out."""

    def __init__(self, on_line: Callable[[str], None], longest: int = LONGEST) -> None:
        self._on_line = on_line
        self._longest = longest
        self._rest = bytearray()
        self._cut = False

    def feed(self, data: bytes) -> None:
        *complete, rest = _ENDS.split(data)
        for part in complete:
            self._keep(part)
            self.close()
        self._keep(rest)

    def close(self) -> None:
        """Hand out what has no end yet."""
        if self._rest:
            text = self._rest.decode("utf-8", errors="replace")
            cut, self._cut = self._cut, False
            self._rest.clear()
            self._on_line(text + "…" if cut else text)

    def _keep(self, part: bytes) -> None:
        room = self._longest - len(self._rest)
        self._cut = self._cut or len(part) > room
        self._rest += part[:room]
