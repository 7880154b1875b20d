"""The control socket, where the running server answers the command line.

Owns the questions for its documents: HTTP on a unix socket.
"""

from __future__ import annotations

import json
import os
import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from fossilrepo.errors import FossilrepoError

PATIENCE = 3.0  # seconds; an answer takes milliseconds


class NotRunning(FossilrepoError):
    """Nobody listens there; everything else that goes wrong is a plain FossilrepoError."""


def ask(path: Path, question: str = "/status") -> dict[str, Any]:
    """The document of this name. NotRunning when there is no server."""
    connection = _Connection(path)
    try:
        connection.request("GET", question, headers={"Host": "control"})
        answer = connection.getresponse()
        body = answer.read()
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(
            "fossilrepo is not running",
            hint=f"start it with `fossilrepo serve`; asked was {path}",
        ) from None
    except PermissionError:
        raise FossilrepoError(
            f"{path} may not be opened by this user",
            hint="ask as the user that runs fossilrepo, or as root",
        ) from None
    except (OSError, HTTPException) as error:
        raise FossilrepoError(
            f"fossilrepo does not answer on {path}: {str(error) or type(error).__name__}",
            hint="its log says more; it may be starting or ending",
        ) from None
    finally:
        connection.close()
    return _parsed(question, answer.status, body)


def _parsed(question: str, status: int, body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if status != 200 or not isinstance(found, dict):
        raise FossilrepoError(
            f"fossilrepo answered {status} to the question for {question}",
            hint="its log says more; after an update, start it again",
        )
    return found


class _Connection(HTTPConnection):
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
