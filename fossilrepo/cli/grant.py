"""`grant`, `revoke`, `access`, `user where`: who can do what, and why.

Owns the form for people; the rules are the service's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fossilrepo.cli import context, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Login, Name
from fossilrepo.errors import InvalidInput
from fossilrepo.models import Repository, iso
from fossilrepo.rights import Effective, role_of
from fossilrepo.services import people_json

if TYPE_CHECKING:
    from fossilrepo.services import Services
    from fossilrepo.services.grants import AccessReport
    from fossilrepo.services.organizations import GrantView

OnRepository = Annotated[str, typer.Argument(metavar="[NAME]", help="The repository's name.")]
OnOrg = Annotated[str | None, typer.Option("--org", help="On every repository of it.")]
ToUser = Annotated[str | None, typer.Option("--user", help="The person's login.")]
ToTeam = Annotated[str | None, typer.Option("--team", help="TEAM or ORG/TEAM.")]


def _place(name: str, org: str | None) -> dict[str, str | None]:
    if bool(name) == bool(org):
        raise InvalidInput("name one repository, or give --org", hint="grant NAME --user U …")
    return {"repository": name or None, "org": org}


def _holder(user: str | None, team: str | None) -> dict[str, str | None]:
    if (user is None) == (team is None):
        raise InvalidInput("give one of --user and --team")
    return {"user": user, "team": team}


def grant(
    role: Annotated[str, typer.Option("--role", help="read, write or admin.")],
    name: OnRepository = "",
    org: OnOrg = None,
    user: ToUser = None,
    team: ToTeam = None,
    as_json: AsJson = False,
) -> None:
    """Give a person or a team a role on a repository, or on all of an organization.

    A role that was granted before is replaced.
    """
    given = {**_place(name, org), **_holder(user, team)}

    async def work(services: Services) -> GrantView:
        return await services.grants.grant(ACTOR, role_of(role), **given)

    made = context.run(work)
    text = f"{made.holder} may {made.grant.role} on {made.place}"
    output.result(people_json.grant(made), as_json, output.clean(text))


def revoke(
    name: OnRepository = "",
    org: OnOrg = None,
    user: ToUser = None,
    team: ToTeam = None,
    as_json: AsJson = False,
) -> None:
    """Take a grant away. Another reason may still give a role: see `access`."""
    given = {**_place(name, org), **_holder(user, team)}

    async def work(services: Services) -> None:
        await services.grants.revoke(ACTOR, **given)

    context.run(work)
    holder, place = user or team or "", name or f"all of {org}"
    done = {"holder": holder, "place": place}
    output.result(done, as_json, output.clean(f"{holder} has no grant on {place} any more"))


def access(name: Name, as_json: AsJson = False) -> None:
    """Show who can do what in a repository, and why.

    Users that the repository brought along, keys of machines, and what somebody changed
    inside Fossil are in it too.
    """

    async def work(services: Services) -> AccessReport:
        return await services.grants.access(ACTOR, name)

    found = context.run(work)
    if as_json:
        output.document(people_json.access(found))
        return
    output.say(f"{found.repository.label} is {found.repository.visibility}")
    if found.people:
        output.table(
            ("login", "role", "because"),
            [(user.login, what.role or "-", _reasons(what)) for user, what in found.people],
        )
    if found.natives:
        output.say("users that the repository brought along:")
        output.table(
            ("login", "capabilities", "adopted by", ""),
            [
                (n.login, n.capabilities, n.adopted_by or "-", "COLLIDES" if n.collides else "")
                for n in found.natives
            ],
        )
    for key in found.keys:
        output.say(output.clean(f"key {key.login} ({key.label or 'no label'}): {key.role}"))
    for login, until in found.elevated:
        output.say(output.clean(f"{login} has the setup right until {iso(until)}"))
    for drift in found.drifts:
        text = f"{drift.login} was {drift.found or 'changed'} in Fossil, put right"
        output.say(output.clean(f"{output.ago(drift.at)}: {text}"))


def _reasons(what: Effective) -> str:
    return "; ".join(reason.why for reason in what.reasons if reason.role is what.role)


def where(login: Login, as_json: AsJson = False) -> None:
    """Show where a person can go, and why."""

    async def work(services: Services) -> list[tuple[Repository, Effective]]:
        return await services.grants.where(ACTOR, login)

    found = context.run(work)
    if as_json:
        output.document(
            [
                {"repository": repository.name, **people_json.effective(what)}
                for repository, what in found
            ]
        )
    elif found:
        output.table(
            ("repository", "role", "because"),
            [(row.label, what.role or "-", _reasons(what)) for row, what in found],
        )
    else:
        output.say(f"{login} can go nowhere")
