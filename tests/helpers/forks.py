"""Many calls of the command without the cost of many starts.

Owns a process that has imported the command line once and forks itself for
every call: a process of its own with its own folder, environment and streams,
that ends as the real one does, only without the imports.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 120  # seconds that one call may take
READY = b"ready\n"


@dataclass(frozen=True)
class Forks:
    address: str

    def call(
        self, arguments: Sequence[str], cwd: Path, env: dict[str, str], given: str | None
    ) -> tuple[int, str, str]:
        """(exit code, stdout, stderr) of one call."""
        request = json.dumps({"arguments": list(arguments), "cwd": str(cwd), "env": env})
        with (
            tempfile.TemporaryFile() as stdin,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            socket.socket(socket.AF_UNIX) as connection,
        ):
            stdin.write((given or "").encode())
            stdin.seek(0)
            connection.settimeout(LONGEST + 5)
            connection.connect(self.address)
            streams = [file.fileno() for file in (stdin, out, err)]
            socket.send_fds(connection, [request.encode()], streams)
            code = int(connection.recv(100))
            out.seek(0)
            err.seek(0)
            return code, out.read().decode(), err.read().decode()


@cache
def shared() -> Forks:
    """The one of this worker, made when first asked for, ended with it."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(running())


@contextmanager
def running() -> Iterator[Forks]:
    """The process that forks; ended with the block, or when this process is gone."""
    address = f"\0fossilrepo-tests-{os.getpid()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.forks", address[1:]],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == READY
        try:
            yield Forks(address)
        finally:
            process.terminate()


def serve(address: str) -> None:
    """Fork for every call until stdin ends."""
    for module in ("fossilrepo.core", "fossilrepo.cli.tree", "rich.cells"):
        importlib.import_module(module)
    gc.freeze()  # as the command itself does after its imports
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{address}")
        listener.listen(16)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        os.write(1, READY)
        while True:
            ready, _, _ = select.select([listener, 0], [], [])
            if 0 in ready:
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _answer(listener, connection)
            connection.close()


def _answer(listener: socket.socket, connection: socket.socket) -> None:
    listener.close()
    request, streams, _, _ = socket.recv_fds(connection, 100_000, 3)
    child = os.fork()
    if child == 0:
        connection.close()
        _become(json.loads(request), streams)
    _, status = os.waitpid(child, 0)
    connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(request: dict[str, object], streams: list[int]) -> None:
    from fossilrepo import cli

    signal.alarm(LONGEST)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[call-overload]
    arguments = request["arguments"]
    assert isinstance(arguments, list)
    sys.exit(cli.main(arguments))


if __name__ == "__main__":
    serve(sys.argv[1])
