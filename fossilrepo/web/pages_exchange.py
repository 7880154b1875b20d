"""The upstream of a repository, and its webhooks with what was sent.

Owns these pages.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fossilrepo.bridge import Direction, Event
from fossilrepo.errors import FossilrepoError, InvalidInput, NotFound
from fossilrepo.rights import Role
from fossilrepo.web import forms, render
from fossilrepo.web.visit import Route, Visit, Who

_UP, _HOOKS, _HOOK = (
    "/repos/{name}/upstream",
    "/repos/{name}/webhooks",
    "/repos/{name}/webhooks/{id}",
)
_SHOWN = 30

# The upstream


async def upstream(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "upstream.html", **await _upstream(visit))


async def _upstream(visit: Visit) -> dict[str, Any]:
    name, services = visit.path("name"), visit.services
    repository = await services.repos.get(visit.reader, name)
    found = await services.upstreams.get(visit.actor, name)
    runs = await services.upstreams.history(visit.actor, name, _SHOWN) if found else []
    return {
        "repository": repository,
        "upstream": found,
        "may_change": await services.access.may(visit.actor, repository, Role.ADMIN),
        "runs": runs,
        "live": runs[0] if runs and not runs[0].state.ended else None,
        "directions": list(Direction),
        "tried": "",
        "at": "",
    }


async def set_upstream(visit: Visit) -> web.StreamResponse:
    """`step` is `try`, `save` or `anyway`; what is typed is tried before it is kept."""
    form, name = await forms.fields(visit), visit.path("name")
    upstreams, password = visit.services.upstreams, form.raw("password")
    try:
        direction = _direction(form["direction"])
        kept = await upstreams.get(visit.actor, name)
        # A password that is kept is not shown, so it cannot be tried from here.
        if form["step"] == "try" or (form["step"] == "save" and (password or kept is None)):
            said = await upstreams.test(
                visit.actor, name, form["url"], user=form["user"], password=password
            )
            if form["step"] == "try":
                known = await _upstream(visit) | {"tried": said, "at": "set", "form": form}
                return render.page(visit, "upstream.html", **known)
        await upstreams.set(
            visit.actor,
            name,
            form["url"],
            direction=direction,
            user=form["user"],
            password=password or None,
            schedule=form["schedule"],
            on_change=bool(form["on_change"]),
            private=bool(form["private"]),
            unversioned=bool(form["unversioned"]),
        )
    except FossilrepoError as error:
        known = await _upstream(visit) | {"at": "set"}
        return render.again(visit, "upstream.html", error, form, **known)
    return render.see(f"/repos/{name}/upstream", "upstream-set")


def _direction(word: str) -> Direction:
    try:
        return Direction(word or "pull")
    except ValueError:
        raise InvalidInput("choose pull, push or sync", field="direction") from None


async def run(visit: Visit) -> web.StreamResponse:
    await visit.services.upstreams.run(visit.actor, visit.path("name"))
    return _back(visit, "upstream-runs")


async def pause(visit: Visit) -> web.StreamResponse:
    await visit.services.upstreams.pause(visit.actor, visit.path("name"))
    return _back(visit, "upstream-paused")


async def resume(visit: Visit) -> web.StreamResponse:
    await visit.services.upstreams.resume(visit.actor, visit.path("name"))
    return _back(visit, "upstream-resumed")


async def remove(visit: Visit) -> web.StreamResponse:
    await visit.services.upstreams.remove(visit.actor, visit.path("name"))
    return _back(visit, "upstream-removed")


def _back(visit: Visit, notice: str) -> web.StreamResponse:
    return render.see(_UP.format(name=visit.path("name")), notice)


# Webhooks


async def webhooks(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "webhooks.html", **await _webhooks(visit))


async def _webhooks(visit: Visit) -> dict[str, Any]:
    name = visit.path("name")
    return {
        "webhooks": await visit.services.webhooks.list(visit.actor, name),
        "repository": await visit.services.repos.get(visit.reader, name),
        "events": list(Event),
        "made": None,
        "secret": "",
    }


async def add_webhook(visit: Visit) -> web.StreamResponse:
    """The page with the secret, which is shown this once."""
    form, name = await forms.fields(visit), visit.path("name")
    try:
        made, secret = await visit.services.webhooks.add(
            visit.actor, name, form["url"], events=_events(form)
        )
    except FossilrepoError as error:
        return render.again(visit, "webhooks.html", error, form, **await _webhooks(visit))
    known = await _webhooks(visit) | {"made": made, "secret": secret}
    return render.page(visit, "webhooks.html", **known)


def _events(form: forms.Fields) -> list[Event]:
    return [event for event in Event if form[f"event-{event}"]]


async def webhook(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "webhook.html", **await _webhook(visit))


async def _webhook(visit: Visit) -> dict[str, Any]:
    known = await _webhooks(visit)
    one = next((hook for hook in known["webhooks"] if hook.id == visit.path("id")), None)
    if one is None:
        raise NotFound("there is no such webhook here")
    sent = await visit.services.webhooks.deliveries(visit.actor, one.id, _SHOWN)
    return known | {"webhook": one, "deliveries": sent}


async def configure_webhook(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    try:
        await visit.services.webhooks.configure(
            visit.actor,
            (await _webhook(visit))["webhook"].id,
            events=_events(form),
            active=bool(form["active"]),
        )
    except FossilrepoError as error:
        return render.again(visit, "webhook.html", error, form, **await _webhook(visit))
    return _to_hook(visit, "webhook-changed")


async def ping_webhook(visit: Visit) -> web.StreamResponse:
    one = (await _webhook(visit))["webhook"]
    sent = await visit.services.webhooks.ping(visit.actor, one.id)
    return _to_hook(visit, "webhook-sent" if sent.delivered_at else "webhook-not-sent")


async def redeliver(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    known = await _webhook(visit)
    if form["delivery"] not in {one.id for one in known["deliveries"]}:
        raise NotFound("there is no such message here", hint="it may have been forgotten")
    sent = await visit.services.webhooks.redeliver(visit.actor, form["delivery"])
    return _to_hook(visit, "webhook-sent" if sent.delivered_at else "webhook-not-sent")


async def remove_webhook(visit: Visit) -> web.StreamResponse:
    one = (await _webhook(visit))["webhook"]
    await visit.services.webhooks.remove(visit.actor, one.id)
    return render.see(_HOOKS.format(name=visit.path("name")), "webhook-removed")


def _to_hook(visit: Visit, notice: str) -> web.StreamResponse:
    return render.see(_HOOK.format(name=visit.path("name"), id=visit.path("id")), notice)


_IN = Who.SIGNED_IN
ROUTES = (
    Route("GET", _UP, _IN, upstream),
    Route("POST", _UP, _IN, set_upstream),
    Route("POST", _UP + "/run", _IN, run),
    Route("POST", _UP + "/pause", _IN, pause),
    Route("POST", _UP + "/resume", _IN, resume),
    Route("POST", _UP + "/remove", _IN, remove),
    Route("GET", _HOOKS, _IN, webhooks),
    Route("POST", _HOOKS, _IN, add_webhook),
    Route("GET", _HOOK, _IN, webhook),
    Route("POST", _HOOK, _IN, configure_webhook),
    Route("POST", _HOOK + "/ping", _IN, ping_webhook),
    Route("POST", _HOOK + "/redeliver", _IN, redeliver),
    Route("POST", _HOOK + "/remove", _IN, remove_webhook),
)
