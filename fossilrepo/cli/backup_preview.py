"""`backup preview`, `backup previews`, `backup preview-close`: a look at a moment of the past."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fossilrepo.cli import context, output
from fossilrepo.cli.backup_words import At, Subject, check_moment
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson
from fossilrepo.cli.progress import done
from fossilrepo.errors import FossilrepoError
from fossilrepo.models import Preview, iso

if TYPE_CHECKING:
    from fossilrepo.services import Services

Document = dict[str, Any]
PreviewName = Annotated[
    str, typer.Argument(metavar="PREVIEW", help="As `backup previews` shows it: NAME--xxxxxx.")
]


def preview(name: Subject, at: At = "", as_json: AsJson = False) -> None:
    """Open a moment of a repository, read-only, on a host of its own.

    Administrators sign in there with their Fossil password of the repository. It
    ends by itself after an hour.
    """
    check_moment(at)

    async def work(services: Services) -> Document:
        before = {found.id for found in await services.previews.list(ACTOR)}
        job = await services.previews.open(ACTOR, name, at)
        await done(services, job, f"opening a preview of {output.clean(name)}")
        opened = [p for p in await services.previews.list(ACTOR) if p.id not in before]
        if not opened:
            raise FossilrepoError(
                "the preview has ended already", hint="open it again; see the server's log"
            )
        return _described(services, opened[-1])

    made = context.run(work)
    text = f"{made['url']} (ends {output.ago(made['expires_at'])})"
    output.result(made, as_json, text)


def previews(as_json: AsJson = False) -> None:
    """List the previews that are open."""

    async def work(services: Services) -> list[Document]:
        return [_described(services, found) for found in await services.previews.list(ACTOR)]

    found = context.run(work)
    if as_json:
        output.document(found)
    elif found:
        output.table(
            ("preview", "moment", "opened by", "ends", "page"),
            [
                (
                    p["name"],
                    p["moment"] or "the newest",
                    p["created_by"],
                    output.ago(p["expires_at"]),
                    p["url"],
                )
                for p in found
            ],
        )
    else:
        output.say("no preview is open")


def preview_close(name: PreviewName, as_json: AsJson = False) -> None:
    """End a preview now."""

    async def work(services: Services) -> None:
        await services.previews.close(ACTOR, name)

    context.run(work)
    output.result({"name": name, "closed": True}, as_json, f"closed {output.clean(name)}")


def _described(services: Services, preview: Preview) -> Document:
    return {
        "id": preview.id,
        "repository_id": preview.repository_id,
        "name": preview.name,
        "moment": iso(preview.moment),
        "created_by": preview.created_by,
        "created_at": iso(preview.created_at),
        "expires_at": iso(preview.expires_at),
        "url": services.links.repo_url(preview.name),
    }
