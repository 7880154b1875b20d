"""`user …`: people, their passwords for the site, and what they type in Fossil.

Owns the form for people. A site password comes by a prompt, standard input or
the environment; a Fossil password is derived and only ever printed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fossilrepo.cli import ask, context, options, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Login, PasswordStdin
from fossilrepo.models import User, check_login, iso

if TYPE_CHECKING:
    from fossilrepo.services import Services

app = options.group("People: make, list, disable, passwords.")


def described(user: User) -> dict[str, Any]:
    """A person in JSON; no secret is in it."""
    return {
        "login": user.login,
        "name": user.name,
        "email": user.email,
        "admin": user.is_admin,
        "disabled": user.disabled,
        "created_at": iso(user.created_at),
        "last_seen": iso(user.last_seen),
    }


@app.command()
def create(
    login: Login,
    admin: Annotated[bool, typer.Option("--admin", help="May change everything.")] = False,
    name: Annotated[str, typer.Option(help="The full name.")] = "",
    email: Annotated[str, typer.Option(help="The e-mail address.")] = "",
    password_stdin: PasswordStdin = False,
    as_json: AsJson = False,
) -> None:
    """Make a person.

    The password for the site is asked for on a terminal, or comes by
    --password-stdin or FOSSILREPO_PASSWORD. Without one nobody can sign in as
    the person until `user password` sets it.
    """
    check_login(login)  # before anything is typed
    password = ask.new_password(password_stdin, output.clean(login))

    async def work(services: Services) -> tuple[User, tuple[str, ...]]:
        user = await services.accounts.create_user(
            ACTOR, login, name=name, email=email, is_admin=admin, password=password
        )
        return user, await services.people.collisions(ACTOR, login)

    user, collisions = context.run(work)
    made = described(user) | {
        "password_set": bool(password),
        "native_elsewhere": list(collisions),
    }
    text = f"created {login}" + (", an administrator" if admin else "")
    if not password:
        text += (
            "; there is no password yet, so nobody can sign in: "
            f"set one with `fossilrepo user password {login}`"
        )
    output.result(made, as_json, text)
    warn_of_namesakes(login, collisions)


def warn_of_namesakes(login: str, repositories: tuple[str, ...]) -> None:
    """Where a native user has the login: nothing of it was overwritten, and somebody decides."""
    if repositories:
        names = output.clean(", ".join(repositories))
        output.note(f"warning: another {login} is in {names} already, and was left alone")
        output.note("hint: say who it is with `fossilrepo native adopt`")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List everybody."""

    async def work(services: Services) -> list[User]:
        return await services.accounts.users()

    people = context.run(work)
    if as_json:
        output.document([described(user) for user in people])
    elif people:
        output.table(
            ("login", "name", "email", "role", "state", "last seen"),
            [
                (
                    user.login,
                    user.name,
                    user.email,
                    "administrator" if user.is_admin else "member",
                    "disabled" if user.disabled else "active",
                    output.ago(user.last_seen),
                )
                for user in people
            ],
        )
    else:
        output.say(
            "there is nobody yet: `fossilrepo user create LOGIN --admin`, or the set-up link"
        )


@app.command()
def disable(login: Login, as_json: AsJson = False) -> None:
    """Lock a person out everywhere, at once."""
    _set_disabled(login, True, as_json)


@app.command()
def enable(login: Login, as_json: AsJson = False) -> None:
    """Let a person in again.

    The Fossil passwords of the person are new ones.
    """
    _set_disabled(login, False, as_json)


def _run(step: Callable[[Services], Awaitable[object]]) -> None:
    async def work(services: Services) -> None:
        await step(services)

    context.run(work)


def _set_disabled(login: str, disabled: bool, as_json: bool) -> None:
    async def work(services: Services) -> User:
        await services.accounts.set_disabled(ACTOR, login, disabled)
        return await services.accounts.user(login)

    after = described(context.run(work))
    output.result(after, as_json, f"{'disabled' if disabled else 'enabled'} {login}")


@app.command()
def password(login: Login, password_stdin: PasswordStdin = False, as_json: AsJson = False) -> None:
    """Set a person's password for the site.

    Asked for on a terminal, or by --password-stdin or FOSSILREPO_PASSWORD. Signs
    the person out everywhere.
    """
    _run(lambda services: services.accounts.user(login))  # before anything is typed
    new = ask.new_password(password_stdin, output.clean(login))
    if not new:
        raise ask.no_password(login)

    _run(lambda services: services.accounts.set_password(ACTOR, login, new))
    output.result(
        {"login": login, "password_set": True}, as_json, f"set the password of {login} for the site"
    )


@app.command("sync-password")
def sync_password(
    login: Login,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The repository's name.")],
    as_json: AsJson = False,
) -> None:
    """Print a person's password for one repository.

    It is what the person types in Fossil there; nothing else is printed.
    """

    async def work(services: Services) -> str:
        repository = await services.repos.get(ACTOR, name)
        return await services.opening.password(ACTOR, login, repository)

    word = context.run(work)
    output.result({"login": login, "repository": name, "password": word}, as_json, word)


@app.command()
def rotate(login: Login, as_json: AsJson = False) -> None:
    """Renew a person's Fossil passwords.

    In every repository; the old ones end at once.
    """
    _run(lambda services: services.accounts.rotate(ACTOR, login))
    output.result(
        {"login": login, "rotated": True},
        as_json,
        f"renewed the Fossil passwords of {login}: `fossilrepo user sync-password {login} NAME`",
    )
