"""`audit`: who changed what, from where.

Owns the form for people, and how a moment is written on the command line.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from fossilrepo.cli import context, output
from fossilrepo.cli.options import AsJson
from fossilrepo.errors import InvalidInput
from fossilrepo.models import AuditEntry, iso, now
from fossilrepo.values import parse_duration

if TYPE_CHECKING:
    from fossilrepo.services import Services


def audit(
    repo: Annotated[str, typer.Option(metavar="NAME", help="Changes of this repository.")] = "",
    user: Annotated[str, typer.Option(metavar="LOGIN", help="Changes made by this person.")] = "",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="RFC 3339, a date, or like 5m ago, 7d ago.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show the changes that were made, newest first."""
    after = moment(since) if since else None

    async def work(services: Services) -> list[AuditEntry]:
        return await services.audit.recent(subject=repo, actor=user, since=after, limit=limit)

    entries = context.run(work)
    if as_json:
        output.document([asdict(entry) | {"at": iso(entry.at)} for entry in entries])
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


def _detail(entry: AuditEntry) -> str:
    return ", ".join(f"{key}: {value}" for key, value in entry.detail.items() if value is not None)


def moment(text: str) -> datetime:
    """The time that `text` means: RFC 3339, a date (UTC), or a duration ago."""
    try:
        return now() - timedelta(seconds=parse_duration(text.removesuffix("ago").strip()))
    except (ValueError, OverflowError):
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{text!r} is no time", hint="write 2026-05-01T12:00:00Z, 2026-05-01, or 5m ago"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
