"""The rows about replicas: how each stands, trial restores, undo points, previews, targets.

Owns the queries on these tables and nothing else. A replica's row outlives its
repository: what was purged can be brought back as long as its row says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import case, delete, func, insert, select, update

from fossilrepo.db import rows
from fossilrepo.db.engine import Database
from fossilrepo.db.tables import (
    backup_targets,
    previews,
    replicas,
    restorations,
    verifications,
)
from fossilrepo.models import BackupTarget, Preview, Replica, Restoration, VerificationRun, now


class BackupStore:
    def __init__(self, database: Database) -> None:
        self._db = database

    # Replicas

    async def replicas(self) -> list[Replica]:
        """Every replica that was ever begun, also of repositories that are gone."""
        query = select(replicas).order_by(replicas.c.label, replicas.c.repository_id)
        async with self._db.read() as connection:
            return [rows.replica(row) for row in await connection.execute(query)]

    async def replica(self, repository_id: str) -> Replica | None:
        query = select(replicas).where(replicas.c.repository_id == repository_id)
        async with self._db.read() as connection:
            row = (await connection.execute(query)).first()
        return rows.replica(row) if row else None

    async def stamp(self) -> tuple[Any, ...]:
        """Changes when a proof, a restore or a purge was noted, by whatever process."""
        columns = (replicas.c.verify_at, replicas.c.proven_at, replicas.c.purged_at)
        query = select(
            *(func.max(column) for column in columns),
            func.sum(replicas.c.restores),
            func.count(replicas.c.cleared_at),
            func.sum(case((replicas.c.verify_wanted, 1), else_=0)),
        )
        async with self._db.read() as connection:
            return tuple((await connection.execute(query)).one())

    async def note(self, repository_id: str, **changes: Any) -> Replica:
        """Write the named columns, in a new row when there is none yet."""
        await self.note_all({repository_id: changes})
        found = await self.replica(repository_id)
        assert found is not None  # noqa: S101 - written above
        return found

    async def note_all(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Several rows in one transaction: identity to the columns that change."""
        if not changes:
            return
        async with self._db.write() as connection:
            for repository_id, values in changes.items():
                done = await connection.execute(
                    update(replicas)
                    .where(replicas.c.repository_id == repository_id)
                    .values(**(values or {"repository_id": repository_id}))
                )
                if not done.rowcount:
                    await connection.execute(
                        insert(replicas).values(repository_id=repository_id, **values)
                    )

    async def note_every(self, **changes: Any) -> None:
        """The same change in every row, as when the target is another one."""
        async with self._db.write() as connection:
            await connection.execute(update(replicas).values(**changes))

    async def forget(self, repository_id: str) -> None:
        async with self._db.write() as connection:
            await connection.execute(
                delete(replicas).where(replicas.c.repository_id == repository_id)
            )

    # Trial restores

    async def add_verification(self, **values: Any) -> VerificationRun:
        query = insert(verifications).values(**values).returning(verifications)
        async with self._db.write() as connection:
            return rows.verification((await connection.execute(query)).one())

    async def verifications(
        self, repository_id: str = "", limit: int = 50
    ) -> list[VerificationRun]:
        """Newest first, of one repository or of all."""
        query = select(verifications).order_by(verifications.c.id.desc()).limit(limit)
        if repository_id:
            query = query.where(verifications.c.repository_id == repository_id)
        async with self._db.read() as connection:
            return [rows.verification(row) for row in await connection.execute(query)]

    async def forget_verifications(self, before: datetime) -> None:
        async with self._db.write() as connection:
            await connection.execute(delete(verifications).where(verifications.c.at < before))

    # In-place restores

    async def add_restoration(self, restoration: Restoration) -> None:
        async with self._db.write() as connection:
            await connection.execute(insert(restorations).values(**asdict(restoration)))

    async def restorations(self, repository_id: str = "") -> list[Restoration]:
        """Newest first, of one repository or of all."""
        query = select(restorations).order_by(restorations.c.at.desc())
        if repository_id:
            query = query.where(restorations.c.repository_id == repository_id)
        async with self._db.read() as connection:
            return [rows.restoration(row) for row in await connection.execute(query)]

    async def update_restoration(self, restoration_id: str, **changes: Any) -> None:
        async with self._db.write() as connection:
            await connection.execute(
                update(restorations).where(restorations.c.id == restoration_id).values(**changes)
            )

    async def remove_restoration(self, restoration_id: str) -> None:
        async with self._db.write() as connection:
            await connection.execute(
                delete(restorations).where(restorations.c.id == restoration_id)
            )

    # Previews

    async def add_preview(self, preview: Preview) -> None:
        async with self._db.write() as connection:
            await connection.execute(insert(previews).values(**asdict(preview)))

    async def previews(self) -> list[Preview]:
        query = select(previews).order_by(previews.c.created_at)
        async with self._db.read() as connection:
            return [rows.preview(row) for row in await connection.execute(query)]

    async def preview_by_name(self, name: str) -> Preview | None:
        async with self._db.read() as connection:
            row = (
                await connection.execute(select(previews).where(previews.c.name == name))
            ).first()
        return rows.preview(row) if row else None

    async def remove_preview(self, preview_id: str) -> None:
        async with self._db.write() as connection:
            await connection.execute(delete(previews).where(previews.c.id == preview_id))

    # Targets

    async def targets(self) -> list[BackupTarget]:
        """Newest first; the first is the one in use."""
        query = select(backup_targets).order_by(backup_targets.c.id.desc())
        async with self._db.read() as connection:
            return [rows.backup_target(row) for row in await connection.execute(query)]

    async def add_target(self, url: str) -> BackupTarget:
        query = insert(backup_targets).values(url=url, since=now()).returning(backup_targets)
        async with self._db.write() as connection:
            return rows.backup_target((await connection.execute(query)).one())

    async def update_target(self, target_id: int, **changes: Any) -> None:
        async with self._db.write() as connection:
            await connection.execute(
                update(backup_targets).where(backup_targets.c.id == target_id).values(**changes)
            )
