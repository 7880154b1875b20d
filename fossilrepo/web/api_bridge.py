"""The API's calls for mirrors: added, tried, run, taken over; rules for many; authors in Git.

Owns its table of routes. Checks nothing itself.
"""

from __future__ import annotations

from typing import Any

from fossilrepo.services import bridge_json
from fossilrepo.services.mirrors import Shown
from fossilrepo.web import api_bridge_models as m
from fossilrepo.web.api_call import Call, job_answer
from fossilrepo.web.api_models import JobAnswer
from fossilrepo.web.visit import Visit, Who

_MOST_RUNS = 200


def _shown(one: Shown) -> dict[str, Any]:
    return bridge_json.mirror(one.mirror, one.repository)


async def _one(visit: Visit) -> dict[str, Any]:
    return _shown(await visit.services.mirrors.get(visit.actor, visit.path("id")))


# Mirrors


async def mirrors(visit: Visit, _body: None) -> object:
    found = await visit.services.mirrors.list(visit.actor)
    return {"mirrors": [_shown(one) for one in found]}


async def mirrors_of(visit: Visit, _body: None) -> object:
    found = await visit.services.mirrors.list(visit.actor, visit.path("name"))
    return {"mirrors": [_shown(one) for one in found]}


async def add_mirror(visit: Visit, body: m.NewMirror) -> object:
    given = body.model_dump(exclude={"url", "token"})
    made = await visit.services.mirrors.add(
        visit.actor,
        visit.path("name"),
        body.url,
        token=body.token.get_secret_value(),
        **given,
    )
    return _shown(await visit.services.mirrors.get(visit.actor, made.id))


async def try_remote(visit: Visit, body: m.ConnectionTest) -> object:
    found = await visit.services.mirrors.test(
        visit.actor,
        visit.path("name"),
        body.url,
        kind=body.kind,
        api_url=body.api_url,
        user=body.user,
        token=body.token.get_secret_value(),
    )
    return bridge_json.connection(found)


async def show_mirror(visit: Visit, _body: None) -> object:
    return await _one(visit)


async def configure_mirror(visit: Visit, body: m.MirrorChanges) -> object:
    changes = body.model_dump(exclude={"token"})
    changes["token"] = body.token.get_secret_value() if body.token is not None else None
    await visit.services.mirrors.configure(visit.actor, visit.path("id"), **changes)
    return await _one(visit)


async def remove_mirror(visit: Visit, _body: None) -> object:
    await visit.services.mirrors.remove(visit.actor, visit.path("id"))
    return None


async def run_mirror(visit: Visit, _body: None) -> object:
    job = await visit.services.mirrors.run(visit.actor, visit.path("id"))
    return job_answer(visit, job)


async def preview_mirror(visit: Visit, _body: None) -> object:
    found = await visit.services.mirrors.dry_run(visit.actor, visit.path("id"))
    return bridge_json.preview(found)


async def take_over_mirror(visit: Visit, _body: None) -> object:
    await visit.services.mirrors.take_over(visit.actor, visit.path("id"))
    return await _one(visit)


async def trust_mirror_host(visit: Visit, _body: None) -> object:
    await visit.services.mirrors.trust_host_key(visit.actor, visit.path("id"))
    return await _one(visit)


async def pause_mirror(visit: Visit, _body: None) -> object:
    await visit.services.mirrors.pause(visit.actor, visit.path("id"))
    return await _one(visit)


async def resume_mirror(visit: Visit, _body: None) -> object:
    await visit.services.mirrors.resume(visit.actor, visit.path("id"))
    return await _one(visit)


async def mirror_runs(visit: Visit, _body: None) -> object:
    limit = max(1, visit.number("limit", 50, _MOST_RUNS))
    found = await visit.services.mirrors.history(visit.actor, visit.path("id"), limit)
    return {"runs": [bridge_json.run(job) for job in found]}


# Rules of organizations


async def rules(visit: Visit, _body: None) -> object:
    found = await visit.services.mirror_rules.list(visit.actor, visit.path("org"))
    return {"rules": [bridge_json.rule(one) for one in found]}


async def add_rule(visit: Visit, body: m.NewRule) -> object:
    given = body.model_dump(exclude={"url", "token"})
    made = await visit.services.mirror_rules.add(
        visit.actor,
        visit.path("org"),
        body.url,
        token=body.token.get_secret_value(),
        **given,
    )
    return bridge_json.rule(made)


