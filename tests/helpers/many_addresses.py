"""A way to a server on which each connection comes from an address of its own.

Who tries many wrong passwords from one address is held off for a minute; tests of something else
come from many machines instead. All of 127.0.0.0/8 is this machine.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import socket
import socketserver
import threading
from collections.abc import Iterator

ADDRESSES = itertools.count(int(ipaddress.ip_address("127.9.0.1")))


@contextlib.contextmanager
def relay(port: int) -> Iterator[int]:
    """The port on 127.0.0.1 that leads to this one."""

    class OneConnection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            source = str(ipaddress.ip_address(next(ADDRESSES)))
            with socket.create_connection(("127.0.0.1", port), source_address=(source, 0)) as there:
                back = threading.Thread(target=_copy, args=(there, self.request))
                back.start()
                _copy(self.request, there)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), OneConnection) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
