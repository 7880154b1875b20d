"""The list of repositories, and making a new one.

Owns searching, sorting and paging, whose state is in the address, so that it can
be kept, sent and gone back to.
"""

from __future__ import annotations

from aiohttp import web

from fossilrepo.errors import FossilrepoError
from fossilrepo.web import forms, paging, places, render
from fossilrepo.web.paging import View
from fossilrepo.web.visit import Route, Visit, Who

SORTS = {"name": "Name", "change": "Last change", "size": "Size"}


async def listing(visit: Visit) -> web.StreamResponse:
    sort = visit.query("sort") if visit.query("sort") in SORTS else "name"
    words = visit.query("q")[:200].strip()
    page = max(1, visit.number("page", 1, most=1_000_000))
    repos = visit.services.repos
    found = await repos.search(
        visit.reader, words, sort=sort, offset=(page - 1) * paging.PER_PAGE, limit=paging.PER_PAGE
    )
    view = View("/repos", words, sort, page, found.total)
    if page > view.pages:
        return render.see(view.url(page=view.pages))
    waiting = await repos.drop_ins() if visit.actor.is_admin and not visit.is_htmx else []
    return render.page(
        visit,
        "repositories.html",
        repositories=found.repositories,
        view=view,
        sorts=SORTS,
        waiting=waiting,
        creates=await places.may_create(visit),
        has_trash=bool(await places.owned_by(visit)),
    )


async def new(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "repository_new.html", **await places.offered(visit))


async def create(visit: Visit) -> web.StreamResponse:
    form, known = await forms.fields(visit), await places.offered(visit)
    try:
        repository = await visit.services.repos.create(
            visit.actor,
            form["name"],
            title=form["title"],
            description=form["description"],
            visibility=form.visibility,
            org=places.chosen(form, known),
        )
    except FossilrepoError as error:
        return render.again(visit, "repository_new.html", error, form, **known)
    return render.see(f"/repos/{repository.name}", "created")


ROUTES = (
    Route("GET", "/repos", Who.SIGNED_IN, listing),
    Route("GET", "/repos/-/new", Who.SIGNED_IN, new),
    Route("POST", "/repos/-/new", Who.SIGNED_IN, create),
)
