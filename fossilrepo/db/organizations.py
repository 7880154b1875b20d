"""The rows of organizations, their members and teams, and of grants.

Owns the queries on `organizations`, `members`, `teams`, `team_members` and `grants`, and the
picture of them all (`directory`) from which rights are computed. Decides nothing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, delete, insert, or_, select, true, update

from fossilrepo.db import rows
from fossilrepo.db.engine import Database
from fossilrepo.db.tables import (
    former_names,
    grants,
    members,
    organizations,
    repositories,
    team_members,
    teams,
)
from fossilrepo.db.tables import users as people
from fossilrepo.db.versions import people_changed
from fossilrepo.errors import Conflict, NotFound
from fossilrepo.models import now
from fossilrepo.rights import Directory, Grant, MemberRole, Organization, Role, Team


class OrganizationStore:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def directory(self, user_id: int | None = None) -> Directory:
        """Everything that decides rights, or only what decides those of one person."""
        own_teams = select(team_members.c.team_id).where(team_members.c.user_id == user_id)
        everyone: ColumnElement[bool] = true()
        alone = user_id is not None
        persons = people.c.id == user_id if alone else people.c.deleted_at.is_(None)
        granted = or_(grants.c.user_id == user_id, grants.c.team_id.in_(own_teams))
        async with self._db.read() as connection:
            found_users = await connection.execute(select(people).where(persons))
            found_orgs = await connection.execute(select(organizations))
            found_members = await connection.execute(
                select(members).where(members.c.user_id == user_id if alone else everyone)
            )
            found_teams = await connection.execute(select(teams))
            found_team_members = await connection.execute(
                select(team_members).where(team_members.c.user_id == user_id if alone else everyone)
            )
            found_grants = await connection.execute(
                select(grants).where(granted if alone else everyone).order_by(grants.c.id)
            )
            # Each query sees its own moment: what was made in between is left out, so that nothing
            # names a team or an organization that is not in the picture.
            orgs = [rows.organization(row) for row in found_orgs]
            known = {org.id for org in orgs}
            in_orgs = {row.id: rows.team(row) for row in found_teams if row.org_id in known}
            in_teams: dict[int, set[int]] = {}
            for row in found_team_members:
                if row.team_id in in_orgs:
                    in_teams.setdefault(row.user_id, set()).add(row.team_id)
            return Directory(
                users={row.id: rows.user(row) for row in found_users},
                organizations={org.name: org for org in orgs},
                members={(row.org_id, row.user_id): MemberRole(row.role) for row in found_members},
                teams=in_orgs,
                team_members={user: frozenset(found) for user, found in in_teams.items()},
                grants=tuple(
                    rows.grant(row)
                    for row in found_grants
                    if (row.org_id is None or row.org_id in known)
                    and (row.team_id is None or row.team_id in in_orgs)
                ),
            )

    # Organizations

    async def add(self, **values: Any) -> Organization:
        """Conflict when the name is taken."""
        query = insert(organizations).values(**values).returning(organizations)
        async with self._db.write() as connection:
            await people_changed(connection)
            return rows.organization((await connection.execute(query)).one())

    async def all(self) -> list[Organization]:
        query = select(organizations).order_by(organizations.c.name)
        async with self._db.read() as connection:
            return [rows.organization(row) for row in await connection.execute(query)]

    async def by_name(self, name: str) -> Organization | None:
        query = select(organizations).where(organizations.c.name == name)
        async with self._db.read() as connection:
            row = (await connection.execute(query)).first()
        return rows.organization(row) if row else None

    async def update(self, org_id: int, **changes: Any) -> Organization:
        """A new name is written into its repositories too, and into names kept for it."""
        async with self._db.write() as connection:
            await people_changed(connection)
            if "name" in changes:
                old = select(organizations.c.name).where(organizations.c.id == org_id)
                name = (await connection.execute(old)).scalar_one()
                for table in (repositories, former_names):
                    await connection.execute(
                        update(table).where(table.c.org == name).values(org=changes["name"])
                    )
            query = (
                update(organizations)
                .where(organizations.c.id == org_id)
                .values(**changes)
                .returning(organizations)
            )
            row = (await connection.execute(query)).first()
        if row is None:
            raise NotFound("this organization is gone")
        return rows.organization(row)

    async def remove(self, org_id: int) -> None:
        """Conflict while a repository belongs to it, or when it is the only one."""
        async with self._db.write() as connection:
            await people_changed(connection)
            if (await connection.execute(_owned(org_id))).first():
                raise Conflict("this organization has repositories")
            others = select(organizations.c.id).where(organizations.c.id != org_id)
            if not (await connection.execute(others)).first():
                raise Conflict("this is the only organization")
            await connection.execute(delete(organizations).where(organizations.c.id == org_id))

    async def repositories_of(self, org_id: int) -> list[str]:
        """The identities of what it owns, under whatever name it has now; the trash too."""
        async with self._db.read() as connection:
            return list((await connection.execute(_owned(org_id))).scalars())

    async def set_member(self, org_id: int, user_id: int, role: MemberRole) -> None:
        """Make the person a member, or change what kind of member."""
        async with self._db.write() as connection:
            await people_changed(connection)
            done = await connection.execute(
                update(members)
                .where(members.c.org_id == org_id, members.c.user_id == user_id)
                .values(role=role)
            )
            if not done.rowcount:
                await connection.execute(
                    insert(members).values(
                        org_id=org_id, user_id=user_id, role=role, added_at=now()
                    )
                )

    async def remove_member(self, org_id: int, user_id: int) -> bool:
        """Out of the organization and of its teams; False when the person was no member."""
        own = select(teams.c.id).where(teams.c.org_id == org_id)
        async with self._db.write() as connection:
            await people_changed(connection)
            done = await connection.execute(
                delete(members).where(members.c.org_id == org_id, members.c.user_id == user_id)
            )
            await connection.execute(
                delete(team_members).where(
                    team_members.c.user_id == user_id, team_members.c.team_id.in_(own)
                )
            )
        return done.rowcount > 0

    # Teams

    async def add_team(self, org_id: int, name: str, description: str) -> Team:
        """Conflict when the organization has a team of this name."""
        query = (
            insert(teams).values(org_id=org_id, name=name, description=description).returning(teams)
        )
        async with self._db.write() as connection:
            await people_changed(connection)
            return rows.team((await connection.execute(query)).one())

    async def update_team(self, team_id: int, **changes: Any) -> Team:
        query = update(teams).where(teams.c.id == team_id).values(**changes).returning(teams)
        async with self._db.write() as connection:
            await people_changed(connection)
            row = (await connection.execute(query)).first()
        if row is None:
            raise NotFound("this team is gone")
        return rows.team(row)

    async def remove_team(self, team_id: int) -> list[Grant]:
        """The grants that ended with it."""
        ending = select(grants).where(grants.c.team_id == team_id)
        async with self._db.write() as connection:
            await people_changed(connection)
            ended = [rows.grant(row) for row in await connection.execute(ending)]
            await connection.execute(delete(teams).where(teams.c.id == team_id))
        return ended

    async def add_to_team(self, team_id: int, user_id: int) -> bool:
        """False when the person is in it already, NotFound when not in its organization."""
        there = select(team_members.c.user_id).where(
            team_members.c.team_id == team_id, team_members.c.user_id == user_id
        )
        member = (
            select(members.c.user_id)
            .join(teams, teams.c.org_id == members.c.org_id)
            .where(teams.c.id == team_id, members.c.user_id == user_id)
        )
        async with self._db.write() as connection:
            await people_changed(connection)
            if not (await connection.execute(member)).first():
                raise NotFound("this person is not in the team's organization", field="login")
            if (await connection.execute(there)).first():
                return False
            await connection.execute(
                insert(team_members).values(team_id=team_id, user_id=user_id, added_at=now())
            )
        return True

    async def remove_from_team(self, team_id: int, user_id: int) -> bool:
        async with self._db.write() as connection:
            await people_changed(connection)
            done = await connection.execute(
                delete(team_members).where(
                    team_members.c.team_id == team_id, team_members.c.user_id == user_id
                )
            )
        return done.rowcount > 0

    # Grants

    async def grant(
        self,
        role: Role,
        *,
        granted_by: str,
        repository_id: str | None = None,
        org_id: int | None = None,
        user_id: int | None = None,
        team_id: int | None = None,
    ) -> Role | None:
        """Give the role in place of the one that was there; that one, or None."""
        where = _subject(repository_id, org_id, user_id, team_id)
        values = {"role": role, "granted_by": granted_by, "granted_at": now()}
        async with self._db.write() as connection:
            await people_changed(connection)
            before = select(grants.c.role).where(grants.c.subject == where)
            found = (await connection.execute(before)).scalar_one_or_none()
            if found is not None:
                await connection.execute(
                    update(grants).where(grants.c.subject == where).values(**values)
                )
                return Role(found)
            await connection.execute(
                insert(grants).values(
                    subject=where,
                    repository_id=repository_id,
                    org_id=org_id,
                    user_id=user_id,
                    team_id=team_id,
                    **values,
                )
            )
        return None

    async def revoke(
        self,
        *,
        repository_id: str | None = None,
        org_id: int | None = None,
        user_id: int | None = None,
        team_id: int | None = None,
    ) -> Grant | None:
        """Take the grant away; what it was, or None when there was none."""
        where = _subject(repository_id, org_id, user_id, team_id)
        query = delete(grants).where(grants.c.subject == where).returning(grants)
        async with self._db.write() as connection:
            await people_changed(connection)
            row = (await connection.execute(query)).first()
        return rows.grant(row) if row else None


def _owned(org_id: int) -> Select[str]:
    return (
        select(repositories.c.id)
        .join(organizations, organizations.c.name == repositories.c.org)
        .where(organizations.c.id == org_id)
        .order_by(repositories.c.id)
    )


def _subject(
    repository_id: str | None, org_id: int | None, user_id: int | None, team_id: int | None
) -> str:
    """What there is one grant of: a place (one of two) and a holder (one of two)."""
    place = f"repository {repository_id}" if repository_id else f"org {org_id}"
    holder = f"user {user_id}" if user_id is not None else f"team {team_id}"
    return f"{place}, {holder}"
