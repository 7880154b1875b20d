"""Log lines: their two forms, the request id, and secrets blanked."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from fossilrepo import logs


def record(message: str, *args: object, error: bool = False) -> logging.LogRecord:
    info = sys.exc_info() if error else None
    return logging.LogRecord("fossilrepo.x", logging.WARNING, "x.py", 1, message, args, info)


def test_a_json_line_is_one_object_with_the_request_id() -> None:
    token = logs.request_id.set("r1")
    try:
        text = logs.JsonLines().format(record("two\nlines of %s", "text"))
    finally:
        logs.request_id.reset(token)
    line = json.loads(text)
    assert "\n" not in text
    assert line["message"] == "two\nlines of text"
    assert (line["level"], line["logger"], line["request_id"]) == ("warning", "fossilrepo.x", "r1")
    assert line["at"].endswith("Z")


def test_a_text_line_cannot_be_forged_or_command_the_terminal() -> None:
    text = logs.TextLines().format(record("a\n2026 error forged \x1b[2J"))
    assert len(text.splitlines()) == 1 and "\x1b" not in text


@pytest.mark.parametrize("form", [logs.TextLines(), logs.JsonLines()])
@pytest.mark.parametrize(
    "message",
    [
        "fetch https://ada:hunter2@example.org/x",
        "Authorization: Bearer hunter2",
        "token frt_hunter2hunter2 used",
        "password=hunter2",
        "GET /setup/hunter2hunter2hunter2",
        "GET /invite/hunter2hunter2hunter2",
        "POST /reset/hunter2hunter2hunter2",
    ],
)
def test_secrets_are_blanked_in_messages_and_tracebacks(
    form: logging.Formatter, message: str
) -> None:
    assert "hunter2" not in form.format(record("said %s", message))
    try:
        raise ValueError(message)
    except ValueError:
        text = form.format(record("failed", error=True))
    assert "hunter2" not in text and "ValueError" in text
