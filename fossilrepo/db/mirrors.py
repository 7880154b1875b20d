"""The rows of mirrors, their rules, and how Fossil users are called in Git.

Owns the queries on `mirrors`, `mirror_refs`, `mirror_rules`, `git_authors`, `git_exports`
and `mirror_issues`. Sees secrets encrypted only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, or_, select, update

from fossilrepo.bridge import (
    Author,
    ForgeKind,
    Mirror,
    MirrorRule,
    MirrorState,
    Standing,
)
from fossilrepo.db.engine import Database
from fossilrepo.db.tables_bridge import (
    git_authors,
    git_exports,
    mirror_issues,
    mirror_refs,
    mirror_rules,
    mirrors,
)

_STANDING = tuple(field.name for field in fields(Standing))
_MIRROR = tuple(f.name for f in fields(Mirror) if f.name not in ("kind", "has_token", "standing"))
_RULE = tuple(f.name for f in fields(MirrorRule) if f.name not in ("kind", "has_token"))


@dataclass(frozen=True, slots=True)
class IssueLink:
    """A ticket and the issue that it became; digests of what was written there."""

    ticket: str
    number: int
    digest: str
    comments: dict[str, Any]


class MirrorStore:
    def __init__(self, database: Database) -> None:
        self._db = database

    # Mirrors

    async def add(self, **values: Any) -> Mirror:
        query = insert(mirrors).values(**values).returning(mirrors)
        async with self._db.write() as connection:
            return _mirror((await connection.execute(query)).one())

    async def get(self, mirror_id: str) -> Mirror | None:
        async with self._db.read() as connection:
            row = (await connection.execute(select(mirrors).where(_is(mirror_id)))).first()
        return _mirror(row) if row else None

    async def list(self, repository_id: str | None = None) -> list[Mirror]:
        """Of one repository or of all, oldest first."""
        query = select(mirrors).order_by(mirrors.c.created_at, mirrors.c.id)
        if repository_id is not None:
            query = query.where(mirrors.c.repository_id == repository_id)
        async with self._db.read() as connection:
            return [_mirror(row) for row in await connection.execute(query)]

    async def due(self, at: datetime) -> Sequence[Mirror]:
        """Those that owe a run: asked for, or their time has come; not the paused ones."""
        query = select(mirrors).where(
            mirrors.c.paused_at.is_(None),
            or_(mirrors.c.next_run <= at, mirrors.c.wanted_at.is_not(None)),
        )
        async with self._db.read() as connection:
            return [_mirror(row) for row in await connection.execute(query)]

    async def update(self, mirror_id: str, **changes: Any) -> Mirror | None:
        """None when it was removed meanwhile."""
        query = update(mirrors).where(_is(mirror_id)).values(**changes).returning(mirrors)
        async with self._db.write() as connection:
            row = (await connection.execute(query)).first()
        return _mirror(row) if row else None

    async def remove(self, mirror_id: str) -> bool:
        async with self._db.write() as connection:
            return (await connection.execute(delete(mirrors).where(_is(mirror_id)))).rowcount > 0

    async def secrets(self, mirror_id: str) -> tuple[bytes | None, bytes | None]:
        """(token or its rule's, private key), encrypted."""
        rule_token = mirror_rules.c.token.label("rule_token")
        query = (
            select(mirrors.c.token, mirrors.c.private_key, rule_token)
            .join(mirror_rules, mirror_rules.c.id == mirrors.c.rule_id, isouter=True)
            .where(_is(mirror_id))
        )
        async with self._db.read() as connection:
            row = (await connection.execute(query)).first()
        return (row.token or row.rule_token, row.private_key) if row else (None, None)

    async def refs(self, mirror_id: str) -> dict[str, str]:
        """What we pushed there and read back."""
        query = select(mirror_refs).where(mirror_refs.c.mirror_id == mirror_id)
        async with self._db.read() as connection:
            return {row.ref: row.hash for row in await connection.execute(query)}

    async def set_refs(self, mirror_id: str, refs: Mapping[str, str]) -> None:
        values = [{"mirror_id": mirror_id, "ref": r, "hash": h} for r, h in refs.items()]
        async with self._db.write() as connection:
            await connection.execute(
                delete(mirror_refs).where(mirror_refs.c.mirror_id == mirror_id)
            )
            if values:
                await connection.execute(insert(mirror_refs), values)

    # Rules

    async def add_rule(self, **values: Any) -> MirrorRule:
        query = insert(mirror_rules).values(**values).returning(mirror_rules)
        async with self._db.write() as connection:
            return _rule((await connection.execute(query)).one())

    async def rules(self, org: str | None = None) -> Sequence[MirrorRule]:
        query = select(mirror_rules).order_by(mirror_rules.c.created_at, mirror_rules.c.id)
        if org is not None:
            query = query.where(mirror_rules.c.org == org)
        async with self._db.read() as connection:
            return [_rule(row) for row in await connection.execute(query)]

    async def rule_token(self, rule_id: str) -> bytes | None:
        query = select(mirror_rules.c.token).where(mirror_rules.c.id == rule_id)
        async with self._db.read() as connection:
            token: bytes | None = (await connection.execute(query)).scalar_one_or_none()
        return token

    async def update_rule(self, rule_id: str, **changes: Any) -> MirrorRule | None:
        query = (
            update(mirror_rules)
            .where(mirror_rules.c.id == rule_id)
            .values(**changes)
            .returning(mirror_rules)
        )
        async with self._db.write() as connection:
            row = (await connection.execute(query)).first()
        return _rule(row) if row else None

    async def remove_rule(self, rule_id: str) -> bool:
        query = delete(mirror_rules).where(mirror_rules.c.id == rule_id)
        async with self._db.write() as connection:
            return (await connection.execute(query)).rowcount > 0

    # Of a repository's export

    async def main_branch(self, repository_id: str) -> str:
        query = select(git_exports.c.main_branch).where(
            git_exports.c.repository_id == repository_id
        )
        async with self._db.read() as connection:
            found = (await connection.execute(query)).scalar_one_or_none()
        return found or "main"

    async def set_main_branch(self, repository_id: str, name: str) -> None:
        before = delete(git_exports).where(git_exports.c.repository_id == repository_id)
        after = insert(git_exports).values(repository_id=repository_id, main_branch=name)
        async with self._db.write() as connection:
            await connection.execute(before)
            await connection.execute(after)

    async def authors(self, repository_id: str) -> Sequence[Author]:
        query = (
            select(git_authors)
            .where(git_authors.c.repository_id == repository_id)
            .order_by(git_authors.c.user, git_authors.c.since)
        )
        async with self._db.read() as connection:
            return [
                Author(row.user, row.name, row.email, row.since)
                for row in await connection.execute(query)
            ]

    async def set_author(self, repository_id: str, author: Author, *, alone: bool = False) -> None:
        """`alone`: what held for the same user before goes."""
        same = (git_authors.c.repository_id == repository_id) & (git_authors.c.user == author.user)
        before = delete(git_authors).where(same)
        if not alone:
            before = before.where(git_authors.c.since == author.since)
        after = insert(git_authors).values(
            repository_id=repository_id,
            user=author.user,
            since=author.since,
            name=author.name,
            email=author.email,
        )
        async with self._db.write() as connection:
            await connection.execute(before)
            await connection.execute(after)

    async def add_authors(self, repository_id: str, authors: Sequence[Author]) -> None:
        """Those of users that have none yet; the others stay."""
        async with self._db.write() as connection:
            for author in authors:
                same = (git_authors.c.repository_id == repository_id) & (
                    git_authors.c.user == author.user
                )
                if (await connection.execute(select(git_authors.c.user).where(same))).first():
                    continue
                await connection.execute(
                    insert(git_authors).values(
                        repository_id=repository_id,
                        user=author.user,
                        since=author.since,
                        name=author.name,
                        email=author.email,
                    )
                )

    # Tickets that became issues

    async def issues(self, mirror_id: str) -> dict[str, IssueLink]:
        query = select(mirror_issues).where(mirror_issues.c.mirror_id == mirror_id)
        async with self._db.read() as connection:
            return {
                row.ticket: IssueLink(row.ticket, row.number, row.digest, dict(row.comments))
                for row in await connection.execute(query)
            }

    async def set_issue(self, mirror_id: str, link: IssueLink) -> None:
        this = (mirror_issues.c.mirror_id == mirror_id) & (mirror_issues.c.ticket == link.ticket)
        async with self._db.write() as connection:
            await connection.execute(delete(mirror_issues).where(this))
            await connection.execute(
                insert(mirror_issues).values(
                    mirror_id=mirror_id,
                    ticket=link.ticket,
                    number=link.number,
                    digest=link.digest,
                    comments=link.comments,
                )
            )


def _is(mirror_id: str) -> Any:
    return mirrors.c.id == mirror_id


def standing(row: Row[Any]) -> Standing:
    """The columns that mirrors and upstreams have alike."""
    values = {name: row._mapping[name] for name in _STANDING}
    return Standing(**(values | {"state": MirrorState(values["state"])}))


def _mirror(row: Row[Any]) -> Mirror:
    values = {name: row._mapping[name] for name in _MIRROR}
    return Mirror(
        **values,
        kind=ForgeKind(row.kind),
        has_token=row.token is not None,
        standing=standing(row),
    )


def _rule(row: Row[Any]) -> MirrorRule:
    values = {name: row._mapping[name] for name in _RULE}
    return MirrorRule(**values, kind=ForgeKind(row.kind), has_token=row.token is not None)
