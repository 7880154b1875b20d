"""`native …`: users that repositories brought along, and which of our people they are.

Owns the form for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fossilrepo.cli import ask, context, options, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Yes
from fossilrepo.errors import InvalidInput
from fossilrepo.services import people_json

if TYPE_CHECKING:
    from fossilrepo.services import Services
    from fossilrepo.services.natives import NativeView

app = options.group("Users that repositories brought along: list them, say who they are.")

Everywhere = list[tuple[str, tuple[str, ...], str | None]]


@app.command("list")
def list_(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The repository; without it, all of them."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the users that a repository brought along, or those of all repositories.

    They may do what they could before, but for setup and administration.
    """
    if name is None:
        _list_all(as_json)
        return

    async def work(services: Services) -> tuple[NativeView, ...]:
        return await services.natives.list(ACTOR, name)

    found = context.run(work)
    if as_json:
        output.document([people_json.native(native) for native in found])
    elif not found:
        output.say(f"{output.clean(name)} has no users of its own")
    else:
        output.table(
            ("login", "may", "could", "password", "is", ""),
            [
                (
                    native.login,
                    native.capabilities or "nothing",
                    native.original or "nothing",
                    "yes" if native.has_password else "no",
                    native.adopted_by or "",
                    "keeps our person of this login out" if native.collides else "",
                )
                for native in found
            ],
        )


def _list_all(as_json: bool) -> None:
    async def work(services: Services) -> Everywhere:
        return await services.natives.everywhere(ACTOR)

    found = context.run(work)
    if as_json:
        output.document(
            [
                {"login": login, "repositories": list(names), "suggestion": suggestion}
                for login, names, suggestion in found
            ]
        )
    elif found:
        output.table(
            ("login", "repositories", "perhaps"),
            [
                (login, ", ".join(names[:5]) + (" …" if len(names) > 5 else ""), perhaps or "")
                for login, names, perhaps in found
            ],
        )
    else:
        output.say("no repository has users of its own that nobody has adopted")


@app.command()
def adopt(
    native: Annotated[str, typer.Argument(metavar="NATIVE", help="The user's login there.")],
    login: Annotated[str, typer.Argument(metavar="LOGIN", help="The person's login here.")],
    repo: Annotated[
        str | None, typer.Option("--repo", metavar="NAME", help="In this repository.")
    ] = None,
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="In every repository that has it.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Say that a user of a repository is a person of ours.

    The user's password there ends. Adopting gives no role: what the person may
    do comes from grants.
    """
    if (repo is None) is not everywhere:
        raise InvalidInput("say where", hint="give one of --repo NAME and --everywhere")
    where = "every repository" if repo is None else repo
    ask.confirm(
        f"Is {output.clean(native)} in {output.clean(where)} the person {output.clean(login)}? "
        "Its password there ends.",
        yes,
    )

    async def work(services: Services) -> tuple[int, str]:
        could = ""
        if repo is not None:
            for known in await services.natives.list(ACTOR, repo):
                if known.login == native and known.role is not None:
                    could = known.role
        return await services.natives.adopt(ACTOR, repo, native, login), could

    count, could = context.run(work)
    done = {"native": native, "person": login, "repositories": count, "role_before": could or None}
    text = f"{output.clean(native)} is {login} now in {count} " + (
        "repository" if count == 1 else "repositories"
    )
    output.result(done, as_json, text)
    if not as_json:
        grant = f"fossilrepo grant {repo or 'NAME'} --user {login} --role {could or 'ROLE'}"
        had = f"it had what our role {could} gives; " if could else ""
        output.note(f"{had}adopting gives no role: `{grant}`")
