"""The API's calls for the audit log: a search in pages, and the whole of it as a file.

Owns their rows and models. The words of a search are those of the page's address.
"""

from __future__ import annotations

from typing import Any

from fossilrepo.services.audit_forms import ExportForm, plain
from fossilrepo.services.audit_log import MOST, PAGE
from fossilrepo.web import pages_audit
from fossilrepo.web.api_call import Call
from fossilrepo.web.api_models import Answer
from fossilrepo.web.visit import Visit, Who


class AuditEntryAnswer(Answer):
    """`detail` has `before` and `after` where something was changed."""

    id: int
    at: str
    actor: str
    address: str
    action: str
    subject: str
    detail: dict[str, Any]


class AuditAnswer(Answer):
    """Newest first. `older`: give it as `before` for the next page; null on the last."""

    entries: list[AuditEntryAnswer]
    older: int | None


async def audit(visit: Visit, _body: None) -> object:
    found = await visit.services.audit_log.search(
        visit.actor,
        pages_audit.search(visit),
        before=pages_audit.before(visit),
        limit=max(1, visit.number("limit", PAGE, MOST)),
    )
    return {"entries": [plain(entry) for entry in found.entries], "older": found.older}


async def export_audit(visit: Visit, _body: None) -> object:
    return await pages_audit.export(visit)


_QUERY = pages_audit.FIELDS
CALLS = (
    Call(
        "GET",
        "/audit",
        Who.SIGNED_IN,
        audit,
        "The audit log, or its part of a repository or an organization",
        answer=AuditAnswer,
        query=(*_QUERY, "before", "limit"),
    ),
    Call(
        "GET",
        "/audit/export",
        Who.SIGNED_IN,
        export_audit,
        "The same search in full, as csv or jsonl",
        query=(*_QUERY, "format"),
        raw=True,
        gives=tuple(form.content_type for form in ExportForm),
    ),
)
