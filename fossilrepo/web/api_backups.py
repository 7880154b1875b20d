"""The API of backups: how they stand, what there is to go back to, and back again.

Owns its rows of the table of calls and the JSON forms of what they give. `{name}` is a
repository's name; where something is only read or made anew, also the identity of one
that was deleted.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fossilrepo.errors import NotFound
from fossilrepo.models import Preview, VerificationRun
from fossilrepo.services import backup_report
from fossilrepo.web import api_backup_models as m
from fossilrepo.web.api_call import Call, job_answer
from fossilrepo.web.api_models import JobAnswer
from fossilrepo.web.downloads import DOWNLOADS
from fossilrepo.web.pages_job import file as job_file
from fossilrepo.web.visit import Visit, Who

_PER_PAGE, _MOST_PER_PAGE = 50, 1000


# How they stand


async def backup_status(visit: Visit, _body: None) -> object:
    targets = await visit.services.retention.targets()
    return backup_report.report(visit.services.replication, targets)


async def deleted(visit: Visit, _body: None) -> object:
    services = visit.services
    trashed = await services.repos.trash(visit.actor)
    keep = services.retention.keeps_for.total_seconds()
    found = backup_report.gone(services.replication, trashed, keep)
    return {"deleted": [backup_report.described_gone(one, services.replication) for one in found]}


async def verify(visit: Visit, body: m.Verify) -> object:
    return job_answer(visit, await visit.services.verification.verify(visit.actor, body.names))


async def verifications(visit: Visit, _body: None) -> object:
    limit = max(1, visit.number("limit", _PER_PAGE, _MOST_PER_PAGE))
    found = await visit.services.verification.history(visit.query("name"), limit)
    return {"verifications": [_run(run) for run in found]}


async def forecast(visit: Visit, _body: None) -> object:
    made = await visit.services.retention.forecast()
    return asdict(made) | {"bytes_per_day": made.bytes_per_day}


async def orphans(visit: Visit, _body: None) -> object:
    return {"orphans": [asdict(one) for one in await visit.services.retention.orphans()]}


async def let_go(visit: Visit, body: m.LetGo) -> object:
    text = visit.path("id")
    if not text.isascii() or not text.isdigit():
        raise NotFound(f"there is no target {text[:40]!r}", hint="see GET /backup")
    job = await visit.services.retention.let_go(
        visit.actor, int(text[:9]), leave_objects=body.leave_objects
    )
    return job_answer(visit, job)


# Back to a moment


async def points(visit: Visit, _body: None) -> object:
    found = await visit.services.restores.timeline(visit.actor, visit.path("name"))
    offset = visit.number("offset", 0, 1_000_000)
    limit = max(1, visit.number("limit", _PER_PAGE, _MOST_PER_PAGE))
    page = [asdict(point) for point in found.page(offset, limit)]
    undo = asdict(found.undo) if found.undo else None
    if undo:
        del undo["file"]
    return {
        "repository_id": found.repository_id,
        "label": found.label,
        "total": len(found.points),
        "promise": found.promise,
        "knows_pushes": found.knows_pushes,
        "points": page,
        "undo": undo,
    }


async def compare(visit: Visit, _body: None) -> object:
    name, at = visit.path("name"), visit.query("at")
    return asdict(await visit.services.restores.preview_in_place(visit.actor, name, at))


async def restore_moment(visit: Visit, body: m.Restore) -> object:
    restores, name = visit.services.restores, visit.path("name")
    if body.in_place:
        job = await restores.in_place(visit.actor, name, body.at)
    else:
        job = await restores.as_new(visit.actor, name, body.at, body.new_name or "")
    return job_answer(visit, job)


async def restore_file(visit: Visit, body: m.Moment) -> object:
    restores, name = visit.services.restores, visit.path("name")
    job = await visit.request.app[DOWNLOADS].made_by(
        lambda path: restores.to_file(visit.actor, name, body.at, path), f"{name}.fossil"
    )
    return job_answer(visit, job)


async def made_file(visit: Visit, _body: None) -> object:
    return await job_file(visit)


async def undo(visit: Visit, _body: None) -> object:
    return job_answer(visit, await visit.services.restores.undo(visit.actor, visit.path("name")))


async def preview(visit: Visit, body: m.Moment) -> object:
    name = visit.path("name")
    return job_answer(visit, await visit.services.previews.open(visit.actor, name, body.at))


async def previews(visit: Visit, _body: None) -> object:
    found = await visit.services.previews.list(visit.actor)
    return {"previews": [_preview(visit, one) for one in found]}


async def close_preview(visit: Visit, _body: None) -> object:
    await visit.services.previews.close(visit.actor, visit.path("preview"))
    return None


def _run(run: VerificationRun) -> dict[str, Any]:
    return {**asdict(run), "name": run.label or run.repository_id}


def _preview(visit: Visit, one: Preview) -> dict[str, Any]:
    return {**asdict(one), "url": visit.services.links.repo_url(one.name)}


_ONE = "/repositories/{name}/backup"
_ADMIN, _IN, _JOB = Who.ADMIN, Who.SIGNED_IN, JobAnswer
CALLS = (
    Call("GET", "/backup", _ADMIN, backup_status, "How the replicas stand", answer=m.Backup),
    Call("GET", "/backup/deleted", _ADMIN, deleted, "What can come back", answer=m.Deleted),
    Call("POST", "/backup/verify", _ADMIN, verify, "Restore on trial now", m.Verify, _JOB, 202),
    Call(
        "GET",
        "/backup/verifications",
        _ADMIN,
        verifications,
        "Trial restores, newest first",
        answer=m.Verifications,
        query=("name", "limit"),
    ),
    Call("GET", "/backup/forecast", _ADMIN, forecast, "Size and growth", answer=m.Forecast),
    Call("GET", "/backup/orphans", _ADMIN, orphans, "What nothing owns", answer=m.Orphans),
    Call(
        "POST",
        "/backup/targets/{id}/let-go",
        _ADMIN,
        let_go,
        "End an earlier place of replicas",
        m.LetGo,
        _JOB,
        202,
    ),
    Call("GET", "/backup/previews", _IN, previews, "Open previews", answer=m.Previews),
    Call(
        "DELETE",
        "/backup/previews/{preview}",
        _IN,
        close_preview,
        "End a preview",
        status=204,
    ),
    Call("POST", _ONE + "/restore", _IN, restore_moment, "Back to a moment", m.Restore, _JOB, 202),
    Call(
        "GET",
        _ONE + "/points",
        _IN,
        points,
        "Moments that can be restored",
        answer=m.Points,
        query=("offset", "limit"),
    ),
    Call(
        "GET",
        _ONE + "/compare",
        _IN,
        compare,
        "What going back in place would change",
        answer=m.DifferenceAnswer,
        query=("at",),
    ),
    Call(
        "POST",
        _ONE + "/file",
        _IN,
        restore_file,
        "A moment as a file, by /jobs/{id}/file",
        m.Moment,
        _JOB,
        202,
    ),
    Call("POST", _ONE + "/undo", _IN, undo, "Undo the restore in place", None, _JOB, 202),
    Call("POST", _ONE + "/preview", _IN, preview, "Look at a moment", m.Moment, _JOB, 202),
    Call("GET", "/jobs/{id}/file", _IN, made_file, "The file that a job made", raw=True),
)
