"""`repo …`: make, list, show, change, archive, delete and export repositories.

Owns the form for people; what is allowed is decided by the services. Ways in
from elsewhere are in `imports`, what was deleted in `trash`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fossilrepo.cli import ask, context, options, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Name, Private, Seen, Title, Yes
from fossilrepo.errors import InvalidInput
from fossilrepo.models import DropIn, Repository, iso
from fossilrepo.wording import size

if TYPE_CHECKING:
    from fossilrepo.services import Services

PAGE = 500  # repositories that are asked for at once
SHOWN_CHECKINS = 5
Described = dict[str, Any]
Row = tuple[str, ...]
Change = Callable[["Services"], Coroutine[Any, Any, Repository]]

app = options.group("Repositories: make, import, list, change, delete, export.")


class Sort(StrEnum):
    NAME = "name"
    CHANGE = "change"
    SIZE = "size"


def changed(change: Change) -> Described:
    """The repository after `change`, in the JSON form of `repo show`."""

    async def work(services: Services) -> Described:
        return services.repos.describe(await change(services))

    return context.run(work)


@app.command()
def create(
    name: Name,
    title: Title = "",
    description: Annotated[str, typer.Option(help="A sentence or two.")] = "",
    org: Annotated[str, typer.Option(help="The organization that owns it.")] = "",
    private: Private = False,
    seen: Seen = None,
    as_json: AsJson = False,
) -> None:
    """Make a new, empty repository."""
    chosen = options.visibility(private, seen)
    made = changed(
        lambda services: services.repos.create(
            ACTOR, name, title=title, description=description, org=org, visibility=chosen
        )
    )
    output.result(made, as_json, f"created {name}: {made['clone_command']}")


# Looking


@app.command("list")
def list_(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORD", help="Only with all these words.")
    ] = None,
    sort: Annotated[Sort, typer.Option(help="By what.")] = Sort.NAME,
    as_json: AsJson = False,
) -> None:
    """List repositories.

    Below them: files in the folder that wait to become one, or cannot, and why.
    """

    async def work(services: Services) -> tuple[list[Described], list[DropIn]]:
        found: list[Repository] = []
        total = 1
        while len(found) < total:
            page = await services.repos.search(
                ACTOR, " ".join(words or []), sort=sort, offset=len(found), limit=PAGE
            )
            found += page.repositories
            total = page.total if page.repositories else 0
        dropped = [] if words else await services.repos.drop_ins()
        mirrors = await services.mirrors.described(ACTOR)
        shown = [services.repos.describe(r) | {"mirrors": mirrors.get(r.id, [])} for r in found]
        return shown, dropped

    found, dropped = context.run(work)
    if as_json:
        output.document(found + [_waiting(file) for file in dropped])
    elif found or dropped:
        _show_list(found, dropped)
    else:
        output.say("there is no such repository" if words else NOTHING_YET)


NOTHING_YET = "there is no repository yet: make one with `fossilrepo repo create NAME`"


def _waiting(file: DropIn) -> Described:
    """A dropped-in file in the form of a repository: without an id, with the reason."""
    return {
        "id": None,
        "name": file.filename.removesuffix(".fossil"),
        "filename": file.filename,
        "state": file.state,
        "reason": file.reason,
        "seen_at": iso(file.seen_at),
    }


def _show_list(found: list[Described], dropped: list[DropIn]) -> None:
    if found:
        output.table(
            ("name", "title", "state", "visibility", "size", "last change"),
            [
                (
                    r["name"],
                    r["title"],
                    r["state"],
                    r["visibility"],
                    size(r["size_bytes"]),
                    output.ago(r["last_change"]),
                )
                for r in found
            ],
        )
    reasons = [(f"{r['name']}.fossil", r["state"], r["reason"]) for r in found if r["reason"]]
    reasons += [(file.filename, file.state, file.reason) for file in dropped]
    if reasons:
        if found:
            output.say()
        output.table(("file", "state", "reason"), reasons)


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show one repository.

    Addresses, size, the people it brought along, what was taken out of it, and
    its last check-ins.
    """

    async def work(services: Services) -> tuple[Described, list[Row]]:
        repository = await services.repos.get(ACTOR, name)
        shown = services.repos.describe(repository)
        if repository.name is not None:
            mirrors = await services.mirrors.described(ACTOR, repository.name)
            shown["mirrors"] = mirrors.get(repository.id, [])
        shown["native_users"] = await services.repos.native_users(repository)
        shown["kept_aside"] = sorted(await services.repos.kept_aside(repository))
        checkins = await services.repos.checkins(repository, SHOWN_CHECKINS)
        return shown, [
            (c.hash[:10], output.ago(c.at), c.user, c.branch, c.comment) for c in checkins
        ]

    shown, checkins = context.run(work)
    if as_json:
        output.document(shown)
    else:
        _show_one(shown, checkins)


