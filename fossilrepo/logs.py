"""Where log lines go and how they look: text for people, JSON lines for programs.

Owns the handlers and formatters, and the `request_id` that marks every line
written while one request is handled. Secrets that slip into a message or a
traceback are blanked here, as a last wall: nothing should log one.
"""

from __future__ import annotations

import json
import logging
import os
import re
from contextvars import ContextVar
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from fossilrepo.config import Log

request_id: ContextVar[str] = ContextVar("request_id", default="")

FILE_BYTES, FILE_COUNT = 2**20, 3
NOISY = ("aiosqlite", "alembic.runtime.plugins", "asyncio", "botocore", "sqlalchemy", "watchfiles")
_MASK = "**********"
_SECRETS = (
    (re.compile(r"(://[^\s/:@]*:)[^\s/@]+(?=@)"), rf"\1{_MASK}"),  # passwords in addresses
    (re.compile(r"\bfrt_[A-Za-z0-9_-]{8,}"), f"frt_{_MASK}"),  # API tokens
    (re.compile(r"(/(?:setup|invite|reset)/)[A-Za-z0-9_-]{16,}"), rf"\1{_MASK}"),  # one-time links
    (
        re.compile(r"(?i)\b(authorization:\s*\S+\s+|cookie:\s*|password\s*[=:]\s*)[^\s,;&]+"),
        rf"\1{_MASK}",
    ),
)


def to_stderr(settings: Log) -> None:
    """Everything from `log.level` on, to standard error: for `serve`, as a service does."""
    _install(logging.StreamHandler(), settings)


def to_file(path: Path, settings: Log) -> None:
    """To a file that is made with its first line; standard error stays free for errors."""
    _install(_QuietFile(path), settings)


def blank_secrets(text: str) -> str:
    """`text` without what looks like a password or a token."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def _install(handler: logging.Handler, settings: Log) -> None:
    handler.setFormatter(JsonLines() if settings.format == "json" else TextLines())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(settings.level.upper())
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


class TextLines(logging.Formatter):
    """`TIME LEVEL logger [request] message`, a traceback indented below it."""

    def format(self, record: logging.LogRecord) -> str:
        mark = f" [{request_id.get()}]" if request_id.get() else ""
        head = f"{_at(record)} {record.levelname.lower()} {record.name}{mark}"
        trace = "".join(f"\n    {_visible(line)}" for line in _trace(self, record).splitlines())
        return f"{head} {_visible(blank_secrets(record.getMessage()))}{trace}"


class JsonLines(logging.Formatter):
    """One JSON object a line: at, level, logger, message, request_id and traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": blank_secrets(record.getMessage()),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        if trace := _trace(self, record):
            line["traceback"] = trace
        return json.dumps(line)


def _at(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return blank_secrets(formatter.formatException(record.exc_info)) if record.exc_info else ""


def _visible(text: str) -> str:
    """One line: what a person sent cannot forge a second one, nor command the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _QuietFile(RotatingFileHandler):
    """A log that cannot be written (another user's folder, a full disk) stops nobody."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, maxBytes=FILE_BYTES, backupCount=FILE_COUNT, encoding="utf-8", delay=True
        )

    def _open(self) -> TextIOWrapper:
        def private(path: str, flags: int) -> int:
            handle = os.open(path, flags, 0o600)
            if os.geteuid() == 0:  # a command of root's must not lock the folder's owner out
                folder = os.stat(os.path.dirname(path))
                os.fchown(handle, folder.st_uid, folder.st_gid)
            return handle

        return open(self.baseFilename, "a", encoding="utf-8", opener=private)

    def handleError(self, record: logging.LogRecord) -> None:
        return None
