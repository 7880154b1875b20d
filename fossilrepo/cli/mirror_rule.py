"""`mirror rule …` and `mirror author …`: what holds for many mirrors or commits at once.

Owns the form for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fossilrepo.cli import ask, context, options, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.mirror import ApiUrl, Branches, Kind, Schedule, TokenStdin, User
from fossilrepo.cli.options import AsJson, Name, Yes
from fossilrepo.services import bridge_json

if TYPE_CHECKING:
    from fossilrepo.bridge import Author, MirrorRule
    from fossilrepo.services import Services

app = options.group("Rules: every repository of an organization has a mirror, with one token.")
authors = options.group("How the people of a repository are called in Git.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The rule's id, as the list shows it.")]
Org = Annotated[str, typer.Argument(metavar="ORG", help="The organization.")]


@app.command()
def add(
    org: Org,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="With {name} in it: https://HOST/OWNER/{name}")
    ],
    branch: Branches = "*",
    schedule: Schedule = "",
    user: User = "",
    token_stdin: TokenStdin = False,
    kind: Kind = None,
    api_url: ApiUrl = "",
    create: Annotated[
        bool, typer.Option("--create", help="Make repositories that are missing there.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Mirror every repository of an organization, also those that come later."""
    token = ask.token(token_stdin)

    async def work(services: Services) -> MirrorRule:
        return await services.mirror_rules.add(
            ACTOR,
            org,
            url,
            kind=kind,
            api_url=api_url,
            user=user,
            token=token,
            branches=branch,
            schedule=schedule,
            on_change=not schedule,
            create=create,
        )

    made = context.run(work)
    text = output.clean(f"{made.id}: every repository of {org} is mirrored to {made.url}")
    output.result(bridge_json.rule(made), as_json, text)


@app.command("list")
def list_(
    org: Annotated[str | None, typer.Argument(metavar="[ORG]")] = None, as_json: AsJson = False
) -> None:
    """List the rules."""

    async def work(services: Services) -> list[MirrorRule]:
        return await services.mirror_rules.list(ACTOR, org)

    found = context.run(work)
    if as_json:
        output.document([bridge_json.rule(one) for one in found])
    elif found:
        rows = [(one.id, one.org, one.kind, one.url, one.last_error or "-") for one in found]
        output.table(("id", "organization", "kind", "remote", "problem"), rows)
    else:
        output.say("there are no rules")


@app.command()
def token(rule_id: Id, token_stdin: TokenStdin = False, as_json: AsJson = False) -> None:
    """Set another token, once for all of a rule's mirrors."""
    word = ask.token(token_stdin)

    async def work(services: Services) -> MirrorRule:
        return await services.mirror_rules.set_token(ACTOR, rule_id, word)

    changed = context.run(work)
    output.result(bridge_json.rule(changed), as_json, f"{rule_id} has another token")


@app.command()
def remove(
    rule_id: Id,
    mirrors: Annotated[bool, typer.Option("--mirrors", help="Its mirrors go too.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """End a rule; its mirrors stay unless --mirrors is given, the remotes in any case."""
    ask.confirm(f"End the rule {output.clean(rule_id)}?", yes)

    async def work(services: Services) -> MirrorRule:
        return await services.mirror_rules.remove(ACTOR, rule_id, mirrors=mirrors)

    gone = context.run(work)
    output.result(bridge_json.rule(gone) | {"removed": True}, as_json, f"removed {rule_id}")


# Authors and the main branch


@authors.command("list")
def list_authors(name: Name, as_json: AsJson = False) -> None:
    """List how the authors of a repository are called in Git."""

    async def work(services: Services) -> list[Author]:
        return await services.git_authors.list(ACTOR, name)

    found = context.run(work)
    if as_json:
        output.document([bridge_json.author(one) for one in found])
    else:
        rows = [(one.user, f"{one.name} <{one.email}>") for one in found]
        output.table(("fossil user", "in git"), rows)


@authors.command("set")
def set_author(
    name: Name,
    user: Annotated[str, typer.Argument(metavar="USER", help="As check-ins name them.")],
    as_name: Annotated[str, typer.Argument(metavar="GIT-NAME", help="Like 'Ada Lovelace'.")],
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    rewrite: Annotated[
        bool, typer.Option("--rewrite", help="Old commits too: all hashes change.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Call an author otherwise, from the next check-in on."""
    if rewrite:
        ask.confirm("All commits get other hashes, and mirrors have to be taken over. Go on?", yes)

    async def work(services: Services) -> Author:
        return await services.git_authors.set(ACTOR, name, user, as_name, email, rewrite=rewrite)

    made = context.run(work)
    text = output.clean(f"{user} is {made.name} <{made.email}> in Git")
    output.result(bridge_json.author(made), as_json, text)


@authors.command("main-branch")
def main_branch(
    name: Name,
    branch: Annotated[str | None, typer.Argument(metavar="[BRANCH]")] = None,
    as_json: AsJson = False,
) -> None:
    """Show or set what the trunk of a repository is called in Git."""

    async def work(services: Services) -> str:
        if branch is not None:
            await services.git_authors.set_main_branch(ACTOR, name, branch)
        return await services.git_authors.main_branch(ACTOR, name)

    found = context.run(work)
    output.result({"main_branch": found}, as_json, output.clean(found))
