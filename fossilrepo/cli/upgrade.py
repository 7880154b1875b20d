"""`upgrade`: repositories as the installed Fossil wants them.

Owns the form for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fossilrepo.cli import ask, context, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Yes
from fossilrepo.cli.progress import done
from fossilrepo.errors import FossilrepoError
from fossilrepo.wording import plural

if TYPE_CHECKING:
    from fossilrepo.services import Services
    from fossilrepo.services.upgrade import Found


def upgrade(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Only these, whatever they need.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Say what would be done, and do nothing.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Also those that another Fossil rebuilt last.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild repositories after another Fossil was installed, one after the other.

    Each is served until its turn comes, and is away while its new tables are written. Nothing of
    the history changes; `backup undo NAME` takes it back. Exit code 1 when one failed.
    """

    async def look(services: Services) -> tuple[str, list[Found]]:
        return await services.upgrade.version(), await services.upgrade.found(names or [])

    version, found = context.run(look)
    turns = [one for one in found if names or one.must or (every and one.version != version)]
    told = [_described(one, one in turns) for one in found]
    if check or not turns:
        _show(version, found, turns, told, as_json=as_json)
        return
    ask.confirm(f"Rebuild {plural(len(turns), 'repository')}?", yes=yes)
    failed: dict[str, str] = {}

    async def work(services: Services) -> None:
        for one in turns:
            label = one.repository.label
            job = await services.upgrade.rebuild(ACTOR, one.repository)
            try:
                await done(services, job, label)
            except FossilrepoError as error:
                failed[label] = error.message
                output.note(output.clean(f"{label}: {error.message}"))

    context.run(work)
    if as_json:
        rebuilt = [one.repository.label for one in turns if one.repository.label not in failed]
        output.document({"fossil": version, "rebuilt": rebuilt, "failed": failed})
    else:
        output.say(f"rebuilt {len(turns) - len(failed)} of {len(turns)} with Fossil {version}")
    if failed:
        raise FossilrepoError(
            f"{len(failed)} could not be rebuilt: {', '.join(failed)}",
            hint="each is as it was; see why above, and start this again",
        )


def _described(one: Found, has_a_turn: bool) -> dict[str, Any]:
    return {
        "name": one.repository.label,
        "rebuilt_by": one.version,
        "must": one.must,
        "would_rebuild": has_a_turn,
    }


def _show(
    version: str,
    found: list[Found],
    turns: list[Found],
    told: list[dict[str, Any]],
    *,
    as_json: bool,
) -> None:
    if as_json:
        output.document({"fossil": version, "repositories": told})
        return
    others = sum(one.version != version for one in found)
    output.say(f"Fossil {version} is installed; {plural(len(found), 'repository')} looked at")
    for one in turns:
        why = "it does not open as it is" if one.must else f"rebuilt by Fossil {one.version}"
        output.say(f"  {output.clean(one.repository.label)}: {output.clean(why)}")
    if not turns:
        output.say("none needs a rebuild")
    if others and len(turns) < others:
        output.say(f"{others} were rebuilt by another Fossil last: --all rebuilds them too")
