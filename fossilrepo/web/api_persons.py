"""The API for people: accounts, invitations, links for new passwords, mail.

Owns their rows of the table of calls.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fossilrepo.models import User, iso
from fossilrepo.web import api_person_models as m
from fossilrepo.web.api_call import Call
from fossilrepo.web.visit import Visit, Who


async def users(visit: Visit, _body: None) -> object:
    return {"users": [described(user) for user in await visit.services.accounts.users()]}


async def create_user(visit: Visit, body: m.NewUser) -> object:
    made = await visit.services.accounts.create_user(
        visit.actor,
        body.login,
        name=body.name,
        email=body.email,
        is_admin=body.is_admin,
        password=body.password.get_secret_value(),
    )
    collides = await visit.services.people.collisions(visit.actor, made.login)
    return described(made) | {"native_elsewhere": list(collides)}


async def import_people(visit: Visit, body: m.PeopleFile) -> object:
    made = await visit.services.people.import_csv(visit.actor, body.csv, mail=body.mail)
    return {"users": [asdict(one) for one in made]}


async def user(visit: Visit, _body: None) -> object:
    people, login = visit.services.people, visit.path("login")
    profile = await people.show(visit.actor, login)
    return described(profile.user) | {
        "second_factor": profile.user.has_totp,
        "former_logins": list(profile.former),
        "memberships": [asdict(one) for one in profile.memberships],
        "native_elsewhere": list(await people.collisions(visit.actor, login)),
    }


async def configure_user(visit: Visit, body: m.UserChanges) -> object:
    login = visit.path("login")
    return described(
        await visit.services.people.configure(visit.actor, login, name=body.name, email=body.email)
    )


async def rename_user(visit: Visit, body: m.NewLogin) -> object:
    login = visit.path("login")
    return described(await visit.services.people.rename(visit.actor, login, body.login))


async def set_admin(visit: Visit, body: m.SiteRole) -> object:
    login = visit.path("login")
    return described(await visit.services.people.set_admin(visit.actor, login, body.is_admin))


async def delete_user(visit: Visit, _body: None) -> object:
    await visit.services.people.delete(visit.actor, visit.path("login"))
    return None


async def disable(visit: Visit, _body: None) -> object:
    accounts = visit.services.accounts
    return described(await accounts.set_disabled(visit.actor, visit.path("login"), True))


async def enable(visit: Visit, _body: None) -> object:
    accounts = visit.services.accounts
    return described(await accounts.set_disabled(visit.actor, visit.path("login"), False))


async def set_password(visit: Visit, body: m.NewPassword) -> object:
    await visit.services.accounts.set_password(
        visit.actor, visit.path("login"), body.password.get_secret_value()
    )
    return None


async def reset_link(visit: Visit, _body: None) -> object:
    return {"url": await visit.services.resets.link(visit.actor, visit.path("login"))}


async def rotate(visit: Visit, _body: None) -> object:
    await visit.services.accounts.rotate(visit.actor, visit.path("login"))
    return None


async def second_factor_off(visit: Visit, _body: None) -> object:
    await visit.services.second_factor.reset(visit.actor, visit.path("login"))
    return None


async def invitations(visit: Visit, _body: None) -> object:
    found = await visit.services.invitations.list(visit.actor, visit.query("org"))
    return {"invitations": [asdict(one) for one in found]}


async def invite(visit: Visit, body: m.NewInvitation) -> object:
    made = await visit.services.invitations.invite(
        visit.actor,
        login=body.login,
        name=body.name,
        email=body.email,
        org=body.org,
        org_role=body.org_role,
        teams=body.teams,
        days=body.days,
    )
    return asdict(made)


async def revoke_invitation(visit: Visit, _body: None) -> object:
    await visit.services.invitations.revoke(visit.actor, visit.path("id"))
    return None


async def trial_mail(visit: Visit, body: m.TrialMail) -> object:
    await visit.services.mail.send_trial(visit.actor, body.to)
    return None


def described(user: User) -> dict[str, Any]:
    return {
        "login": user.login,
        "name": user.name,
        "email": user.email,
        "is_admin": user.is_admin,
        "disabled": user.disabled,
        "created_at": iso(user.created_at),
        "last_seen": iso(user.last_seen),
    }


_ALL, _ONE, _USER = "/users", "/users/{login}", m.UserAnswer
_IN, _ADMIN = Who.SIGNED_IN, Who.ADMIN
CALLS = (
    Call("GET", _ALL, _ADMIN, users, "People", answer=m.UsersAnswer),
    Call("POST", _ALL, _ADMIN, create_user, "Create a person", m.NewUser, _USER, 201),
    Call(
        "POST",
        _ALL + "/import",
        _ADMIN,
        import_people,
        "Create everybody of a CSV file, or nobody",
        m.PeopleFile,
        m.ImportedPeople,
        201,
    ),
    Call("GET", _ONE, _ADMIN, user, "One person", answer=m.ProfileAnswer),
    Call("PATCH", _ONE, _ADMIN, configure_user, "Change name or e-mail", m.UserChanges, _USER),
    Call("DELETE", _ONE, _ADMIN, delete_user, "Let a person leave", status=204),
    Call("POST", _ONE + "/rename", _ADMIN, rename_user, "Another login", m.NewLogin, _USER),
    Call("POST", _ONE + "/admin", _ADMIN, set_admin, "Administrator or not", m.SiteRole, _USER),
    Call("POST", _ONE + "/disable", _ADMIN, disable, "Disable", answer=_USER),
    Call("POST", _ONE + "/enable", _ADMIN, enable, "Enable", answer=_USER),
    Call(
        "POST",
        _ONE + "/password",
        _ADMIN,
        set_password,
        "Set a password",
        m.NewPassword,
        status=204,
    ),
    Call(
        "POST",
        _ONE + "/reset-link",
        _ADMIN,
        reset_link,
        "A link for a new password",
        answer=m.LinkAnswer,
    ),
    Call(
        "POST",
        _ONE + "/second-factor-off",
        _ADMIN,
        second_factor_off,
        "Turn the second factor off",
        status=204,
    ),
    Call("POST", _ONE + "/rotate", _ADMIN, rotate, "New Fossil passwords", status=204),
    Call(
        "GET",
        "/invitations",
        _IN,
        invitations,
        "Invitations that wait",
        answer=m.InvitationsAnswer,
        query=("org",),
    ),
    Call("POST", "/invitations", _IN, invite, "Invite", m.NewInvitation, m.InvitedAnswer, 201),
    Call("DELETE", "/invitations/{id}", _IN, revoke_invitation, "End an invitation", status=204),
    Call("POST", "/mail/test", _ADMIN, trial_mail, "Try the mail server", m.TrialMail, status=204),
)
