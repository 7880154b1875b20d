"""`status`: what the running server says of itself, asked over its control socket.

Owns the question and the form for people; the answer's keys are the server's.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any

from fossilrepo.cli import context, output
from fossilrepo.cli.options import AsJson
from fossilrepo.errors import FossilrepoError

PATIENCE = 5.0  # seconds; an answer takes milliseconds


def status(as_json: AsJson = False) -> None:
    """Say what runs; exit code 1 when nothing does."""
    found = ask(context.settings().control_socket)
    if as_json:
        output.document(found)
    else:
        _show(found)


def ask(path: Path) -> dict[str, Any]:
    """The status document. FossilrepoError when no server answers there."""
    connection = _Connection(path)
    try:
        connection.request("GET", "/status", headers={"Host": "control"})
        answer = connection.getresponse()
        body = answer.read()
    except (FileNotFoundError, ConnectionRefusedError):
        raise FossilrepoError(
            "fossilrepo is not running",
            hint=f"start it with `fossilrepo serve`; asked was {path}",
        ) from None
    except PermissionError:
        raise FossilrepoError(
            f"{path} may not be opened by this user",
            hint="ask as the user that runs fossilrepo, or as root",
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise FossilrepoError(
            f"fossilrepo does not answer on {path}: {str(error) or type(error).__name__}",
            hint="its log says more; it may be starting or ending",
        ) from None
    finally:
        connection.close()
    return _parsed(answer.status, body)


def _parsed(status: int, body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if status != 200 or not isinstance(found, dict):
        raise FossilrepoError(f"fossilrepo answered {status} to the question for its status")
    return found


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket, whatever the length of its path."""

    def __init__(self, path: Path) -> None:
        super().__init__("control", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        # An address has room for 107 bytes only: go by the folder's descriptor.
        folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(PATIENCE)
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)


def _show(found: dict[str, Any]) -> None:
    pid, uptime = found.get("pid"), _long(found.get("uptime_s", 0))
    output.say(
        output.clean(f"fossilrepo {found.get('version')} runs at {found.get('url')} ")
        + f"(pid {pid}, for {uptime})"
    )
    backup, jobs = found.get("backup") or {}, found.get("jobs") or {}
    output.pairs(
        {
            "repositories": found.get("repositories"),
            "jobs": f"{jobs.get('running', 0)} running, {jobs.get('failed', 0)} failed",
            "backup": _backup(backup),
        }
    )
    output.say()
    output.table(
        ("child", "state", "pid", "restarts", "last error"),
        [
            (c["name"], c["state"], c["pid"] or "-", c["restarts"], c["last_error"] or "-")
            for c in found.get("children", [])
        ],
    )


def _backup(backup: dict[str, Any]) -> str:
    if not backup.get("url"):
        return str(backup.get("state") or "none")
    behind = backup.get("behind") or []
    late = f", behind: {', '.join(behind)}" if behind else ""
    lag = backup.get("lag_s")
    return f"{backup['url']}" + ("" if lag is None else f", {lag} s behind") + late


def _long(seconds: float) -> str:
    for word, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return output.plural(int(seconds // length), word)
    return output.plural(int(seconds), "second")
