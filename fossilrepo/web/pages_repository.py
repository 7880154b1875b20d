"""A repository's page: how to clone it, how safe it is, what happened last, what is known of it.

Owns reading one repository. The Fossil password is shown only when asked for.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fossilrepo.errors import Forbidden, FossilrepoError
from fossilrepo.models import Repository, RepositoryState
from fossilrepo.web import render
from fossilrepo.web.safety import safety
from fossilrepo.web.visit import Route, Visit, Who

_CHECKINS = 15


async def show(visit: Visit) -> web.StreamResponse:
    repository = await visit.services.repos.get(visit.reader, visit.path("name"))
    return render.page(visit, "repository.html", **await _known(visit, repository))


async def password(visit: Visit) -> web.StreamResponse:
    """What the person types for this repository in Fossil; a page that nobody keeps."""
    repository = await visit.services.repos.get(visit.reader, visit.path("name"))
    if not _has_account(visit, repository):
        raise Forbidden(
            "you have no account in this repository",
            hint="ask an administrator of the site",
        )
    login = visit.actor.login
    secret = await visit.services.accounts.sync_password(login, repository)
    template = "piece_password.html" if visit.is_htmx else "repository_password.html"
    return render.page(visit, template, repository=repository, secret=secret)


async def _known(visit: Visit, repository: Repository) -> dict[str, Any]:
    repos, links = visit.services.repos, visit.services.links
    name = repository.label
    login = visit.actor.login if _has_account(visit, repository) else None
    known: dict[str, Any] = {
        "repository": repository,
        "url": links.repo_url(name),
        "safe": safety(visit.services.replication, repository.id, tells_why=visit.actor.is_admin),
        "has_account": login is not None,
        "clone": f"fossil clone {links.clone_url(name, login)} {name}.fossil",
        "path_clone": f"fossil clone {links.path_clone_url(name, login)} {name}.fossil",
        "checkins": [],
        "natives": {},
        "unreadable": None,
    }
    try:
        known["checkins"] = await repos.checkins(repository, _CHECKINS)
        if visit.actor.is_admin:
            known["natives"] = await repos.native_users(repository)
    except FossilrepoError as error:  # the page is still there when the file is not readable now
        known["unreadable"] = error
    return known


def _has_account(visit: Visit, repository: Repository) -> bool:
    """Only administrators of the site are people inside repositories, for now."""
    served = repository.state in (RepositoryState.ACTIVE, RepositoryState.ARCHIVED)
    return served and visit.actor.is_admin


ROUTES = (
    Route("GET", "/repos/{name}", Who.SIGNED_IN, show),
    Route("GET", "/repos/{name}/password", Who.SIGNED_IN, password),
)
