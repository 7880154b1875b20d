"""Organizations and their teams: who is in them, and what they let people do.

Owns the pages of organizations. Who may change what, the services decide; the pages show
forms only to who may use them.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fossilrepo.errors import FossilrepoError, InvalidInput
from fossilrepo.rights import Grant, MemberRole, Role, role_of
from fossilrepo.services.organizations import OrganizationDetail, TeamDetail
from fossilrepo.web import forms, pages_overview, render
from fossilrepo.web.visit import Route, Visit, Who

_ORG, _TEAM = "/orgs/{org}", "/orgs/{org}/teams/{team}"


async def listing(visit: Visit) -> web.StreamResponse:
    found = await visit.services.organizations.list(visit.actor)
    return render.page(visit, "orgs.html", found=found)


async def create(visit: Visit) -> web.StreamResponse:
    form = await forms.fields(visit)
    organizations = visit.services.organizations
    try:
        made = await organizations.create(visit.actor, form["name"], title=form["title"])
    except FossilrepoError as error:
        found = await organizations.list(visit.actor)
        return render.again(visit, "orgs.html", error, form, found=found)
    return render.see(f"/orgs/{made.name}", "org-created")


async def show(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "org.html", **await _known(visit, visit.path("org")))


async def _known(visit: Visit, name: str) -> dict[str, Any]:
    detail = await visit.services.organizations.show(visit.actor, name)
    days = await pages_overview.year(visit, detail.org.name)
    return {
        "org": detail.org,
        "detail": detail,
        "roles": list(Role),
        "at": "",
        "calendar": pages_overview.calendar(days) if days else None,
    }


async def _again(
    visit: Visit, error: FossilrepoError, form: forms.Fields, at: str
) -> web.StreamResponse:
    """The organization's page, with what is wrong beside the form that was sent."""
    known = await _known(visit, visit.path("org")) | {"at": at}
    return render.again(visit, "org.html", error, form, **known)


async def configure(visit: Visit) -> web.StreamResponse:
    form, name = await forms.fields(visit), visit.path("org")
    try:
        text = form["default_role"]
        await visit.services.organizations.configure(
            visit.actor,
            name,
            title=form["title"],
            default_role=None if text in ("", "none") else role_of(text),
            members_create=form["members_create"] == "yes",
            skin=form["skin"] == "yes",
        )
    except FossilrepoError as error:
        return await _again(visit, error, form, "configure")
    return render.see(f"/orgs/{name}", "org-saved")


async def rename(visit: Visit) -> web.StreamResponse:
    form, name = await forms.fields(visit), visit.path("org")
    try:
        after = await visit.services.organizations.rename(visit.actor, name, form["name"])
    except FossilrepoError as error:
        return await _again(visit, error, form, "rename")
    return render.see(f"/orgs/{after.name}", "org-saved")


async def delete(visit: Visit) -> web.StreamResponse:
    form, name = await forms.fields(visit), visit.path("org")
    try:
        forms.confirmed(form, name)
        await visit.services.organizations.delete(visit.actor, name)
    except FossilrepoError as error:
        return await _again(visit, error, form, "delete")
    return render.see("/orgs", "org-deleted")


# Members


async def set_member(visit: Visit) -> web.StreamResponse:
    form, name = await forms.fields(visit), visit.path("org")
    try:
        await visit.services.organizations.set_member(
            visit.actor, name, form["login"].lower(), _member_role(form["role"])
        )
    except FossilrepoError as error:
        return await _again(visit, error, form, "member")
    return render.see(f"/orgs/{name}", "member-set")


def _member_role(text: str) -> MemberRole:
    try:
        return MemberRole(text or "member")
    except ValueError:
        raise InvalidInput("a member is an owner or a member", field="role") from None


async def remove_member(visit: Visit) -> web.StreamResponse:
    form, name = await forms.fields(visit), visit.path("org")
    try:
        await visit.services.organizations.remove_member(visit.actor, name, form["login"])
    except FossilrepoError as error:
        return await _again(visit, error, form, "member")
    left = form["login"] == visit.actor.login and not visit.actor.is_admin
    return render.see("/orgs" if left else f"/orgs/{name}", "member-removed")


async def invite(visit: Visit) -> web.StreamResponse:
    """For owners too: the link is shown this once."""
    form, name = await forms.fields(visit), visit.path("org")
    try:
        invited = await visit.services.invitations.invite(
            visit.actor, email=form["email"], org=name, org_role=_member_role(form["role"])
        )
    except FossilrepoError as error:
        return await _again(visit, error, form, "invite")
    known = await _known(visit, name) | {"invited": invited}
    return render.page(visit, "org.html", **known)


# Grants on all of it


async def grant(visit: Visit) -> web.StreamResponse:
    form, name = await forms.fields(visit), visit.path("org")
    try:
        await visit.services.grants.grant(
            visit.actor, role_of(form["role"]), org=name, **forms.holder(form)
        )
    except FossilrepoError as error:
        return await _again(visit, error, form, "grant")
    return render.see(f"/orgs/{name}", "granted")


async def revoke(visit: Visit) -> web.StreamResponse:
    form, name = await forms.fields(visit), visit.path("org")
    try:
        await visit.services.grants.revoke(visit.actor, org=name, **forms.holder(form))
    except FossilrepoError as error:
        return await _again(visit, error, form, "grant")
    return render.see(f"/orgs/{name}", "revoked")


# Teams


async def create_team(visit: Visit) -> web.StreamResponse:
    form, name = await forms.fields(visit), visit.path("org")
    try:
        made = await visit.services.organizations.create_team(
            visit.actor, name, form["name"], description=form["description"]
        )
    except FossilrepoError as error:
        return await _again(visit, error, form, "team")
    return render.see(f"/orgs/{name}/teams/{made.name}", "team-created")


