"""`database …`: where accounts, organizations and history are kept.

Owns the form for people.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from pydantic import ValidationError

from fossilrepo.cli import ask, context, options, output
from fossilrepo.cli.options import AsJson, Yes
from fossilrepo.errors import InvalidInput
from fossilrepo.values import mask_url

app = options.group("The control database: accounts, organizations, what is known of repositories.")


@app.command("move")
def move(
    to: Annotated[
        str,
        typer.Option(help='"sqlite", or postgresql://USER@HOST/DATABASE without a password.'),
    ] = "",
    to_stdin: Annotated[
        bool, typer.Option("--to-stdin", help="Read the address, password and all, from there.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Copy everything into an empty database of the other kind, and compare every row.

    The host must not run. The old database is only read; database.url says which one is used.
    """
    from fossilrepo.services import database_move  # other commands start without it

    if bool(to) == to_stdin:
        raise InvalidInput("say where to", hint="give --to or --to-stdin", field="to")
    url = ask.line("--to-stdin") if to_stdin else to
    if not to_stdin and mask_url(url) != url:
        raise InvalidInput(
            "a password may not stand in an argument, which every user of the machine can read",
            hint="give --to-stdin, or leave it out and set PGPASSWORD or ~/.pgpass",
            field="to",
        )
    settings = context.settings()
    now = mask_url(settings.database.url)
    ask.confirm(f"copy the control database from {now} to {mask_url(url)}?", yes)
    try:
        moved = asyncio.run(database_move.move_to(settings, url, output.note))
    except ValidationError:
        raise InvalidInput(
            "this is no address of a database",
            hint="write sqlite, or postgresql://USER@HOST/DATABASE",
            field="to",
        ) from None
    output.result(
        {"from": now, "to": moved.url, "rows": moved.rows},
        as_json,
        f"{moved.total:,} rows are in {moved.url}, each compared; now set database.url to it "
        "(a password better in FOSSILREPO_DATABASE__URL) and start the host",
    )
