"""Two organizations on one host: nothing of the one can be seen or touched from the other.

Every call of the API and every route of the site is asked for what belongs to `bravo`, by
the owner of `alpha`. The bodies are made from the models, so that a call is not refused for
its form before anybody asks who is asking.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, SecretStr
from sqlalchemy import select

from fossilrepo.config import Settings
from fossilrepo.db import tables
from fossilrepo.db.engine import Database
from fossilrepo.models import Actor, Visibility
from fossilrepo.rights import MemberRole, Role
from fossilrepo.web.api import CALLS
from fossilrepo.web.api_call import Call
from fossilrepo.web.app import table
from fossilrepo.web.visit import Form, Route, Who
from tests.helpers.site import ADMIN, Site, roomy, served

# What only who belongs to `bravo` may learn.
SECRETS = ("bravo-vault", "Bravo's plans", "bravo-old", "bravo-team", "bella@bravo.example")
UNTOUCHED = (
    *("repositories", "organizations", "members", "teams", "team_members", "grants"),
    *("access_keys", "elevations", "adopted_natives", "users"),
)


@dataclass(frozen=True)
class World:
    site: Site
    settings: Settings
    alice: str  # her token
    trashed: str
    key: str

    def fill(self, path: str) -> str:
        """The path of a route, leading to what is bravo's."""
        first = path.removeprefix("/api/v1").split("/")[1]
        own = {"orgs": "bravo", "organizations": "bravo"}
        values = {
            "name": own.get(first, "bravo-vault"),
            "org": "bravo",
            "team": "bravo-team",
            "login": "bella",
            "user": "bella",
            "native": "nobody-here",
            "key": self.key,
            "id": self.trashed,
            "preview": "bravo-vault--aaaaaa",
            "token": "x" * 32,
        }
        return re.sub(r"{(\w+)[^}]*}", lambda found: values.get(found[1], "bravo-vault"), path)

    async def state(self) -> dict[str, list[tuple[Any, ...]]]:
        database = Database(self.settings)
        try:
            async with database.read() as connection:
                found = {}
                for name in UNTOUCHED:
                    here = tables.metadata.tables[name]
                    columns = [c for c in here.columns if c.name not in ("last_seen", "seen")]
                    rows = await connection.execute(select(*columns))
                    found[name] = sorted((tuple(row) for row in rows), key=repr)
                return found
        finally:
            await database.close()


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    settings = roomy(settings)
    async with served(settings) as site:
        services = site.services
        for login in ("alice", "bella"):
            await services.accounts.create_user(ADMIN, login, email=f"{login}@bravo.example")
        for org, owner in (("alpha", "alice"), ("bravo", "bella")):
            await services.organizations.create(ADMIN, org)
            await services.organizations.set_member(ADMIN, org, owner, MemberRole.OWNER)
        await services.organizations.create_team(ADMIN, "bravo", "bravo-team")
        await services.organizations.add_to_team(ADMIN, "bravo", "bravo-team", "bella")
        private = Visibility.PRIVATE
        for name in ("bravo-vault", "bravo-old"):
            await services.repos.create(
                ADMIN, name, title="Bravo's plans", org="bravo", visibility=private
            )
        await services.grants.grant(ADMIN, Role.WRITE, repository="bravo-vault", team="bravo-team")
        key, _ = await services.access_keys.create(ADMIN, "bravo-vault", Role.READ)
        trashed = await services.repos.delete(ADMIN, "bravo-old")
        _, token = await services.api_tokens.create(ADMIN, "alice")
        yield World(site, settings, token, trashed.id, key.id)


def filled(model: type[BaseModel]) -> dict[str, Any]:
    """A body that the model takes, with something in every field."""
    body = {name: _value(name, field.annotation) for name, field in model.model_fields.items()}
    for one in ("git",):  # of two ways only one may be named
        if {"clone", one} <= body.keys():
            del body[one]
    return body


