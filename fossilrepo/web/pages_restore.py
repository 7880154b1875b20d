"""One repository's past: its moments, and back to one of them.

Owns the same pages for a repository of a name and for one that is deleted, by identity;
what replaces the present is only for the first, after a look at what would change and
with the name typed. What is long ends in a job.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from fossilrepo.errors import FossilrepoError, NotFound
from fossilrepo.models import Preview, is_preview_name, now
from fossilrepo.services import backup_report
from fossilrepo.services.backup_report import Gone
from fossilrepo.services.difference import KINDS, Difference
from fossilrepo.services.moments import parse_moment
from fossilrepo.web import forms, render
from fossilrepo.web.downloads import DOWNLOADS
from fossilrepo.web.safety import Safety, safety
from fossilrepo.web.visit import Route, Visit, Who

PER_PAGE = 30
_TRIALS = 5
_LIVING, _GONE = "/repos/{name}/backups", "/backups/-/gone/{id}"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose past it is: `key` is the name of a living one, the identity of a deleted one."""

    key: str
    label: str
    id: str
    base: str
    gone: Gone | None = None
    safe: Safety | None = None
    previews: list[Preview] = field(default_factory=list)


async def _subject(visit: Visit) -> Subject:
    services = visit.services
    if "id" in visit.request.match_info:
        return await _deleted(visit, visit.path("id"))
    repository = await services.repos.administered(visit.actor, visit.path("name"))
    return Subject(
        key=repository.label,
        label=repository.label,
        id=repository.id,
        base=_LIVING.format(name=repository.label),
        safe=safety(services.replication, repository.id, tells_why=True),
        previews=await _previews(visit, repository.id),
    )


async def _previews(visit: Visit, identity: str) -> list[Preview]:
    found = await visit.services.previews.list(visit.actor)
    return [one for one in found if one.repository_id == identity]


async def _deleted(visit: Visit, identity: str) -> Subject:
    services = visit.services
    trashed = await services.repos.trash(visit.actor)
    keep = services.retention.keeps_for.total_seconds()
    for one in backup_report.gone(services.replication, trashed, keep):
        if one.id == identity:
            return Subject(
                key=one.id,
                label=one.label,
                id=one.id,
                base=_GONE.format(id=one.id),
                gone=one,
                previews=await _previews(visit, one.id),
            )
    raise NotFound(
        "no deleted repository of this identity can be brought back",
        hint="it may be back already, or its replica was kept long enough; see Backups",
    )


# Looking


async def timeline(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "repository_backups.html", **await _timeline(visit))


