"""People as administrators see them: renamed, made administrators, leaving, in bulk.

Owns what is done to a person as a whole. A change that matters inside Fossil is written into
the repositories before it returns. Logins are never used again by somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fossilrepo.db.logins import LoginStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.errors import Conflict, Forbidden
from fossilrepo.models import Actor, User, check_login, check_text
from fossilrepo.rights import MemberRole
from fossilrepo.services.access import Access
from fossilrepo.services.accounts import Accounts
from fossilrepo.services.audit import Audit
from fossilrepo.services.keys import Keys
from fossilrepo.services.mail import Mail, check_address
from fossilrepo.services.natives import Natives
from fossilrepo.services.people_import import Imported, PeopleImport
from fossilrepo.services.projection import Projection


@dataclass(frozen=True, slots=True)
class Membership:
    org: str
    role: MemberRole
    teams: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """A person, where they belong, and the logins that they had before."""

    user: User
    memberships: tuple[Membership, ...]
    former: tuple[str, ...]
    is_last_admin: bool


class People:
    def __init__(
        self,
        store: PeopleStore,
        logins: LoginStore,
        accounts: Accounts,
        access: Access,
        natives: Natives,
        bulk: PeopleImport,
        projection: Projection,
        keys: Keys,
        mail: Mail,
        audit: Audit,
    ) -> None:
        self._store = store
        self._logins = logins
        self._accounts = accounts
        self._access = access
        self._natives = natives
        self._bulk = bulk
        self._projection = projection
        self._keys = keys
        self._mail = mail
        self._audit = audit

    async def show(self, actor: Actor, login: str) -> Profile:
        """Oneself, or anybody for administrators of the site."""
        user = await self._known(actor, login, himself=True)
        directory = await self._access.directory()
        own = directory.team_members.get(user.id, frozenset())
        memberships = []
        for name in sorted(directory.organizations):
            org = directory.organizations[name]
            role = directory.members.get((org.id, user.id))
            teams = (directory.teams[t] for t in own)
            if role is not None:
                names = sorted(team.name for team in teams if team.org_id == org.id)
                memberships.append(Membership(name, role, tuple(names)))
        able = {u.id for u in directory.users.values() if u.is_admin and not u.disabled}
        former = tuple(await self._logins.former(user.id))
        return Profile(user, tuple(memberships), former, able == {user.id})

    async def configure(
        self, actor: Actor, login: str, *, name: str | None = None, email: str | None = None
    ) -> User:
        """Name and e-mail address; what is None stays."""
        before = await self._known(actor, login, himself=True)
        changes: dict[str, Any] = {}
        if name is not None:
            changes["name"] = check_text(name, what="name", most=100)
        if email is not None:
            changes["email"] = check_address(email.strip()) if email.strip() else ""
        changes = {key: value for key, value in changes.items() if value != getattr(before, key)}
        if not changes:
            return before
        after = await self._store.update_user(login, **changes)
        await self._audit.record(
            actor,
            "person.configure",
            login,
            before={key: getattr(before, key) for key in changes},
            after=changes,
        )
        if "email" in changes:
            self._mail.tell(
                before.email,
                f"The e-mail address of {login} is another one",
                f"The address of {login} was changed by {actor.login} just now; this is the last "
                "message to the old one. If that should not be, tell an administrator.\n",
            )
        if "name" in changes:
            await self._projection.project_all()
        return after

    async def rename(self, actor: Actor, old: str, new: str) -> User:
        """Another login, here and in every repository; the Fossil passwords stay the same."""
        user = await self._known(actor, old)
        check_login(new)
        if new == old:
            raise Conflict(f"the login is {old!r} already", field="login")
        after = await self._logins.rename(user.id, new)
        await self._audit.record(actor, "person.rename", new, before=old, after=new)
        await self._projection.project_all()
        return after

    async def set_admin(self, actor: Actor, login: str, is_admin: bool) -> User:
        """Administrator of the site or not; one always stays."""
        user = await self._known(actor, login)
        if user.is_admin == is_admin:
            return user
        if is_admin and user.disabled:
            raise Conflict(f"{login} is disabled", hint="enable the person first")
        after = await self._logins.set_admin(user.id, is_admin)
        await self._audit.record(
            actor, "person.admin", login, before=user.is_admin, after=after.is_admin
        )
        await self._projection.project_all()
        return after

    async def delete(self, actor: Actor, login: str) -> None:
        """The person leaves: shut out everywhere, their name and address forgotten.

        What they did stays in the history and the audit log, under a login that nobody gets
        again. Access keys that they made stay with their repositories.
        """
        user = await self._known(actor, login)
        await self._logins.leave(user.id, self._keys.new_sync_secret())
        await self._audit.record(actor, "person.delete", login, admin=user.is_admin)
        await self._projection.project_all()

    async def collisions(self, actor: Actor, login: str) -> tuple[str, ...]:
        """Repositories where a user of this login is somebody else until an administrator says.

        The person is not let in there: nothing of the native user was overwritten.
        """
        await self._known(actor, login)
        return await self._held_by_natives(actor, login)

    async def _held_by_natives(self, actor: Actor, login: str) -> tuple[str, ...]:
        for native, names, _ in await self._natives.everywhere(actor):
            if native == login:
                return names
        return ()

    async def import_csv(self, actor: Actor, text: str, *, mail: bool = False) -> list[Imported]:
        """Everybody of a CSV file, or nobody when a row is wrong; see `people_import`."""
        _admins_only(actor)
        made = await self._bulk.run(actor, text, mail=mail)
        await self._projection.project_all()
        return made

    async def _known(self, actor: Actor, login: str, *, himself: bool = False) -> User:
        """The person, for who may act on them; nobody else learns whether there is one."""
        if not (himself and actor.login == login):
            _admins_only(actor)
        return await self._accounts.user(login)


def _admins_only(actor: Actor) -> None:
    if not actor.is_admin:
        raise Forbidden("only an administrator of the site may do this")
