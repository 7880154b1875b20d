"""`standby`: a second machine that follows the replica, and takes the host's place when told.

Owns the options and the words.
"""

from __future__ import annotations

from typing import Annotated

import typer

from fossilrepo.cli import context, output
from fossilrepo.cli import rebuild as rebuilding
from fossilrepo.cli.options import AsJson
from fossilrepo.cli.rebuild import KeyFile, Workers
from fossilrepo.errors import InvalidInput
from fossilrepo.values import parse_duration


def standby(
    source: Annotated[
        str,
        typer.Option("--from", metavar="URL", help="The host's replica, as for `backup rebuild`."),
    ] = "",
    key_file: KeyFile = None,
    every: Annotated[str, typer.Option(help="From one look at the replica to the next.")] = "1m",
    workers: Workers = 4,
    once: Annotated[bool, typer.Option("--once", help="One look, then end.")] = False,
    promote: Annotated[
        bool, typer.Option("--promote", help="Take the host's place: fetch the rest, and be it.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Say what the last look gave, and do nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Follow a host's replica in an empty data folder, until it is ended or promoted.

    Nothing of it is served meanwhile. Before --promote, end this, and be sure that the old host
    does not run any more; afterwards `serve` serves it.
    """
    settings = context.settings()
    if status:
        from fossilrepo.services import standby as following

        last = following.last_round(settings)
        text = "; ".join(f"{name}: {value}" for name, value in last.items() if value)
        output.result(last, as_json, output.clean(text))
        return
    if not source:
        raise InvalidInput("which replica is not said", hint="--from URL", field="from")
    if promote:
        report = rebuilding.run(
            rebuilding.rebuilt(settings, settings, source, key_file, workers, True)
        )
        rebuilding.show(report, as_json)
        return
    seconds = _seconds(every)
    from fossilrepo.services import standby as following
    from fossilrepo.services.rebuild import Wish

    done = rebuilding.run(
        following.follow(
            settings,
            source,
            Wish(key_file, workers),
            rebuilding.say,
            every=seconds,
            rounds=1 if once else None,
        )
    )
    output.result(done.as_dict(), as_json, output.clean(following.words(done)))


def _seconds(every: str) -> float:
    try:
        seconds = parse_duration(every)
    except ValueError as error:
        raise InvalidInput(str(error), field="every") from None
    if seconds < 1:
        raise InvalidInput("a second is the least", field="every")
    return seconds
