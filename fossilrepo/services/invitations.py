"""Invitations: one-time links by which a person makes an account.

Owns what an invitation promises, who may promise it, and how it is taken up. The link is
kept as a hash. It is good as long as who made it may still make it: an owner who left an
organization leaves no door open.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fossilrepo.db.logins import LoginStore, Newcomer
from fossilrepo.db.one_time import OneTime, OneTimeStore
from fossilrepo.errors import Conflict, Forbidden, FossilrepoError, InvalidInput, NotFound
from fossilrepo.models import Actor, User, check_login, check_text, new_id, now
from fossilrepo.rights import Directory, MemberRole, Organization, Team
from fossilrepo.services.access import Access
from fossilrepo.services.accounts import Accounts, SignedIn
from fossilrepo.services.audit import Audit
from fossilrepo.services.keys import Keys
from fossilrepo.services.links import Links
from fossilrepo.services.mail import Mail, check_address
from fossilrepo.services.projection import Projection
from fossilrepo.services.slowing import Slowing

log = logging.getLogger(__name__)

PURPOSE = "invitation"
MOST_DAYS = 30


@dataclass(frozen=True, slots=True)
class Invitation:
    """`login` empty: the person chooses one. Organization and teams as they are called now."""

    id: str
    login: str
    name: str
    email: str
    org: str
    org_role: str
    teams: tuple[str, ...]
    created_by: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Invited:
    """The link is shown to who made it, now and never again; `mail_error` is why none went."""

    id: str
    url: str
    mailed: bool
    mail_error: str = ""


class Invitations:
    def __init__(
        self,
        one_time: OneTimeStore,
        logins: LoginStore,
        access: Access,
        accounts: Accounts,
        keys: Keys,
        projection: Projection,
        mail: Mail,
        links: Links,
        audit: Audit,
    ) -> None:
        self._one_time = one_time
        self._logins = logins
        self._access = access
        self._accounts = accounts
        self._keys = keys
        self._projection = projection
        self._mail = mail
        self._links = links
        self._audit = audit
        self._slowing = Slowing()

    async def invite(
        self,
        actor: Actor,
        *,
        login: str = "",
        name: str = "",
        email: str = "",
        org: str = "",
        org_role: str = MemberRole.MEMBER,
        teams: Sequence[str] = (),
        days: int = 7,
    ) -> Invited:
        """By administrators of the site, and by owners for their organization."""
        found, role = await self._place(actor, org, org_role)
        chosen = await self.teams_of(found, teams)
        if login:
            check_login(login)
            if await self._logins.taken((login,)):
                raise Conflict(
                    f"the login {login!r} is taken",
                    hint="choose another one: logins are never used again",
                    field="login",
                )
        name = check_text(name, what="name", most=100)
        email = check_address(email.strip()) if email.strip() else ""
        if not 1 <= days <= MOST_DAYS:
            raise InvalidInput(f"a link lives between 1 and {MOST_DAYS} days", field="days")
        token, identity, at = secrets.token_urlsafe(24), new_id(), now()
        detail = {
            "login": login,
            "name": name,
            "email": email,
            "org_id": found.id if found else None,
            "org_role": str(role),
            "team_ids": [team.id for team in chosen],
            "by": actor.user_id,
        }
        await self._one_time.add(
            token_hash=_digest(token),
            id=identity,
            purpose=PURPOSE,
            created_at=at,
            expires_at=at + timedelta(days=days),
            created_by=actor.login,
            detail=detail,
        )
        await self._audit.record(
            actor,
            "person.invite",
            login or email or identity,
            invitation=identity,
            org=org,
            role=str(role) if org else "",
            teams=[team.name for team in chosen],
        )
        url = f"{self._links.public_url}/invite/{token}"
        return await self._told(actor, Invited(identity, url, mailed=False), name, email, days)

    async def _told(self, actor: Actor, made: Invited, name: str, email: str, days: int) -> Invited:
        if not (email and self._mail.configured):
            return made
        text = (
            f"Hello{' ' + name if name else ''},\n\n"
            f"{actor.login} invites you to {self._links.public_url}. Make your account here:\n\n"
            f"{made.url}\n\n"
            f"The link works once, within {days} days. If you did not expect it, do nothing.\n"
        )
        try:
            await self._mail.send(email, f"Your invitation to {self._links.domain}", text)
        except FossilrepoError as error:
            log.warning("an invitation could not be mailed: %s", error)
            return Invited(made.id, made.url, mailed=False, mail_error=error.message)
        return Invited(made.id, made.url, mailed=True)

    async def _place(
        self, actor: Actor, org: str, org_role: str
    ) -> tuple[Organization | None, MemberRole]:
        try:
            role = MemberRole(org_role or MemberRole.MEMBER)
        except ValueError:
            raise InvalidInput(
                f"there is no member's role {org_role[:40]!r}",
                hint="write member or owner",
                field="org_role",
            ) from None
        if org:
            return await self._access.owned(actor, org), role
        if not actor.is_admin:
            raise Forbidden(
                "only an administrator of the site may invite somebody to no organization",
                hint="invite them to an organization of yours",
            )
        return None, role

    async def teams_of(self, org: Organization | None, names: Sequence[str]) -> list[Team]:
        """The organization's teams of these names; InvalidInput for one that it has not."""
        directory = await self._access.directory()
        known = {t.name: t for t in directory.teams.values() if org and t.org_id == org.id}
        for name in names:
            if name not in known:
                where = f"in {org.name}" if org else "without an organization"
                raise InvalidInput(f"there is no team {name[:80]!r} {where}", field="teams")
        return [known[name] for name in dict.fromkeys(names)]

    async def list(self, actor: Actor, org: str = "") -> list[Invitation]:
        """Those that wait, newest first: all, or of the organizations that the actor owns."""
        if org:
            await self._access.owned(actor, org)
        shown = [one async for one in self._seen_by(actor)]
        return [one for one in shown if not org or one.org == org]

    async def _seen_by(self, actor: Actor) -> AsyncIterator[Invitation]:
        directory = await self._access.directory()
        for row in await self._one_time.all(PURPOSE, now()):
            invitation = _described(row, directory)
            owned = invitation.org and await self._access.owns(actor, invitation.org)
            if _still_good(row, directory) and (actor.is_admin or owned):
                yield invitation

    async def revoke(self, actor: Actor, identity: str) -> None:
        """The link ends at once."""
        async for one in self._seen_by(actor):
            if one.id == identity and await self._one_time.remove(PURPOSE, identity):
                subject = one.login or one.email or one.id
                await self._audit.record(
                    actor, "invitation.revoke", subject, invitation=identity, org=one.org
                )
                return
        raise NotFound(f"there is no invitation {identity[:40]!r}")

    # Taking it up

    async def look(self, token: str) -> Invitation:
        """What the link promises; NotFound when it is not, or no more, good."""
        row, directory = await self._found(token)
        return _described(row, directory)

    async def _found(self, token: str) -> tuple[OneTime, Directory]:
        row = await self._one_time.find(_digest(token), PURPOSE, now())
        directory = await self._access.directory()
        if row is None or not _still_good(row, directory):
            raise _spent()
        return row, directory

    async def accept(
        self,
        token: str,
        login: str,
        name: str,
        password: str,
        *,
        address: str = "",
        agent: str = "",
    ) -> SignedIn:
        """Make the account, with its memberships, and sign in. Uses the link up."""
        row, _ = await self._found(token)
        promised = row.detail
        login = check_login(promised["login"] or login)
        # The link lets one try logins, not find out which there are.
        tries = f"account {row.id}"
        self._slowing.check(tries)
        password_hash = await self._accounts.new_hash(login, password)
        newcomer = Newcomer(
            {
                "login": login,
                "name": check_text(name, what="name", most=100),
                "email": promised["email"],
                "is_admin": False,
                "disabled": False,
                "password_hash": password_hash,
                "sync_secret": self._keys.new_sync_secret(),
                "created_at": now(),
            },
            promised["org_id"],
            MemberRole(promised["org_role"]),
            tuple(promised["team_ids"]),
        )
        try:
            made = await self._logins.admit([newcomer], with_token=_digest(token))
        except Conflict:
            self._slowing.failed(tries)
            raise
        if made is None:
            raise _spent()
        return await self._welcome(made[0], row, address, agent)

    async def _welcome(self, user: User, row: OneTime, address: str, agent: str) -> SignedIn:
        newcomer = Actor(user.login, address=address, user_id=user.id)
        await self._audit.record(
            newcomer, "person.join", user.login, invitation=row.id, by=row.created_by
        )
        await self._projection.project_all()
        return await self._accounts.session_for(user, address=address, agent=agent)


def _spent() -> NotFound:
    return NotFound(
        "this invitation is not valid any more",
        hint="it works once and for some days: ask who invited you for a new one",
    )


def _still_good(row: OneTime, directory: Directory) -> bool:
    """Who made it may still do so, and the organization is still there."""
    org_id, by = row.detail.get("org_id"), row.detail.get("by")
    if org_id is not None and all(o.id != org_id for o in directory.organizations.values()):
        return False
    if by is None:  # the host's own command line
        return True
    maker = directory.users.get(by)
    if maker is None or maker.disabled:
        return False
    owns = directory.members.get((org_id or 0, by)) is MemberRole.OWNER
    return maker.is_admin or owns


def _described(row: OneTime, directory: Directory) -> Invitation:
    detail = row.detail
    names = {org.id: org.name for org in directory.organizations.values()}
    org = names.get(detail["org_id"], "")
    teams = [directory.teams[t].name for t in detail["team_ids"] if t in directory.teams]
    return Invitation(
        id=row.id,
        login=detail["login"],
        name=detail["name"],
        email=detail["email"],
        org=org,
        org_role=detail["org_role"] if org else "",
        teams=tuple(teams),
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
