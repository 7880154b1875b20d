"""`repo import-all` and `repo export-all`: moving in with everything, and leaving with everything.

Owns the form for people.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fossilrepo.bridge import ForgeKind
from fossilrepo.cli import ask, context, options, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Private, Seen, Yes
from fossilrepo.errors import InvalidInput
from fossilrepo.wording import plural, size

if TYPE_CHECKING:
    from fossilrepo.services import Services
    from fossilrepo.services.leaving import Left
    from fossilrepo.services.moving_in import Came, Found


def import_all(
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="DIR", help="Every .fossil file in it.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--list", metavar="FILE", help="Lines `NAME ADDRESS`, Fossils or Git."),
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option("--from", metavar="URL", help="An owner on a Git server: https://HOST/OWNER."),
    ] = None,
    kind: Annotated[
        ForgeKind | None, typer.Option("--kind", help="With --from: what kind of server it is.")
    ] = None,
    api_url: Annotated[str, typer.Option("--api-url", help="With --from: where its API is.")] = "",
    org: Annotated[str, typer.Option(help="The organization that owns them.")] = "",
    private: Private = False,
    seen: Seen = None,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read a token for Git from standard input.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would come, under which name.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Make repositories from everything that lies in a folder, a list, or with an owner elsewhere.

    One that cannot come holds up no other; exit code 1 when there was one. What a Git server or a
    manifest of `export-all` says of who may read them holds, else --visibility.
    """
    if sum(source is not None for source in (folder, file, owner)) != 1:
        raise InvalidInput("say where from", hint="give one of --folder, --list and --from")
    chosen = options.visibility(private, seen)
    token = ask.token(token_stdin)

    async def look(services: Services) -> list[Found]:
        if folder is not None:
            return await services.moving_in.in_folder(ACTOR, folder)
        if file is not None:
            return await services.moving_in.in_list(_text(file))
        return await services.moving_in.of_owner(
            owner or "", token=token, kind=kind, api_url=api_url
        )

    found = context.run(look)
    if dry_run:
        _show(found, as_json)
        return
    ask.confirm(f"import {plural(len(found), 'repository')}?", yes)

    async def work(services: Services) -> list[Came]:
        return await services.moving_in.bring(
            ACTOR, found, org=org, visibility=chosen, token=token, say=output.note
        )

    came = context.run(work)
    failed = [one for one in came if one.error]
    if as_json:
        output.document([asdict(one) for one in came])
    else:
        output.say(f"{len(came) - len(failed)} of {len(came)} are here")
        for one in failed:
            output.say(output.clean(f"  {one.found.name or one.found.source}: {one.error}"))
    if failed:
        raise typer.Exit(1)


def _text(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as content:
            return content.read(2**20)
    except (OSError, UnicodeDecodeError):
        raise InvalidInput(f"{file} cannot be read as text", field="list") from None


def _show(found: list[Found], as_json: bool) -> None:
    if as_json:
        output.document([asdict(one) for one in found])
        return
    rows = [(one.name, one.kind, one.visibility or "-", one.source) for one in found]
    output.table(("name", "from", "visibility", "source"), rows)


def export_all(
    target: Annotated[
        Path, typer.Argument(metavar="TARGET", help="A new folder, or a new file ending in .tar.")
    ],
    org: Annotated[str, typer.Option(help="Only those of this organization.")] = "",
    with_users: Annotated[
        bool, typer.Option("--with-users", help="With password hashes and e-mail addresses.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy every repository to a folder or a tar file: plain .fossil files, and a manifest."""

    async def work(services: Services) -> Left:
        return await services.leaving.take(
            ACTOR, target, org=org, with_users=with_users, say=output.note
        )

    left = context.run(work)
    count = plural(len(left.repositories), "repository")
    output.result(
        {
            "target": str(left.target),
            "repositories": list(left.repositories),
            "size_bytes": left.size,
            "with_users": with_users,
        },
        as_json,
        f"{count}, {size(left.size)}, are in {output.clean(left.target)}",
    )
