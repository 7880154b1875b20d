"""`repo import`: a repository from a file, from another Fossil, or from Git.

Owns the choice between the three, where credentials come from, and how the
work's progress is shown. The work itself is a job of the services.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from fossilrepo.cli import ask, context, options, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Name, PasswordStdin, Private, Seen, Title
from fossilrepo.cli.progress import progress
from fossilrepo.errors import FossilrepoError, InvalidInput
from fossilrepo.models import Job, JobState, check_name
from fossilrepo.wording import plural, size

if TYPE_CHECKING:
    from fossilrepo.services import Services


def import_(
    name: Name,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="A .fossil file of this machine.")
    ] = None,
    clone: Annotated[
        str | None, typer.Option("--clone", metavar="URL", help="A Fossil on another server.")
    ] = None,
    git: Annotated[
        str | None,
        typer.Option("--git", metavar="DIR-or-URL", help="A Git repository, here or elsewhere."),
    ] = None,
    title: Title = "",
    org: Annotated[str, typer.Option(help="The organization that owns it.")] = "",
    private: Private = False,
    seen: Seen = None,
    login: Annotated[str, typer.Option(help="With --clone: your login there.")] = "",
    follow: Annotated[
        bool | None,
        typer.Option("--follow/--no-follow", help="With --clone: pull what is new there, later."),
    ] = None,
    password_stdin: PasswordStdin = False,
    token_stdin: Annotated[
        bool,
        typer.Option("--token-stdin", help="With --git: read an access token from standard input."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a repository from something that exists.

    Exactly one of --file, --clone and --git says from what. Credentials of the
    other side are never arguments: a password is asked for, or comes by
    --password-stdin or FOSSILREPO_PASSWORD; a Git token by --token-stdin or
    FOSSILREPO_TOKEN.
    """
    if sum(source is not None for source in (file, clone, git)) != 1:
        raise InvalidInput(
            "an import has exactly one source", hint="give one of --file, --clone and --git"
        )
    if clone is None and (login or password_stdin):
        raise InvalidInput("--login and --password-stdin belong to --clone")
    if clone is None and follow:
        raise InvalidInput("--follow belongs to --clone")
    if git is None and token_stdin:
        raise InvalidInput("--token-stdin belongs to --git")
    if password_stdin and not login:
        raise InvalidInput("--password-stdin needs --login", hint="say whose password it is")
    check_name(name)  # before anything is typed
    _refuse_secret(clone or git or "")
    chosen = options.visibility(private, seen)
    kept: dict[str, Any] = {"title": title, "visibility": chosen, "org": org}
    password = ask.password(password_stdin, login) if login else ""
    token = ask.token(token_stdin) if git is not None else ""
    follows = bool(clone) and ask.asked(f"Pull what is new at {output.clean(clone)} later?", follow)

    async def start(services: Services) -> Job:
        if file is not None:
            return await services.imports.file(ACTOR, name, file, **kept)
        if clone is not None:
            return await services.imports.clone(
                ACTOR, name, clone, login=login, password=password, follow=follows, **kept
            )
        return await services.imports.git(ACTOR, name, git or "", token=token, **kept)

    async def work(services: Services) -> dict[str, Any]:
        job = await start(services)
        with progress(f"importing {output.clean(name)}") as show:
            ended = await services.jobs.wait(job.id, show)
        if ended.state is not JobState.DONE:
            raise FossilrepoError(
                ended.error or f"the import is {ended.state}",
                hint=ended.hint or output.where_the_log_is(),
            )
        return services.repos.describe(await services.repos.get(ACTOR, name))

    made = context.run(work)
    output.result(made, as_json, _told(made))


def _told(made: dict[str, Any]) -> str:
    checkins = plural(made["checkins"], "check-in")
    told = f"imported {made['name']}: {checkins}, {size(made['size_bytes'])}"
    if made["removed"]:
        told += f"; taken out: {output.clean(', '.join(made['removed']))}"
    if any(name.startswith("email-send-") for name in made["removed"]):
        told += "\nits mail notifications are not carried over; webhooks and feeds tell of the same"
    return told


def _refuse_secret(address: str) -> None:
    """A password in an address is in the shell's history and in the list of processes."""
    try:
        has_password = urlsplit(address).password is not None
    except ValueError:
        return  # the import itself says what is wrong with it
    if has_password:
        raise InvalidInput(
            "the address has a password in it, which others on this machine can see",
            hint="leave it out; use --login, with --git --token-stdin",
        )
