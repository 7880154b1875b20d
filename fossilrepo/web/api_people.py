"""The API's calls for organizations, their members and teams, grants, and who can do what.

Owns its table of routes and the JSON forms. Checks nothing itself.
"""

from __future__ import annotations

from typing import Any

from fossilrepo.rights import Role
from fossilrepo.services import people_json
from fossilrepo.services.organizations import UNSET, OrganizationDetail, Unset
from fossilrepo.web import api_people_models as m
from fossilrepo.web.api_call import Call
from fossilrepo.web.api_models import NewName
from fossilrepo.web.visit import Visit, Who

# Organizations


async def organizations(visit: Visit, _body: None) -> object:
    found = await visit.services.organizations.list(visit.actor)
    return {
        "organizations": [
            {
                **people_json.organization(one.org),
                "members": one.members,
                "teams": one.teams,
                "repositories": one.repositories,
                "role": one.role,
            }
            for one in found
        ]
    }


async def create_organization(visit: Visit, body: m.NewOrganization) -> object:
    made = await visit.services.organizations.create(visit.actor, body.name, title=body.title)
    return people_json.organization(made)


async def show_organization(visit: Visit, _body: None) -> object:
    found = await visit.services.organizations.show(visit.actor, visit.path("org"))
    return {
        **people_json.organization(found.org),
        "members": [
            {"login": user.login, "name": user.name, "role": role} for user, role in found.members
        ],
        "teams": _teams(found),
        "grants": [people_json.grant(grant) for grant in found.grants],
        "repositories": [repository.label for repository in found.repositories],
    }


async def configure_organization(visit: Visit, body: m.OrganizationChanges) -> object:
    org, default_role = visit.path("org"), _default_role(body.default_role)
    after = await visit.services.organizations.configure(
        visit.actor,
        org,
        title=body.title,
        default_role=default_role,
        members_create=body.members_create,
        skin=body.skin,
    )
    return people_json.organization(after)


async def rename_organization(visit: Visit, body: NewName) -> object:
    org = visit.path("org")
    return people_json.organization(
        await visit.services.organizations.rename(visit.actor, org, body.name)
    )


def _default_role(text: str | None) -> Role | Unset | None:
    if text is None:
        return UNSET
    return None if text == "none" else Role(text)


async def delete_organization(visit: Visit, _body: None) -> object:
    await visit.services.organizations.delete(visit.actor, visit.path("org"))
    return None


async def set_member(visit: Visit, body: m.NewMember) -> object:
    org, login = visit.path("org"), visit.path("login")
    await visit.services.organizations.set_member(visit.actor, org, login, body.role)
    return None


async def remove_member(visit: Visit, _body: None) -> object:
    org, login = visit.path("org"), visit.path("login")
    await visit.services.organizations.remove_member(visit.actor, org, login)
    return None


# Teams


async def create_team(visit: Visit, body: m.NewTeam) -> object:
    made = await visit.services.organizations.create_team(
        visit.actor, visit.path("org"), body.name, description=body.description
    )
    return {"name": made.name, "description": made.description}


async def configure_team(visit: Visit, body: m.TeamChanges) -> object:
    after = await visit.services.organizations.configure_team(
        visit.actor,
        visit.path("org"),
        visit.path("team"),
        name=body.name,
        description=body.description,
    )
    return {"name": after.name, "description": after.description}


async def delete_team(visit: Visit, _body: None) -> object:
    org, team = visit.path("org"), visit.path("team")
    await visit.services.organizations.delete_team(visit.actor, org, team)
    return None


async def add_to_team(visit: Visit, _body: None) -> object:
    org, team, login = visit.path("org"), visit.path("team"), visit.path("login")
    await visit.services.organizations.add_to_team(visit.actor, org, team, login)
    return None


async def remove_from_team(visit: Visit, _body: None) -> object:
    org, team, login = visit.path("org"), visit.path("team"), visit.path("login")
    await visit.services.organizations.remove_from_team(visit.actor, org, team, login)
    return None


# Grants, and what follows from them


async def grant(visit: Visit, body: m.NewGrant) -> object:
    made = await visit.services.grants.grant(
        visit.actor, body.role, repository=visit.path("name"), user=body.user, team=body.team
    )
    return people_json.grant(made)


async def revoke(visit: Visit, _body: None) -> object:
    await visit.services.grants.revoke(visit.actor, repository=visit.path("name"), **_holder(visit))
    return None


