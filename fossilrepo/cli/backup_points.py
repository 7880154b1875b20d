"""`backup points`, `backup deleted`: what there is to go back to.

Owns the form for people and for programs of both lists.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fossilrepo.cli import context, output
from fossilrepo.cli.backup_words import Subject
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson
from fossilrepo.models import iso
from fossilrepo.services import backup_report
from fossilrepo.services.moments import write_time
from fossilrepo.wording import plural

if TYPE_CHECKING:
    from fossilrepo.services import Services
    from fossilrepo.services.points import Point, Push, Timeline

Document = dict[str, Any]
SHOWN_PUSHES = 3
_KEPT = {
    0: "every change",
    1: "last of 30 s",
    2: "last of 5 min",
    3: "last of 1 h",
    9: "whole copy",
}


def points(
    name: Subject,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the moments to go back to, newest first, with what was pushed."""

    async def work(services: Services) -> Timeline:
        return await services.restores.timeline(ACTOR, name)

    found = context.run(work)
    shown = found.page(0, limit)
    if as_json:
        output.document(_described(found, shown))
    elif shown:
        _show(found, shown)
    else:
        output.say("nothing of it is on the replica yet: see `fossilrepo backup status`")


def _described(found: Timeline, shown: tuple[Point, ...]) -> Document:
    undo = found.undo
    return {
        "id": found.repository_id,
        "name": found.label,
        "promise": found.promise,
        "knows_pushes": found.knows_pushes,
        "total": len(found.points),
        "oldest": write_time(found.oldest) if found.oldest else None,
        "undo": {"at": iso(undo.at), "by": undo.by} if undo else None,
        "points": [
            {
                "at": write_time(point.at),
                "txid": point.txid,
                "kept": _kept_as(point),
                "pushes": [
                    asdict(push)
                    | {
                        "at": write_time(push.at),
                        "before": write_time(push.before) if push.before else None,
                    }
                    for push in point.pushes
                ],
            }
            for point in shown
        ],
    }


def _kept_as(point: Point) -> str:
    return _KEPT.get(point.level, "whole copy")


def _show(found: Timeline, shown: tuple[Point, ...]) -> None:
    output.table(
        ("time", "", "kept", "what came"),
        [
            (write_time(point.at), output.ago(point.at), _kept_as(point), _pushes(point))
            for point in shown
        ],
    )
    output.say()
    if len(found.points) > len(shown):
        oldest = write_time(found.points[-1].at)
        output.say(f"{len(shown)} of {len(found.points)} moments; the oldest is {oldest}")
    output.say(output.clean(f"can be restored: {found.promise}"))
    if found.undo:
        output.say(
            f"restored in place {output.ago(found.undo.at)}: `fossilrepo backup undo "
            f"{output.clean(found.label)}` takes it back"
        )


def _pushes(point: Point) -> str:
    told = [_push(push) for push in point.pushes[:SHOWN_PUSHES]]
    more = len(point.pushes) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")


def _push(push: Push) -> str:
    """Who, the first check-in by which `before` finds the moment without it, and how many."""
    if not push.checkin:
        return f"{push.login}: {plural(push.changes, 'change')}"
    more = f" and {push.changes - 1} more" if push.changes > 1 else ""
    return f"{push.login}: {push.checkin[:10]} {push.comment[:60]}{more}"


def deleted(as_json: AsJson = False) -> None:
    """List deleted repositories that can be brought back.

    Those in the trash, and those that were ended for good, as long as their
    replica is kept.
    """

    async def work(services: Services) -> list[Document]:
        trashed = await services.repos.trash(ACTOR)
        keeps_for = services.retention.keeps_for.total_seconds()
        return [
            backup_report.described_gone(gone, services.replication)
            for gone in backup_report.gone(services.replication, trashed, keeps_for)
        ]

    found = context.run(work)
    if as_json:
        output.document(found)
        return
    if not found:
        output.say("nothing was deleted that could be brought back")
        return
    output.table(
        ("id", "name", "state", "deleted", "kept", "proven"),
        [
            (
                gone["id"],
                gone["name"],
                gone["state"],
                output.ago(gone["deleted_at"]),
                _kept(gone),
                output.ago(gone["proven_at"]),
            )
            for gone in found
        ],
    )


def _kept(gone: Document) -> str:
    return f"ends {output.ago(gone['until'])}" if gone["until"] else "in the trash"
