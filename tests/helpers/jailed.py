"""A jail of the test's own, with a real `fossil server` in it.

Owns the folders (below /tmp and open to the account that Fossil drops to), the
running server and small requests to it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
import sqlite3
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fossilrepo.runtime import process
from fossilrepo.runtime.launch import launch
from fossilrepo.tools import jail
from fossilrepo.tools.fossil import Fossil
from fossilrepo.tools.identity import Identity, give, service_identity
from tests.helpers.poll import until


@dataclass
class Place:
    """A data folder: `repos` is the jail, `scratch` and `home` are outside it."""

    data: Path
    identity: Identity | None
    fossil: Fossil = field(init=False)

    def __post_init__(self) -> None:
        self.repos = self.data / "repos"
        self.scratch = self.data / "tmp"
        jail.prepare(self.repos, self.identity)
        self.scratch.mkdir()
        give(self.scratch, self.identity)
        self.fossil = Fossil(self.data / "homes", self.identity)
        self.secret = self.data / "secret.key"
        self.secret.write_text("the secret of this place")
        self.secret.chmod(0o600)

    def serve(self, name: str, source: Path) -> Path:
        """Put a copy of a file straight into the store, and its name beside it."""
        file = self.repos / ".store" / f"{name}-id.fossil"
        shutil.copy(source, file)
        give(file, self.identity)
        for folder, target in ((".served", "../.store"), (".", ".store")):
            (self.repos / folder / f"{name}.fossil").symlink_to(f"{target}/{file.name}")
        return file

    def new(self, name: str, template: Path) -> Path:
        return self.serve(name, template)


@contextmanager
def place() -> Iterator[Place]:
    """A `Place` that anybody may pass through, as a real data folder is."""
    folder = Path(tempfile.mkdtemp(prefix="fossilrepo-"))
    folder.chmod(0o711)
    try:
        yield Place(folder, service_identity(folder))
    finally:
        shutil.rmtree(folder)


@asynccontextmanager
async def server(
    where: Place, walls: jail.Walls, said: bytearray | None = None
) -> AsyncIterator[str]:
    """The address of a running jailed server; it and all its children end with the test.

    What it writes goes to `said`.
    """
    words = bytearray() if said is None else said
    port = free_port()
    command = jail.server_command(walls, where.repos, port, "/not-here")
    running = await launch(command, lambda _fd, data: words.extend(data))
    try:
        await until(lambda: listens(port), what="fossil server")
        yield f"http://127.0.0.1:{port}"
    finally:
        await running.end()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def request(url: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    """Status and text; redirects are not followed."""
    asked = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310 - our own server
    opener = urllib.request.build_opener(_Stay)
    try:
        with opener.open(asked, timeout=20) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: object, **_kwargs: object) -> None:
        return None


async def get(url: str) -> tuple[int, str]:
    return await asyncio.to_thread(request, url)


async def client(where: Place, *argv: str, user: str = "tester") -> tuple[int, str]:
    """The `fossil` client with a home of its own; status and everything it said."""
    folder = where.data / "client"
    folder.mkdir(exist_ok=True)
    command = process.Command(
        ("fossil", *argv),
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "USER": user},
        cwd=folder,
    )
    done = await process.run(command, timeout=30)
    return done.returncode, done.stdout.decode(errors="replace") + done.stderr


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, timeout=10)) as db:
        yield db


def sql(path: Path, script: str) -> None:
    with connected(path) as db:
        db.executescript(script)


def rows(path: Path, query: str, *values: object) -> list[tuple[object, ...]]:
    with connected(path) as db:
        return db.execute(query, values).fetchall()


def pw(code: str, login: str, password: str) -> str:
    return hashlib.sha1(f"{code}/{login}/{password}".encode()).hexdigest()


def unique_text() -> str:
    return f"{time.monotonic_ns()}"