async def grant_on_all(visit: Visit, body: m.NewGrant) -> object:
    made = await visit.services.grants.grant(
        visit.actor, body.role, org=visit.path("org"), user=body.user, team=body.team
    )
    return people_json.grant(made)


async def revoke_on_all(visit: Visit, _body: None) -> object:
    await visit.services.grants.revoke(visit.actor, org=visit.path("org"), **_holder(visit))
    return None


def _holder(visit: Visit) -> dict[str, str | None]:
    return {"user": visit.query("user") or None, "team": visit.query("team") or None}


async def access(visit: Visit, _body: None) -> object:
    return people_json.access(await visit.services.grants.access(visit.actor, visit.path("name")))


async def where(visit: Visit, _body: None) -> object:
    return await _where(visit, visit.path("login"))


async def own_where(visit: Visit, _body: None) -> object:
    return await _where(visit, visit.actor.login)


async def _where(visit: Visit, login: str) -> object:
    found = await visit.services.grants.where(visit.actor, login)
    return {
        "repositories": [
            {"repository": repository.label, **people_json.effective(what)}
            for repository, what in found
        ]
    }


# Forms


def _teams(found: OrganizationDetail) -> list[dict[str, Any]]:
    return [
        {
            "name": one.team.name,
            "description": one.team.description,
            "members": [user.login for user in one.members],
        }
        for one in found.teams
    ]


_ALL, _ORG = "/organizations", "/organizations/{org}"
_TEAMS, _TEAM = _ORG + "/teams", _ORG + "/teams/{team}"
_ONE = "/repositories/{name}"
_IN, _ADMIN = Who.SIGNED_IN, Who.ADMIN
_HOLDER = ("user", "team")
CALLS = (
    Call("GET", _ALL, _IN, organizations, "Organizations", answer=m.Organizations),
    Call(
        "POST",
        _ALL,
        _ADMIN,
        create_organization,
        "Make an organization",
        m.NewOrganization,
        m.OrganizationAnswer,
        201,
    ),
    Call("GET", _ORG, _IN, show_organization, "One organization", answer=m.OrganizationWhole),
    Call(
        "PATCH",
        _ORG,
        _IN,
        configure_organization,
        "Change an organization",
        m.OrganizationChanges,
        m.OrganizationAnswer,
    ),
    Call(
        "POST",
        _ORG + "/rename",
        _IN,
        rename_organization,
        "Rename an organization",
        NewName,
        m.OrganizationAnswer,
    ),
    Call("DELETE", _ORG, _IN, delete_organization, "Delete an organization", status=204),
    Call(
        "PUT",
        _ORG + "/members/{login}",
        _IN,
        set_member,
        "Add a member, or change one",
        m.NewMember,
        status=204,
    ),
    Call(
        "DELETE",
        _ORG + "/members/{login}",
        _IN,
        remove_member,
        "Out of the organization",
        status=204,
    ),
    Call("POST", _TEAMS, _IN, create_team, "Make a team", m.NewTeam, m.OneTeam, 201),
    Call("PATCH", _TEAM, _IN, configure_team, "Change a team", m.TeamChanges, m.OneTeam),
    Call("DELETE", _TEAM, _IN, delete_team, "Delete a team", status=204),
    Call("PUT", _TEAM + "/members/{login}", _IN, add_to_team, "Into a team", status=204),
    Call("DELETE", _TEAM + "/members/{login}", _IN, remove_from_team, "Out of a team", status=204),
    Call(
        "POST",
        _ORG + "/grants",
        _IN,
        grant_on_all,
        "Grant on all of it",
        m.NewGrant,
        m.GrantAnswer,
    ),
    Call(
        "DELETE",
        _ORG + "/grants",
        _IN,
        revoke_on_all,
        "Take a grant on all of it away",
        status=204,
        query=_HOLDER,
    ),
    Call("POST", _ONE + "/grants", _IN, grant, "Grant a role", m.NewGrant, m.GrantAnswer),
    Call("DELETE", _ONE + "/grants", _IN, revoke, "Take a grant away", status=204, query=_HOLDER),
    Call("GET", _ONE + "/access", _IN, access, "Who can do what, and why", answer=m.AccessAnswer),
    Call("GET", "/users/{login}/where", _ADMIN, where, "Where a person can go", answer=m.Where),
    Call("GET", "/where", _IN, own_where, "Where you can go", answer=m.Where),
)
