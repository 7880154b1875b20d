"""A real Fossil, and the gateway or Caddy before it, for tests of the mapping.

Owns the starting and ending of these programs. `Site` is what both mappings
offer to a test: an address to connect to and the domain whose hosts it serves.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PASSWORD = "right-password"
EVIL = b"<script>document.title='ran'</script>" + b"x" * 100
ROOT = Path(__file__).resolve().parents[2]
CADDY = Path(sys.executable).parent / "caddy"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], Any], seconds: float = 10.0, what: str = "it") -> Any:
    """The condition's first true value; fails when the deadline passes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {seconds} s")


async def soon(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """`until` for the loop's own tests: the loop goes on meanwhile."""
    await asyncio.to_thread(until, condition, seconds)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def program(argv: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        child = subprocess.Popen(argv, env=env, stdout=out, stderr=out, start_new_session=True)
        try:
            yield child
        finally:
            with_group(child, signal.SIGKILL)
            child.wait(10)


def with_group(child: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        pass


class Fossil:
    """The `fossil` command of one person, with a home of its own."""

    def __init__(self, home: Path, login: str = "admin") -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "USER": login,
            "http_proxy": "",
        }

    def run(
        self, *words: str | Path, cwd: Path | None = None, ok: bool = True, seconds: float = 60
    ) -> str:
        done = subprocess.run(
            ["fossil", *map(str, words)],
            cwd=cwd or self.home,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
        )
        text = done.stdout.decode("utf-8", "replace")
        if ok:
            assert done.returncode == 0, f"fossil {words}: {text}"
        return text if ok else f"{text}\nexit {done.returncode}"

    def new(self, file: Path) -> None:
        self.run("init", "--admin-user", "admin", file)
        self.run("user", "password", "admin", PASSWORD, "-R", file)
        self.run("settings", "backoffice-nodelay", "1", "-R", file)

    def commit(self, checkout: Path, name: str, content: bytes) -> None:
        """Adds a file and proves that the check-in exists."""
        (checkout / name).write_bytes(content)
        self.run("add", name, cwd=checkout)
        said = self.run(
            "commit", "-m", f"add {name}", "--no-warnings", "--allow-fork", cwd=checkout
        )
        assert "New_Version" in said


@dataclass(frozen=True)
class Site:
    port: int
    domain: str = "localhost"
    tls: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def host(self, name: str) -> str:
        return f"{name}.{self.domain}:{self.port}"

    async def raw(self, request: bytes, seconds: float = 15.0, name: str = "demo") -> bytes:
        """Everything that comes back for these very bytes.

        TLS is asked for as NAME.DOMAIN, without a name as DOMAIN.
        """
        secure = ssl._create_unverified_context() if self.tls else None  # noqa: S323
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            self.port,
            ssl=secure,
            server_hostname=f"{name}.{self.domain}".lstrip(".") if self.tls else None,
        )
        try:
            writer.write(request)
            async with asyncio.timeout(seconds):
                return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.transport.abort()

    async def ask(
        self, method: str, target: str, *, host: str, body: bytes = b"", headers: str = ""
    ) -> Answer:
        length = f"Content-Length: {len(body)}\r\n" if body or method == "POST" else ""
        head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{length}{headers}"
        request = f"{head}Connection: close\r\n\r\n".encode() + body
        name, dot, _ = host.partition(".")
        return Answer(await self.raw(request, name=name if dot else ""))


class Answer:
    def __init__(self, received: bytes) -> None:
        head, _, self.body = received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.[01] (\d+) ?(.*)", lines[0])
        self.status = int(match[1]) if match else 0
        self.reason = match[2] if match else ""
        if b"\r\ntransfer-encoding: chunked" in head.lower():
            self.body = _unchunked(self.body)
        self.headers = [(k.lower(), v.strip()) for k, _, v in (x.partition(":") for x in lines[1:])]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def one(self, name: str) -> str:
        values = self.all(name)
        assert len(values) == 1, (name, values)
        return values[0]


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        whole, body = whole + rest[:length], rest[length + 2 :] if length else b""
    return whole


@contextmanager
def fossil_server(folder: Path, log: Path, notfound: str) -> Iterator[tuple[int, int]]:
    """(port, pid) of a `fossil server` on a folder; its home holds no settings of anyone."""
    port = free_port()
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    argv = ["fossil", "server", "--nojail", "--port", f"127.0.0.1:{port}"]
    with program([*argv, "--notfound", notfound, str(folder)], env, log) as child:
        until(lambda: answers(port), what="fossil server's answer")
        yield port, child.pid


def children_of(pid: int) -> list[int]:
    """The processes that a `fossil server` has running for its connections."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(item) for item in text.split()]


@dataclass
class Served:
    folder: Path
    port: int
    pid: int


@contextmanager
def repositories(base: Path, notfound: str) -> Iterator[Served]:
    """demo (with a page, and a file of 8 MB) and other, at a real `fossil server`."""
    folder, work = base / "repos", base / "work"
    folder.mkdir()
    work.mkdir()
    fossil = Fossil(base / "home")
    for name in ("demo", "other"):
        fossil.new(folder / f"{name}.fossil")
    fossil.run("open", folder / "demo.fossil", cwd=work)
    fossil.commit(work, "evil.html", EVIL)
    fossil.commit(work, "big.bin", os.urandom(8_000_000))
    fossil.run("close", cwd=work)
    with fossil_server(folder, base / "log", notfound) as (port, pid):
        yield Served(folder, port, pid)


async def small_buffers(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that takes in little before it reads, so that the server has to wait."""
    mine = socket.socket()
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    mine.setblocking(False)
    await asyncio.get_running_loop().sock_connect(mine, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=mine, limit=1024)


class NamedHosts:
    """A forward proxy for `fossil --proxy`, so that the real client can use a host's name."""

    def __init__(self, target_port: int, *, tls: bool = False) -> None:
        self._target, self._tls = target_port, tls
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> NamedHosts:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        name = re.search(rb"\r\nHost: ([^:\r]+)", head)
        assert name
        there, onward = await asyncio.open_connection(
            "127.0.0.1",
            self._target,
            ssl=ssl._create_unverified_context() if self._tls else None,  # noqa: S323
            server_hostname=name[1].decode() if self._tls else None,
        )
        try:
            first, rest = head.split(b"\r\n", 1)
            first = re.sub(rb"http://[^/ ]+/?", b"/", first, count=1)
            onward.write(first + b"\r\n" + rest)
            await asyncio.gather(_copy(reader, onward), _copy(there, writer, ends=reader))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            onward.transport.abort()
            writer.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, ends: Any = None) -> None:
    while piece := await source.read(65536):
        sink.write(piece)
        await sink.drain()
    if ends is not None:
        ends.feed_eof()
        sink.close()
