"""`repo trash …`: what was deleted, back again or gone for good.

Owns the form for people, and how a repository in the trash is named: by its
identity, or by its old name where that is clear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fossilrepo.cli import ask, context, options, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Yes
from fossilrepo.errors import FossilrepoError, InvalidInput, NotFound
from fossilrepo.models import Repository
from fossilrepo.wording import size

if TYPE_CHECKING:
    from fossilrepo.services import Services

app = options.group("What was deleted: list it, bring it back, end it for good.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List what lies in the trash, newest first."""

    async def work(services: Services) -> list[dict[str, Any]]:
        return [services.repos.describe(r) for r in await services.repos.trash(ACTOR)]

    found = context.run(work)
    if as_json:
        output.document(found)
    elif found:
        output.table(
            ("id", "name", "title", "size", "deleted"),
            [
                (
                    r["id"],
                    r["name"],
                    r["title"],
                    size(r["size_bytes"]),
                    output.ago(r["deleted_at"]),
                )
                for r in found
            ],
        )
    else:
        output.say("the trash is empty")


@app.command()
def restore(
    which: Annotated[str, typer.Argument(metavar="ID", help="Its identity, or its old name.")],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Another name than before.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a repository back from the trash."""

    async def work(services: Services) -> dict[str, Any]:
        found = await _one(services, which)
        return services.repos.describe(await services.repos.undelete(ACTOR, found.id, name))

    back = context.run(work)
    output.result(back, as_json, f"restored {back['name']}: {back['url']}")


@app.command()
def purge(
    which: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="Its identity, or its old name; else everything."),
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """End what lies in the trash for good.

    One repository, or all of it when none is named. This cannot be undone.
    """
    what = "everything in the trash" if which is None else output.clean(which)
    ask.confirm(f"end {what} for good? This cannot be undone.", yes)

    async def work(services: Services) -> tuple[list[Repository], list[FossilrepoError]]:
        if which is None:
            chosen = await services.repos.trash(ACTOR)
        else:
            chosen = [await _one(services, which)]
        gone, kept = [], []
        for repository in chosen:
            try:
                await services.repos.purge(ACTOR, repository.id)
                gone.append(repository)
            except FossilrepoError as error:  # one that is in use does not keep the others
                kept.append(error)
        return gone, kept

    gone, kept = context.run(work)
    if gone or not kept:
        text = ", ".join(f"{r.label} ({r.id})" for r in gone)
        output.result(
            {"purged": [{"id": r.id, "name": r.label} for r in gone]},
            as_json,
            f"ended for good: {text}" if gone else "the trash is empty",
        )
    if kept:
        raise kept[0]


async def _one(services: Services, which: str) -> Repository:
    trashed = await services.repos.trash(ACTOR)
    found = [r for r in trashed if r.id == which] or [r for r in trashed if r.label == which]
    if len(found) > 1:
        raise InvalidInput(
            f"{len(found)} repositories in the trash were called {which}",
            hint=f"give one's identity: {', '.join(r.id for r in found)}",
        )
    if not found:
        raise NotFound(
            f"there is no {which[:80]!r} in the trash", hint="see `fossilrepo repo trash list`"
        )
    return found[0]
