"""`user show`, `rename`, `configure`, `admin`, `delete`, `import`: a person as a whole.

Owns the form for people; what each does is the service's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fossilrepo.cli import ask, context, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Login, Yes
from fossilrepo.cli.user import described, warn_of_namesakes
from fossilrepo.errors import InvalidInput
from fossilrepo.models import User

if TYPE_CHECKING:
    from fossilrepo.services import Services
    from fossilrepo.services.people import Profile
    from fossilrepo.services.people_import import Imported


def show(login: Login, as_json: AsJson = False) -> None:
    """Show a person: where they belong, and what is set.

    With `user where`, what they may do in which repository.
    """

    async def work(services: Services) -> tuple[Profile, tuple[str, ...]]:
        people = services.people
        return await people.show(ACTOR, login), await people.collisions(ACTOR, login)

    profile, collisions = context.run(work)
    user = profile.user
    shown: dict[str, Any] = described(user) | {
        "second_factor": user.has_totp,
        "former_logins": list(profile.former),
        "memberships": [asdict(one) for one in profile.memberships],
        "native_elsewhere": list(collisions),
    }
    if as_json:
        output.document(shown)
        return
    state = "disabled" if user.disabled else "active"
    output.say(output.clean(f"{user.login} {user.name}".strip()))
    output.pairs(
        {
            "e-mail": user.email,
            "role": "administrator" if user.is_admin else "person",
            "state": state,
            "created": output.ago(user.created_at),
            "last seen": output.ago(user.last_seen),
            "second factor": "on" if user.has_totp else "off",
            "former logins": ", ".join(profile.former),
            "kept out of": ", ".join(collisions),
        }
    )
    for one in profile.memberships:
        teams = f", teams {', '.join(one.teams)}" if one.teams else ""
        output.say(f"  {one.role} of {one.org}{teams}")
    if collisions:
        output.note(
            f"another {login} was in those repositories already: say who it is with `native`"
        )


def configure(
    login: Login,
    name: Annotated[str | None, typer.Option(help="The full name.")] = None,
    email: Annotated[str | None, typer.Option(help="The e-mail address.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change a person's name or e-mail address; an empty text clears it."""

    async def work(services: Services) -> User:
        return await services.people.configure(ACTOR, login, name=name, email=email)

    output.result(described(context.run(work)), as_json, f"configured {login}")


def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The login now.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The new login.")],
    as_json: AsJson = False,
) -> None:
    """Give a person another login, here and in every repository.

    Nobody else ever gets the old one. The Fossil passwords stay the same; existing
    clones need the new login once.
    """

    async def work(services: Services) -> tuple[User, tuple[str, ...]]:
        user = await services.people.rename(ACTOR, old, new)
        return user, await services.people.collisions(ACTOR, new)

    user, collisions = context.run(work)
    output.result(
        described(user) | {"native_elsewhere": list(collisions)}, as_json, f"renamed {old} to {new}"
    )
    warn_of_namesakes(new, collisions)


def admin(
    login: Login,
    switch: Annotated[Literal["on", "off"], typer.Argument(metavar="on|off", help="Which.")],
    as_json: AsJson = False,
) -> None:
    """Make a person an administrator of the site, or not.

    The last one stays.
    """

    async def work(services: Services) -> User:
        return await services.people.set_admin(ACTOR, login, switch == "on")

    word = "an administrator" if switch == "on" else "no administrator"
    output.result(described(context.run(work)), as_json, f"{login} is {word} now")


def delete(login: Login, yes: Yes = False, as_json: AsJson = False) -> None:
    """Let a person leave: shut out everywhere, name and address forgotten.

    What they wrote stays in the repositories under their login, which nobody gets
    again. Access keys stay with their repositories.
    """
    ask.confirm(f"Delete {output.clean(login)}? This cannot be undone.", yes)

    async def work(services: Services) -> None:
        await services.people.delete(ACTOR, login)

    context.run(work)
    output.result({"login": login, "deleted": True}, as_json, f"deleted {login}")


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV: login, name, email, org, teams.")
    ],
    mail: Annotated[bool, typer.Option("--mail", help="Send each their link.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make everybody of a CSV file, each with a link to set their password.

    The first line names the columns: login and, if wanted, name, email, org, teams.
    Nobody is made when a row is wrong.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f"{file} cannot be read: {why}", field="file") from None

    async def work(services: Services) -> list[Imported]:
        return await services.people.import_csv(ACTOR, text, mail=mail)

    made = context.run(work)
    if as_json:
        output.document([asdict(one) for one in made])
        return
    rows = [(one.login, "mailed" if one.mailed else one.mail_error or "-", one.url) for one in made]
    output.table(("login", "mail", "link, good once within 7 days"), rows)
    for one in made:
        warn_of_namesakes(one.login, one.collides)


def second_factor_off(login: Login, yes: Yes = False, as_json: AsJson = False) -> None:
    """Switch off a person's second factor, when authenticator and recovery codes are lost."""
    ask.confirm(f"let {login} sign in with the password alone?", yes)

    async def work(services: Services) -> None:
        await services.second_factor.reset(ACTOR, login)

    context.run(work)
    done = {"login": login, "second_factor": False}
    output.result(done, as_json, f"the second factor of {login} is off")


COMMANDS: dict[str, Callable[..., None]] = {
    "show": show,
    "configure": configure,
    "rename": rename,
    "admin": admin,
    "delete": delete,
    "import": import_,
    "second-factor-off": second_factor_off,
}
