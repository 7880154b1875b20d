"""The backups of everything: where they are, how they stand, what they proved, what can come back.

Owns the overview and what is asked of all replicas at once. One repository's past is
`pages_restore`'s; what is long ends in a job, whose page shows how far it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from aiohttp import web

from fossilrepo.errors import FossilrepoError, NotFound
from fossilrepo.models import CONTROL_ID, BackupState, BackupTarget, Replica, now
from fossilrepo.services import backup_report
from fossilrepo.services.verification import MEND
from fossilrepo.web import forms, paging, render
from fossilrepo.web.paging import View
from fossilrepo.web.visit import Route, Visit, Who

SORTS = {"name": "Name", "state": "State", "proof": "Last proof"}
_TRIALS, _SHOWN_TROUBLE, _SHOWN_GONE = 10, 10, 50  # rows on the overview
_WORST = (
    BackupState.FAILING,
    BackupState.BEHIND,
    BackupState.UNKNOWN,
    BackupState.OFF,
    BackupState.CURRENT,
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with one replica or with many for the same reason, the worst first."""

    rows: tuple[Replica, ...]

    @property
    def first(self) -> Replica:
        return self.rows[0]

    @property
    def since(self) -> datetime | None:
        times = (row.behind_since or row.verify_at or row.since for row in self.rows)
        return min(filter(None, times), default=None)


async def overview(visit: Visit) -> web.StreamResponse:
    replication = visit.services.replication
    rows = [row for row in replication.statuses().values() if row.purged_at is None]
    control = next((row for row in rows if row.repository_id == CONTROL_ID), None)
    repositories = [row for row in rows if row.repository_id != CONTROL_ID]
    view, shown = _listed(visit, repositories)
    at = now()
    trouble = _trouble(rows)
    keep = visit.services.retention.keeps_for.total_seconds()
    trashed, trials, targets, previews = await asyncio.gather(
        visit.services.repos.trash(visit.actor),
        visit.services.verification.history(limit=_TRIALS),
        visit.services.retention.targets(),
        visit.services.previews.list(visit.actor),
    )
    gone = backup_report.gone(replication, trashed, keep)
    return render.page(
        visit,
        "backups.html",
        summary=replication.summary(),
        local_only=backup_report.LOCAL_ONLY,
        local_only_hint=backup_report.LOCAL_ONLY_HINT,
        counts={state: sum(row.state is state for row in repositories) for state in BackupState},
        all=len(repositories),
        proven=[row.proven_at for row in repositories if row.proven_at],
        mend=MEND,
        trouble=trouble[:_SHOWN_TROUBLE],
        more_trouble=max(0, len(trouble) - _SHOWN_TROUBLE),
        repositories=shown,
        view=view,
        sorts=SORTS,
        control=control,
        trashed={repository.id for repository in trashed},
        gone=gone[:_SHOWN_GONE],
        more_gone=max(0, len(gone) - _SHOWN_GONE),
        trials=trials,
        targets=targets,
        previews=previews,
        keep=keep,
        database_file=visit.services.settings.database_file,
        lag=lambda row: row.lag_s(at),
    )


def _listed(visit: Visit, rows: list[Replica]) -> tuple[View, list[Replica]]:
    sort = visit.query("sort") if visit.query("sort") in SORTS else "name"
    words = visit.query("q")[:200].strip()
    found = [r for r in rows if all(w in r.label.lower() for w in words.lower().split())]
    keys: dict[str, Callable[[Replica], Any]] = {
        "name": lambda row: (row.label or row.repository_id, row.repository_id),
        "state": _by_state,
        "proof": lambda row: (_stamp(row.proven_at), row.label),
    }
    found.sort(key=keys[sort])
    view = View("/backups", words, sort, 1, len(found), place="#list")
    page = min(max(1, visit.number("page", 1, most=1_000_000)), view.pages)
    view = replace(view, page=page)
    return view, found[(page - 1) * paging.PER_PAGE : page * paging.PER_PAGE]


def _trouble(rows: list[Replica]) -> list[Trouble]:
    """An outage of the place hits all of them at once: said once, with the names."""
    alike: dict[tuple[object, ...], list[Replica]] = {}
    for row in sorted((row for row in rows if _is_trouble(row)), key=_by_state):
        alike.setdefault((row.state, row.reason, row.verify_error), []).append(row)
    return [Trouble(tuple(found)) for found in alike.values()]


def _is_trouble(row: Replica) -> bool:
    late = (row.lag_s(now()) or 0.0) > backup_report.LATE_AFTER
    return row.state is BackupState.FAILING or late or bool(row.verify_error)


def _by_state(row: Replica) -> tuple[object, ...]:
    lag = row.lag_s(now()) or 0.0
    return (not row.verify_error, _WORST.index(row.state), -lag, row.label)


def _stamp(at: datetime | None) -> float:
    return at.timestamp() if at else 0.0


async def forecast(visit: Visit) -> web.StreamResponse:
    """Asks the target for all of its objects, so it comes after the rest of the page."""
    context: dict[str, Any] = {"forecast": None, "failed": None}
    try:
        context["forecast"] = await visit.services.retention.forecast()
    except FossilrepoError as error:
        context["failed"] = error
    template = "piece_forecast.html" if visit.is_htmx else "backups_forecast.html"
    return render.page(visit, template, **context)


async def trials(visit: Visit) -> web.StreamResponse:
    """The history of trial restores, of all or of one."""
    name = visit.query("name").strip()
    found = await visit.services.verification.history(name, limit=500)
    return render.page(visit, "backups_trials.html", trials=found, name=name)


async def verify(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    names = [form["name"]] if form["name"] else []
    job = await visit.services.verification.verify(visit.actor, names)
    return render.see(f"/jobs/{job.id}")


async def control(visit: Visit) -> web.StreamResponse:
    """How to get the control database as it was; the file itself leaves by the command line."""
    file = visit.services.settings.database_file
    return render.page(visit, "backups_control.html", database_file=file)


async def target(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "backups_target.html", target=await _target(visit))


async def let_go(visit: Visit) -> web.StreamResponse:
    """Delete an earlier replica, whose address is typed to confirm."""
    form = await forms.fields(visit)
    found = await _target(visit)
    try:
        forms.confirmed(form, found.url)
        job = await visit.services.retention.let_go(visit.actor, found.id)
    except FossilrepoError as error:
        return render.again(visit, "backups_target.html", error, form, target=found)
    return render.see(f"/jobs/{job.id}")


async def _target(visit: Visit) -> BackupTarget:
    for found in await visit.services.retention.targets():
        if str(found.id) == visit.path("id"):
            return found
    raise NotFound("there is no such place of replicas", hint="see the page of backups")


ROUTES = (
    Route("GET", "/backups", Who.ADMIN, overview),
    Route("GET", "/backups/-/forecast", Who.ADMIN, forecast),
    Route("GET", "/backups/-/trials", Who.ADMIN, trials),
    Route("POST", "/backups/-/verify", Who.ADMIN, verify),
    Route("GET", "/backups/-/control", Who.ADMIN, control),
    Route("GET", "/backups/-/targets/{id}", Who.ADMIN, target),
    Route("POST", "/backups/-/targets/{id}", Who.ADMIN, let_go),
)
