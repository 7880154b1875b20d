"""Organizations, teams, grants and who can do what, over the API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from fossilrepo.config import Settings
from fossilrepo.models import Visibility
from fossilrepo.rights import MemberRole, Role
from fossilrepo.services.api_tokens import Scope
from fossilrepo.web import api_people
from fossilrepo.web import api_people_models as m
from fossilrepo.web.api_call import BASE, Call
from fossilrepo.web.api_models import NewName
from tests.helpers.site import ADMIN, Site, roomy, served

OWNER, MEMBER = MemberRole.OWNER, MemberRole.MEMBER


@dataclass(frozen=True)
class World:
    """alpha and bravo, each with an owner (olga, bella), a member, a team and a repository."""

    site: Site
    tokens: dict[str, str]

    async def ask(self, login: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.tokens[login]}"}
        answer = await self.site.browser().ask(method, BASE + path, headers, json=body)
        return answer.status, json.loads(answer.text) if answer.text else None

    async def done(self, login: str, method: str, path: str, body: Any = None) -> Any:
        status, answer = await self.ask(login, method, path, body)
        assert status in (200, 201, 204), (method, path, status, answer)
        return answer


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    async with served(roomy(settings)) as site:
        services = site.services
        people = {"alpha": ("olga", "mike"), "bravo": ("bella", "bert")}
        tokens = {}
        for login in ("ada", "olga", "mike", "bella", "bert", "eve"):
            if login != "ada":
                await services.accounts.create_user(ADMIN, login)
            tokens[login] = (await services.api_tokens.create(ADMIN, login))[1]
        for org, (owner, member) in people.items():
            await services.organizations.create(ADMIN, org)
            await services.organizations.set_member(ADMIN, org, owner, OWNER)
            await services.organizations.set_member(ADMIN, org, member, MEMBER)
            await services.organizations.create_team(ADMIN, org, f"{org}-team")
            await services.repos.create(ADMIN, f"{org}-one", org=org, visibility=Visibility.PRIVATE)
        yield World(site, tokens)


async def test_an_owner_does_everything_of_an_organization(world: World) -> None:
    assert (await world.ask("olga", "POST", "/organizations", {"name": "mine"}))[0] == 403
    made = await world.done("ada", "POST", "/organizations", {"name": "acme", "title": "Acme"})
    assert m.OrganizationAnswer.model_validate(made).title == "Acme"
    await world.done("ada", "PUT", "/organizations/acme/members/olga", {"role": "owner"})

    changes = {"title": "Ours", "default_role": "write", "members_create": True}
    after = await world.done("olga", "PATCH", "/organizations/acme", changes)
    assert changes.items() <= after.items()
    none = await world.done("olga", "PATCH", "/organizations/acme", {"default_role": "none"})
    assert (none["default_role"], none["title"], none["members_create"]) == (None, "Ours", True)
    await world.done("olga", "PUT", "/organizations/acme/members/eve")
    team = await world.done("olga", "POST", "/organizations/acme/teams", {"name": "docs"})
    assert team == {"name": "docs", "description": ""}
    new = {"name": "writers", "description": "All who write"}
    assert await world.done("olga", "PATCH", "/organizations/acme/teams/docs", new) == new
    one = "/organizations/acme/teams/writers/members/eve"
    await world.done("olga", "PUT", one)
    assert (await world.ask("olga", "PUT", one))[0] == 409
    given = {"role": "read", "team": "writers"}
    grant = await world.done("olga", "POST", "/organizations/acme/grants", given)
    assert (grant["holder"], grant["place"], grant["granted_by"]) == (
        "acme/writers", "all of acme", "olga"
    )  # fmt: skip

    shown = m.OrganizationWhole.model_validate(
        await world.done("eve", "GET", "/organizations/acme")
    )
    assert [(one.login, one.role) for one in shown.members] == [("eve", MEMBER), ("olga", OWNER)]
    assert [(one.name, one.members) for one in shown.teams] == [("writers", ["eve"])]
    assert [one.holder for one in shown.grants] == ["acme/writers"]
    (line,) = (await world.done("eve", "GET", "/organizations"))["organizations"]
    assert (line["name"], line["role"], line["members"], line["teams"]) == ("acme", "member", 2, 1)

    await world.done("olga", "DELETE", "/organizations/acme/grants?team=writers")
    assert (await world.ask("olga", "DELETE", "/organizations/acme/grants?team=writers"))[0] == 404
    await world.done("olga", "DELETE", one)
    await world.done("olga", "DELETE", "/organizations/acme/teams/writers")
    await world.done("eve", "DELETE", "/organizations/acme/members/eve")
    renamed = await world.done("olga", "POST", "/organizations/acme/rename", {"name": "apex"})
    assert renamed["name"] == "apex"
    taken = await world.ask("olga", "POST", "/organizations/apex/rename", {"name": "bravo"})
    assert taken[0] == 409
    await world.done("olga", "DELETE", "/organizations/apex")
    assert (await world.ask("ada", "GET", "/organizations/apex"))[0] == 404
    held = await world.ask("olga", "DELETE", "/organizations/alpha")
    assert held[0] == 409 and "alpha-one" in held[1]["error"]


async def test_grants_on_a_repository_decide_who_can_do_what_in_it(world: World) -> None:
    one = "/repositories/alpha-one"
    assert (await world.ask("eve", "GET", f"{one}"))[0] == 404
    given = await world.done("olga", "POST", f"{one}/grants", {"role": "admin", "user": "eve"})
    assert (given["holder"], given["is_team"], given["role"]) == ("eve", False, "admin")
    await world.done("eve", "POST", f"{one}/grants", {"role": "write", "team": "alpha-team"})
    await world.done("olga", "PUT", "/organizations/alpha/teams/alpha-team/members/mike")
    report = m.AccessAnswer.model_validate(await world.done("eve", "GET", f"{one}/access"))
    told = {one.login: (one.role, [r.why for r in one.reasons]) for one in report.people}
    assert told == {
        "ada": (Role.ADMIN, ["administrator of the site"]),
        "eve": (Role.ADMIN, ["granted"]),
        "mike": (Role.WRITE, ["team alpha/alpha-team"]),
        "olga": (Role.ADMIN, ["owner of alpha"]),
    }
    (place,) = (await world.done("eve", "GET", "/where"))["repositories"]
    assert (place["repository"], place["role"]) == ("alpha-one", "admin")
    assert await world.done("ada", "GET", "/users/eve/where") == {"repositories": [place]}
    assert (await world.ask("eve", "GET", "/users/eve/where"))[0] == 403
    assert (await world.ask("ada", "GET", "/users/nobody-here/where"))[0] == 404
    await world.done("olga", "DELETE", f"{one}/grants?user=eve")
    assert (await world.ask("eve", "GET", f"{one}/access"))[0] == 404
    assert await world.done("eve", "GET", "/where") == {"repositories": []}


async def test_what_does_not_fit_is_refused_and_changes_nothing(world: World) -> None:
    before = await world.done("olga", "GET", "/organizations/alpha")
    org, repo = "/organizations/alpha", "/repositories/alpha-one"
    for method, path, body in (
        ("PATCH", org, {"name": "other"}),  # a call of its own
        ("PATCH", org, {"default_role": "owner"}),
        ("PATCH", org, {"members_create": "perhaps"}),
        ("PATCH", org, {"title": "x" * 201}),
        ("PATCH", org, {"id": 1}),
        ("POST", f"{org}/rename", {"name": "../x"}),
        ("POST", f"{org}/rename", {}),
        ("PUT", f"{org}/members/eve", {"role": "admin"}),
        ("POST", f"{org}/teams", {"name": "No Team"}),
        ("PUT", f"{org}/teams/alpha-team/members/eve", None),  # is not in the organization
        ("POST", f"{org}/grants", {"role": "read"}),
        ("POST", f"{org}/grants", {"role": "owner", "user": "eve"}),
        ("POST", f"{org}/grants", {"role": "read", "user": "eve", "team": "alpha-team"}),
        ("POST", f"{repo}/grants", {"role": "read", "user": "eve", "granted_by": "ada"}),
        ("POST", f"{repo}/grants", {"role": "read", "team": "bravo/bravo-team"}),
        ("DELETE", f"{repo}/grants", None),
        ("DELETE", f"{repo}/grants?user=eve&team=alpha-team", None),
    ):
        status, answer = await world.ask("olga", method, path, body)
        assert status == 422 and answer["error"], (method, path, body, status)
    for login in ("nobody-here", "x' OR 1=1 --", "%00"):
        assert (await world.ask("olga", "PUT", f"{org}/members/{login}"))[0] in (400, 404), login
    assert await world.done("olga", "GET", "/organizations/alpha") == before
    assert (await world.done("olga", "GET", f"{repo}/access"))["grants"] == []


# Who may: each call, asked for alpha and its repository. What a call needs of its body is in it.
BODIES: dict[type[Any], dict[str, Any]] = {
    m.OrganizationChanges: {"title": "Changed"},
    m.NewMember: {"role": "owner"},
    m.NewTeam: {"name": "more"},
    m.TeamChanges: {"description": "Changed"},
    m.NewGrant: {"role": "admin", "user": "eve"},
    NewName: {"name": "renamed"},
}
FREE = {"/organizations", "/where"}  # everyone's own view of them
READS = {("GET", "/organizations/{org}")}  # members may


def filled(call: Call) -> str:
    values = {"org": "alpha", "team": "alpha-team", "name": "alpha-one", "login": "olga"}
    path = call.path.format(**values)
    return f"{path}?user=olga" if call.query else path


async def state(world: World) -> list[Any]:
    """All that there is to see, as an administrator sees it."""
    seen = [await world.done("ada", "GET", f"/organizations/{org}") for org in ("alpha", "bravo")]
    seen.append(await world.done("ada", "GET", "/organizations"))
    for name in ("alpha-one", "bravo-one"):
        seen.append(await world.done("ada", "GET", f"/repositories/{name}/access"))
    return seen


CALLS = [call for call in api_people.CALLS if call.path not in FREE]


@pytest.mark.parametrize(
    ("login", "reading", "changing"),
    [("bella", 404, 404), ("eve", 404, 404), ("mike", 200, 403)],
    ids=["an owner of another organization", "nobody's member", "a member"],
)
async def test_who_does_not_own_an_organization_changes_nothing_of_it(
    world: World, login: str, reading: int, changing: int
) -> None:
    before = await state(world)
    for call in CALLS:
        body = BODIES[call.body] if call.body else None
        status, answer = await world.ask(login, call.method, filled(call), body)
        expected = reading if (call.method, call.path) in READS else changing
        if call.path.startswith("/users"):
            expected = 403  # a route of administrators
        elif call.path.startswith("/repositories"):
            expected = 404  # none of them may read it
        assert status == expected, (call.method, call.path, status, answer)
        if status == 404:
            place = "alpha-one" if call.path.startswith("/repositories") else "alpha"
            kind = "repository" if place == "alpha-one" else "organization"
            assert answer["error"] == f"there is no {kind} {place!r}"
            never = filled(call).replace(place, "never-was", 1)
            same = await world.ask(login, call.method, never, body)
            assert same[0] == 404
            assert same[1] == json.loads(json.dumps(answer).replace(place, "never-was"))
    assert await state(world) == before


async def test_what_is_anothers_cannot_be_reached_through_ones_own(world: World) -> None:
    """An owner names what belongs to bravo below the path of alpha."""
    before = await state(world)
    for method, path, body in (
        ("PATCH", "/organizations/alpha/teams/bravo-team", {"description": "x"}),
        ("DELETE", "/organizations/alpha/teams/bravo-team", None),
        ("PUT", "/organizations/alpha/teams/bravo-team/members/mike", None),
        ("DELETE", "/organizations/alpha/members/bert", None),
        ("POST", "/organizations/alpha/grants", {"role": "read", "team": "bravo-team"}),
        ("POST", "/repositories/alpha-one/grants", {"role": "read", "team": "bravo-team"}),
        ("DELETE", "/repositories/alpha-one/grants?team=bravo-team", None),
        ("POST", "/repositories/bravo-one/grants", {"role": "admin", "user": "olga"}),
    ):
        assert (await world.ask("olga", method, path, body))[0] == 404, (method, path)
    told = set()
    for team in ("bravo/bravo-team", "bravo/never-was", "never/never-was"):
        body = {"role": "read", "team": team}
        status, answer = await world.ask("olga", "POST", "/repositories/alpha-one/grants", body)
        told.add((status, answer["error"].replace(team, "")))
    assert len(told) == 1, "whether it is there is not told"
    assert await state(world) == before


async def test_a_token_that_only_reads_changes_no_rights(world: World) -> None:
    _, token = await world.site.services.api_tokens.create(ADMIN, "olga", scope=Scope.READ)
    reader = World(world.site, world.tokens | {"reader": token})
    before = await state(world)
    assert (await reader.ask("reader", "GET", "/organizations/alpha"))[0] == 200
    for call in CALLS:
        if call.method != "GET":
            body = BODIES[call.body] if call.body else None
            status, _ = await reader.ask("reader", call.method, filled(call), body)
            assert status == 403, (call.method, call.path)
    assert await state(world) == before
