"""What Litestream says, in words for people.

Owns the meaning of its error texts and of its log lines. Nothing here raises: a
text that is not known is shown as it is.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

Said = Callable[[str | None, int, str], None]

_LEVELS = {"DEBUG": logging.DEBUG, "WARN": logging.WARNING, "ERROR": logging.ERROR}
_LONGEST = 300
_OUT_OF_TIME = "the target did not answer in time"
_KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|StatusCode: 403|Forbidden",
        "the S3 server refuses our keys",
        "correct backup.credentials_file or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    (
        r"ExpiredToken|TokenRefreshRequired|InvalidToken",
        "the credentials for the S3 server have expired",
        "renew them; the new ones are taken without a restart",
    ),
    (
        r"NoSuchBucket|StatusCode: 404",
        "the bucket does not exist",
        "create it, or correct backup.url",
    ),
    (
        r"connection refused|no such host|network is unreachable|no route to host|EOF",
        "the S3 server cannot be reached",
        "it is tried again by itself; look at backup.endpoint and the network",
    ),
    (
        r"no space left|database or disk is full|disk quota",
        "a disk is full",
        "make room; it goes on by itself",
    ),
    (
        r"cannot verify wal state.*no such file",
        "Litestream's own record of this repository is gone",
        "it begins a new full copy when it is started again",
    ),
    (
        r"no such table: _litestream_",
        "Litestream's tables are missing in the repository",
        "they are made again by themselves",
    ),
    (r"database is locked|SQLITE_BUSY", "the repository is busy", "it is tried again by itself"),
    (
        r"timeout|deadline exceeded|context canceled",
        _OUT_OF_TIME,
        "it is tried again by itself",
    ),
    (
        r"permission denied|read-only file system",
        "the replica's folder cannot be written",
        "let the account that runs fossilrepo write there",
    ),
    (
        r"not a database|malformed|disk image",
        "the file is damaged",
        "see `fossilrepo repo list` for what is wrong with it",
    ),
)


def explain(text: str) -> tuple[str, str]:
    """(reason, hint) for an error text of Litestream; an unknown text is its own reason."""
    for pattern, reason, hint in _KNOWN:
        if re.search(pattern, text, re.IGNORECASE):
            return reason, hint
    return _short(text) or "Litestream failed without a word", "its log may say more"


def out_of_time(text: str) -> bool:
    """Whether the error says that it was not done in the time that it was given."""
    return explain(text)[0] == _OUT_OF_TIME


def lost_tables(text: str) -> bool:
    """Whether the error says that Litestream's own two tables are gone from a database."""
    return "no such table: _litestream_" in text


def lost_state(text: str) -> bool:
    """Whether the error says that a database's state folder is gone; a restart mends it."""
    return bool(re.search(r"cannot verify wal state.*no such file", text))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


class Lines:
    """Reads its JSON log lines; `said` gets (repository or None, level, words).

    `last` keeps the last warning or error of each repository with its time.
    """

    def __init__(self, said: Said | None = None) -> None:
        self.last: dict[str | None, tuple[str, datetime]] = {}
        self._said = said

    def feed(self, line: str) -> None:
        """One line; what is no JSON is passed on as it is, at the level of a warning."""
        identity, level, message = _read(line)
        if not message:
            return
        if level >= logging.WARNING:
            self.last[identity] = (message, datetime.now(UTC))
        if self._said is not None:
            self._said(identity, level, message)


def _read(line: str) -> tuple[str | None, int, str]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None, logging.WARNING, _short(line)
    if not isinstance(entry, dict):
        return None, logging.WARNING, _short(line)
    level = _LEVELS.get(str(entry.get("level", "")).upper(), logging.INFO)
    message = str(entry.get("msg", ""))
    error = str(entry.get("error") or entry.get("err") or "")
    words = f"{message}: {error}" if error and error not in message else message
    return _identity(entry), level, _short(words)


def _identity(entry: dict[str, Any]) -> str | None:
    for key in ("db", "path"):
        name = entry.get(key)
        if isinstance(name, str) and name.endswith((".fossil", ".db")):
            return PurePath(name).name.rpartition(".")[0]
    return None