async def team(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "team.html", **await _team(visit))


async def _team(visit: Visit) -> dict[str, Any]:
    detail = await visit.services.organizations.show(visit.actor, visit.path("org"))
    one = detail.team(visit.path("team"))
    inside = {user.login for user in one.members}
    outside = [user for user, _ in detail.members if user.login not in inside]
    return {
        "org": detail.org,
        "detail": detail,
        "team": one,
        "outside": outside,
        "grants": await _grants_to(visit, detail, one),
        "roles": list(Role),
        "at": "",
    }


async def _grants_to(
    visit: Visit, detail: OrganizationDetail, team: TeamDetail
) -> list[tuple[str, Grant]]:
    """What the team may do, by the repository's name ("" is all), of what the visitor may read."""
    names = {repository.id: repository.label for repository in detail.repositories}
    directory = await visit.services.access.directory()
    found = [grant for grant in directory.grants if grant.team_id == team.team.id]
    everywhere = [("", grant) for grant in found if grant.org_id is not None]
    single = [(names[g.repository_id], g) for g in found if g.repository_id in names]
    return everywhere + sorted(single, key=lambda pair: pair[0])


async def _team_again(
    visit: Visit, error: FossilrepoError, form: forms.Fields, at: str
) -> web.StreamResponse:
    return render.again(visit, "team.html", error, form, **(await _team(visit) | {"at": at}))


async def configure_team(visit: Visit) -> web.StreamResponse:
    form, org = await forms.fields(visit), visit.path("org")
    try:
        after = await visit.services.organizations.configure_team(
            visit.actor,
            org,
            visit.path("team"),
            name=form["name"],
            description=form["description"],
        )
    except FossilrepoError as error:
        return await _team_again(visit, error, form, "configure")
    return render.see(f"/orgs/{org}/teams/{after.name}", "org-saved")


async def delete_team(visit: Visit) -> web.StreamResponse:
    form, org, name = await forms.fields(visit), visit.path("org"), visit.path("team")
    try:
        forms.confirmed(form, name)
        await visit.services.organizations.delete_team(visit.actor, org, name)
    except FossilrepoError as error:
        return await _team_again(visit, error, form, "delete")
    return render.see(f"/orgs/{org}", "team-deleted")


async def add_to_team(visit: Visit) -> web.StreamResponse:
    form, org, name = await forms.fields(visit), visit.path("org"), visit.path("team")
    try:
        await visit.services.organizations.add_to_team(visit.actor, org, name, form["login"])
    except FossilrepoError as error:
        return await _team_again(visit, error, form, "member")
    return render.see(f"/orgs/{org}/teams/{name}", "member-set")


async def grant_team(visit: Visit) -> web.StreamResponse:
    """On one repository of the organization, or on all of them when none is named."""
    form, org, name = await forms.fields(visit), visit.path("org"), visit.path("team")
    try:
        await visit.services.grants.grant(
            visit.actor, role_of(form["role"]), team=f"{org}/{name}", **_place(form, org)
        )
    except FossilrepoError as error:
        return await _team_again(visit, error, form, "grant")
    return render.see(f"/orgs/{org}/teams/{name}", "granted")


async def revoke_team(visit: Visit) -> web.StreamResponse:
    form, org, name = await forms.fields(visit), visit.path("org"), visit.path("team")
    try:
        await visit.services.grants.revoke(visit.actor, team=f"{org}/{name}", **_place(form, org))
    except FossilrepoError as error:
        return await _team_again(visit, error, form, "grant")
    return render.see(f"/orgs/{org}/teams/{name}", "revoked")


def _place(form: forms.Fields, org: str) -> dict[str, str | None]:
    repository = form["repository"]
    return {"repository": repository or None, "org": None if repository else org}


async def remove_from_team(visit: Visit) -> web.StreamResponse:
    form, org, name = await forms.fields(visit), visit.path("org"), visit.path("team")
    try:
        await visit.services.organizations.remove_from_team(visit.actor, org, name, form["login"])
    except FossilrepoError as error:
        return await _team_again(visit, error, form, "member")
    return render.see(f"/orgs/{org}/teams/{name}", "member-removed")


_IN = Who.SIGNED_IN
ROUTES = (
    Route("GET", "/orgs", _IN, listing),
    Route("POST", "/orgs", Who.ADMIN, create),
    Route("GET", _ORG, _IN, show),
    Route("POST", _ORG, _IN, configure),
    Route("POST", _ORG + "/rename", _IN, rename),
    Route("POST", _ORG + "/delete", _IN, delete),
    Route("POST", _ORG + "/members", _IN, set_member),
    Route("POST", _ORG + "/members/remove", _IN, remove_member),
    Route("POST", _ORG + "/invite", _IN, invite),
    Route("POST", _ORG + "/grants", _IN, grant),
    Route("POST", _ORG + "/grants/revoke", _IN, revoke),
    Route("POST", _ORG + "/teams", _IN, create_team),
    Route("GET", _TEAM, _IN, team),
    Route("POST", _TEAM, _IN, configure_team),
    Route("POST", _TEAM + "/delete", _IN, delete_team),
    Route("POST", _TEAM + "/members", _IN, add_to_team),
    Route("POST", _TEAM + "/grants", _IN, grant_team),
    Route("POST", _TEAM + "/grants/revoke", _IN, revoke_team),
    Route("POST", _TEAM + "/members/remove", _IN, remove_from_team),
)
