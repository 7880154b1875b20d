"""What the name servers say, and which addresses this machine has.

Owns two questions that set-up and doctor ask.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

_SECONDS = 5.0
# Where packets to the world would go; nothing is sent. RFC 5737 and 3849: nobody's addresses.
_FAR = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


async def look_up(name: str) -> frozenset[str]:
    """The addresses of a name; none when it is not known, or nobody answered in time."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_SECONDS):
            found = await loop.getaddrinfo(name, 443, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return frozenset()
    return frozenset(str(address[0]).partition("%")[0] for *_, address in found)


def own_addresses() -> frozenset[str]:
    """Those of this machine by which others could come, and loopback."""
    found = {"127.0.0.1", "::1"}
    for family, far in _FAR:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far, 443))
            found.add(str(probe.getsockname()[0]))
    with suppress(OSError):
        for *_, address in socket.getaddrinfo(socket.gethostname(), None):
            found.add(str(address[0]).partition("%")[0])
    return frozenset(found)
