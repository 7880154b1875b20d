"""`alerts …`: are the people told who run the host.

Owns the form for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fossilrepo.cli import context, options, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson

if TYPE_CHECKING:
    from fossilrepo.services import Services

app = options.group("Alerts to the people who run the host: try them.")


@app.callback()
def root() -> None:
    """Keeps `test` a command of its own though it is the only one."""


@app.command()
def test(as_json: AsJson = False) -> None:
    """Send a trial message to every address of alerts.urls."""

    async def work(services: Services) -> None:
        await services.alerts.test(ACTOR)

    context.run(work)
    output.result({"sent": True}, as_json, "every address took the message")
