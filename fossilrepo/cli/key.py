"""`key …`: the installation's secret key and its copy.

Owns the form for people.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fossilrepo.cli import context, options, output
from fossilrepo.cli.options import AsJson

if TYPE_CHECKING:
    from fossilrepo.services import Services

app = options.group("The secret key, which is in no replica: is a copy of it kept elsewhere?")


@app.command()
def confirm(
    copy: Annotated[Path, typer.Argument(metavar="COPY", help="The copy, as it is kept.")],
    as_json: AsJson = False,
) -> None:
    """Compare a copy of secret.key with it, and remember that there is one.

    `doctor` asks again after a year.
    """

    async def work(services: Services) -> None:
        await asyncio.to_thread(services.checkup.confirm_copy, copy)

    context.run(work)
    output.result({"copy": str(copy), "same": True}, as_json, "it is the same key; remembered")
