"""`doctor`: every check, what was found and how to mend it.

Owns the form only; the checks are the service's.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fossilrepo.cli import context, output
from fossilrepo.cli.options import AsJson
from fossilrepo.wording import plural

if TYPE_CHECKING:
    from fossilrepo.services import Services
    from fossilrepo.services.health import Check


def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what can be mended without losing anything.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the machine and the data.

    Exit code 1 when a check fails; a warning is no failure.
    """

    async def work(services: Services) -> list[Check]:
        checks = await services.health.doctor()
        if fix and (done := await services.checkup.fix(checks)):
            for line in done:
                output.note(output.clean(line))
            checks = await services.health.doctor()
        return checks

    checks = context.run(work)
    if as_json:
        output.document([asdict(check) for check in checks])
    else:
        show(checks)
    if any(check.result == "fail" for check in checks):
        raise typer.Exit(1)


def show(checks: list[Check]) -> None:
    """A line for each, and below what is not right how to mend it."""
    width = max((len(check.name) for check in checks), default=0)
    for check in checks:
        output.say(f"{check.result:<4}  {check.name:<{width}}  {output.clean(check.found)}")
        if check.result != "ok" and check.mend:
            output.say(f"      {'':<{width}}  -> {output.clean(check.mend)}")
    bad = sum(check.result == "fail" for check in checks)
    warned = sum(check.result == "warn" for check in checks)
    output.say(f"{plural(len(checks), 'check')}: {bad} failed, {warned} to look at")
