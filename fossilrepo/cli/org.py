"""`org …`: organizations and their members.

Owns the form for people; the rules are the service's.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fossilrepo.cli import ask, context, options, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Login, Yes
from fossilrepo.errors import InvalidInput
from fossilrepo.rights import MemberRole, Organization, role_of
from fossilrepo.services import people_json

if TYPE_CHECKING:
    from fossilrepo.services import Services
    from fossilrepo.services.organizations import (
        OrganizationDetail,
        OrganizationSummary,
    )

app = options.group("Organizations: they own repositories.")
members = options.group("Who is in an organization.")
app.add_typer(members, name="member")

Org = Annotated[str, typer.Argument(metavar="ORG", help="The organization's name.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List organizations."""

    async def work(services: Services) -> list[OrganizationSummary]:
        return await services.organizations.list(ACTOR)

    found = context.run(work)
    if as_json:
        output.document(
            [
                people_json.organization(one.org)
                | {"members": one.members, "teams": one.teams, "repositories": one.repositories}
                for one in found
            ]
        )
        return
    output.table(
        ("name", "title", "members", "teams", "repositories", "members may"),
        [
            (
                one.org.name,
                one.org.title,
                one.members,
                one.teams,
                one.repositories,
                one.org.default_role or "-",
            )
            for one in found
        ],
    )


@app.command()
def show(org: Org, as_json: AsJson = False) -> None:
    """Show an organization: members, teams, grants, repositories."""

    async def work(services: Services) -> OrganizationDetail:
        return await services.organizations.show(ACTOR, org)

    found = context.run(work)
    shown = people_json.organization(found.org) | {
        "members": [{"login": user.login, "role": role} for user, role in found.members],
        "teams": [
            asdict(one.team) | {"members": [user.login for user in one.members]}
            for one in found.teams
        ],
        "grants": [people_json.grant(grant) for grant in found.grants],
        "repositories": [repository.name for repository in found.repositories],
    }
    if as_json:
        output.document(shown)
        return
    output.say(output.clean(f"{found.org.name} {found.org.title}".strip()))
    output.pairs(
        {
            "members may": found.org.default_role or "nothing by being members",
            "members create": "yes" if found.org.members_create else "no",
            "look of its repositories": "the site's" if found.org.skin else "Fossil's",
            "owners": ", ".join(u.login for u, r in found.members if r is MemberRole.OWNER),
            "members": ", ".join(u.login for u, r in found.members if r is MemberRole.MEMBER),
            "teams": ", ".join(one.team.name for one in found.teams),
            "repositories": len(found.repositories),
        }
    )
    for grant in found.grants:
        output.say(output.clean(f"{grant.holder}: {grant.grant.role} on {grant.place}"))


@app.command()
def create(org: Org, title: options.Title = "", as_json: AsJson = False) -> None:
    """Make an organization."""

    async def work(services: Services) -> Organization:
        return await services.organizations.create(ACTOR, org, title=title)

    made = context.run(work)
    output.result(people_json.organization(made), as_json, f"{made.name} is there")


@app.command()
def configure(
    org: Org,
    title: Annotated[str | None, typer.Option(help="One line that people see.")] = None,
    default_role: Annotated[
        str | None,
        typer.Option(help="What members may do in all of its repositories: none, read, write…"),
    ] = None,
    members_create: Annotated[
        bool | None, typer.Option(help="Whether members may create repositories.")
    ] = None,
    skin: Annotated[
        bool | None, typer.Option(help="Whether its repositories wear the site's look.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change its title, what its members may do, or the look of its repositories."""
    if (title, default_role, members_create, skin) == (None,) * 4:
        raise InvalidInput(
            "there is nothing to change",
            hint="give --title, --default-role, --members-create or --skin",
        )

    async def work(services: Services) -> Organization:
        given: dict[str, Any] = {}
        if default_role is not None:
            given["default_role"] = None if default_role == "none" else role_of(default_role)
        return await services.organizations.configure(
            ACTOR, org, title=title, members_create=members_create, skin=skin, **given
        )

    after = context.run(work)
    output.result(people_json.organization(after), as_json, f"{after.name} is changed")


@app.command()
def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Its name now.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its name from now on.")],
    as_json: AsJson = False,
) -> None:
    """Rename it; its repositories follow."""

    async def work(services: Services) -> Organization:
        return await services.organizations.rename(ACTOR, old, new)

    after = context.run(work)
    output.result(people_json.organization(after), as_json, f"{old} is {after.name} now")


@app.command()
def delete(org: Org, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete it with its teams and grants; refused while it has repositories."""
    ask.confirm(f"delete the organization {org}?", yes)

    async def work(services: Services) -> None:
        await services.organizations.delete(ACTOR, org)

    context.run(work)
    output.result({"deleted": org}, as_json, f"{org} is gone")


@members.command("add")
def add(
    org: Org,
    login: Login,
    role: Annotated[MemberRole, typer.Option(help="An owner runs it.")] = MemberRole.MEMBER,
    as_json: AsJson = False,
) -> None:
    """Add a person, or change whether they own it."""

    async def work(services: Services) -> None:
        await services.organizations.set_member(ACTOR, org, login, role)

    context.run(work)
    done = {"org": org, "login": login, "role": role}
    output.result(done, as_json, f"{login} is {role} of {org}")


@members.command("remove")
def remove(org: Org, login: Login, as_json: AsJson = False) -> None:
    """Take a person out of it and of its teams."""

    async def work(services: Services) -> None:
        await services.organizations.remove_member(ACTOR, org, login)

    context.run(work)
    output.result({"org": org, "login": login}, as_json, f"{login} is no longer in {org}")


@members.command("list")
def members_(org: Org, as_json: AsJson = False) -> None:
    """List who is in it."""

    async def work(services: Services) -> OrganizationDetail:
        return await services.organizations.show(ACTOR, org)

    found = context.run(work).members
    if as_json:
        output.document(
            [{"login": user.login, "name": user.name, "role": role} for user, role in found]
        )
    elif found:
        output.table(("login", "name", "role"), [(u.login, u.name, role) for u, role in found])
    else:
        output.say(f"nobody is in {org}")
