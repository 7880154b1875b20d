"""`repo insights` and `activity`: what happened in the repositories.

Owns the form for people.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from fossilrepo.cli import context, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Name
from fossilrepo.insight import KIND_WORDS, Asked, Event, Kept

if TYPE_CHECKING:
    from fossilrepo.services import Services

_SHOWN = 10
_USUAL = ("ci", "w", "t", "e", "f")


class Kind(StrEnum):
    """What `activity --kind` takes."""

    CHECKIN = "ci"
    WIKI = "w"
    TICKET = "t"
    TECHNOTE = "e"
    FORUM = "f"
    TAG = "g"


def insights(
    name: Name,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Read the whole history anew from the file.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is known of a repository's history.

    What is new in its file is read first.
    """
    from fossilrepo.services import insights_json

    async def work(services: Services) -> Kept | None:
        repository = await services.repos.get(ACTOR, name)
        await services.insights.refresh(repository, whole=rebuild)
        return await services.insights.of(repository)

    kept = context.run(work)
    if kept is None:  # purged meanwhile
        output.say(f"nothing is known of {name}")
    elif as_json:
        output.document(insights_json.insights(kept))
    else:
        _show(kept)


def _show(kept: Kept) -> None:
    from fossilrepo.services.insights import contributors

    people = contributors(kept)
    output.pairs(
        {f"{KIND_WORDS[kind]}s": count for kind, count in kept.counts.items()}
        | {
            "wiki pages": kept.wiki_pages,
            "tickets": f"{kept.tickets.open} open, {kept.tickets.closed} closed",
            "contributors": len(people),
            "branches": len(kept.branches),
        }
    )
    output.say()
    output.table(
        ("contributor", "check-ins", "other", "last"),
        [(one.name, one.checkins, one.others, output.ago(one.last_at)) for one in people[:_SHOWN]],
    )
    output.say()
    output.table(
        ("branch", "state", "check-ins", "last"),
        [
            (
                one.name,
                "open" if one.is_open else "closed",
                one.checkins,
                output.ago(one.last_at),
            )
            for one in kept.branches[:_SHOWN]
        ],
    )


def activity(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORD...", help="Only what has these words, or a hash."),
    ] = None,
    repo: Annotated[str, typer.Option(metavar="NAME", help="In this repository.")] = "",
    org: Annotated[str, typer.Option(metavar="ORG", help="In this organization.")] = "",
    user: Annotated[str, typer.Option(metavar="USER", help="By this user of Fossil.")] = "",
    kind: Annotated[
        Kind | None, typer.Option(help="Only events of this kind.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Show what was done in the repositories, newest first.

    A running host reads every change as it comes; this shows what it has read.
    """
    from fossilrepo.services import insights_json

    kinds = (str(kind),) if kind else _USUAL
    asked = Asked(repository=repo, org=org, user=user, kinds=kinds)

    async def work(services: Services) -> list[Event]:
        if words:
            return await services.insights.search(ACTOR, " ".join(words), asked, limit)
        return await services.insights.events(ACTOR, asked, limit)

    events = context.run(work)
    if as_json:
        output.document([insights_json.event(one) for one in events])
    elif events:
        output.table(
            ("when", "repository", "what", "who", "hash", "text"),
            [
                (
                    output.ago(e.at),
                    e.repository,
                    KIND_WORDS[e.kind],
                    e.user,
                    e.hash[:10],
                    (e.text.splitlines() or [""])[0][:80],
                )
                for e in events
            ],
        )
    else:
        output.say("nothing was done there, or it was not read yet")
