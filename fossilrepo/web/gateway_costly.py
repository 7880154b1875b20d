"""Pages of Fossil that cost much, and how many of them one visitor may have.

Owns which they are, what robots are told of them, and the allowance of each address. Robots
that follow every link of every check-in are what brings small hosts down. The Caddyfile sends the
same pages here.
"""

from __future__ import annotations

import time
from urllib.parse import parse_qs

from fossilrepo.web.hosts import page_of

PAGES = (
    *("annotate", "blame", "praise", "tarball", "zip", "sqlar", "vdiff", "vpatch", "fdiff"),
    *("reports", "search", "tree", "finfo", "deltachain", "bloblist", "bigbloblist"),
)
_COSTLY = frozenset(PAGES)
DEEP = 200  # entries of a timeline
BURST, PER_SECOND = 40, 0.5
# Who seems to be signed in may do more; anybody can send such a cookie, so not without end.
SIGNED_IN = 5
_MOST_KEYS = 20_000


def is_costly(target: str) -> bool:
    """Whether `/NAME/PAGE?query` asks for one of them, or for a timeline without an end."""
    page = page_of(target).lower()
    if page in _COSTLY:
        return True
    if page != "timeline":
        return False
    asked = parse_qs(target.partition("?")[2]).get("n", [""])[-1]
    return asked in ("0", "all") or (asked.isascii() and asked.isdigit() and int(asked[:9]) > DEEP)


def robots_txt(name: str) -> str:
    """What well-behaved robots are to leave alone in a repository; `*`: in all of them."""
    lines = ["User-agent: *", "Crawl-delay: 5"]
    lines += [f"Disallow: /{name}/{page}" for page in sorted(PAGES)]
    lines += [f"Disallow: /{name}/timeline?", f"Disallow: /{name}/login", "Disallow: /.fossilrepo/"]
    lines += [f"Disallow: /{name}/.fossilrepo/"] if name == "*" else []
    return "\n".join(lines) + "\n"


class Allowance:
    """A bucket for each address: `BURST` pages at once, then `PER_SECOND`."""

    def __init__(self, burst: float = BURST, per_second: float = PER_SECOND) -> None:
        self._burst, self._rate = burst, per_second
        self._left: dict[str, tuple[float, float]] = {}  # what is left, and when that was so

    def take(self, key: str, *, signed_in: bool = False) -> float:
        """0.0 when the page may be had, else the seconds to wait."""
        many = SIGNED_IN if signed_in else 1
        key, at = f"{key} {many}", time.monotonic()
        burst, rate = self._burst * many, self._rate * many
        left, before = self._left.pop(key, (burst, at))
        left = min(burst, left + (at - before) * rate)
        wait = 0.0 if left >= 1 else (1 - left) / rate
        self._left[key] = (left - 1 if not wait else left, at)
        if len(self._left) > _MOST_KEYS:  # the one that was longest not here
            self._left.pop(next(iter(self._left)))
        return wait
