"""The audit log: every change, who made it, from where, what was before and after.

Owns the writing of entries; a secret never comes here. An entry is written
after the change that it tells of, and is also a line in the log.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from fossilrepo.db.journal import AuditStore
from fossilrepo.models import Actor, AuditEntry, now

log = logging.getLogger(__name__)


class Audit:
    def __init__(self, store: AuditStore) -> None:
        self._store = store

    async def record(self, actor: Actor, action: str, subject: str, **detail: Any) -> None:
        """Write one entry; `action` is like `repository.create`, `detail` plain JSON values."""
        await self._store.add(
            at=now(),
            actor=actor.login,
            address=actor.address,
            action=action,
            subject=subject,
            detail=detail,
        )
        log.info("%s %s by %s", action, subject, actor.login)

    async def recent(
        self, *, subject: str = "", actor: str = "", since: datetime | None = None, limit: int = 100
    ) -> list[AuditEntry]:
        """Entries, newest first."""
        return await self._store.recent(subject=subject, actor=actor, since=since, limit=limit)
