"""`mail …`: does the mail server of the settings take mail from us.

Owns the form for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fossilrepo.cli import context, options, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson

if TYPE_CHECKING:
    from fossilrepo.services import Services

app = options.group("Mail that the host sends: try it.")


@app.callback()
def root() -> None:
    """Keeps `test` a command of its own though it is the only one."""


@app.command()
def test(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where to send it.")],
    as_json: AsJson = False,
) -> None:
    """Send a message, and say what the server said."""

    async def work(services: Services) -> str:
        await services.mail.send_trial(ACTOR, address)
        return services.mail.server

    server = context.run(work)
    output.result(
        {"to": address, "server": server, "sent": True},
        as_json,
        f"{server} took a message for {output.clean(address)}",
    )
