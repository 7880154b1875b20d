"""Plays a badly behaved program: run by tests as a child, never imported.

Every process of it leaves a file named by its pid in `--pids`, so that a test can
assert that none is left. Bounded: ends by itself after `--life` seconds.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import sys
import time
from pathlib import Path


def main() -> None:
    options = parse()
    end = time.monotonic() + options.life
    note(options.pids)
    if options.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.outlive:
        ctypes.CDLL(None).prctl(1, 0)  # PR_SET_PDEATHSIG: none
    for line in options.say:
        print(line, flush=True)
    if options.grandchild:
        grandchild(options, end)
    if options.exit is not None:
        sys.exit(options.exit)
    time.sleep(options.delay)
    server = listen(options)
    leave = time.monotonic() + options.leave_after if options.leave_after else end
    if options.flood:
        flood(options.flood, min(leave, end))
    serve(server, min(leave, end))
    sys.exit(options.status)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pids", type=Path, required=True)
    parser.add_argument("--life", type=float, default=30.0)
    parser.add_argument("--say", action="append", default=[])
    parser.add_argument("--exit", type=int, help="exit at once with this status")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before it is ready")
    parser.add_argument("--port", type=int, help="be ready by listening here, or exit 4")
    parser.add_argument("--ready-file", type=Path, help="be ready by making this file")
    parser.add_argument("--leave-after", type=float, help="exit so long after being ready")
    parser.add_argument("--status", type=int, default=0, help="the status of that exit")
    parser.add_argument("--ignore-term", action="store_true")
    parser.add_argument("--outlive", action="store_true", help="do not die with the parent")
    parser.add_argument("--grandchild", choices=["group", "session"], help="one that ignores TERM")
    parser.add_argument("--flood", choices=["lines", "endless"])
    return parser.parse_args()


def note(pids: Path) -> None:
    # Written aside first: a reader finds it whole or not at all.
    new = pids / f".{os.getpid()}"
    new.write_text(start_of(os.getpid()))
    new.rename(pids / str(os.getpid()))


def start_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def grandchild(options: argparse.Namespace, end: float) -> None:
    reading, writing = os.pipe()
    if os.fork() == 0:
        if options.grandchild == "session":
            os.setsid()
            if os.fork():
                os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note(options.pids)
        os.write(writing, b"x")
        while time.monotonic() < end:
            time.sleep(0.2)
        os._exit(0)
    os.read(reading, 1)


def listen(options: argparse.Namespace) -> socket.socket | None:
    if options.ready_file:
        options.ready_file.touch()
    if options.port is None:
        return None
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(("127.0.0.1", options.port))
    except OSError:
        print("the port is taken", file=sys.stderr)
        sys.exit(4)
    server.listen(16)
    return server


def serve(server: socket.socket | None, end: float) -> None:
    while (left := end - time.monotonic()) > 0:
        if server is None:
            time.sleep(min(left, 0.2))
            continue
        server.settimeout(left)
        try:
            connection, _ = server.accept()
        except TimeoutError:
            return
        with connection:
            connection.sendall(b"here\n")


def flood(kind: str, end: float) -> None:
    piece = b"never ends " * 6000 if kind == "endless" else b"a line of some length\n" * 3000
    while time.monotonic() < end:
        os.write(1, piece)


if __name__ == "__main__":
    main()
