"""Talking to the running Litestream over its socket.

Owns the calls and what their failures mean: nobody there, this database is not
known, or Litestream's own words. Every call has a time limit, because Litestream
waits for its target without one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fossilrepo.errors import NotFound, ToolFailed, Unavailable
from fossilrepo.tools.fossil_db import address

_PATIENCE = 5.0
_AT_ONCE = 3.0  # seconds, on a machine that is busy
_MARGIN = 2.0  # seconds that a call may take beyond what Litestream was given
_LARGEST = 64 << 20  # bytes of an answer
_BUSY = 5.0


class NotRunning(Unavailable):
    """Litestream does not run, or does not answer in time (`kind` "away" or "hangs")."""

    def __init__(self, message: str, *, kind: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.kind = kind


class SyncFailed(ToolFailed):
    """Litestream refused or failed; the message is its own text."""


class NotKnown(NotFound):
    """Litestream does not replicate this file, or not yet."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What stands in the database and what is on the replica, as transaction numbers."""

    txid: int
    replicated_txid: int
    status: str


class Control:
    """Calls to the socket at `socket`, each on a connection of its own."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    async def sync(
        self,
        path: Path,
        *,
        timeout: float = 10,  # noqa: ASYNC109 - a part of it is Litestream's own
    ) -> Synced:
        """Bring the replica of `path` up to date and say how far it is.

        Raises NotRunning, NotKnown or SyncFailed.
        """
        body = {"path": str(path), "wait": True, "timeout": max(1, int(timeout))}
        answer = await self._call("POST", "/sync", body, patience=timeout + _MARGIN)
        return Synced(
            txid=int(answer.get("txid", 0)),
            replicated_txid=int(answer.get("replicated_txid", 0)),
            status=str(answer.get("status", "")),
        )

    async def read(self, path: Path, *, within: float = _PATIENCE) -> None:
        """Have everything of the database's log read, whether or not its target answers."""
        await self._call("POST", "/sync", {"path": str(path), "wait": False}, patience=within)

    async def info(self) -> dict[str, Any]:
        """Version, pid and uptime of the running program; it answers within milliseconds."""
        return await self._call("GET", "/info", patience=_AT_ONCE)

    async def databases(self) -> list[dict[str, Any]]:
        """Every database that it replicates, with `path` and `status`."""
        return list((await self._call("GET", "/list")).get("databases") or [])

    async def start(self, path: Path) -> None:
        """Begin to replicate a database that was stopped."""
        await self._call("POST", "/start", {"path": str(path), "timeout": int(_PATIENCE)})

    async def stop(self, path: Path) -> None:
        """Stop replicating a database and let go of its file."""
        await self._call("POST", "/stop", {"path": str(path), "timeout": int(_PATIENCE)})

    async def reopen(self, path: Path) -> None:
        """Stop and start, so that its state is read anew; a failing stop is normal here."""
        with suppress(SyncFailed):
            await self.stop(path)
        await self.start(path)

    async def _call(
        self,
        method: str,
        target: str,
        body: dict[str, Any] | None = None,
        *,
        patience: float = _PATIENCE + _MARGIN,
    ) -> dict[str, Any]:
        try:
            async with asyncio.timeout(patience):
                status, content = await self._exchange(method, target, body)
        except TimeoutError:
            raise NotRunning(
                f"Litestream did not answer within {patience:g} s",
                kind="hangs",
                hint="it is started again when it stays silent; its target may be away",
            ) from None
        except (OSError, EOFError, ValueError) as error:
            raise NotRunning(
                "Litestream does not run",
                kind="away",
                hint="`fossilrepo status` and its log say why",
            ) from error
        return _understood(status, content)

    async def _exchange(
        self, method: str, target: str, body: dict[str, Any] | None
    ) -> tuple[int, bytes]:
        """One request in HTTP/1.0, whose answer ends with the connection."""
        data = json.dumps(body).encode() if body is not None else b""
        head = f"{method} {target} HTTP/1.0\r\nHost: litestream\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        # A socket's path may have 107 bytes at most: name it through its open folder.
        folder = os.open(self.socket.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            reader, writer = await asyncio.open_unix_connection(
                f"/proc/self/fd/{folder}/{self.socket.name}"
            )
        finally:
            os.close(folder)
        try:
            writer.write(head.encode() + data)
            await writer.drain()
            answer = await _read_all(reader)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        headers, _, content = answer.partition(b"\r\n\r\n")
        return int(headers.split(None, 2)[1]) if headers else _nothing(), content


def _nothing() -> int:
    raise EOFError("closed without an answer")


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    answer = bytearray()
    while chunk := await reader.read(1 << 16):
        answer += chunk
        if len(answer) > _LARGEST:
            raise ValueError("the answer is too long")
    return bytes(answer)


def _understood(status: int, content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content or b"{}")
    except ValueError:
        answer = {"error": content.decode(errors="replace").strip()}
    if not isinstance(answer, dict):
        answer = {"error": "an answer that is no object"}
    error = str(answer.get("error") or "")
    if status < 400 and not error:
        return answer
    if error.startswith("database not found") or status == 404:
        raise NotKnown(error or "Litestream does not know this database")
    raise SyncFailed(error or f"Litestream answered {status}")


def put_tables(path: Path) -> bool:
    """Make the tables that Litestream keeps in a database where they are missing.

    A `fossil rebuild` drops them, and a restored file may lack them. True when it did;
    raises Unavailable when the file stays locked. Blocks.
    """
    try:
        with closing(
            sqlite3.connect(address(path, mode="rw"), uri=True, timeout=_BUSY, isolation_level=None)
        ) as connection:
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute("BEGIN IMMEDIATE")
            found = connection.execute(
                "SELECT count(*) FROM sqlite_schema WHERE type='table' AND name IN"
                " ('_litestream_seq', '_litestream_lock')"
            ).fetchone()[0]
            if found < 2:
                for table in _TABLES:
                    connection.execute(table)
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise Unavailable(f"{path.name}: {error}", hint="try again in a moment") from error
    return bool(found < 2)


def begin_log_anew(path: Path) -> None:
    """A small write, which begins the log anew after a checkpoint. Blocks.

    Litestream then goes on at the log's beginning; if it found the log longer than the
    one before it would send the whole database. Raises Unavailable when the file is locked.
    """
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY, isolation_level=None)) as connection:
            connection.execute("PRAGMA trusted_schema=OFF")
            for statement in (*_TABLES, _COUNT_UP):  # a rebuild, or a copy over it, drops them
                connection.execute(statement)
    except sqlite3.Error as error:
        raise Unavailable(f"{path.name}: {error}", hint="try again in a moment") from error


_COUNT_UP = (
    "INSERT INTO _litestream_seq (id, seq) VALUES (1, 1)"
    " ON CONFLICT (id) DO UPDATE SET seq = seq + 1"
)
_TABLES = (
    "CREATE TABLE IF NOT EXISTS _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)",
    "CREATE TABLE IF NOT EXISTS _litestream_lock (id INTEGER)",
)
