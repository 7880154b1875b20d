"""Where programs that we run for people may connect to.

Owns one rule: public addresses only, and those private or loopback networks that
the configuration names. It is asked for each connection, of the address that is
then connected to, so a name that resolves differently the next time gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

from fossilrepo.errors import InvalidInput

EVERYWHERE = ("0.0.0.0/0", "::/0")


def is_allowed(address: str, networks: Sequence[str]) -> bool:
    """True for a public address, and for one in `networks` (CIDR)."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return is_within(address, networks) or (ip.is_global and not ip.is_multicast)


def is_within(address: str, networks: Sequence[str]) -> bool:
    """Whether the address lies in one of the networks (CIDR)."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return any(ip in network for network in map(ipaddress.ip_network, networks))


def plain_refused(host: str) -> str:
    """Why http without TLS is not spoken to this host."""
    return f"{host} would be spoken to without TLS; use https (http: sync.allowed_networks only)"


async def resolve(host: str, port: int, networks: Sequence[str]) -> str:
    """The first address of the host, when all of its addresses are allowed.

    Raises InvalidInput when it has none, or one that is not: a name that leads partly
    into a private network is no mistake of a public server.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError):
        raise InvalidInput(f"the host {host} is not known", field="url") from None
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not is_allowed(address, networks):
            raise InvalidInput(
                f"{host} leads into a private network ({address}), where this site does not go",
                hint="an administrator of the server can allow it in sync.allowed_networks "
                "(imports: or do it on the server's own command line)",
                field="url",
            )
    return addresses[0]
