"""A small HTTP server on loopback for tests of what fetches from the network.

Owns a thread that serves a folder, asks for a password when one is set, answers
with redirects when told to, and keeps what was asked.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path, address: str) -> None:
        super().__init__((address, 0), partial(_Handler, directory=str(folder)))
        self.password = ""
        self.redirect = ""
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"


class _Handler(SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.redirect:
            self._answer(302, "Location", self.server.redirect + self.path)
        elif self.server.password and not self._knows():
            self._answer(401, "WWW-Authenticate", 'Basic realm="test"')
        else:
            super().do_GET()

    do_POST = do_GET

    def _knows(self) -> bool:
        wanted = base64.b64encode(self.server.password.encode()).decode()
        return self.headers.get("Authorization") == f"Basic {wanted}"

    def _answer(self, status: int, header: str, value: str) -> None:
        self.send_response(status)
        self.send_header(header, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(folder: Path, address: str = "127.0.0.1") -> Iterator[Server]:
    server = Server(folder, address)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
