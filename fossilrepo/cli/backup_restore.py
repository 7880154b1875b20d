"""`backup restore`, `backup compare`, `backup undo`: a moment of the past, back again.

Owns the choice of where it goes, and the question before anything is replaced. What
is done, and what of people and settings comes back, is the services'.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fossilrepo.cli import ask, backup_words, context, output
from fossilrepo.cli.backup_words import At
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Name, Yes
from fossilrepo.cli.progress import done
from fossilrepo.errors import Conflict, InvalidInput, NotFound
from fossilrepo.models import CONTROL_ID, RepositoryState, check_name
from fossilrepo.wording import plural, size

if TYPE_CHECKING:
    from fossilrepo.services import Services

Document = dict[str, Any]
NO_PLACE = "where to restore to was not given"
WHERE = "give one of --as NEW, --in-place and --to FILE"


def restore(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Its name, or the identity of a deleted one."),
    ] = None,
    at: At = "",
    new_name: Annotated[
        str | None, typer.Option("--as", metavar="NEW", help="As a new repository of this name.")
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Instead of what it holds now; can be undone.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="To a file that is not there yet.")
    ] = None,
    is_control: Annotated[
        bool, typer.Option("--control", help="The control database, with --to.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Bring back a moment of a repository.

    As a new repository, in place of what it holds now, or to a file. Without --at
    the newest moment that the replica has.
    """
    if is_control:
        _check_control(name, new_name, in_place)
    elif name is None:
        raise InvalidInput(
            "no repository was named",
            hint="give its name, or the identity that `fossilrepo backup deleted` shows",
        )
    chosen = sum((new_name is not None, in_place, file is not None))
    if chosen != 1:
        given = "more than one place to restore to was given" if chosen else NO_PLACE
        raise InvalidInput(given, hint="give --to FILE" if is_control else WHERE)
    backup_words.check_moment(at)
    if file is not None:
        _to_file(CONTROL_ID if is_control else str(name), at, file, as_json)
    elif new_name is not None:
        _as_new(str(name), at, check_name(new_name), as_json)
    else:
        _in_place(str(name), at, yes, as_json)


def _check_control(name: str | None, new_name: str | None, in_place: bool) -> None:
    if name is not None:
        raise InvalidInput(
            "--control is the control database, and a repository is named too",
            hint="leave one of them out",
        )
    if new_name is not None or in_place:
        raise InvalidInput(
            "the control database can only be restored to a file", hint="give --to FILE"
        )


def _to_file(subject: str, at: str, file: Path, as_json: bool) -> None:
    is_control = subject == CONTROL_ID
    called = "the control database" if is_control else output.clean(subject)

    async def work(services: Services) -> None:
        if is_control:
            job = await services.restores.control_to_file(ACTOR, at, file)
        else:
            job = await services.restores.to_file(ACTOR, subject, at, file)
        await done(services, job, f"restoring {called}")

    context.run(work)
    count = file.stat().st_size
    output.result(
        {"name": subject, "file": str(file), "size_bytes": count},
        as_json,
        f"restored {called} to {output.clean(file)} ({size(count)})",
    )
    if is_control:
        output.note(
            "everybody's password hashes are in it: guard it well. To use it: stop fossilrepo, "
            f"put it in the place of {output.clean(context.settings().database_file)} "
            "without the -wal and -shm beside that, and start again"
        )


def _as_new(subject: str, at: str, new_name: str, as_json: bool) -> None:
    async def work(services: Services) -> Document:
        job = await services.restores.as_new(ACTOR, subject, at, new_name)
        await done(services, job, f"restoring {output.clean(subject)} as {new_name}")
        return services.repos.describe(await services.repos.get(ACTOR, new_name))

    made = context.run(work)
    count = plural(made["checkins"], "check-in")
    output.result(
        made, as_json, f"restored {output.clean(subject)} as {new_name}: {count}, {made['url']}"
    )


def _in_place(name: str, at: str, yes: bool, as_json: bool) -> None:
    found = context.run(lambda services: _difference(services, name, at))
    if found is None:
        output.note(f"{output.clean(name)} is broken now: nothing can be compared with it")
    else:
        for line in backup_words.difference_lines(found):
            output.note(line)
        at = found["at"] or ""  # the same moment, also when "5m ago" has moved on
    ask.confirm(f"replace what {output.clean(name)} holds now?", yes)

    async def work(services: Services) -> Document:
        job = await services.restores.in_place(ACTOR, name, at)
        await done(services, job, f"restoring {output.clean(name)}")
        return services.repos.describe(await services.repos.get(ACTOR, name))

    after = context.run(work)
    back = f"fossilrepo backup undo {name}"
    count = plural(after["checkins"], "check-in")
    output.result(
        after | {"difference": found},
        as_json,
        f"restored {name}: it has {count} now; `{back}` brings back what it had",
    )


async def _difference(services: Services, name: str, at: str) -> Document | None:
    """What would change; None when the repository is broken, so that nobody can say."""
    try:
        return backup_words.difference(await services.restores.preview_in_place(ACTOR, name, at))
    except Conflict:
        if await _is_broken(services, name):
            return None
        raise


async def _is_broken(services: Services, name: str) -> bool:
    with suppress(NotFound):  # an identity of something deleted
        return (await services.repos.get(ACTOR, name)).state is RepositoryState.BROKEN
    return False


def compare(name: Name, at: At = "", as_json: AsJson = False) -> None:
    """Say what restoring in place would change; nothing is changed."""
    backup_words.check_moment(at)

    async def work(services: Services) -> Document:
        return backup_words.difference(await services.restores.preview_in_place(ACTOR, name, at))

    found = context.run(work)
    if as_json:
        output.document(found)
        return
    for line in backup_words.difference_lines(found):
        output.say(line)


def undo(name: Name, yes: Yes = False, as_json: AsJson = False) -> None:
    """Take back the last restore in place.

    The repository holds again what it held before it. An undo can be undone.
    """
    ask.confirm(f"bring back what {output.clean(name)} held before the last restore?", yes)

    async def work(services: Services) -> Document:
        job = await services.restores.undo(ACTOR, name)
        await done(services, job, f"undoing the restore of {output.clean(name)}")
        return services.repos.describe(await services.repos.get(ACTOR, name))

    after = context.run(work)
    count = plural(after["checkins"], "check-in")
    output.result(after, as_json, f"undone: {name} has {count} again")
