"""The site as one aiohttp application: its table of routes, templates and static files.

Owns how the parts of the site fit together, and nothing of what they do.
`make_app` is all that the composition root needs.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from fossilrepo import resources
from fossilrepo.services import Services
from fossilrepo.web import (
    api,
    health,
    live,
    opening,
    pages_access,
    pages_account,
    pages_activity,
    pages_audit,
    pages_backups,
    pages_entry,
    pages_exchange,
    pages_import,
    pages_insights,
    pages_invited,
    pages_job,
    pages_mirrors,
    pages_orgs,
    pages_overview,
    pages_people,
    pages_repositories,
    pages_repository,
    pages_restore,
    pages_rules,
    pages_search,
    pages_settings,
    pages_system,
    pages_trash,
    render,
)
from fossilrepo.web.downloads import DOWNLOADS, Downloads
from fossilrepo.web.gateway import Gateway
from fossilrepo.web.middleware import Door
from fossilrepo.web.static_files import StaticFiles
from fossilrepo.web.visit import GATEWAY, SERVICES, Route

DOOR: web.AppKey[Door] = web.AppKey("door", Door)
_MOST_FORM = 2**20  # bytes of a form or a JSON body; files are read in pieces


def make_app(services: Services, gateway: Gateway) -> web.Application:
    """The site and the gateway to the repositories, ready to be served."""
    app = web.Application(client_max_size=_MOST_FORM)
    app[SERVICES], app[GATEWAY] = services, gateway
    app[pages_entry.SET_UP] = asyncio.Event()
    app[live.STREAMS] = set()
    app[live.WATCH] = live.Watch()
    app[DOWNLOADS] = downloads = Downloads(services.jobs, services.settings.scratch)
    static = StaticFiles(resources.static())
    render.set_up(app, static)
    door = Door(services, gateway)
    for route in (*table(), static.route):
        door.add(app, route)
    app[DOOR] = door
    app.middlewares.append(door.middleware)
    app.on_response_prepare.append(door.on_prepare)
    app.on_shutdown.append(live.end_all)
    app.on_shutdown.append(door.finish)
    app.on_cleanup.append(downloads.close)
    return app


def table() -> tuple[Route, ...]:
    """Every route of the site but the static files, the widest last."""
    return (
        *health.ROUTES,
        *api.ROUTES,
        *pages_overview.ROUTES,
        *pages_activity.ROUTES,
        *pages_search.ROUTES,
        *pages_entry.ROUTES,
        *pages_invited.ROUTES,
        *pages_repositories.ROUTES,
        *pages_import.ROUTES,
        *pages_trash.ROUTES,
        *pages_repository.ROUTES,
        *pages_insights.ROUTES,
        *opening.ROUTES,
        *pages_restore.ROUTES,
        *pages_settings.ROUTES,
        *pages_job.ROUTES,
        *pages_mirrors.ROUTES,
        *pages_exchange.ROUTES,
        *pages_rules.ROUTES,
        *live.ROUTES,
        *pages_access.ROUTES,
        *pages_orgs.ROUTES,
        *pages_people.ROUTES,
        *pages_account.ROUTES,
        *pages_backups.ROUTES,
        *pages_audit.ROUTES,
        *pages_system.ROUTES,
        *pages_entry.WIDEST,
    )
