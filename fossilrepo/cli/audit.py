"""`audit`: who changed what, from where.

Owns the form for people and the export to standard output.
"""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from fossilrepo.cli import context, output
from fossilrepo.cli.options import AsJson
from fossilrepo.errors import InvalidInput
from fossilrepo.models import AuditEntry
from fossilrepo.services.audit_forms import ExportForm, plain

if TYPE_CHECKING:
    from fossilrepo.services import Services
    from fossilrepo.services.audit_log import AuditSearch

_SHOWN = 100


def audit(
    repo: Annotated[str, typer.Option(metavar="NAME", help="Changes of this repository.")] = "",
    user: Annotated[str, typer.Option(metavar="LOGIN", help="Changes made by this person.")] = "",
    action: Annotated[
        str, typer.Option(metavar="WORD", help="How the action begins, like repository. or grant.")
    ] = "",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="RFC 3339, a date, or like 5m ago, 7d ago.")
    ] = "",
    until: Annotated[
        str, typer.Option(metavar="TIME", help="Before this time; a date includes its day.")
    ] = "",
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many: 100, or all with --export.", show_default=False),
    ] = None,
    export: Annotated[
        ExportForm | None,
        typer.Option(help="Print everything that is found in this form.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the changes that were made, newest first."""
    from fossilrepo.services.audit_log import AuditSearch

    if export and as_json:
        raise InvalidInput("--export and --json differ", hint="give one of the two")
    wanted = AuditSearch(
        repository=repo,
        actor=user,
        action=action,
        since=moment(since) if since else None,
        until=moment(until, field="until", is_end=True) if until else None,
    )
    if export:
        _export(wanted, export, limit)
        return
    entries = _entries(wanted, limit or _SHOWN)
    if as_json:
        output.document([plain(entry) for entry in entries])
    elif entries:
        output.table(
            ("when", "who", "from", "what", "on", "detail"),
            [
                (output.ago(e.at), e.actor, e.address or "-", e.action, e.subject, _detail(e))
                for e in entries
            ],
        )
    else:
        output.say("there is no such change")


def _entries(wanted: AuditSearch, limit: int) -> list[AuditEntry]:
    async def work(services: Services) -> list[AuditEntry]:
        found: list[AuditEntry] = []
        before = None
        while len(found) < limit:
            page = await services.audit_log.search(
                context.ACTOR, wanted, before=before, limit=limit - len(found)
            )
            found += page.entries
            before = page.older
            if before is None:
                break
        return found

    return context.run(work)


def _export(wanted: AuditSearch, form: ExportForm, limit: int | None) -> None:
    async def work(services: Services) -> None:
        log = services.audit_log
        async for text in await log.export(context.ACTOR, wanted, form, limit=limit):
            sys.stdout.write(text)

    context.run(work)
    sys.stdout.flush()


def _detail(entry: AuditEntry) -> str:
    detail = dict(entry.detail)
    changed = bool({"before", "after"} & detail.keys())
    before, after = detail.pop("before", None), detail.pop("after", None)
    told = [f"{_plain(before)} → {_plain(after)}"] if changed else []
    told += [f"{key}: {_plain(value)}" for key, value in detail.items() if value is not None]
    return ", ".join(told)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_plain(item)}" for key, item in value.items()) or "nothing"
    if isinstance(value, list):
        return " ".join(_plain(item) for item in value) or "nothing"
    return str(value) if value not in ("", None) else "nothing"


def moment(text: str, *, field: str = "since", is_end: bool = False) -> datetime:
    """The time that `text` means: RFC 3339, a date (UTC), or a duration ago."""
    from fossilrepo.services.audit_log import time_of

    found = time_of(text, field=field, is_end=is_end)
    if found is None:
        raise InvalidInput("an empty text is no time", field=field)
    return found
