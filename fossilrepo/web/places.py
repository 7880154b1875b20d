"""Organizations as a visitor meets them: where they may bring a repository, and which they see.

Owns the choices on forms: for new and imported repositories, and for one that moves.
"""

from __future__ import annotations

from typing import Any

from fossilrepo.errors import Forbidden
from fossilrepo.models import Repository
from fossilrepo.web.forms import Fields
from fossilrepo.web.visit import Visit

FIRST = "main"  # the organization that a site begins with, unless it was renamed


async def may_create(visit: Visit) -> bool:
    return bool(await visit.services.access.creates_in(visit.actor))


async def offered(visit: Visit) -> dict[str, Any]:
    """For a page with the form; Forbidden for whoever may create nowhere."""
    found = await visit.services.access.creates_in(visit.actor)
    if not found:
        raise Forbidden(
            "you may not create repositories in any organization",
            hint="ask an owner of one, or an administrator of the site",
        )
    names = [org.name for org in found]
    return {
        "places": names,
        "place": FIRST if FIRST in names else names[0],
        # With a certificate for each host, the host's name is in public lists from then on.
        "names_are_public": visit.services.links.https and visit.services.settings.caddy.enabled,
    }


def chosen(form: Fields, known: dict[str, Any]) -> str:
    """The organization that was chosen; who has no choice was not asked."""
    return form["org"] or str(known["place"])


async def elsewhere(visit: Visit, repository: Repository) -> list[str]:
    """The visitor's own organizations that the repository may move to."""
    owned = await owned_by(visit)
    return [name for name in owned if name != repository.org] if repository.org in owned else []


async def owned_by(visit: Visit) -> list[str]:
    """Those of which the visitor is an owner; all, for who runs the site."""
    access = visit.services.access
    names = sorted((await access.directory()).organizations)
    return [name for name in names if await access.owns(visit.actor, name)]


async def sees(visit: Visit, repository: Repository) -> bool:
    """Whether the page of the repository's organization is there for the visitor."""
    directory = await visit.services.access.directory()
    org = directory.organizations.get(repository.org)
    if org is None or visit.actor.is_admin:
        return org is not None
    return (org.id, visit.actor.user_id) in directory.members