def _value(name: str, kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    if get_origin(kind) in (list, tuple, set, frozenset):
        return []
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return next(iter(kind)).value
    if isinstance(kind, type) and issubclass(kind, SecretStr):
        return "a long enough secret"
    if kind is bool:
        return False
    if kind in (int, float):
        return 7
    known = {
        **{"org": "bravo", "user": "bella", "login": "bella", "team": "bravo-team"},
        **{"repository": "bravo-vault", "clone": "https://example.org/x", "at": "now"},
        **{"role": "admin", "org_role": "owner", "email": "mallory@example.org"},
        **{"scope": "read", "person": "alice", "native": "nobody-here"},
    }
    return known.get(name, "taken-over")


@pytest.mark.timeout(60)
async def test_no_call_of_the_api_shows_or_changes_what_is_anothers(world: World) -> None:
    before = await world.state()
    browser = world.site.browser()
    for call in CALLS:
        if "{" not in call.path and call.method == "GET" and call.who is Who.PUBLIC:
            continue
        headers = {"Authorization": f"Bearer {world.alice}", "Content-Type": "application/json"}
        data = None if call.body is None else json.dumps(filled(call.body))
        path = world.fill("/api/v1" + call.path)
        answer = await browser.ask(call.method, path, headers, data=data)
        assert answer.status < 500, (call.method, path, answer.text)
        shown = [secret for secret in SECRETS if secret in answer.text]
        echoed = _echoed(call, answer.text, path, data or "")
        assert set(shown) <= echoed, (call.method, path, answer.text)
        if "{" in call.path and not _is_own(call.path):
            # Names are one list for the whole host: who may create learns that one is taken.
            taken = (409,) if call.path.startswith("/imports/") else ()
            assert answer.status in (401, 403, 404, 422, *taken), (call.method, path, answer.text)
        assert await world.state() == before or _is_own(call.path), (call.method, path)
        before = await world.state()


def _echoed(call: Call, answer: str, path: str, body: str) -> set[str]:
    """What the caller wrote themselves may stand in the refusal."""
    return {secret for secret in SECRETS if secret in path or secret in body}


def _is_own(path: str) -> bool:
    """What changes only the caller's own things, or makes something new in their name."""
    return path.startswith(("/account", "/tokens"))


async def test_no_page_shows_or_changes_what_is_anothers(world: World) -> None:
    accounts = world.site.services.accounts
    await accounts.set_password(ADMIN, "alice", "correct horse battery")
    browser = await world.site.browser().sign_in("alice")
    before = await world.state()
    for route in table():
        if route.form is not Form.PAGE or route.path.startswith(("/logout", "/account", "/events")):
            continue
        path = world.fill(route.path)
        answer = await (browser.post(path, _fields()) if route.changes else browser.get(path))
        assert answer.status < 500, (route.method, path, answer.text)
        if not _asks_in_path(route):
            shown = [secret for secret in SECRETS if secret in answer.text]
            assert not shown, (route.method, path, shown)
        elif route.who is not Who.PUBLIC:
            assert answer.status in (303, 403, 404), (route.method, path, answer.status)
            assert not answer.location.startswith(("/repos/bravo", "/orgs/bravo")), path
    after = await world.state()
    assert after == before


def _asks_in_path(route: Route) -> bool:
    return "{" in route.path


def _fields() -> dict[str, str]:
    """Of every form at once: what does not belong to one is not read there."""
    return {
        **{"name": "taken-over", "title": "taken over", "visibility": "public", "org": "bravo"},
        **{"login": "alice", "user": "alice", "team": "bravo-team", "role": "admin"},
        **{"confirm": "bravo-vault", "holder": "alice", "description": "taken over"},
    }


async def test_fields_that_nobody_offered_are_refused(world: World) -> None:
    """Mass assignment: a body says more than the model has."""
    browser = world.site.browser()
    me = Actor("alice", user_id=(await world.site.services.accounts.user("alice")).id)
    await world.site.services.repos.create(me, "alpha-one", org="alpha")
    headers = {"Authorization": f"Bearer {world.alice}", "Content-Type": "application/json"}
    before = await world.state()
    for call in CALLS:
        if call.body is None:
            continue
        for field, value in (("is_admin", True), ("id", "aaaaaaaaaaaa"), ("trust", "trusted")):
            if field in call.body.model_fields:
                continue
            data = json.dumps({**filled(call.body), field: value})
            path = world.fill("/api/v1" + call.path)
            answer = await browser.ask(call.method, path, headers, data=data)
            # Who may not even ask is told so; whoever may is told of the field.
            assert answer.status in (401, 403, 404, 422), (call.method, path, answer.text)
    assert await world.state() == before
