"""Entries of the audit log as text for other programs: CSV and JSON lines.

Owns the two forms. A spreadsheet obeys nothing in the CSV and a terminal neither; JSON
lines have everything as it is. Pure: knows no database.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from fossilrepo.models import AuditEntry, iso

COLUMNS = ("id", "at", "actor", "address", "action", "subject", "before", "after", "detail")
_FORMULA = tuple("=+-@\t\r\n")  # what a spreadsheet takes for the beginning of one


class ExportForm(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"

    @property
    def content_type(self) -> str:
        return "text/csv" if self is ExportForm.CSV else "application/jsonl"


def head(form: ExportForm) -> str:
    """What stands before the first entry."""
    return _row(COLUMNS) if form is ExportForm.CSV else ""


def lines(form: ExportForm, entries: Iterable[AuditEntry]) -> str:
    """One line for each."""
    if form is ExportForm.CSV:
        return "".join(_row(_cells(entry)) for entry in entries)
    return "".join(json.dumps(plain(entry), default=str) + "\n" for entry in entries)


def plain(entry: AuditEntry) -> dict[str, Any]:
    """The entry in JSON's own values."""
    return {
        "id": entry.id,
        "at": iso(entry.at),
        "actor": entry.actor,
        "address": entry.address,
        "action": entry.action,
        "subject": entry.subject,
        "detail": entry.detail,
    }


def _cells(entry: AuditEntry) -> list[str]:
    detail = dict(entry.detail)
    before, after = detail.pop("before", None), detail.pop("after", None)
    known = (str(entry.id), iso(entry.at) or "", entry.actor, entry.address)
    rest = (_value(before), _value(after), _value(detail or None))
    return [harmless(cell) for cell in (*known, entry.action, entry.subject, *rest)]


def _value(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def harmless(cell: str) -> str:
    """Text that neither a spreadsheet takes for a formula nor a terminal for a command."""
    shown = cell
    if not cell.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cell)
    return "'" + shown if cell.startswith(_FORMULA) else shown


def _row(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
