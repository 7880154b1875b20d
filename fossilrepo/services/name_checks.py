"""What the name servers say, and which addresses this machine has.

Owns two questions that set-up and doctor ask.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from fossilrepo.services.health import Check

_PROBE = "fossilrepo-probe"  # a name that nobody has: the wildcard answers for it
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


async def names_lead_here(domain: str, routing: str) -> list[Check]:
    """Whether the domain, and with `host` routing every name below it, leads to this machine."""
    mine = await asyncio.to_thread(own_addresses)
    checks = []
    names = [("domain", domain, domain)]
    if routing == "host":
        names.append(("wildcard", f"{_PROBE}.{domain}", f"*.{domain}"))
    for name, asked, record in names:
        found = await look_up(asked)
        if not found:
            words = f"{record} is not known to the name servers"
            mend = f"make an A record (and AAAA) for {record} that names this machine's address"
            checks.append(Check(name, "fail", words, mend))
        elif not found & mine:
            words = f"{record} leads to {', '.join(sorted(found))}: no address of this machine"
            mend = "right behind a router or proxy that forwards to it; else correct the record"
            checks.append(Check(name, "warn", words, mend))
        else:
            checks.append(Check(name, "ok", f"{record} leads to this machine"))
    return checks
