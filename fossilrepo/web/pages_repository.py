"""A repository's page: how to clone it, how safe it is, what happened last, what is known of it.

Owns reading one repository. The Fossil password is shown only when asked for.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from fossilrepo.errors import FossilrepoError
from fossilrepo.models import Repository, RepositoryState
from fossilrepo.rights import Role
from fossilrepo.web import places, render
from fossilrepo.web.hosts import opening
from fossilrepo.web.readme import rendered
from fossilrepo.web.safety import safety
from fossilrepo.web.visit import Route, Visit, Who

_CHECKINS = 8


async def show(visit: Visit) -> web.StreamResponse:
    repository = await visit.services.repos.get(visit.reader, visit.path("name"))
    return render.page(visit, "repository.html", **await _known(visit, repository))


async def password(visit: Visit) -> web.StreamResponse:
    """What the person types for this repository in Fossil; a page that nobody keeps."""
    repository = await visit.services.repos.get(visit.reader, visit.path("name"))
    actor = visit.actor
    secret = await visit.services.opening.password(actor, actor.login, repository)
    template = "piece_password.html" if visit.is_htmx else "repository_password.html"
    return render.page(visit, template, repository=repository, secret=secret)


async def _known(visit: Visit, repository: Repository) -> dict[str, Any]:
    repos, links = visit.services.repos, visit.services.links
    name = repository.label
    role = await _role_in_fossil(visit, repository)
    login = visit.actor.login if role else None
    known: dict[str, Any] = {
        "repository": repository,
        "url": links.repo_url(name),
        "open_url": links.repo_url(name).rstrip("/") + opening(f"/{name}"),
        "safe": safety(visit.services.replication, repository.id, tells_why=visit.actor.is_admin),
        "has_account": role is not None,
        "role": role,
        "sees_org": await places.sees(visit, repository),
        "clone": f"fossil clone {links.clone_url(name, login)} {name}.fossil",
        "path_clone": f"fossil clone {links.path_clone_url(name, login)} {name}.fossil",
        "mirrors": await visit.services.mirrors.list(visit.actor, name),
        "checkins": [],
        "natives": {},
        "unreadable": None,
        "readme": None,
    }
    kept = await visit.services.insights.of(repository)
    if kept is not None and kept.readme is not None:
        known["readme_name"] = kept.readme.name
        known["readme"] = await asyncio.to_thread(rendered, kept.readme, links.repo_url(name))
    try:
        known["checkins"] = await repos.checkins(repository, _CHECKINS)
        if visit.actor.is_admin:
            known["natives"] = await repos.native_users(repository)
    except FossilrepoError as error:  # the page is still there when the file is not readable now
        known["unreadable"] = error
    return known


async def _role_in_fossil(visit: Visit, repository: Repository) -> Role | None:
    """The visitor's; who only reads is written into it when they open it or see the password."""
    if repository.state not in (RepositoryState.ACTIVE, RepositoryState.ARCHIVED):
        return None
    return (await visit.services.access.effective(visit.actor, repository)).role


ROUTES = (
    Route("GET", "/repos/{name}", Who.SIGNED_IN, show),
    Route("GET", "/repos/{name}/password", Who.SIGNED_IN, password),
)
