"""`user invite`, `user invitations`, `user uninvite`, `user reset-link`: links that are good once.

Owns the form for people. A link is printed once, when it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fossilrepo.cli import context, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Login

if TYPE_CHECKING:
    from fossilrepo.services import Services
    from fossilrepo.services.invitations import Invitation, Invited


def invite(
    login: Annotated[str, typer.Option(help="Their login; else they choose one.")] = "",
    name: Annotated[str, typer.Option(help="The full name.")] = "",
    email: Annotated[str, typer.Option(help="Where the link is mailed, if mail is set up.")] = "",
    org: Annotated[str, typer.Option(help="The organization that they join.")] = "",
    role: Annotated[
        Literal["member", "owner"], typer.Option(help="What they become there.")
    ] = "member",
    team: Annotated[list[str] | None, typer.Option(help="A team of it; may be repeated.")] = None,
    days: Annotated[int, typer.Option(help="The link ends after so many days.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Make a link by which somebody makes an account.

    It works once. It is printed on stdout, alone and only this time.
    """

    async def work(services: Services) -> Invited:
        return await services.invitations.invite(
            ACTOR,
            login=login,
            name=name,
            email=email,
            org=org,
            org_role=role,
            teams=team or (),
            days=days,
        )

    made = context.run(work)
    output.result(asdict(made), as_json, made.url)
    if made.mailed and not as_json:
        output.note(f"sent to {output.clean(email)}")
    if made.mail_error:
        output.note(f"warning: it could not be mailed: {output.clean(made.mail_error)}")


def invitations(as_json: AsJson = False) -> None:
    """List the invitations that wait."""

    async def work(services: Services) -> list[Invitation]:
        return await services.invitations.list(ACTOR)

    waiting = context.run(work)
    if as_json:
        output.document([asdict(one) for one in waiting])
    elif waiting:
        output.table(
            ("id", "for", "joins", "made by", "ends"),
            [
                (
                    one.id,
                    one.login or one.email or one.name or "anybody",
                    " ".join((one.org, *(f"{one.org}/{team}" for team in one.teams))),
                    one.created_by,
                    output.ago(one.expires_at),
                )
                for one in waiting
            ],
        )
    else:
        output.say("no invitation waits: `fossilrepo user invite`")


def uninvite(
    identity: Annotated[str, typer.Argument(metavar="ID", help="From `user invitations`.")],
    as_json: AsJson = False,
) -> None:
    """End an invitation."""

    async def work(services: Services) -> None:
        await services.invitations.revoke(ACTOR, identity)

    context.run(work)
    output.result({"id": identity, "revoked": True}, as_json, f"ended the invitation {identity}")


def reset_link(login: Login, as_json: AsJson = False) -> None:
    """Make a link by which a person sets a new password.

    It works once, within 24 hours; an earlier one ends. It is printed on stdout,
    alone.
    """

    async def work(services: Services) -> str:
        return await services.resets.link(ACTOR, login)

    url = context.run(work)
    output.result({"login": login, "url": url}, as_json, url)


COMMANDS: dict[str, Callable[..., None]] = {
    "invite": invite,
    "invitations": invitations,
    "uninvite": uninvite,
    "reset-link": reset_link,
}
