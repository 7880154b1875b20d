"""Every call of the API, asked with what its description allows and with what it forbids.

The description is believed by a program that knows nothing else: what it makes up is sent to a
site that has people, organizations and repositories, and the answers must be as described. Names
of what exists stand in half of the addresses; destructive calls are made like all others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi import checks as described

from fossilrepo.config import Settings
from fossilrepo.errors import Conflict
from fossilrepo.models import Actor
from fossilrepo.rights import MemberRole, Role
from fossilrepo.web import openapi
from fossilrepo.web.api import BASE, CALLS
from tests.helpers.site import Site, roomy, served

EXAMPLES, SOME_EXAMPLES = 60, 5  # for each call and kind of data
HOST = Actor.system()
AS_DESCRIBED = (
    described.status_code_conformance,
    described.content_type_conformance,
    described.response_headers_conformance,
    described.response_schema_conformance,
)
AWAY = (502, 503)  # a program beside the host, that this site has none of


@dataclass
class World:
    """What exists, and exists again before each call is tried.

    `people` are by the part that they have: a login that was given up is not free for another.
    """

    site: Site
    people: dict[str, int]
    spare: int = 0

    @classmethod
    async def made(cls, site: Site) -> World:
        return cls(site, {"admin": (await site.services.accounts.user("ada")).id})

    async def login(self, part: str) -> str:
        users = {user.id: user for user in await self.site.services.accounts.users()}
        return users[self.people[part]].login

    async def set_right(self) -> None:
        services = self.site.services
        for part in ("admin", "owner", "member"):
            await self._person(part)
        owner, member = await self.login("owner"), await self.login("member")
        orgs = services.organizations
        for name in ("main", "club"):
            await _unless_there(orgs.create(HOST, name))
        await orgs.set_member(HOST, "club", owner, MemberRole.OWNER)
        await orgs.set_member(HOST, "club", member, MemberRole.MEMBER)
        await _unless_there(orgs.create_team(HOST, "club", "makers"))
        await _unless_there(orgs.add_to_team(HOST, "club", "makers", member))
        for name, org in (("demo", "main"), ("tool", "club")):
            await _unless_there(services.repos.create(HOST, name, org=org))
            await _unless_there(services.repos.unarchive(HOST, name))
        if not await services.repos.trash(HOST):
            self.spare += 1
            await services.repos.create(HOST, f"gone-{self.spare}", org="club")
            await services.repos.delete(HOST, f"gone-{self.spare}")

    async def _person(self, part: str) -> None:
        services = self.site.services
        users = {user.id: user for user in await services.accounts.users()}
        user = users.get(self.people.get(part, 0))
        if user is None:
            self.spare += 1
            user = await services.accounts.create_user(HOST, f"{part}-{self.spare}")
            self.people[part] = user.id
        if user.disabled:
            await services.accounts.set_disabled(HOST, user.login, False)
        if user.is_admin != (part == "admin"):
            await services.people.set_admin(HOST, user.login, part == "admin")

    async def known(self) -> dict[str, list[str]]:
        """By the parameter's name, what there is."""
        services = self.site.services
        logins = [await self.login(part) for part in self.people]
        invited = await services.invitations.invite(HOST, org="club")
        keys = await services.access_keys.list(HOST, "tool")
        if not keys:
            keys = [(await services.access_keys.create(HOST, "tool", Role.READ))[0]]
        tokens = await services.api_tokens.list(HOST, logins[-1])
        ids = [invited.id, *(row.id for row in await services.repos.trash(HOST)), keys[0].id]
        ids += [token["id"] for token in tokens[:1]]
        ids += [job.id for job in (await services.jobs.recent(HOST))[:3]]
        return {
            "name": ["demo", "tool"],
            "login": logins,
            "org": ["main", "club"],
            "team": ["makers", "club/makers"],
            "user": logins,
            "id": [str(identity) for identity in ids],
            "limit": ["3"],
            "offset": ["1"],
            "at": ["now"],
            "format": ["csv", "jsonl"],
        }

    async def token(self, part: str) -> str:
        """A new one each time: a call may have ended it."""
        _, token = await self.site.services.api_tokens.create(HOST, await self.login(part))
        return token


async def _unless_there(making: Awaitable[object]) -> None:
    with contextlib.suppress(Conflict):
        await making


def changes(call: Any) -> bool:
    return bool(call.method.lower() != "get")


def told(failure: BaseException, answer: Any) -> str:
    """What is wrong, what was sent, and what came."""
    parts = failure.exceptions if isinstance(failure, FailureGroup) else [failure]
    words = "; ".join(" ".join(str(part).split())[:600] for part in parts)
    sent = answer.request
    return (
        f"{words}\n  sent: {sent.method} {sent.url} {dict(sent.headers)} {sent.body!r:.300}"
        f"\n  came: {answer.status_code} {answer.headers} {answer.content[:300]!r}"
    )


@dataclass
class Tries:
    operation: Any
    url: str
    token: str
    known: dict[str, list[str]]
    settings: hypothesis.settings
    last: Any = None  # the answer

    def all(self) -> list[str]:
        """What was not as described."""
        kinds = [GenerationMode.POSITIVE]
        if self.operation.body:
            kinds.append(GenerationMode.NEGATIVE)
        found = []
        for kind in kinds:
            try:
                self.of(kind)
            except (Failure, FailureGroup, AssertionError) as error:
                found.append(
                    f"{self.operation.label} ({kind.name.lower()}): {told(error, self.last)}"
                )
        return found

    def of(self, kind: GenerationMode) -> None:
        @hypothesis.settings(self.settings)
        @hypothesis.given(self.operation.as_strategy(generation_mode=kind), strategies.data())
        def tried(case: Any, data: Any) -> None:
            self._put_names(case.path_parameters, data)
            self._put_names(case.query, data)
            answer = self.last = case.call(
                base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=30
            )
            checks = [*AS_DESCRIBED, described.negative_data_rejection]
            if answer.status_code not in AWAY:
                checks.append(not_a_server_error)
            case.validate_response(answer, checks=checks)

        tried()

    def _put_names(self, parameters: dict[str, Any], data: Any) -> None:
        for name in parameters:
            if name in self.known and data.draw(strategies.booleans()):
                parameters[name] = data.draw(strategies.sampled_from(self.known[name]))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", ["admin", "owner"])
async def test_every_call_answers_as_it_is_described(
    part: str, settings: Settings, full: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """As an administrator of the site, and as somebody who owns an organization; more: `--long`."""
    schema = schemathesis.openapi.from_dict(openapi.document(CALLS, BASE))
    bounds = hypothesis.settings(
        max_examples=EXAMPLES if full else SOME_EXAMPLES,
        derandomize=not full,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    found: list[str] = []
    known: dict[str, list[str]] = {}
    async with served(roomy(settings)) as site:
        world = await World.made(site)
        url = f"http://127.0.0.1:{site.port}"
        calls = sorted((made.ok() for made in schema.get_all_operations()), key=changes)
        for call in calls:
            if changes(call) or not known:
                await world.set_right()
                known = await world.known()
            tries = Tries(call, url, await world.token(part), known, bounds)
            found += await asyncio.to_thread(tries.all)
    assert not found, "\n".join(found)
    failures = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not failures
