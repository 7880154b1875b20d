"""What systemd is told of this process (sd_notify(3)): ready, stopping, alive.

Owns the protocol. Without systemd, nothing is told and nothing is lost.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress


def tell(state: str) -> None:
    """Send `READY=1`, `STOPPING=1` or the like."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(state.encode())


async def keep_alive() -> None:
    """Tell systemd that the event loop turns, twice in the time after which it starts us anew."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    while microseconds.isdigit() and int(microseconds):
        tell("WATCHDOG=1")
        await asyncio.sleep(int(microseconds) / 2_000_000)
