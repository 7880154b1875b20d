"""`demo`: sample data for those who just look, and its end.

Owns the form for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fossilrepo.cli import ask, context, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Yes
from fossilrepo.models import Repository
from fossilrepo.wording import plural

if TYPE_CHECKING:
    from fossilrepo.services import Services


def demo(
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove all of it, and nothing else.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Make sample data to look at: repositories with history, people, mirrors."""
    if remove:
        _remove(yes=yes, as_json=as_json)
        return

    async def make(services: Services) -> list[Repository]:
        return await services.demo.make(services, ACTOR, output.note)

    made = context.run(make)
    names = [one.label for one in made]
    output.result(
        {"organization": "demo", "repositories": names},
        as_json,
        f"made {', '.join(names)}; remove it all with `fossilrepo demo --remove`",
    )


def _remove(*, yes: bool, as_json: bool) -> None:
    ask.confirm("Remove the sample data, its repositories and people?", yes=yes)

    async def work(services: Services) -> tuple[int, int]:
        return await services.demo.remove(services, ACTOR)

    repositories, people = context.run(work)
    output.result(
        {"repositories": repositories, "people": people},
        as_json,
        f"removed {plural(repositories, 'repository')} and {plural(people, 'person', 'people')}",
    )
