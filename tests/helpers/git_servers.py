"""Real Git servers on loopback: git's own http-backend with a password, and sshd.

Owns their processes and folders. The HTTP one runs git-http-backend as a web server would
(CGI, RFC 3875), and can be told to misbehave between requests.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from tests.helpers.poll import until_sync

USER, TOKEN = "robot", "tok-5e1f-secret"
_BACKEND = subprocess.run(["git", "--exec-path"], capture_output=True, text=True).stdout.strip()


def bare(folder: Path, name: str = "project.git") -> Path:
    """An empty bare repository that may be pushed to over HTTP."""
    path = folder / name
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    subprocess.run(["git", "-C", str(path), "config", "http.receivepack", "true"], check=True)
    return path


def git(path: Path, *words: str) -> str:
    """What git says of a repository; it must succeed."""
    done = subprocess.run(
        ["git", "-C", str(path), *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def refs(path: Path) -> dict[str, str]:
    """All branches and tags of a repository."""
    lines = git(path, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return dict(line.split(" ", 1) for line in lines)


@dataclass
class HttpGit:
    """`behave` may answer a request itself, or give None to let git do it."""

    folder: Path
    port: int = 0
    token: str = TOKEN
    requests: list[str] = field(default_factory=list)
    behave: Callable[[web.Request], web.StreamResponse | None] | None = None
    hang: asyncio.Event | None = None  # requests wait for it

    def url(self, name: str = "project.git") -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        if self.hang is not None:
            await self.hang.wait()
        if self.behave is not None and (answer := self.behave(request)) is not None:
            return answer
        wanted = base64.b64encode(f"{USER}:{self.token}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {wanted}":
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        return await self._backend(request)

    async def _backend(self, request: web.Request) -> web.Response:
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REMOTE_USER": USER,
            "REMOTE_ADDR": "127.0.0.1",
        }
        backend = await asyncio.create_subprocess_exec(
            f"{_BACKEND}/git-http-backend",
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        out, _ = await backend.communicate(await request.read())
        head, _, body = out.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(headers.pop("Status", "200 OK").split()[0])
        return web.Response(status=status, headers=headers, body=body)


@asynccontextmanager
async def http_git(folder: Path) -> AsyncIterator[HttpGit]:
    """Serves every repository of the folder to USER with TOKEN; a new folder gets an empty one."""
    if not folder.exists():
        folder.mkdir()
        bare(folder)
    server = HttpGit(folder)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{rest:.*}", server.answer)
    runner = web.AppRunner(app, auto_decompress=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        if server.hang is not None:
            server.hang.set()
        await runner.cleanup()


@dataclass(frozen=True)
class SshGit:
    """A running sshd; `allow` lets a public key in, as the account that runs the tests."""

    folder: Path
    port: int
    user: str

    def url(self, path: Path) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}{path}"

    def allow(self, public_key: str) -> None:
        with (self.folder / "authorized_keys").open("a") as file:
            file.write(f"{public_key}\n")

    def host_key(self) -> str:
        return " ".join((self.folder / "host.pub").read_text().split()[:2])


@contextmanager
def ssh_git(folder: Path, port: int, host_key: Path | None = None) -> Iterator[SshGit]:
    """sshd on loopback with a host key of its own, for keys only."""
    folder.mkdir(mode=0o700)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True).stdout.strip()
    if host_key is None:
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host")], check=True
        )
    else:
        for ending in ("", ".pub"):
            shutil.copy(f"{host_key}{ending}", folder / f"host{ending}")
    (folder / "authorized_keys").touch(mode=0o600)
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
        f"PidFile {folder}/pid\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        "KbdInteractiveAuthentication no\nLogLevel ERROR\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    program = shutil.which("sshd", path="/usr/sbin:/sbin:/usr/bin") or "sshd"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [program, "-D", "-e", "-f", str(folder / "config")], stdout=log, stderr=log
        )
    try:
        until_sync(lambda: (folder / "pid").exists() or server.poll() is not None)
        assert server.poll() is None, (folder / "log").read_text()
        yield SshGit(folder, port, user)
    finally:
        server.terminate()
        server.wait(timeout=10)
