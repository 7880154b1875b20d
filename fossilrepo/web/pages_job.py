"""How far a job is, and how it ended.

Owns one page that renews itself (with scripts in place, without them whole), where it
leads on from there, and the file that a job made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web

from fossilrepo.errors import NotFound
from fossilrepo.models import Job, JobState, is_preview_name
from fossilrepo.web import render
from fossilrepo.web.downloads import DOWNLOADS
from fossilrepo.web.visit import Route, Visit, Who

_IMPORTS = ("import", "clone")  # how the kinds of these jobs begin
_PREVIEW = re.compile(r"//([a-z0-9-]+--[a-z2-7]{6})\.")


@dataclass(frozen=True, slots=True)
class Way:
    """Where it goes on from a job that ended; the first one is what people want most."""

    label: str
    path: str
    here: bool = True  # a page of the site, not a file or another host


async def show(visit: Visit) -> web.StreamResponse:
    job = await find(visit)
    template = "piece_job.html" if visit.is_htmx else "job.html"
    return render.page(visit, template, job=job, ways=await _ways(visit, job))


async def file(visit: Visit) -> web.StreamResponse:
    """What the job made, as long as it is kept and its person may have it."""
    job = await find(visit)
    download = visit.request.app[DOWNLOADS].of(job.id)
    may = await visit.services.restores.may(visit.actor, job.repository_id or job.subject)
    if download is None or job.state is not JobState.DONE or not may:
        raise NotFound(
            f"job {job.id} has no file to take away",
            hint="files are kept for an hour after the job ended; restore it again",
        )
    return download.answer()


async def find(visit: Visit) -> Job:
    """The job of the path, for administrators and for whoever asked for it."""
    job = await visit.services.jobs.get(visit.path("id"))
    if not visit.actor.is_admin and job.requested_by != visit.actor.login:
        raise NotFound(f"there is no job {job.id}")
    return job


async def _ways(visit: Visit, job: Job) -> list[Way]:
    is_import = job.kind.startswith(_IMPORTS)
    if job.state in (JobState.FAILED, JobState.INTERRUPTED):
        if is_import:
            return [Way("Try again", "/repos/-/import")]
        return _backups(visit, await _name_of(visit, job))
    if job.state is not JobState.DONE:
        return []
    ways = []
    download = visit.request.app[DOWNLOADS].of(job.id)
    if download is not None:
        ways.append(Way(f"Download {download.filename}", f"/jobs/{job.id}/file", here=False))
    preview = _PREVIEW.search(job.progress)
    if preview and is_preview_name(preview[1]):
        url = visit.services.links.repo_url(preview[1])
        ways.append(Way("Open the preview", url, here=False))
    name = await _name_of(visit, job)
    if name:
        ways.append(Way(f"Open {name}", f"/repos/{name}"))
    return ways if is_import else ways + _backups(visit, name)


def _backups(visit: Visit, name: str) -> list[Way]:
    """Those of the repository; those of all are for who runs the site."""
    if name:
        return [Way("Backups", f"/repos/{name}/backups")]
    if visit.actor.is_admin:
        return [Way("Backups", "/backups")]
    return [Way("Repositories", "/repos")]


async def _name_of(visit: Visit, job: Job) -> str:
    """The name of the repository that the job made or is about, if it has one now."""
    repos = visit.services.repos
    try:
        if job.repository_id:
            return (await repos.by_identity(visit.reader, job.repository_id)).name or ""
        return (await repos.get(visit.reader, job.subject)).label
    except NotFound:
        return ""


ROUTES = (
    Route("GET", "/jobs/{id}", Who.SIGNED_IN, show),
    Route("GET", "/jobs/{id}/file", Who.SIGNED_IN, file),
)
