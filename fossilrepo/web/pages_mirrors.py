"""Mirrors: the list of all, those of one repository, adding one, and the page of each.

Owns these pages. A new mirror's remote is tried before anything is kept, unless the visitor
wants it kept all the same.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fossilrepo.bridge import ForgeKind, MirrorState
from fossilrepo.errors import FossilrepoError, InvalidInput
from fossilrepo.models import Job, JobState
from fossilrepo.rights import Role
from fossilrepo.services.mirrors import Connection, Shown
from fossilrepo.web import forms, render
from fossilrepo.web.visit import Route, Visit, Who

_OF, _ONE = "/repos/{name}/mirrors", "/mirrors/{id}"
_SHOWN_RUNS = 30


async def every(visit: Visit) -> web.StreamResponse:
    """All mirrors and upstreams that the visitor may know of, what needs somebody first."""
    found = await visit.services.mirrors.list(visit.actor)
    upstreams = await visit.services.upstreams.list(visit.actor)
    found.sort(key=lambda one: (_calm(one), one.repository.label))
    return render.page(visit, "mirrors.html", mirrors=found, upstreams=upstreams)


def _calm(one: Shown) -> bool:
    return one.mirror.standing.state not in (
        MirrorState.FAILING,
        MirrorState.STOPPED,
        MirrorState.PAUSED,
    )


async def of_repository(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "repository_mirrors.html", **await _of(visit))


async def _of(visit: Visit) -> dict[str, Any]:
    name, services = visit.path("name"), visit.services
    repository = await services.repos.get(visit.reader, name)
    may_change = await services.access.may(visit.actor, repository, Role.ADMIN)
    return {
        "repository": repository,
        "mirrors": await services.mirrors.list(visit.actor, name),
        "upstream": await services.upstreams.get(visit.actor, name),
        "may_change": may_change,
        "authors": await services.git_authors.list(visit.actor, name) if may_change else [],
        "main_branch": await services.git_authors.main_branch(visit.actor, name)
        if may_change
        else "",
        "at": "",
    }


# Adding


async def new(visit: Visit) -> web.StreamResponse:
    repository = await visit.services.repos.administered(visit.actor, visit.path("name"))
    return render.page(visit, "mirror_new.html", repository=repository, **_choices())


def _choices(**more: Any) -> dict[str, Any]:
    return {"kinds": list(ForgeKind), "connection": None, "tried": False} | more


async def add(visit: Visit) -> web.StreamResponse:
    """`step` is `try`, `add` or `anyway`; what is typed is tried before it is kept."""
    form, name = await forms.fields(visit), visit.path("name")
    repository = await visit.services.repos.administered(visit.actor, name)
    mirrors, token = visit.services.mirrors, form.raw("token").strip()
    tried = False
    try:
        remote = {**_remote(form), "token": token}
        connection: Connection | None = None
        if form["step"] != "anyway" and "://" in form["url"] and "ssh://" not in form["url"]:
            tried = True
            connection = await mirrors.test(visit.actor, name, form["url"], **remote)
            if connection.missing and not form["create"]:
                raise InvalidInput(
                    "the server answers, and there is no such repository",
                    hint="make it there, or let it be made below",
                    field="url",
                )
        if form["step"] == "try":
            known = _choices(connection=connection, tried=True, form=form)
            return render.page(visit, "mirror_new.html", repository=repository, **known)
        made = await mirrors.add(
            visit.actor,
            name,
            form["url"],
            **remote,
            branches=form["branches"] or "*",
            tags=bool(form["tags"]),
            schedule=form["schedule"],
            on_change=bool(form["on_change"]),
            wiki=bool(form["wiki"]),
            issues=bool(form["issues"]),
            create=bool(form["create"]),
            private=not form["public"],
        )
    except FossilrepoError as error:
        known = _choices(tried=tried, repository=repository)
        return render.again(visit, "mirror_new.html", error, form, **known)
    return render.see(f"/mirrors/{made.id}", "mirror-added")


def _remote(form: forms.Fields) -> dict[str, Any]:
    return {"kind": _kind(form["kind"]), "api_url": form["api_url"], "user": form["user"]}


def _kind(word: str) -> ForgeKind | None:
    """None: found out from the address."""
    try:
        return ForgeKind(word) if word else None
    except ValueError:
        raise InvalidInput("choose one of the servers", field="kind") from None


# One mirror


async def show(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "mirror.html", **await known(visit))


async def piece(visit: Visit) -> web.StreamResponse:
    """How it stands now, for a page that renews itself without a stream."""
    return render.page(visit, "piece_mirror.html", **await known(visit))


async def known(visit: Visit) -> dict[str, Any]:
    mirrors = visit.services.mirrors
    shown = await mirrors.get(visit.actor, visit.path("id"))
    runs = await mirrors.history(visit.actor, shown.mirror.id, _SHOWN_RUNS)
    live = runs[0] if runs and not runs[0].state.ended else None
    standing = shown.mirror.standing
    return {
        "shown": shown,
        "mirror": shown.mirror,
        "repository": shown.repository,
        "runs": runs,
        "live": live,
        "moves": live is not None or standing.wanted_at is not None,  # a run begins in a moment
        "last": _last(runs),
        "preview": None,
        "at": "",
    }


def _last(runs: list[Job]) -> Job | None:
    return next((run for run in runs if run.state.ended), None)


async def configure(visit: Visit) -> web.StreamResponse:
    form, mirror_id = await forms.fields(visit), visit.path("id")
    try:
        await visit.services.mirrors.configure(
            visit.actor,
            mirror_id,
            url=form["url"] or None,
            user=form["user"],
            token=form.raw("token").strip() or None,
            branches=form["branches"] or "*",
            tags=bool(form["tags"]),
            schedule=form["schedule"],
            on_change=bool(form["on_change"]),
            wiki=bool(form["wiki"]),
            issues=bool(form["issues"]),
        )
    except FossilrepoError as error:
        more = await known(visit) | {"at": "settings"}
        return render.again(visit, "mirror.html", error, form, **more)
    return render.see(f"/mirrors/{mirror_id}", "mirror-saved")


async def dry_run(visit: Visit) -> web.StreamResponse:
    try:
        preview = await visit.services.mirrors.dry_run(visit.actor, visit.path("id"))
    except FossilrepoError as error:
        more = await known(visit) | {"at": "dry-run"}
        return render.again(visit, "mirror.html", error, forms.Fields({}), **more)
    return render.page(visit, "mirror.html", **(await known(visit) | {"preview": preview}))


async def run(visit: Visit) -> web.StreamResponse:
    await visit.services.mirrors.run(visit.actor, visit.path("id"))
    return render.see(f"/mirrors/{visit.path('id')}", "mirror-runs")


async def take_over(visit: Visit) -> web.StreamResponse:
    form, mirror_id = await forms.fields(visit), visit.path("id")
    shown = await visit.services.mirrors.get(visit.actor, mirror_id)
    try:
        forms.confirmed(form, shown.repository.label)
        await visit.services.mirrors.take_over(visit.actor, mirror_id)
    except FossilrepoError as error:
        more = await known(visit) | {"at": "take-over"}
        return render.again(visit, "mirror.html", error, form, **more)
    return render.see(f"/mirrors/{mirror_id}", "mirror-taken-over")


async def trust_host(visit: Visit) -> web.StreamResponse:
    await visit.services.mirrors.trust_host_key(visit.actor, visit.path("id"))
    return render.see(f"/mirrors/{visit.path('id')}", "mirror-trusts")


async def pause(visit: Visit) -> web.StreamResponse:
    await visit.services.mirrors.pause(visit.actor, visit.path("id"))
    return render.see(f"/mirrors/{visit.path('id')}", "mirror-paused")


async def resume(visit: Visit) -> web.StreamResponse:
    await visit.services.mirrors.resume(visit.actor, visit.path("id"))
    return render.see(f"/mirrors/{visit.path('id')}", "mirror-resumed")


async def remove(visit: Visit) -> web.StreamResponse:
    mirror_id = visit.path("id")
    try:
        shown = await visit.services.mirrors.get(visit.actor, mirror_id)
        await visit.services.mirrors.remove(visit.actor, mirror_id)
    except FossilrepoError as error:
        more = await known(visit) | {"at": "remove"}
        return render.again(visit, "mirror.html", error, forms.Fields({}), **more)
    return render.see(f"/repos/{shown.repository.label}/mirrors", "mirror-removed")


# Authors and the main branch


async def set_author(visit: Visit) -> web.StreamResponse:
    form, name = await forms.fields(visit), visit.path("name")
    try:
        await visit.services.git_authors.set(
            visit.actor,
            name,
            form["user"],
            form["name"],
            form["email"],
            rewrite=bool(form["rewrite"]),
        )
    except FossilrepoError as error:
        more = await _of(visit) | {"at": "author"}
        return render.again(visit, "repository_mirrors.html", error, form, **more)
    return render.see(f"/repos/{name}/mirrors", "author-set")


async def set_main_branch(visit: Visit) -> web.StreamResponse:
    form, name = await forms.fields(visit), visit.path("name")
    try:
        await visit.services.git_authors.set_main_branch(visit.actor, name, form["main_branch"])
    except FossilrepoError as error:
        more = await _of(visit) | {"at": "main-branch"}
        return render.again(visit, "repository_mirrors.html", error, form, **more)
    return render.see(f"/repos/{name}/mirrors", "configured")


def is_live(job: Job | None) -> bool:
    return job is not None and job.state in (JobState.QUEUED, JobState.RUNNING)


_IN = Who.SIGNED_IN
ROUTES = (
    Route("GET", "/mirrors", _IN, every),
    Route("GET", _OF, _IN, of_repository),
    Route("GET", _OF + "/new", _IN, new),
    Route("POST", _OF + "/new", _IN, add),
    Route("POST", _OF + "/author", _IN, set_author),
    Route("POST", _OF + "/main-branch", _IN, set_main_branch),
    Route("GET", _ONE, _IN, show),
    Route("POST", _ONE, _IN, configure),
    Route("GET", _ONE + "/standing", _IN, piece),
    Route("POST", _ONE + "/run", _IN, run),
    Route("POST", _ONE + "/dry-run", _IN, dry_run),
    Route("POST", _ONE + "/take-over", _IN, take_over),
    Route("POST", _ONE + "/trust-host", _IN, trust_host),
    Route("POST", _ONE + "/pause", _IN, pause),
    Route("POST", _ONE + "/resume", _IN, resume),
    Route("POST", _ONE + "/remove", _IN, remove),
)
