"""Mirrors, upstreams and their runs as plain values, the same for `--json` and the API.

Owns the keys, which are promised to scripts. Times are RFC 3339, durations seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fossilrepo.bridge import Author, Delivery, Mirror, MirrorRule, Standing, Upstream, Webhook
from fossilrepo.models import Job, Repository, iso, now
from fossilrepo.runtime import schedule

if TYPE_CHECKING:  # the command line needs none of these to start
    from fossilrepo.services.mirroring import Preview
    from fossilrepo.services.mirrors import Connection


def standing(known: Standing) -> dict[str, Any]:
    return {
        "state": known.state,
        "verified_at": iso(known.verified_at),
        "lag_checkins": known.lag_checkins,
        "lag_s": known.lag_s(now()),
        "last_error": known.last_error,
        "hint": known.last_hint,
        "last_run": iso(known.last_run_at),
        "last_seconds": known.last_seconds,
        "next_run": iso(known.next_run),
        "failing_since": iso(known.failing_since),
        "failures": known.failures,
        "paused": known.paused_why,
    }


def mirror(one: Mirror, repository: Repository) -> dict[str, Any]:
    return {
        "id": one.id,
        "repository": repository.label,
        "url": one.url,
        **standing(one.standing),
        "kind": one.kind,
        "user": one.user,
        "branches": one.branches,
        "tags": one.tags,
        "schedule": one.schedule,
        "schedule_words": schedule.described(one.schedule),
        "on_change": one.on_change,
        "wiki": one.wiki,
        "issues": one.issues,
        "has_token": one.has_token,
        "token_expires_at": iso(one.token_expires_at),
        "public_key": one.public_key,
        "host_key": one.host_key,
        "rule": one.rule_id,
        "created_by": one.created_by,
        "created_at": iso(one.created_at),
        "waits_for_decision": one.seen,
    }


def upstream(one: Upstream, repository: Repository) -> dict[str, Any]:
    return {
        "id": one.id,
        "repository": repository.label,
        "url": one.url,
        **standing(one.standing),
        "user": one.user,
        "has_password": one.has_password,
        "direction": one.direction,
        "schedule": one.schedule,
        "schedule_words": schedule.described(one.schedule),
        "on_change": one.on_change,
        "private": one.private,
        "unversioned": one.unversioned,
        "created_by": one.created_by,
        "created_at": iso(one.created_at),
    }


def rule(one: MirrorRule) -> dict[str, Any]:
    return {
        "id": one.id,
        "org": one.org,
        "url": one.url,
        "kind": one.kind,
        "user": one.user,
        "branches": one.branches,
        "schedule": one.schedule,
        "on_change": one.on_change,
        "create": one.create,
        "has_token": one.has_token,
        "created_by": one.created_by,
        "created_at": iso(one.created_at),
        "last_error": one.last_error,
    }


def run(job: Job) -> dict[str, Any]:
    seconds = None
    if job.started_at and job.finished_at:
        seconds = round((job.finished_at - job.started_at).total_seconds(), 3)
    return {
        "id": job.id,
        "state": job.state,
        "trigger": job.trigger,
        "requested_by": job.requested_by,
        "result": job.progress,
        "error": job.error,
        "hint": job.hint,
        "created_at": iso(job.created_at),
        "started_at": iso(job.started_at),
        "finished_at": iso(job.finished_at),
        "seconds": seconds,
        "log": job.log,
    }


def preview(one: Preview) -> dict[str, Any]:
    return {
        "would_push": [
            {"ref": update.ref, "from": update.expected, "to": update.new}
            for update in one.plan.updates
        ],
        "stops": one.plan.stops,
        "would_be_lost": [
            {
                "ref": ref,
                "hash": theirs,
                "commits": [
                    {"hash": commit.hash, "author": commit.author, "subject": commit.subject}
                    for commit in one.lost.get(theirs, ())
                ],
            }
            for ref, theirs in one.plan.conflicts.items()
        ],
        "others": one.plan.others,
        "checkins": one.checkins,
        "refs": one.desired,
        "renamed": [{"name": name, "ref": ref} for name, ref in one.renamed],
    }


def connection(one: Connection) -> dict[str, Any]:
    token = one.token
    return {
        "refs": one.refs,
        "branches": list(one.branches),
        "host_key": one.host_key,
        "missing": one.missing,
        "token": None
        if token is None
        else {
            "login": token.login,
            "scopes": list(token.scopes),
            "expires_at": iso(token.expires_at),
            "can_push": token.can_push,
            "can_create": token.can_create,
        },
    }


def author(one: Author) -> dict[str, Any]:
    return {"user": one.user, "name": one.name, "email": one.email, "since": one.since}


def webhook(one: Webhook) -> dict[str, Any]:
    return {
        "id": one.id,
        "url": one.url,
        "events": list(one.events),
        "active": one.active,
        "created_by": one.created_by,
        "created_at": iso(one.created_at),
    }


def delivery(one: Delivery) -> dict[str, Any]:
    return {
        "id": one.id,
        "webhook": one.webhook_id,
        "event": one.event,
        "created_at": iso(one.created_at),
        "attempts": one.attempts,
        "next_at": iso(one.next_at),
        "delivered_at": iso(one.delivered_at),
        "status": one.status,
        "error": one.error,
        "answer": one.answer,
        "seconds": one.seconds,
        "body": one.body,
    }
