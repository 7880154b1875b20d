"""How the progress of a job is shown: a bar on a terminal, plain lines elsewhere.

Owns the two forms, which both go to stderr, so that stdout has the result alone,
and the waiting for a job's end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fossilrepo.cli import output
from fossilrepo.errors import FossilrepoError
from fossilrepo.models import Job, JobState

if TYPE_CHECKING:
    from fossilrepo.services import Services


async def done(services: Services, job: Job, title: str) -> Job:
    """The job once it is done, shown meanwhile; FossilrepoError with its words when it failed."""
    with progress(title) as show:
        ended = await services.jobs.wait(job.id, show)
    if ended.state is not JobState.DONE:
        raise FossilrepoError(
            ended.error or f"the job is {ended.state}",
            hint=ended.hint or output.where_the_log_is(),
        )
    return ended


@contextmanager
def progress(title: str) -> Iterator[Callable[[Job], None]]:
    """A function to call with the job whenever its row has changed."""
    with _bar(title) if sys.stderr.isatty() else _lines(title) as show:
        yield show


@contextmanager
def _lines(title: str) -> Iterator[Callable[[Job], None]]:
    said = ""

    def show(job: Job) -> None:
        nonlocal said
        if job.progress and job.progress != said:
            said = job.progress
            output.note(f"{title}: {output.clean(said)}")

    yield show


@contextmanager
def _bar(title: str) -> Iterator[Callable[[Job], None]]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(escape(title), total=None)

        def show(job: Job) -> None:
            said = escape(f"{title}: {output.clean(job.progress)[:60]}")
            if job.fraction is None:
                bars.update(bar, description=said)
            else:
                bars.update(bar, description=said, total=1.0, completed=job.fraction)

        yield show
