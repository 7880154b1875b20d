"""`team …`: groups of an organization's members.

Owns the form for people. A team is written ORG/TEAM; alone, TEAM is one of `--org`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fossilrepo.cli import ask, context, options, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Login, Yes
from fossilrepo.errors import InvalidInput
from fossilrepo.rights import Team

if TYPE_CHECKING:
    from fossilrepo.services import Services
    from fossilrepo.services.organizations import TeamDetail

app = options.group("Teams: groups of an organization's members, to grant to.")
members = options.group("Who is in a team.")
app.add_typer(members, name="member")

OneTeam = Annotated[str, typer.Argument(metavar="[ORG/]TEAM", help="Such as main/docs.")]
OfOrg = Annotated[str, typer.Option("--org", help="The organization, where only TEAM is given.")]
Description = Annotated[str | None, typer.Option(help="One line that people see.")]


def _parts(team: str, default: str) -> tuple[str, str]:
    org, slash, name = team.partition("/")
    if not slash:
        org, name = default, team
    if not org or not name:
        raise InvalidInput(f"{team!r} names no team", hint="write ORG/TEAM, such as main/docs")
    return org, name


def described(org: str, detail: TeamDetail) -> dict[str, Any]:
    team = asdict(detail.team)
    return {
        "org": org,
        "name": team["name"],
        "description": team["description"],
        "members": [user.login for user in detail.members],
    }


@app.command("list")
def list_(
    org: Annotated[str, typer.Argument(metavar="[ORG]", help="Only of this one.")] = "",
    as_json: AsJson = False,
) -> None:
    """List teams with their members."""

    async def work(services: Services) -> list[dict[str, Any]]:
        names = [org] if org else [o.org.name for o in await services.organizations.list(ACTOR)]
        found = []
        for name in names:
            detail = await services.organizations.show(ACTOR, name)
            found += [described(name, team) for team in detail.teams]
        return found

    found = context.run(work)
    if as_json:
        output.document(found)
    elif found:
        output.table(
            ("team", "members", "description"),
            [(f"{t['org']}/{t['name']}", ", ".join(t["members"]), t["description"]) for t in found],
        )
    else:
        output.say("there are no teams")


@app.command()
def create(
    team: OneTeam, description: Description = None, of: OfOrg = "main", as_json: AsJson = False
) -> None:
    """Make a team."""
    org, name = _parts(team, of)

    async def work(services: Services) -> Team:
        return await services.organizations.create_team(
            ACTOR, org, name, description=description or ""
        )

    made = context.run(work)
    done = {"org": org, "name": made.name, "description": made.description}
    output.result(done, as_json, f"{org}/{made.name} is there")


@app.command()
def configure(
    team: OneTeam,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    description: Description = None,
    of: OfOrg = "main",
    as_json: AsJson = False,
) -> None:
    """Rename or describe a team; members and grants stay."""
    org, old = _parts(team, of)
    if name is None and description is None:
        raise InvalidInput("there is nothing to change", hint="give --name or --description")

    async def work(services: Services) -> Team:
        return await services.organizations.configure_team(
            ACTOR, org, old, name=name, description=description
        )

    after = context.run(work)
    done = {"org": org, "name": after.name, "description": after.description}
    output.result(done, as_json, f"{org}/{after.name} is changed")


@app.command()
def delete(team: OneTeam, yes: Yes = False, of: OfOrg = "main", as_json: AsJson = False) -> None:
    """Delete a team with its grants."""
    org, name = _parts(team, of)
    ask.confirm(f"delete the team {org}/{name} with its grants?", yes)

    async def work(services: Services) -> None:
        await services.organizations.delete_team(ACTOR, org, name)

    context.run(work)
    output.result({"deleted": f"{org}/{name}"}, as_json, f"{org}/{name} is gone")


@members.command("add")
def add(team: OneTeam, login: Login, of: OfOrg = "main", as_json: AsJson = False) -> None:
    """Add a member of the organization to the team."""
    org, name = _parts(team, of)

    async def work(services: Services) -> None:
        await services.organizations.add_to_team(ACTOR, org, name, login)

    context.run(work)
    output.result({"team": f"{org}/{name}", "login": login}, as_json, f"{login} is in {org}/{name}")


@members.command("remove")
def remove(team: OneTeam, login: Login, of: OfOrg = "main", as_json: AsJson = False) -> None:
    """Take a person out of the team."""
    org, name = _parts(team, of)

    async def work(services: Services) -> None:
        await services.organizations.remove_from_team(ACTOR, org, name, login)

    context.run(work)
    output.result(
        {"team": f"{org}/{name}", "login": login}, as_json, f"{login} is no longer in {org}/{name}"
    )


@members.command("list")
def members_(team: OneTeam, of: OfOrg = "main", as_json: AsJson = False) -> None:
    """List who is in the team."""
    org, name = _parts(team, of)

    async def work(services: Services) -> TeamDetail:
        return (await services.organizations.show(ACTOR, org)).team(name)

    found = context.run(work).members
    if as_json:
        output.document([{"login": user.login, "name": user.name} for user in found])
    elif found:
        output.table(("login", "name"), [(user.login, user.name) for user in found])
    else:
        output.say(f"nobody is in {org}/{name}")
