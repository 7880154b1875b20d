"""S3 servers for tests: real ones, and two that do harm.

Owns `moto` (in memory, knows every call), `rclone` (on disk, checks keys, can be
stopped and started on its port), `failing` (answers 500) and `silent` (never
answers). All on loopback, on ports from the kernel.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

KEYS = {"AWS_ACCESS_KEY_ID": "key1", "AWS_SECRET_ACCESS_KEY": "secret1"}
WRONG_KEYS = {"AWS_ACCESS_KEY_ID": "key1", "AWS_SECRET_ACCESS_KEY": "another-9c1"}


@dataclass
class Server:
    """Where it listens, and the keys for it in the form of an environment."""

    endpoint: str
    keys: dict[str, str] = field(default_factory=lambda: dict(KEYS))

    def section(self, bucket: str = "bucket", prefix: str = "replica") -> dict[str, Any]:
        """The section `[backup]` for a bucket here."""
        return {"url": f"s3://{bucket}/{prefix}", "endpoint": self.endpoint}


@dataclass
class Moto(Server):
    def make_bucket(self, name: str = "bucket") -> None:
        sign = "AWS4-HMAC-SHA256 Credential=key1/20260101/us-east-1/s3/x"
        _ask("PUT", f"{self.endpoint}/{name}", {"Authorization": sign})

    def fill(self, prefix: str, count: int, bucket: str = "bucket") -> None:
        """Many small objects, straight into the server's memory."""
        from moto.s3.models import s3_backends

        backend = next(iter(s3_backends["123456789012"].values()))
        for number in range(count):
            backend.put_object(bucket, f"{prefix}{number:06d}", b"x")


@contextmanager
def moto() -> Iterator[Moto]:
    """A whole S3 server in a thread; its buckets are shared by all in this process."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    one = Moto(f"http://{host}:{port}")
    try:
        yield one
    finally:
        _ask("POST", f"{one.endpoint}/moto-api/reset", {})
        server.stop()


@dataclass
class Rclone(Server):
    folder: Path = Path()
    _process: subprocess.Popen[bytes] | None = None

    def make_bucket(self, name: str = "bucket") -> None:
        (self.folder / name).mkdir(parents=True, exist_ok=True)

    def remove_bucket(self, name: str = "bucket") -> None:
        shutil.rmtree(self.folder / name)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Listen on the port again, with the keys of now."""
        address = self.endpoint.removeprefix("http://")
        keys = ",".join(self.keys.values())
        argv = [str(Path(sysconfig.get_path("scripts"), "rclone")), "serve", "s3"]
        argv += ["--auth-key", keys, "--addr", address, "--config", "", "--vfs-cache-mode", "off"]
        self._process = subprocess.Popen(
            [*argv, str(self.folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while not _answers(self.endpoint):
            assert self._process.poll() is None, "rclone ended"
            assert time.monotonic() < deadline, "rclone does not listen"
            time.sleep(0.02)

    def stop(self) -> None:
        """Gone at once, as in an outage; what was stored stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self, **keys: str) -> None:
        """Stop and start, with other keys where they are given."""
        self.stop()
        self.keys |= keys
        self.start()


@contextmanager
def rclone(folder: Path) -> Iterator[Rclone]:
    """An S3 server on the folder, which checks keys; with the bucket `bucket`."""
    server = Rclone(f"http://127.0.0.1:{_free_port()}", folder=folder)
    server.make_bucket()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def failing() -> AsyncIterator[Server]:
    """Answers every request with 500."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        body = "<Error><Code>InternalError</Code><Message>out of order</Message></Error>"
        return web.Response(status=500, text=body, content_type="application/xml")

    async with _serving(answer) as server:
        yield server


@asynccontextmanager
async def silent() -> AsyncIterator[Server]:
    """Takes every request and never answers."""
    end = asyncio.Event()

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        await end.wait()
        return web.Response(status=503)

    async with _serving(answer) as server:
        try:
            yield server
        finally:
            end.set()


@asynccontextmanager
async def _serving(answer: Any) -> AsyncIterator[Server]:
    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield Server(f"http://{host}:{port}")
    finally:
        await runner.cleanup()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(endpoint: str) -> bool:
    try:
        _ask("GET", endpoint, {})
        return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _ask(method: str, url: str, headers: dict[str, str]) -> None:
    request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310
        pass
