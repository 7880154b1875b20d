"""`api-token …`: tokens with which programs use the API as a person.

Owns the form for people. A token is printed once, when it is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fossilrepo.cli import context, options, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Login
from fossilrepo.errors import InvalidInput

if TYPE_CHECKING:
    from fossilrepo.services import Services

app = options.group("Tokens for the API: make, list, revoke.")


@app.command()
def create(
    login: Login,
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    days: Annotated[int | None, typer.Option(help="It ends after so many days.")] = None,
    scope: Annotated[
        str, typer.Option(help="read: look; write: change repositories too; admin: everything.")
    ] = "admin",
    as_json: AsJson = False,
) -> None:
    """Make a token for a person.

    The token itself is printed on stdout, alone and only this once.
    """

    async def work(services: Services) -> tuple[str, str]:
        from fossilrepo.services.api_tokens import Scope

        try:
            chosen = Scope(scope)
        except ValueError:
            raise InvalidInput(
                f"there is no scope {scope[:40]!r}", hint="write read, write or admin"
            ) from None
        return await services.api_tokens.create(ACTOR, login, label, days, chosen)

    identity, token = context.run(work)
    made = {"id": identity, "login": login, "label": label, "scope": scope, "token": token}
    output.result(made, as_json, token)
    if not as_json:
        output.note(f"token {identity} of {login}: keep it now, it is not shown again")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the tokens, without the tokens themselves."""

    async def work(services: Services) -> list[dict[str, Any]]:
        return await services.api_tokens.list(ACTOR)

    found = context.run(work)
    if as_json:
        output.document(found)
    elif found:
        output.table(
            ("id", "login", "label", "scope", "made", "ends", "last used"),
            [
                (
                    t["id"],
                    t["login"],
                    t["label"],
                    t["scope"],
                    output.ago(t["created_at"]),
                    output.ago(t["expires_at"]),
                    output.ago(t["last_used"]),
                )
                for t in found
            ],
        )
    else:
        output.say("there is no token")


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(metavar="ID", help="As `api-token list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """End a token at once."""

    async def work(services: Services) -> None:
        await services.api_tokens.revoke(ACTOR, which)

    context.run(work)
    output.result({"id": which, "revoked": True}, as_json, f"revoked {which}")