async def rule_token(visit: Visit, body: m.RuleToken) -> object:
    token = body.token.get_secret_value()
    changed = await visit.services.mirror_rules.set_token(visit.actor, visit.path("id"), token)
    return bridge_json.rule(changed)


async def remove_rule(visit: Visit, _body: None) -> object:
    await visit.services.mirror_rules.remove(
        visit.actor, visit.path("id"), mirrors=visit.query("mirrors") == "true"
    )
    return None


# Authors


async def authors(visit: Visit, _body: None) -> object:
    name = visit.path("name")
    found = await visit.services.git_authors.list(visit.actor, name)
    return {
        "main_branch": await visit.services.git_authors.main_branch(visit.actor, name),
        "authors": [bridge_json.author(one) for one in found],
    }


async def set_author(visit: Visit, body: m.NewAuthor) -> object:
    made = await visit.services.git_authors.set(
        visit.actor, visit.path("name"), body.user, body.name, body.email, rewrite=body.rewrite
    )
    return bridge_json.author(made)


async def set_main_branch(visit: Visit, body: m.MainBranch) -> object:
    name = visit.path("name")
    await visit.services.git_authors.set_main_branch(visit.actor, name, body.main_branch)
    return await authors(visit, None)


_OF, _ONE = "/repositories/{name}/mirrors", "/mirrors/{id}"
_RULES, _AUTHORS = "/organizations/{org}/mirror-rules", "/repositories/{name}/git-authors"
_IN, _MIRROR = Who.SIGNED_IN, m.MirrorAnswer
CALLS = (
    Call("GET", "/mirrors", _IN, mirrors, "All mirrors", answer=m.MirrorsAnswer),
    Call("GET", _OF, _IN, mirrors_of, "Mirrors of a repository", answer=m.MirrorsAnswer),
    Call("POST", _OF, _IN, add_mirror, "Add a mirror", m.NewMirror, _MIRROR, 201),
    Call(
        "POST", _OF + "/test", _IN, try_remote, "Try a remote", m.ConnectionTest, m.ConnectionAnswer
    ),
    Call("GET", _ONE, _IN, show_mirror, "One mirror", answer=_MIRROR),
    Call("PATCH", _ONE, _IN, configure_mirror, "Change it", m.MirrorChanges, _MIRROR),
    Call("DELETE", _ONE, _IN, remove_mirror, "Remove it; the remote stays", status=204),
    Call("POST", _ONE + "/run", _IN, run_mirror, "Run it now", answer=JobAnswer, status=202),
    Call(
        "POST", _ONE + "/dry-run", _IN, preview_mirror, "What it would push", answer=m.MirrorPreview
    ),
    Call(
        "POST",
        _ONE + "/take-over",
        _IN,
        take_over_mirror,
        "Overwrite what is there",
        answer=_MIRROR,
    ),
    Call(
        "POST", _ONE + "/trust-host", _IN, trust_mirror_host, "Pin another host key", answer=_MIRROR
    ),
    Call("POST", _ONE + "/pause", _IN, pause_mirror, "Let it rest", answer=_MIRROR),
    Call("POST", _ONE + "/resume", _IN, resume_mirror, "Let it run again", answer=_MIRROR),
    Call(
        "GET", _ONE + "/runs", _IN, mirror_runs, "Its runs", answer=m.RunsAnswer, query=("limit",)
    ),
    Call("GET", _RULES, _IN, rules, "Rules for mirrors", answer=m.RulesAnswer),
    Call("POST", _RULES, _IN, add_rule, "Mirror all", m.NewRule, m.RuleAnswer, 201),
    Call(
        "PUT",
        "/mirror-rules/{id}/token",
        _IN,
        rule_token,
        "Another token for all",
        m.RuleToken,
        m.RuleAnswer,
    ),
    Call(
        "DELETE",
        "/mirror-rules/{id}",
        _IN,
        remove_rule,
        "End a rule",
        status=204,
        query=("mirrors",),
    ),
    Call("GET", _AUTHORS, _IN, authors, "Authors in Git", answer=m.AuthorsAnswer),
    Call("PUT", _AUTHORS, _IN, set_author, "Call one otherwise", m.NewAuthor, m.AuthorAnswer),
    Call(
        "PUT",
        _AUTHORS + "/main-branch",
        _IN,
        set_main_branch,
        "Name the main branch",
        m.MainBranch,
        m.AuthorsAnswer,
    ),
)
