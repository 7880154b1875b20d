"""A PostgreSQL server of the tests' own.

Owns one cluster in a temporary folder: reached through a socket in that folder
only (no port to collide on), written without fsync, ended with the tests even
when they are killed. PostgreSQL refuses to run as root, so root drops to
`postgres`, or to `nobody` where there is no such account.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg

from tests.helpers.poll import until_sync

_OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "40",
    "shared_buffers": "16MB",
    "dynamic_shared_memory_type": "mmap",
}


@contextmanager
def cluster() -> Iterator[str]:
    """A running server; gives the URL of its maintenance database."""
    initdb = _program("initdb")
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        if account is not None:
            os.chown(folder, account.pw_uid, account.pw_gid)
        data = folder / "data"
        _as(
            account,
            [
                initdb,
                "--no-sync",
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--pgdata",
                str(data),
            ],
            folder,
        )
        with _serving(account, folder, data):
            yield url(folder, "postgres")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def database(server: str) -> AsyncIterator[str]:
    """The URL of a new, empty database on `server` (as `cluster` gave it)."""
    name = f"t_{uuid.uuid4().hex}"
    await _execute(server, f"CREATE DATABASE {name}")
    try:
        yield server.replace("/postgres?", f"/{name}?")
    finally:
        await _execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def url(folder: Path, name: str) -> str:
    return f"postgresql://postgres@/{name}?host={quote(str(folder), safe='/')}"


async def _execute(server: str, statement: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def _serving(account: pwd.struct_passwd | None, folder: Path, data: Path) -> Iterator[None]:
    options = [f"--{key}={value}" for key, value in _OPTIONS.items()]
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [
                *_dropping(account, death="QUIT"),
                _program("postgres"),
                "-D",
                str(data),
                "-k",
                str(folder),
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=_environment(folder),
        )
    try:
        until_sync(lambda: server.poll() is not None or _ready(data), timeout=30, what="PostgreSQL")
        if server.poll() is not None:
            raise AssertionError(f"PostgreSQL did not start: {log.read_text(errors='replace')}")
        yield
    finally:
        server.send_signal(signal.SIGQUIT)
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _ready(data: Path) -> bool:
    """The eighth line of postmaster.pid is the state, as `pg_ctl` reads it."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"


def _program(name: str) -> str:
    """Debian keeps the server's programs out of PATH; the newest there is preferred."""
    places = [
        *Path("/usr/lib/postgresql").glob(f"*/bin/{name}"),
        *Path("/usr").glob(f"pgsql-*/bin/{name}"),
    ]
    newest = max(
        places, key=lambda place: float(place.parts[-3].removeprefix("pgsql-")), default=None
    )
    found = str(newest) if newest else shutil.which(name)
    assert found, f"{name} is missing: install PostgreSQL's server programs (package postgresql)"
    return found


def _account() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise AssertionError("root needs an account to run PostgreSQL as: postgres or nobody")


def _dropping(account: pwd.struct_passwd | None, death: str = "KILL") -> list[str]:
    """Runs what follows as `account`, and ends it when the tests die."""
    prefix = ["setpriv", "--pdeathsig", death]
    if account is not None:
        prefix += [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    return prefix


def _as(account: pwd.struct_passwd | None, command: list[str], folder: Path) -> None:
    done = subprocess.run(
        [*_dropping(account), *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=folder,
        env=_environment(folder),
        timeout=60,
    )
    assert done.returncode == 0, f"{command[0]} failed: {done.stdout}{done.stderr}"


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "LC_ALL": "C"}
