"""What the command line prints, and in which form.

Owns the words of errors, JSON documents and tables; how counts, sizes and times are worded is
in `wording`.
Results go to stdout, everything else to stderr. Whatever came from a person or
a repository is printed so that a terminal obeys nothing in it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from fossilrepo.errors import FossilrepoError
from fossilrepo.models import iso
from fossilrepo.wording import relative

INTERRUPTED = 130  # the shell's own code for a program that Ctrl-C ended


def prepare() -> None:
    """Let no character that the terminal's encoding lacks end a command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def say(text: str = "") -> None:
    """One line of the result, cleaned by `clean` where it holds foreign text."""
    print(text, flush=True)


def note(text: str) -> None:
    """A remark beside the result, on stderr."""
    print(text, file=sys.stderr, flush=True)


def document(value: Any) -> None:
    """The one JSON document of a `--json` call."""
    print(json.dumps(value, indent=2, default=_plain))


def result(value: Any, as_json: bool, text: str) -> None:
    """What a command did: the JSON document, or one line for people."""
    if as_json:
        document(value)
    else:
        say(text)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns, nothing cut off: the same on a terminal and in a pipe."""
    from rich.cells import cell_len

    lines = [[header.upper() for header in headers]]
    lines += [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (
            cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)
        )
        say("  ".join(padded).rstrip())


def pairs(rows: Mapping[str, object], indent: str = "  ") -> None:
    """`key   value` lines; what is empty is left out."""
    shown = {key: value for key, value in rows.items() if value not in ("", None)}
    width = max((len(key) for key in shown), default=0)
    for key, value in shown.items():
        say(f"{indent}{key:<{width}}  {clean(value)}")


def clean(value: object) -> str:
    """One line of printable text; control characters and the like are shown escaped."""
    text = " ".join(str(value).splitlines())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def ago(at: datetime | str | None, *, never: str = "never") -> str:
    """How long since (or until), for people; a date when it is a month and more."""
    if at is None:
        return never
    return relative(datetime.fromisoformat(at) if isinstance(at, str) else at)


def _plain(value: object) -> object:
    return iso(value) if isinstance(value, datetime) else str(value)


# Errors


def fail(error: FossilrepoError) -> int:
    """Say what happened and what to do, on stderr; gives back the exit code."""
    return refuse(error.message, error.hint, error.exit_code)


def refuse(message: str, hint: str, code: int) -> int:
    note(f"error: {clean(message)}")
    if hint:
        note(f"hint: {clean(hint)}")
    return code


def interrupted() -> int:
    return refuse("interrupted", "", INTERRUPTED)


def internal(error: Exception) -> int:
    """A mistake of ours: no traceback on people's terminals, unless they ask for it."""
    if isinstance(error, BrokenPipeError):  # `fossilrepo repo list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    logging.getLogger("fossilrepo.cli").error("unexpected", exc_info=error)
    if os.environ.get("FOSSILREPO_DEBUG") == "1":
        traceback.print_exception(error)
    if isinstance(error, OSError):  # a full disk, a file of another user: the machine's own words
        what = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        return refuse(what, where_the_log_is(), 1)
    return refuse(
        f"internal error: {type(error).__name__}, a mistake in fossilrepo", where_the_log_is(), 1
    )


def where_the_log_is() -> str:
    """A hint for who wants to know more than the error says."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            if os.path.exists(handler.baseFilename):
                return f"the details are in {handler.baseFilename}"
        elif isinstance(handler, logging.StreamHandler):
            return "the details are in the log above"
    return "FOSSILREPO_DEBUG=1 shows the details"
