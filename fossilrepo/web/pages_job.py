"""How far a job is, and how it ended.

Owns one page that renews itself: with scripts in place, without them whole.
"""

from __future__ import annotations

from aiohttp import web

from fossilrepo.errors import NotFound
from fossilrepo.models import Job, JobState
from fossilrepo.web import render
from fossilrepo.web.visit import Route, Visit, Who


async def show(visit: Visit) -> web.StreamResponse:
    job = await find(visit)
    target = await _name_of(visit, job) if job.state is JobState.DONE else ""
    template = "piece_job.html" if visit.is_htmx else "job.html"
    return render.page(visit, template, job=job, target=target)


async def find(visit: Visit) -> Job:
    """The job of the path, for administrators and for whoever asked for it."""
    job = await visit.services.jobs.get(visit.path("id"))
    if not visit.actor.is_admin and job.requested_by != visit.actor.login:
        raise NotFound(f"there is no job {job.id}")
    return job


async def _name_of(visit: Visit, job: Job) -> str:
    """The repository that the job made, if it is still there under that name."""
    try:
        return (await visit.services.repos.get(visit.reader, job.subject)).label
    except NotFound:
        return ""


ROUTES = (Route("GET", "/jobs/{id}", Who.SIGNED_IN, show),)
