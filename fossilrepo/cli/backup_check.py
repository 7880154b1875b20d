"""`backup verify`, `history`, `forecast`, `orphans`, `let-go`: trial restores, and room.

Owns the form for people; the JSON forms are the services' own fields.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fossilrepo.cli import ask, context, output
from fossilrepo.cli.backup_status import seconds
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Yes
from fossilrepo.cli.progress import done
from fossilrepo.errors import FossilrepoError, NotFound
from fossilrepo.models import VerificationRun, iso
from fossilrepo.services import backup_report
from fossilrepo.wording import plural, size

if TYPE_CHECKING:
    from fossilrepo.services import Services
    from fossilrepo.services.forecast import Forecast
    from fossilrepo.services.retention import Orphan

Document = dict[str, Any]
MANY = 100_000  # trials of one call


def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Only these; else all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Restore repositories on trial, and check what came.

    Exit code 1 when one is not whole.
    """

    async def work(services: Services) -> tuple[list[Document], FossilrepoError | None]:
        newest = max((run.id for run in await services.verification.history(limit=1)), default=0)
        job = await services.verification.verify(ACTOR, names or [])
        failed = None
        try:
            await done(services, job, "verifying")
        except FossilrepoError as error:  # what was found is shown all the same
            failed = error
        runs = await services.verification.history(limit=MANY)
        return [_described(run) for run in runs if run.id > newest], failed

    found, failed = context.run(work)
    if as_json and (found or failed is None):
        output.document(found)
    elif found:
        _show(found)
    elif failed is None:
        output.say("there is no repository to verify")
    if failed is not None:
        raise failed


def history(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Only of this one; else of all.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the trial restores, newest first."""

    async def work(services: Services) -> list[Document]:
        return [_described(run) for run in await services.verification.history(name or "", limit)]

    found = context.run(work)
    if as_json:
        output.document(found)
    elif found:
        _show(found)
    else:
        output.say("nothing was restored on trial yet: `fossilrepo backup verify` does it now")


def _described(run: VerificationRun) -> Document:
    described = asdict(run) | {"at": iso(run.at), "name": run.label or run.repository_id}
    del described["label"]
    return described


def _show(runs: list[Document]) -> None:
    output.table(
        ("repository", "when", "took", "result", "size", "what was found"),
        [
            (
                run["name"],
                output.ago(run["at"]),
                seconds(run["seconds"]),
                "whole" if run["ok"] else "FAILED",
                size(run["size_bytes"]),
                run["detail"],
            )
            for run in runs
        ],
    )


# Room


def forecast(as_json: AsJson = False) -> None:
    """Say how much room the replica takes, and what that will come to."""

    async def work(services: Services) -> Forecast:
        return await services.retention.forecast()

    found = context.run(work)
    if as_json:
        output.document(asdict(found) | {"at": iso(found.at)})
    else:
        _show_forecast(found)


def _show_forecast(found: Forecast) -> None:
    kept = f"{found.retention_days:g} days are kept"
    output.say(output.clean(found.url))
    output.pairs(
        {
            "now": f"{size(found.total_bytes)} in {_objects(found.total_objects)} "
            f"of {plural(found.replica_count, 'replica')}",
            "of others": _others(found),
            "changed daily": plural(found.changed_per_day, "replica"),
            "written daily": f"{size(found.bytes_per_day)} "
            f"({size(found.snapshot_bytes_per_day)} of it whole copies)",
            "comes to": f"{size(found.retained_bytes)}, when {kept}",
            "requests": _requests(found),
            "room": "" if found.room_bytes is None else size(found.room_bytes),
            "full": "" if found.full_in_days is None else f"in {found.full_in_days:g} days",
        }
    )
    if found.replicas:
        output.say()
        output.table(
            ("repository", "size", "objects", "daily"),
            [
                (
                    replica.label or replica.name,
                    size(replica.size_bytes),
                    replica.objects,
                    size(replica.bytes_per_day),
                )
                for replica in found.replicas
            ],
        )


def _objects(count: int) -> str:
    return plural(count, "object")


def _others(found: Forecast) -> str:
    if not found.other_objects:
        return ""
    return f"{size(found.other_bytes)} in {_objects(found.other_objects)}"


def _requests(found: Forecast) -> str:
    """A folder counts no requests."""
    if not found.list_requests_per_month:
        return ""
    return (
        f"{found.put_requests_per_month:,} PUT and {found.list_requests_per_month:,} LIST a month"
    )


def orphans(as_json: AsJson = False) -> None:
    """List what lies in the replica and belongs to no repository.

    Nothing of it is removed by itself.
    """

    async def work(services: Services) -> list[Orphan]:
        return await services.retention.orphans()

    found = context.run(work)
    if as_json:
        output.document([asdict(orphan) | {"newest": iso(orphan.newest)} for orphan in found])
    elif found:
        output.table(
            ("name", "objects", "size", "newest"),
            [(o.name, o.objects, size(o.size_bytes), output.ago(o.newest)) for o in found],
        )
    else:
        output.say("everything in the replica belongs to a repository")


def let_go(
    target: Annotated[int, typer.Argument(metavar="ID", help="As `backup targets` shows it.")],
    leave_objects: Annotated[
        bool, typer.Option("--leave-objects", help="Take it off the list only.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """End an earlier place of replicas, with what lies in it.

    Only when the place in use is proven. What was removed is gone for good.
    """
    what = "take it off the list?" if leave_objects else "remove the replicas in it for good?"
    if not yes:
        place = context.run(lambda services: _place(services, target))
        ask.confirm(f"let {output.clean(place['url'])} go and {what}", yes)

    async def work(services: Services) -> Document:
        job = await services.retention.let_go(ACTOR, target, leave_objects=leave_objects)
        await done(services, job, "letting go")
        return await _place(services, target)

    gone = context.run(work)
    output.result(gone, as_json, f"let go of {output.clean(gone['url'])}")


async def _place(services: Services, target: int) -> Document:
    for found in await services.retention.targets():
        if found.id == target:
            return backup_report.described_target(found)
    raise NotFound(f"there is no target {target}", hint="see `fossilrepo backup targets`")
