"""Slow down those who guess: failures counted per account and per address.

Owns the counts, in memory and bounded. The first failures cost nothing; then
each one doubles the pause, up to fifteen minutes.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict

from fossilrepo.errors import TooManyRequests

FREE = {"account": 5, "address": 20}
LONGEST = 900.0
FORGET_AFTER = 3600.0
MOST_KEYS = 10_000


class Slowing:
    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()  # count, last time

    def check(self, *keys: str) -> None:
        """TooManyRequests while a key has to wait; a key is `account X` or `address Y`."""
        at = time.monotonic()
        for key in map(_shared, keys):
            count, last = self._failures.get(key, (0, 0.0))
            over = count - FREE[key.partition(" ")[0]]
            wait = last + min(2.0 ** min(over, 20), LONGEST) - at if over >= 0 else 0.0
            if wait > 0:
                raise TooManyRequests(
                    "too many wrong sign-ins",
                    retry_after=math.ceil(wait),
                    hint=f"try again in {math.ceil(wait)} seconds",
                )

    def failed(self, *keys: str) -> None:
        at = time.monotonic()
        for key in map(_shared, keys):
            count, last = self._failures.pop(key, (0, at))
            self._failures[key] = (1 if at - last > FORGET_AFTER else count + 1, at)
        while len(self._failures) > MOST_KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        self._failures.pop(_shared(key), None)


def _shared(key: str) -> str:
    """One who has an IPv6 address has the 64 bits behind it: its network counts as one."""
    kind, _, value = key.partition(" ")
    if kind != "address" or ":" not in value:
        return key
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return key
    if address.ipv4_mapped is not None:
        return f"address {address.ipv4_mapped}"
    return f"address {ipaddress.ip_network((address, 64), strict=False)}"
