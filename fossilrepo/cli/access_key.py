"""`access-key …`: a machine's way into one repository.

Owns the form for people. A key's password is printed only where it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fossilrepo.cli import ask, context, options, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Name, Yes
from fossilrepo.rights import role_of
from fossilrepo.services import people_json

if TYPE_CHECKING:
    from fossilrepo.models import AccessKey
    from fossilrepo.services import Services

app = options.group("Keys for machines, each for one repository: make, list, revoke.")

Key = Annotated[str, typer.Argument(metavar="ID", help="Its id or login, as the list shows them.")]


@app.command()
def create(
    name: Name,
    role: Annotated[str, typer.Option("--role", help="read or write.")],
    label: Annotated[str, typer.Option("--label", help="What it is for.")] = "",
    days: Annotated[
        int | None, typer.Option("--days", help="It ends after so many days; else never.")
    ] = None,
    show_password: Annotated[
        bool, typer.Option("--show-password", help="Print the password too, on the last line.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key: a Fossil user of its own in one repository."""

    async def work(services: Services) -> tuple[AccessKey, str, str]:
        key, password = await services.access_keys.create(
            ACTOR, name, role_of(role), label=label, days=days
        )
        links = services.links
        at_home = links.domain == "localhost"
        url = (links.path_clone_url if at_home else links.clone_url)(name, key.login)
        return key, password, url

    key, password, url = context.run(work)
    made = {
        **people_json.access_key(key),
        "clone_url": url,
        **({"password": password} if show_password else {}),
    }
    output.result(made, as_json, f"{key.login} may {key.role}: fossil clone {url}")
    if not as_json and show_password:
        output.say(password)
    elif not as_json:
        output.note(f"its password: `fossilrepo access-key password {name} {key.id}`")


@app.command("list")
def list_(name: Name, as_json: AsJson = False) -> None:
    """List a repository's keys, oldest first."""

    async def work(services: Services) -> list[AccessKey]:
        return await services.access_keys.list(ACTOR, name)

    found = context.run(work)
    if as_json:
        output.document([people_json.access_key(key) for key in found])
    elif found:
        output.table(
            ("id", "login", "role", "label", "made", "ends", "last used"),
            [
                (
                    key.id,
                    key.login,
                    key.role,
                    key.label,
                    output.ago(key.created_at),
                    output.ago(key.expires_at),
                    output.ago(key.last_used),
                )
                for key in found
            ],
        )
    else:
        output.say(f"{output.clean(name)} has no access keys")


@app.command()
def password(name: Name, which: Key, as_json: AsJson = False) -> None:
    """Print a key's password, alone."""

    async def work(services: Services) -> str:
        return await services.access_keys.reveal(ACTOR, name, which)

    word = context.run(work)
    output.result({"key": which, "password": word}, as_json, word)


@app.command()
def revoke(name: Name, which: Key, yes: Yes = False, as_json: AsJson = False) -> None:
    """End a key at once."""
    ask.confirm(f"End the access key {output.clean(which)} of {output.clean(name)}?", yes)

    async def work(services: Services) -> AccessKey:
        return await services.access_keys.revoke(ACTOR, name, which)

    key = context.run(work)
    output.result({**people_json.access_key(key), "revoked": True}, as_json, f"revoked {key.login}")
