"""`service …`: the host as a service of systemd.

Owns the form for people.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from fossilrepo.cli import ask, context, options, output
from fossilrepo.cli.options import AsJson, Yes

if TYPE_CHECKING:
    from fossilrepo.services.system_service import Plan

ACCOUNT = "fossilrepo"
UNIT = "/etc/systemd/system/fossilrepo.service"
app = options.group("The host as a service of systemd: starts at boot, comes back, runs as nobody.")

Account = Annotated[str, typer.Option("--account", help="Who runs it; made when it is missing.")]


def _plan(account: str) -> Plan:
    from fossilrepo.services.system_service import Plan  # other commands start without it

    return Plan(context.settings(), context.config_file().absolute(), account)


@app.command()
def show(account: Account = ACCOUNT) -> None:
    """Print the unit that `install` would write."""
    output.say(_plan(account).unit().rstrip("\n"))


@app.command()
def install(account: Account = ACCOUNT, yes: Yes = False, as_json: AsJson = False) -> None:
    """Make the account and the unit, start the service, and have it start at every boot.

    The data folder becomes the account's.
    """
    from fossilrepo.services import system_service

    plan = _plan(account)
    data = output.clean(plan.settings.data)
    ask.confirm(f"write {UNIT}, give {data} to {account} and start the service?", yes)
    done = asyncio.run(system_service.install(plan))
    output.result({"unit": UNIT, "account": account, "done": done}, as_json, "\n".join(done))


@app.command()
def remove(yes: Yes = False, as_json: AsJson = False) -> None:
    """Stop the service and take its unit away; data, configuration and account stay."""
    from fossilrepo.services import system_service

    ask.confirm(f"stop the service and delete {UNIT}?", yes)
    done = asyncio.run(system_service.remove())
    output.result({"unit": UNIT, "done": done}, as_json, "\n".join(done))
