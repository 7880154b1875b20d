"""The list of repositories, and making a new one.

Owns searching, sorting and paging, whose state is in the address, so that it can
be kept, sent and gone back to.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import web

from fossilrepo.errors import FossilrepoError
from fossilrepo.web import forms, places, render
from fossilrepo.web.visit import Route, Visit, Who

PER_PAGE = 50
SORTS = {"name": "Name", "change": "Last change", "size": "Size"}


@dataclass(frozen=True, slots=True)
class View:
    """What of the list is shown; `page` counts from 1."""

    words: str
    sort: str
    page: int
    total: int = 0

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // PER_PAGE))

    @property
    def first(self) -> int:
        return (self.page - 1) * PER_PAGE + 1 if self.total else 0

    @property
    def last(self) -> int:
        return min(self.page * PER_PAGE, self.total)

    def url(self, *, page: int = 1, sort: str = "") -> str:
        """The address of another view of the same words."""
        wanted = {"q": self.words, "sort": sort or self.sort, "page": str(page)}
        plain = {"q": "", "sort": "name", "page": "1"}
        query = urlencode({key: value for key, value in wanted.items() if value != plain[key]})
        return f"/repos?{query}" if query else "/repos"


async def listing(visit: Visit) -> web.StreamResponse:
    sort = visit.query("sort") if visit.query("sort") in SORTS else "name"
    words = visit.query("q")[:200].strip()
    page = max(1, visit.number("page", 1, most=1_000_000))
    repos = visit.services.repos
    found = await repos.search(
        visit.reader, words, sort=sort, offset=(page - 1) * PER_PAGE, limit=PER_PAGE
    )
    view = View(words, sort, page, found.total)
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
