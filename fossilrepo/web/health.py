"""What machines ask: alive, ready, metrics, robots, and whether a certificate may be made.

Owns the plain answers of the apex. "Loopback" means a peer on this machine that
no proxy speaks for; a page of a repository cannot read such an answer, and
what would tell something needs an API token from anywhere else.
"""

from __future__ import annotations

import asyncio
import ipaddress

from aiohttp import web

from fossilrepo.errors import Forbidden, NotFound
from fossilrepo.models import Actor
from fossilrepo.web.gateway_costly import robots_txt
from fossilrepo.web.hosts import LABEL
from fossilrepo.web.visit import Form, Route, Visit, Who

_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")


async def alive(_visit: Visit) -> web.StreamResponse:
    return web.Response(text="ok\n")


async def ready(visit: Visit) -> web.StreamResponse:
    is_ready, missing = visit.services.health.ready()
    if is_ready:
        return web.Response(text="ready\n")
    text = f"not ready: {', '.join(missing)}\n"
    return web.Response(status=503, text=text, headers={"Retry-After": "2"})


async def metrics(visit: Visit) -> web.StreamResponse:
    runs_the_site = visit.user is not None and visit.user.is_admin  # every name is in it
    if not runs_the_site and not from_this_machine(visit.request):
        raise Forbidden(
            "metrics are for this machine and for administrators of the site",
            hint="send Authorization: Bearer TOKEN, with the API token of an administrator",
        )
    from fossilrepo.web import metrics as prometheus  # costs memory, and few ask for it

    services = visit.services
    status = await services.health.status()
    last = await services.verification.history(limit=1)
    text = prometheus.text(
        services.health,
        status,
        visit.gateway.stats(),
        services.replication,
        last[0].id if last else 0,
        await services.mirrors.list(Actor.system()),
        len(services.insights.unread()),
        await asyncio.to_thread(services.certificates.standing),
    )
    return web.Response(body=text, headers={"Content-Type": prometheus.CONTENT_TYPE})


async def tls_ask(visit: Visit) -> web.StreamResponse:
    """200 when a certificate may be asked for: the site, live and archived repositories.

    Anyone's handshake leads here: what is not served costs two system calls.
    """
    wanted, domain = visit.query("domain"), visit.services.links.domain
    name = wanted.removesuffix(f".{domain}")
    is_repository = name != wanted and LABEL.fullmatch(name) is not None
    is_ours = wanted == domain or (
        is_repository and not visit.services.links.by_path and visit.gateway.serves(name)
    )
    if not is_ours or not from_this_machine(visit.request):
        raise NotFound("there is no such name")
    if is_repository:
        await visit.services.certificates.require_room(wanted)
    return web.Response(text="yes\n")


async def robots(visit: Visit) -> web.StreamResponse:
    """The site is for people; repositories may be here too, as they are on hosts of their own."""
    if visit.services.links.by_path:
        return web.Response(text=robots_txt("*"))
    return web.Response(text="User-agent: *\nDisallow: /\n")


def from_this_machine(request: web.Request) -> bool:
    """A loopback peer that speaks for itself."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.remote or "").is_loopback
    except ValueError:
        return False


ROUTES = (
    Route("GET", "/healthz", Who.PUBLIC, alive, Form.TEXT),
    Route("GET", "/readyz", Who.PUBLIC, ready, Form.TEXT),
    Route("GET", "/metrics", Who.PUBLIC, metrics, Form.TEXT),
    Route("GET", "/internal/tls-ask", Who.PUBLIC, tls_ask, Form.TEXT),
    Route("GET", "/robots.txt", Who.PUBLIC, robots, Form.TEXT),
)
