"""The real `fossilrepo` command, run as a process of its own in a folder of the test's.

Owns how it is started (nothing of the developer's environment), what it gave,
and a server that runs beside it and is ended with the test.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers.forks import ROOT, Forks
from tests.helpers.poll import until_sync

CONFIG = """
data_dir = "./data"
[server]
listen = "127.0.0.1:0"
[fossil]
listen = "127.0.0.1:0"
[limits]
free_disk = "0%"
"""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout; fails when anything else is there."""
        return json.loads(self.out)

    def refusal(self, code: int) -> str:
        """The two lines of an error that ended with `code`; fails when anything else is there."""
        assert (self.code, self.out) == (code, ""), self
        lines = self.err.splitlines()
        assert lines[0].startswith("error: ") and len(lines) <= 2, self.err
        assert all(line.startswith("hint: ") for line in lines[1:]), self.err
        return self.err


@dataclass(frozen=True)
class Command:
    """`command("repo", "list")` runs it in `folder`, which has a config.toml."""

    folder: Path
    forks: Forks
    env: dict[str, str] = field(default_factory=dict)

    @classmethod
    def in_folder(cls, folder: Path, forks: Forks) -> Command:
        (folder / "config.toml").write_text(CONFIG)
        return cls(folder, forks)

    def with_env(self, env: dict[str, str]) -> Command:
        return Command(self.folder, self.forks, self.env | env)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return own | self.env

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE} | more
        return subprocess.Popen(
            [sys.executable, "-m", "fossilrepo", *arguments],
            cwd=self.folder,
            env=self.environment,
            stderr=streams.pop("stderr", subprocess.PIPE),
            text=True,
            **streams,
        )

    def run(self, *arguments: str, given: str | None = None, **env: str) -> Outcome:
        """What it gave, whatever its exit code; `given` is its standard input."""
        environment = self.with_env(env).environment
        outcome = Outcome(*self.forks.call(arguments, self.folder, environment, given))
        assert "Traceback" not in outcome.err, outcome.err
        return outcome

    def run_alone(self, *arguments: str, **env: str) -> Outcome:
        """The same from the start: Python, its imports, everything."""
        with self.with_env(env).start(*arguments) as process:
            try:
                out, err = process.communicate(timeout=60)
            finally:
                process.kill()
        return Outcome(process.returncode, out, err)

    def __call__(self, *arguments: str, given: str | None = None, **env: str) -> Outcome:
        """The same, and it must succeed."""
        outcome = self.run(*arguments, given=given, **env)
        assert outcome.code == 0, outcome
        return outcome

    def refused(self, code: int, *arguments: str, given: str | None = None, **env: str) -> str:
        """The error's words; it must be the two lines alone, with nothing on stdout."""
        return self.run(*arguments, given=given, **env).refusal(code)

    def at_terminal(self, *arguments: str, typed: list[str]) -> Outcome:
        """The command with a terminal as stdin; each line is typed once it asks something."""
        ours, theirs = pty.openpty()
        try:
            process = self.start(*arguments, stdin=theirs, start_new_session=True)
            with process:
                assert process.stderr is not None
                asked = ""
                for line in typed:
                    asked += _until_it_asks(process)
                    os.write(ours, line.encode() + b"\n")
                out, err = process.communicate(timeout=30)
            return Outcome(process.returncode, out, asked + err)
        finally:
            os.close(ours)
            os.close(theirs)

    def tree(self) -> dict[str, int]:
        """Every path in the data folder that is kept, with its size, to compare."""
        return {
            str(path.relative_to(self.data)): 0 if path.is_dir() else path.lstat().st_size
            for path in self.data.rglob("*")
            if not _moves_by_itself(path.relative_to(self.data))
        }

    @contextmanager
    def serving(self, **env: str) -> Iterator[Server]:
        """A server on the same folder, ready; ended in order, and that is checked."""
        server = Server(self.with_env(env))
        try:
            server.wait_ready()
            yield server
            if server.process.poll() is None:
                assert server.end() == 0, server.log()
        finally:
            server.kill()


class Server:
    """A running `fossilrepo serve` with its output in files."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self._out = command.folder / "serve.out"
        self._err = command.folder / "serve.err"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = command.start("serve", stdout=out, stderr=err)

    def wait_ready(self) -> None:
        until_sync(self._announced, timeout=30, what=f"the server: {self.log()}")

    def _announced(self) -> bool:
        assert self.process.poll() is None, self.log()
        return "running at" in self._out.read_text()

    def out(self) -> str:
        return self._out.read_text()

    def log(self) -> str:
        return self._out.read_text() + self._err.read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=20)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)


def _until_it_asks(process: subprocess.Popen[str]) -> str:
    """What is on stderr up to a prompt: text that waits without the end of a line."""
    assert process.stderr is not None
    handle = process.stderr.fileno()
    os.set_blocking(handle, False)
    seen, deadline = b"", time.monotonic() + 20
    while not seen.endswith(b" "):
        assert time.monotonic() < deadline, f"it asked nothing: {seen!r}"
        try:
            seen += os.read(handle, 4096)
        except BlockingIOError:
            time.sleep(0.01)
    os.set_blocking(handle, True)
    return seen.decode()


def _moves_by_itself(path: Path) -> bool:
    """Logs, locks, the control database: written by every command."""
    return path.parts[0] in ("logs", "run") or path.name.startswith("fossilrepo.db")
