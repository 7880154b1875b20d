"""The audit log: searched, paged, and taken away as a file.

Owns the search that the address of the page holds, which the API reads the same way, how an
entry looks, and the streaming of exports. Who may read what is the service's matter.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from fossilrepo.errors import FossilrepoError, InvalidInput
from fossilrepo.models import AuditEntry, now
from fossilrepo.services.audit_forms import ExportForm
from fossilrepo.services.audit_log import PAGE, AuditPage, AuditSearch, time_of
from fossilrepo.web import render
from fossilrepo.web.filters import details, plain
from fossilrepo.web.visit import Route, Visit, Who

log = logging.getLogger(__name__)

# As they stand in addresses, here and in the API.
FIELDS = ("q", "actor", "action", "address", "repository", "organization", "since", "until")
_MORE = ("actor", "action", "address", "since", "until")  # folded away until one is used
_GONE = ("repository.delete", "repository.purge", "organization.delete", "team.delete")
_GONE_PERSON = "person.delete"
_OF_REPOSITORIES = ("repository", "access-key", "native", "grant", "revoke")
_ALL_OF = "all of "  # and an organization's name: the subject of a grant on it
_LAST = 2**53


@dataclass(frozen=True, slots=True)
class Change:
    """One value that became another; `key` is empty when the entry is about one value only."""

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Shown:
    entry: AuditEntry
    at: str
    link: str
    changes: tuple[Change, ...]
    rest: str


async def page(visit: Visit) -> web.StreamResponse:
    given = _given(visit)
    found, error = AuditPage(()), None
    try:
        wanted = search(visit)
    except InvalidInput as refused:
        # Who may not look at all is told that, whatever was written into the form.
        scope = AuditSearch(repository=given["repository"], organization=given["organization"])
        await visit.services.audit_log.search(visit.actor, scope, limit=1)
        error = refused
    else:
        found = await visit.services.audit_log.search(
            visit.actor, wanted, before=before(visit), limit=PAGE
        )
    known: dict[str, Any] = {
        "entries": [_shown(entry, visit.actor.is_admin) for entry in found.entries],
        "older": _url(given | {"before": str(found.older)}) if found.older else "",
        "newest": _url(given) if visit.query("before") else "",
        "given": given,
        "narrowed": any(given[key] for key in ("q", *_MORE)),
        "opened": any(given[key] for key in _MORE),
        "everything": _url({} if visit.actor.is_admin else _scope(given)),
        "exports": [
            (words, _url(given | {"format": form}, "/audit/export"))
            for form, words in ((ExportForm.CSV, "CSV"), (ExportForm.JSONL, "JSON lines"))
        ],
    }
    if error is not None:
        return render.again(visit, "audit.html", error, given, **known)
    return render.page(visit, "audit.html", **known)


async def export(visit: Visit) -> web.StreamResponse:
    """The search as a file, streamed: never all of it in memory."""
    try:
        form = ExportForm(visit.query("format", ExportForm.CSV))
    except ValueError:
        raise InvalidInput(
            "there is no such form of export", hint="take csv or jsonl", field="format"
        ) from None
    pieces = await visit.services.audit_log.export(visit.actor, search(visit), form)
    name = f"audit-{now():%Y%m%d}.{form}"
    response = web.StreamResponse(
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
    response.content_type, response.charset = form.content_type, "utf-8"
    if visit.request.method == "HEAD":
        return response
    await response.prepare(visit.request)
    try:
        async for piece in pieces:
            await response.write(piece.encode())
        await response.write_eof()
    except ConnectionError:
        pass  # the reader left
    except FossilrepoError as error:
        # Begun, so all that can be said is that it is not whole: the connection breaks.
        log.warning("an export of the audit log broke off: %s", error.message)
        if visit.request.transport is not None:
            visit.request.transport.abort()
    return response


def search(visit: Visit) -> AuditSearch:
    """What the address asks for; InvalidInput for a time that is none."""
    given = _given(visit)
    return AuditSearch(
        words=given["q"],
        actor=given["actor"],
        action=given["action"],
        address=given["address"],
        repository=given["repository"],
        organization=given["organization"],
        since=time_of(given["since"], field="since"),
        until=time_of(given["until"], field="until", is_end=True),
    )


def before(visit: Visit) -> int | None:
    return visit.number("before", 0, _LAST) or None


def _given(visit: Visit) -> dict[str, str]:
    return {key: visit.query(key).strip() for key in FIELDS}


def _scope(given: dict[str, str]) -> dict[str, str]:
    return {key: given[key] for key in ("repository", "organization")}


def _url(values: dict[str, str], path: str = "/audit") -> str:
    query = urlencode({key: value for key, value in values.items() if value})
    return f"{path}?{query}" if query else path


def _shown(entry: AuditEntry, for_admin: bool) -> Shown:
    detail = dict(entry.detail)
    changes = _changes(detail)
    detail.pop("id", None)  # tells people nothing; exports have it
    return Shown(
        entry,
        f"{entry.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        _link(entry, for_admin),
        changes,
        details(detail),
    )


def _changes(detail: dict[str, Any]) -> tuple[Change, ...]:
    """Before and after, taken out of the detail: what differs, value by value."""
    if not {"before", "after"} & detail.keys():
        return ()
    old, new = detail.pop("before", None), detail.pop("after", None)
    if isinstance(old, dict) or isinstance(new, dict):
        left = old if isinstance(old, dict) else {}
        right = new if isinstance(new, dict) else {}
        keys = [key for key in {**left, **right} if left.get(key) != right.get(key)]
        return tuple(Change(key, plain(left.get(key)), plain(right.get(key))) for key in keys)
    return (Change("", plain(old), plain(new)),) if old != new else ()


def _link(entry: AuditEntry, for_admin: bool) -> str:
    """The page of what the entry is about, where there is one."""
    kind, name = entry.action.partition(".")[0], quote(entry.subject)
    if not name or entry.action in _GONE:
        return ""
    if kind in ("grant", "revoke") and entry.subject.startswith(_ALL_OF):
        return f"/orgs/{quote(entry.subject.removeprefix(_ALL_OF))}"
    if kind in _OF_REPOSITORIES:
        return f"/repos/{name}"
    if kind == "organization":
        return f"/orgs/{name}"
    if kind == "team" and "/" in name:
        org, _, team = name.partition("/")
        return f"/orgs/{org}/teams/{team}"
    if kind == "person" and for_admin and entry.action not in (_GONE_PERSON, "person.invite"):
        return f"/people/{name}"
    return f"/people/{name}" if entry.action == "sign-in" and for_admin else ""


ROUTES = (
    Route("GET", "/audit", Who.SIGNED_IN, page),
    Route("GET", "/audit/export", Who.SIGNED_IN, export),
)
