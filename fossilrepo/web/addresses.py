"""Who is asking: the client's address behind proxies that are trusted.

Owns the reading of X-Forwarded-For. Must not trust a word of it that did not
come through a trusted peer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Proxies:
    """The networks of `server.trusted_proxies`."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks: list[Network] = [ipaddress.ip_network(item) for item in networks]

    def client(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The right-most address that is not a trusted proxy's.

        `forwarded_for` are the X-Forwarded-For headers in their order. What stands
        left of an untrusted address, or of something that is no address, is hearsay.
        """
        client = _address(peer)
        if client is None:
            return peer
        hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
        while hops and self._trusts(client):
            earlier = _address(hops.pop())
            if earlier is None:
                break
            client = earlier
        return str(client)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def share_key(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that an IPv6 host may fill."""
    parsed = _address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