async def _timeline(visit: Visit, subject: Subject | None = None) -> dict[str, Any]:
    """The time line; when the replica cannot be asked now, the page says why."""
    subject = subject or await _subject(visit)
    services = visit.services
    found, failed = None, None
    try:
        found = await services.restores.timeline(visit.actor, subject.key)
    except FossilrepoError as error:
        failed = error
    count = len(found.points) if found else 0
    pages = max(1, -(-count // PER_PAGE))
    page = min(max(1, visit.number("page", 1, most=1_000_000)), pages)
    return {
        "subject": subject,
        "timeline": found,
        "points": found.page((page - 1) * PER_PAGE, PER_PAGE) if found else (),
        "failed": failed,
        "page": page,
        "pages": pages,
        "trials": await services.verification.history(subject.id, limit=_TRIALS),
        "standing": services.replication.standing(subject.id),
    }


async def moment(visit: Visit) -> web.StreamResponse:
    """What can be done with one moment."""
    subject, text = await _subject(visit), visit.query("at")
    try:
        chosen = parse_moment(text, now())
    except FossilrepoError as error:
        form = forms.Fields({"at": text})
        context = await _timeline(visit, subject)
        return render.again(visit, "repository_backups.html", error, form, **context)
    return render.page(visit, "repository_moment.html", subject=subject, at=text, moment=chosen)


async def in_place(visit: Visit) -> web.StreamResponse:
    """What going back would change, before anything does; restores to compare, so it may take."""
    subject, text = await _subject(visit), visit.query("at")
    difference, failed = None, None
    try:
        difference = await visit.services.restores.preview_in_place(visit.actor, subject.key, text)
    except FossilrepoError as error:
        failed = error
    return render.page(
        visit,
        "repository_in_place.html",
        status=failed.status if failed else 200,
        subject=subject,
        at=text,
        difference=difference,
        counts=_counts(difference),
        failed=failed,
    )


def _counts(difference: Difference | None) -> tuple[int, int]:
    """How many check-ins would go, and come back; the lists have only the newest."""
    for change in difference.changes if difference else ():
        if change.what == KINDS["ci"]:
            return change.gone, change.back
    return 0, 0


# Going back


async def as_new(visit: Visit) -> web.StreamResponse:
    form, subject = await forms.fields(visit), await _subject(visit)
    try:
        job = await visit.services.restores.as_new(
            visit.actor, subject.key, form["at"], form["name"]
        )
    except FossilrepoError as error:
        return _again(visit, error, form, subject)
    return render.see(f"/jobs/{job.id}")


async def to_file(visit: Visit) -> web.StreamResponse:
    form, subject = await forms.fields(visit), await _subject(visit)
    restores = visit.services.restores
    try:
        job = await visit.request.app[DOWNLOADS].made_by(
            lambda path: restores.to_file(visit.actor, subject.key, form["at"], path),
            f"{subject.label}.fossil",
        )
    except FossilrepoError as error:
        return _again(visit, error, form, subject)
    return render.see(f"/jobs/{job.id}")


async def preview(visit: Visit) -> web.StreamResponse:
    form, subject = await forms.fields(visit), await _subject(visit)
    try:
        job = await visit.services.previews.open(visit.actor, subject.key, form["at"])
    except FossilrepoError as error:
        return _again(visit, error, form, subject)
    return render.see(f"/jobs/{job.id}")


async def replace(visit: Visit) -> web.StreamResponse:
    form, subject = await forms.fields(visit), await _subject(visit)
    restores = visit.services.restores
    try:
        forms.confirmed(form, subject.label)
        job = await restores.in_place(visit.actor, subject.key, form["at"])
    except FossilrepoError as error:
        found = await restores.preview_in_place(visit.actor, subject.key, form["at"])
        return render.again(
            visit,
            "repository_in_place.html",
            error,
            form,
            subject=subject,
            at=form["at"],
            difference=found,
            counts=_counts(found),
            failed=None,
        )
    return render.see(f"/jobs/{job.id}")


async def undo(visit: Visit) -> web.StreamResponse:
    subject = await _subject(visit)
    try:
        job = await visit.services.restores.undo(visit.actor, subject.key)
    except FossilrepoError as error:
        context = await _timeline(visit, subject)
        return render.again(visit, "repository_backups.html", error, {}, **context)
    return render.see(f"/jobs/{job.id}")


def _again(
    visit: Visit, error: FossilrepoError, form: forms.Fields, subject: Subject
) -> web.StreamResponse:
    """The page of the moment once more; a moment that cannot be read has no page."""
    at = form["at"]
    try:
        chosen = parse_moment(at, now())
    except FossilrepoError:
        raise error from None
    return render.again(
        visit, "repository_moment.html", error, form, subject=subject, at=at, moment=chosen
    )


async def close_preview(visit: Visit) -> web.StreamResponse:
    name = visit.path("name")
    if not is_preview_name(name):
        raise NotFound("there is no such preview", hint="it may have ended by itself")
    await visit.services.previews.close(visit.actor, name)
    return render.see("/backups", "preview-ended")


ROUTES = (
    Route("GET", _LIVING, Who.SIGNED_IN, timeline),
    Route("GET", _LIVING + "/moment", Who.SIGNED_IN, moment),
    Route("GET", _LIVING + "/in-place", Who.SIGNED_IN, in_place),
    Route("POST", _LIVING + "/in-place", Who.SIGNED_IN, replace),
    Route("POST", _LIVING + "/new", Who.SIGNED_IN, as_new),
    Route("POST", _LIVING + "/file", Who.SIGNED_IN, to_file),
    Route("POST", _LIVING + "/preview", Who.SIGNED_IN, preview),
    Route("POST", _LIVING + "/undo", Who.SIGNED_IN, undo),
    Route("GET", _GONE, Who.SIGNED_IN, timeline),
    Route("GET", _GONE + "/moment", Who.SIGNED_IN, moment),
    Route("POST", _GONE + "/new", Who.SIGNED_IN, as_new),
    Route("POST", _GONE + "/file", Who.SIGNED_IN, to_file),
    Route("POST", "/backups/-/previews/{name}/close", Who.SIGNED_IN, close_preview),
)
