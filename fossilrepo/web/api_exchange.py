"""The API's calls for upstreams and webhooks of repositories.

Owns its table of routes. Checks nothing itself.
"""

from __future__ import annotations

from fossilrepo.errors import NotFound
from fossilrepo.services import bridge_json
from fossilrepo.web import api_bridge_models as m
from fossilrepo.web.api_call import Call, job_answer
from fossilrepo.web.api_models import JobAnswer
from fossilrepo.web.visit import Visit, Who

_MOST = 200

# Upstreams


async def upstreams(visit: Visit, _body: None) -> object:
    found = await visit.services.upstreams.list(visit.actor)
    return {"upstreams": [bridge_json.upstream(one, owner) for owner, one in found]}


async def upstream(visit: Visit, _body: None) -> object:
    name = visit.path("name")
    found = await visit.services.upstreams.get(visit.actor, name)
    if found is None:
        raise NotFound(f"{name} has no upstream")
    return bridge_json.upstream(found, await visit.services.repos.get(visit.reader, name))


async def set_upstream(visit: Visit, body: m.NewUpstream) -> object:
    name = visit.path("name")
    given = body.model_dump(exclude={"url", "password"})
    password = body.password.get_secret_value() if body.password is not None else None
    made = await visit.services.upstreams.set(
        visit.actor, name, body.url, password=password, **given
    )
    return bridge_json.upstream(made, await visit.services.repos.get(visit.reader, name))


async def remove_upstream(visit: Visit, _body: None) -> object:
    await visit.services.upstreams.remove(visit.actor, visit.path("name"))
    return None


async def run_upstream(visit: Visit, _body: None) -> object:
    job = await visit.services.upstreams.run(visit.actor, visit.path("name"))
    return job_answer(visit, job)


async def pause_upstream(visit: Visit, _body: None) -> object:
    await visit.services.upstreams.pause(visit.actor, visit.path("name"))
    return await upstream(visit, None)


async def resume_upstream(visit: Visit, _body: None) -> object:
    await visit.services.upstreams.resume(visit.actor, visit.path("name"))
    return await upstream(visit, None)


async def upstream_runs(visit: Visit, _body: None) -> object:
    limit = max(1, visit.number("limit", 50, _MOST))
    found = await visit.services.upstreams.history(visit.actor, visit.path("name"), limit)
    return {"runs": [bridge_json.run(job) for job in found]}


# Webhooks


async def webhooks(visit: Visit, _body: None) -> object:
    found = await visit.services.webhooks.list(visit.actor, visit.path("name"))
    return {"webhooks": [bridge_json.webhook(one) for one in found]}


async def add_webhook(visit: Visit, body: m.NewWebhook) -> object:
    made, secret = await visit.services.webhooks.add(
        visit.actor,
        visit.path("name"),
        body.url.get_secret_value(),
        events=body.events,
        secret=body.secret.get_secret_value(),
    )
    return bridge_json.webhook(made) | {"secret": secret}


async def configure_webhook(visit: Visit, body: m.WebhookChanges) -> object:
    changed = await visit.services.webhooks.configure(
        visit.actor,
        visit.path("id"),
        url=body.url.get_secret_value() if body.url is not None else None,
        events=body.events,
        active=body.active,
        secret=body.secret.get_secret_value() if body.secret is not None else None,
    )
    return bridge_json.webhook(changed)


async def remove_webhook(visit: Visit, _body: None) -> object:
    await visit.services.webhooks.remove(visit.actor, visit.path("id"))
    return None


async def ping_webhook(visit: Visit, _body: None) -> object:
    sent = await visit.services.webhooks.ping(visit.actor, visit.path("id"))
    return bridge_json.delivery(sent)


async def deliveries(visit: Visit, _body: None) -> object:
    limit = max(1, visit.number("limit", 50, _MOST))
    found = await visit.services.webhooks.deliveries(visit.actor, visit.path("id"), limit)
    return {"deliveries": [bridge_json.delivery(one) for one in found]}


async def redeliver(visit: Visit, _body: None) -> object:
    sent = await visit.services.webhooks.redeliver(visit.actor, visit.path("id"))
    return bridge_json.delivery(sent)


async def trial_alert(visit: Visit, _body: None) -> object:
    await visit.services.alerts.test(visit.actor)
    return None


_UP, _HOOKS, _HOOK = (
    "/repositories/{name}/upstream",
    "/repositories/{name}/webhooks",
    "/webhooks/{id}",
)
_IN = Who.SIGNED_IN
CALLS = (
    Call("GET", "/upstreams", _IN, upstreams, "All upstreams", answer=m.UpstreamsAnswer),
    Call("GET", _UP, _IN, upstream, "Its upstream", answer=m.UpstreamAnswer),
    Call("PUT", _UP, _IN, set_upstream, "Set it", m.NewUpstream, m.UpstreamAnswer),
    Call("DELETE", _UP, _IN, remove_upstream, "Forget it", status=204),
    Call("POST", _UP + "/run", _IN, run_upstream, "Exchange now", answer=JobAnswer, status=202),
    Call("POST", _UP + "/pause", _IN, pause_upstream, "Let it rest", answer=m.UpstreamAnswer),
    Call("POST", _UP + "/resume", _IN, resume_upstream, "Run again", answer=m.UpstreamAnswer),
    Call("GET", _UP + "/runs", _IN, upstream_runs, "Runs", answer=m.RunsAnswer, query=("limit",)),
    Call("GET", _HOOKS, _IN, webhooks, "Its webhooks", answer=m.WebhooksAnswer),
    Call("POST", _HOOKS, _IN, add_webhook, "Add one", m.NewWebhook, m.NewWebhookAnswer, 201),
    Call("PATCH", _HOOK, _IN, configure_webhook, "Change", m.WebhookChanges, m.WebhookAnswer),
    Call("DELETE", _HOOK, _IN, remove_webhook, "End a webhook", status=204),
    Call("POST", _HOOK + "/ping", _IN, ping_webhook, "A trial", answer=m.DeliveryAnswer),
    Call(
        "GET",
        _HOOK + "/deliveries",
        _IN,
        deliveries,
        "What was sent",
        answer=m.DeliveriesAnswer,
        query=("limit",),
    ),
    Call(
        "POST",
        "/deliveries/{id}/redeliver",
        _IN,
        redeliver,
        "Send once more",
        answer=m.DeliveryAnswer,
    ),
    Call("POST", "/alerts/test", Who.ADMIN, trial_alert, "Try the alerts", status=204),
)