def _show_one(shown: Described, checkins: list[Row]) -> None:
    output.say(output.clean(" - ".join(filter(None, (shown["name"], shown["title"])))))
    natives = [f"{login} ({may or 'nothing'})" for login, may in shown["native_users"].items()]
    output.pairs(
        {
            "description": shown["description"],
            "state": shown["state"],
            "reason": shown["reason"],
            "visibility": shown["visibility"],
            "organization": shown["org"],
            "size": size(shown["size_bytes"]),
            "check-ins": shown["checkins"],
            "last change": output.ago(shown["last_change"]),
            "page": shown["url"],
            "clone": shown["clone_command"],
            "own users": ", ".join(natives),
            "taken out": ", ".join(shown["removed"]),
            "kept aside": ", ".join(shown["kept_aside"]),
            "identity": shown["id"],
        }
    )
    if checkins:
        output.say()
        output.table(("check-in", "when", "who", "branch", "comment"), checkins)


# Changing


@app.command()
def configure(
    name: Name,
    title: Annotated[str | None, typer.Option(help="One line that people see.")] = None,
    description: Annotated[str | None, typer.Option(help="A sentence or two.")] = None,
    org: Annotated[str | None, typer.Option(help="The organization that owns it.")] = None,
    seen: Seen = None,
    as_json: AsJson = False,
) -> None:
    """Change title, description or visibility.

    What is not given stays as it is.
    """
    if (title, description, org, seen) == (None,) * 4:
        raise InvalidInput(
            "nothing to change was given",
            hint="give --title, --description, --visibility or --org",
        )
    after = changed(
        lambda services: services.repos.configure(
            ACTOR, name, title=title, description=description, visibility=seen, org=org
        )
    )
    output.result(after, as_json, f"changed {name}")


@app.command()
def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The name now.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name from now on.")],
    as_json: AsJson = False,
) -> None:
    """Give a repository another name.

    The old address ends at once; clones in flight end well.
    """
    after = changed(lambda services: services.repos.rename(ACTOR, old, new))
    output.result(after, as_json, f"renamed {old} to {new}: {after['url']}")


@app.command()
def archive(name: Name, as_json: AsJson = False) -> None:
    """Make a repository read-only.

    Who could read and clone still can; nobody can write.
    """
    after = changed(lambda services: services.repos.archive(ACTOR, name))
    output.result(after, as_json, f"archived {name}: it can be read, and not written")


@app.command()
def unarchive(name: Name, as_json: AsJson = False) -> None:
    """Make an archived repository writable again."""
    after = changed(lambda services: services.repos.unarchive(ACTOR, name))
    output.result(after, as_json, f"unarchived {name}: it can be written again")


@app.command()
def delete(name: Name, yes: Yes = False, as_json: AsJson = False) -> None:
    """Move a repository to the trash.

    It is not served any more and its name is free; nothing of it is lost.
    """
    ask.confirm(f"move {output.clean(name)} to the trash?", yes)
    after = changed(lambda services: services.repos.delete(ACTOR, name))
    back = f"fossilrepo repo trash restore {after['id']}"
    output.result(after, as_json, f"deleted {name}; it comes back with `{back}`")


@app.command()
def export(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file.")],
    with_users: Annotated[
        bool, typer.Option("--with-users", help="With password hashes and e-mail addresses.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy a live repository to a new file.

    The copy is consistent, and has no passwords, cookies and e-mail addresses
    of people in it unless --with-users asks for them.
    """

    async def work(services: Services) -> None:
        await services.repos.export(ACTOR, name, file, with_users=with_users)

    context.run(work)
    count = file.stat().st_size
    people = "its passwords are in it: guard it well" if with_users else "without passwords"
    text = f"exported {name} to {output.clean(file)} ({size(count)}, {people})"
    written = {"name": name, "file": str(file), "size_bytes": count, "with_users": with_users}
    output.result(written, as_json, text)


@app.command()
def elevate(
    name: Name,
    login: Annotated[
        str, typer.Option("--login", metavar="LOGIN", help="Which administrator of the site.")
    ] = "",
    end: Annotated[bool, typer.Option("--end", help="Take it back now.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give an administrator of the site Fossil's setup right, for 15 minutes.

    For the pages below Admin in the repository; what runs commands stays
    switched off. Both the beginning and the end are in the audit log.
    """

    async def work(services: Services) -> tuple[str, datetime | None]:
        who = login or await _only_admin(services)
        if end:
            await services.elevation.end(ACTOR, name, who)
            return who, None
        return who, await services.elevation.elevate(ACTOR, name, who)

    who, until = context.run(work)
    text = f"{who} may set up {name} no more"
    if until is not None:
        text = f"{who} may set up {name} until {iso(until)}"
    output.result({"name": name, "login": who, "until": iso(until)}, as_json, text)


async def _only_admin(services: Services) -> str:
    people = await services.accounts.users()
    admins = [user.login for user in people if user.is_admin and not user.disabled]
    if len(admins) != 1:
        raise InvalidInput("say for whom", hint="add --login LOGIN", field="login")
    return admins[0]
