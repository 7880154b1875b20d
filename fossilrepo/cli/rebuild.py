"""`backup rebuild` and `backup drill`: a whole host back from its replica, and the rehearsal.

Owns the options, the progress lines and the report in words. The drill is the same
rebuild into a scratch folder, with a record kept and the folder removed.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from fossilrepo.cli import context, output
from fossilrepo.cli.options import AsJson
from fossilrepo.errors import Conflict, InvalidInput
from fossilrepo.models import now
from fossilrepo.wording import plural, size

if TYPE_CHECKING:
    from fossilrepo.config import Settings
    from fossilrepo.services.rebuild_report import Report

KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", metavar="FILE", help="The copy of secret.key that you kept."),
]
Workers = Annotated[
    int, typer.Option("--workers", min=1, max=64, help="Repositories at the same time.")
]
WithoutControl = Annotated[
    bool,
    typer.Option("--without-control", help="Leave the control database out: nobody has an account"),
]
T = TypeVar("T")
GO_ON = "start it again: it goes on where it was"


def rebuild(
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="URL",
            help="file:///FOLDER or s3://BUCKET/PREFIX?endpoint=…&region=…; "
            "keys as for backup.url.",
        ),
    ],
    key_file: KeyFile = None,
    workers: Workers = 4,
    without_control: WithoutControl = False,
    as_json: AsJson = False,
) -> None:
    """Bring a whole host back from its replica, into an empty data folder.

    Interrupted, it goes on where it was when started again. Exit code 1 when anything
    could not be brought back.
    """
    settings = context.settings()
    report = run(rebuilt(settings, settings, source, key_file, workers, not without_control))
    show(report, as_json)


def drill(
    folder: Annotated[
        Path, typer.Option("--into", metavar="DIR", help="An empty folder, not in the data folder.")
    ],
    source: Annotated[
        str, typer.Option("--from", metavar="URL", help="By default backup.url.")
    ] = "",
    key_file: KeyFile = None,
    workers: Workers = 4,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the rebuilt folder there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Rehearse a rebuild: everything from the replica into a scratch folder, checked.

    The record is kept in the data folder's logs, the folder is removed. The host may run.
    """
    settings = context.settings()
    place = folder.expanduser().absolute()
    _check_apart(place, settings.data)
    existed = place.exists()
    scratch = settings.model_copy(
        update={
            "data_dir": str(place),
            "database": type(settings.database)(),
            "backup": type(settings.backup)(),
        }
    )
    given = key_file or (settings.key_file if settings.key_file.is_file() else None)
    asked = source or settings.backup.url
    try:
        report = run(rebuilt(settings, scratch, asked, given, workers, True))
        _keep_record(settings, report)
    finally:
        if not keep:
            _clear(place, existed)
    show(report, as_json)


def _clear(place: Path, existed: bool) -> None:
    if not place.exists():
        return
    for entry in place.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    if not existed:
        place.rmdir()


def _check_apart(place: Path, data: Path) -> None:
    if place.resolve().is_relative_to(data.resolve()) or data.resolve().is_relative_to(
        place.resolve()
    ):
        raise InvalidInput(
            "the folder and the data folder lie in each other",
            hint="choose a folder elsewhere, with room for all repositories",
            field="into",
        )
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise Conflict(f"{place} is not an empty folder", hint="choose another one")


async def rebuilt(
    settings: Settings,
    into: Settings,
    source: str,
    key_file: Path | None,
    workers: int,
    use_control: bool,
) -> Report:
    from fossilrepo.services.rebuild import Wish, rebuild_from

    wish = Wish(key_file, workers, use_control)
    return await rebuild_from(settings, into, source, wish, say)


def say(text: str) -> None:
    output.note(output.clean(text))


def run(work: Coroutine[Any, Any, T]) -> T:
    """What it gives; a signal ends it in order, and the next run goes on."""
    ended_by: list[signal.Signals] = []

    async def inside() -> T:
        context.imports_are_over()
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None  # noqa: S101 - we are inside one

        def end(number: signal.Signals) -> None:
            if not ended_by:
                ended_by.append(number)
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, end, number)
        return await work

    try:
        return asyncio.run(inside())
    except (asyncio.CancelledError, KeyboardInterrupt):
        interrupted = context.Interrupted(ended_by[0] if ended_by else signal.SIGINT)
        interrupted.hint = GO_ON
        raise interrupted from None


def _keep_record(settings: Settings, report: Report) -> None:
    """Beside the host's own logs, where the next person looks for it."""
    from fossilrepo.services.rebuild_ground import keep_record

    path = keep_record(settings, f"drill-{now():%Y%m%dT%H%M%SZ}", report.as_dict())
    output.note(f"the record is {path}")


def show(report: Report, as_json: bool) -> None:
    if as_json:
        output.document(report.as_dict())
    else:
        for line in lines(report):
            output.say(output.clean(line))
        _table(report)
    if not report.ok:
        raise typer.Exit(1)


def _table(report: Report) -> None:
    rows = [
        (
            one.name or one.id,
            str(one.result) if one.is_back else f"{one.result}: {one.reason}",
            one.state,
            size(one.size_bytes),
            one.checkins,
            f"{one.seconds:.1f} s",
            one.moment.isoformat(timespec="seconds") if one.moment else "",
        )
        for one in report.repositories
    ]
    if rows:
        output.say()
        headers = ("name", "result", "state", "size", "check-ins", "took", "newest change (UTC)")
        output.table(headers, rows)


def lines(report: Report) -> list[str]:
    """The report in words, without the table."""
    back = [one for one in report.repositories if one.is_back]
    total = plural(len(report.repositories), "repository")
    bytes_back = size(sum(one.size_bytes for one in back))
    said = [
        f"{len(back)} of {total} brought back from {report.url} in {report.seconds:.1f} s "
        f"({bytes_back})",
        f"control database: {report.control_database}"
        + (
            f", as of {report.control_moment:%Y-%m-%d %H:%M:%S} UTC"
            if report.control_moment
            else ""
        )
        + f"; {report.people} "
        + ("person" if report.people == 1 else "people"),
        _key_words(report),
        *report.notes,
    ]
    if report.purged:
        said.append(f"not brought back, because it was purged: {report.purged}")
    return said


def _key_words(report: Report) -> str:
    words = {
        "given": "the given key is in use",
        "kept": "the key that lay in the data folder is in use",
        "new": "a new key was made: keep a copy of secret.key elsewhere",
    }[str(report.key)]
    if not report.renewed:
        return words
    return (
        f"{words}; new Fossil passwords for {', '.join(report.renewed)}: "
        "`fossilrepo user sync-password LOGIN NAME` shows them"
    )
