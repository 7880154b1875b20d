"""A whole host as a person runs it, and Fossil's own client in front of it.

Owns the `fossilrepo serve` process of a test with its command line, and checkouts
made by the real `fossil` program. Everything is in the test's folder; ports come
from the kernel.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers import forks
from tests.helpers.poll import until_sync

PASSWORD = "correct horse battery"
SECONDS = 60


@dataclass
class Host:
    """`data` is its folder; `environment` overrides settings (FOSSILREPO_SECTION__KEY).

    `pace` has other values for constants of ours ("module.NAME"), for what takes long to wait for.
    """

    data: Path
    environment: dict[str, str] = field(default_factory=dict)
    account: int | None = None
    pace: dict[str, float] = field(default_factory=dict)
    _ports: dict[int, int] = field(default_factory=dict)  # by process: it keeps its port
    process: subprocess.Popen[bytes] | None = None

    def variables(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.data.parent),
            "FOSSILREPO_DATA_DIR": str(self.data),
            "FOSSILREPO_SERVER__LISTEN": "127.0.0.1:0",
            "FOSSILREPO_FOSSIL__LISTEN": "127.0.0.1:0",
            "FOSSILREPO_LIMITS__FREE_DISK": "0%",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.environment,
        }

    def _arguments(self, *arguments: str) -> dict[str, Any]:
        return {
            "args": [sys.executable, "-m", "fossilrepo", *arguments],
            "env": self.variables(),
            "cwd": self.data.parent,
            "user": self.account,
            "group": self.account,
            "extra_groups": [] if self.account is not None else None,
        }

    def start(self) -> Host:
        """Start it and wait until it answers."""
        self.launch()
        until_sync(self._is_up, timeout=30, what="the host to answer")
        return self

    def launch(self) -> None:
        log = (self.data.parent / "serve.log").open("ab")
        with log:
            start = self._arguments("serve")
            if self.pace:
                start["args"] = [sys.executable, "-c", _paced(self.pace), "serve"]
            self.process = subprocess.Popen(**start, stdout=log, stderr=log)

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"serve ended: {self.log()[-3000:]}")
        done = self.call("status", "--json", check=False)
        if done.returncode != 0:
            return False
        status = json.loads(done.stdout)
        # Litestream is not waited for by anybody: its target may be away.
        return all(c["state"] == "running" for c in status["children"] if c["name"] == "fossil")

    def log(self) -> str:
        return (self.data.parent / "serve.log").read_text(errors="replace")

    def status(self) -> dict[str, Any]:
        return json.loads(self.call("status", "--json").stdout)  # type: ignore[no-any-return]

    @property
    def port(self) -> int:
        """The site's own, also behind Caddy, where it has to be given."""
        if "FOSSILREPO_CADDY__ENABLED" in self.environment:
            return int(self.environment["FOSSILREPO_SERVER__LISTEN"].rpartition(":")[2])
        pid = self.process.pid if self.process else 0
        if pid not in self._ports:
            self._ports[pid] = int(self.status()["url"].rpartition(":")[2])
        return self._ports[pid]

    def child(self, name: str = "fossil") -> dict[str, Any]:
        return next(c for c in self.status()["children"] if c["name"] == name)

    def call(
        self, *arguments: str, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """One command of the command line, beside the running host."""
        if self.account is None:
            code, out, err = forks.shared().call(
                arguments, self.data.parent, self.variables(), stdin
            )
            done = subprocess.CompletedProcess([*arguments], code, out, err)
        else:
            done = subprocess.run(
                **self._arguments(*arguments),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=SECONDS * 5,
            )
        if check and done.returncode != 0:
            raise AssertionError(f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.call(*arguments, "--json").stdout)

    def admin(self, login: str = "ada") -> str:
        self.call("user", "create", login, "--admin", "--password-stdin", stdin=PASSWORD + "\n")
        return login

    def fossil_password(self, login: str, name: str) -> str:
        return self.call("user", "sync-password", login, name).stdout.strip()

    def get(self, path: str, host: str = "") -> tuple[int, str]:
        """Status and body of a page; `host` is a repository's name."""
        port = self.port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            named = f"{host}.localhost:{port}" if host else f"127.0.0.1:{port}"
            connection.request("GET", path, headers={"Host": named})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def url(self, name: str, login: str = "", password: str = "") -> str:
        """The path form of a repository's address."""
        user = f"{login}:{password}@" if login else ""
        return f"http://{user}127.0.0.1:{self.port}/{name}"

    def pids(self) -> list[int]:
        """Our process and everything below it."""
        assert self.process is not None
        return below(self.process.pid)

    def stop(self) -> int:
        """End it in order; its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=20)
        finally:
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def _paced(pace: dict[str, float]) -> str:
    """The command as a program of its own, with these values in its constants."""
    lines = ["import importlib", "from fossilrepo.__main__ import main"]
    for constant, value in pace.items():
        module, _, name = constant.rpartition(".")
        lines.append(f"importlib.import_module('fossilrepo.{module}').{name} = {value!r}")
    return "\n".join([*lines, "main()"])


def below(pid: int) -> list[int]:
    """The process and its descendants that live."""
    found = [pid] if alive(pid) else []
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = " ".join((task / "children").read_text() for task in tasks)
    except OSError:
        return found
    for child in children.split():
        found += below(int(child))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class Checkout:
    """A clone made by the real client, open in a folder of its own.

    The address goes with every push and pull: without a terminal the client does not
    remember the password in it.
    """

    folder: Path
    login: str
    url: str = ""

    @property
    def file(self) -> Path:
        return self.folder.with_suffix(".fossil")

    def fossil(
        self, *arguments: str, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        home = self.folder.parent
        where = self.folder if self.folder.exists() else home
        done = subprocess.run(
            ["fossil", *arguments],
            cwd=where,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "USER": self.login},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS * 3,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"fossil {arguments[0]}: {done.stdout}\n{done.stderr}")
        return done

    @classmethod
    def cloned(cls, url: str, folder: Path, login: str, *options: str) -> Checkout:
        checkout = cls(folder, login, url)
        folder.parent.mkdir(parents=True, exist_ok=True)
        checkout.fossil("clone", "--no-open", *options, url, str(checkout.file))
        folder.mkdir()
        checkout.fossil("open", "--nosync", str(checkout.file))
        checkout.fossil("settings", "autosync", "off")
        checkout.fossil("user", "default", login, "--user", login, check=False)
        return checkout

    def commit(self, name: str, content: bytes | str, message: str = "a change") -> str:
        """Commit one file without pushing; the check-in's hash, which must be a new one."""
        before = self.head()
        path = self.folder / name
        new = not path.exists()
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        if new:
            self.fossil("add", name)
        self.fossil(
            "commit", "-m", message, "--no-warnings", "--user-override", self.login, "--allow-fork"
        )
        after = self.head()
        assert after != before, "Fossil made no check-in"
        return after

    def head(self) -> str:
        for line in self.fossil("info").stdout.splitlines():
            if line.startswith("checkout:"):
                return line.split()[1]
        raise AssertionError("no checkout")

    def push(self, url: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.fossil("push", url or self.url, "--once", check=check)

    def pull(self, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.fossil("pull", self.url, "--once", check=check)

    def has(self, checkin: str) -> bool:
        return self.fossil("info", checkin, check=False).returncode == 0
