"""Services with repositories that somebody commits into, for tests of what leaves them.

Owns the settings that let such tests reach servers on loopback.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fossilrepo.config import Alerts, Limits, Settings, Sync
from fossilrepo.core import open_services
from fossilrepo.models import Actor, Repository
from fossilrepo.services import Services
from tests.helpers.checkins import Committer

HERE = Actor.command_line()


def outgoing(settings: Settings, **alerts: object) -> Settings:
    """These settings, with loopback open for what goes out."""
    return settings.model_copy(
        update={
            "limits": Limits.model_validate({"free_disk": "0%"}),
            "sync": Sync.model_validate({"allowed_networks": ["127.0.0.0/8"], "settle": "0s"}),
            "alerts": Alerts.model_validate(alerts),
        }
    )


@dataclass
class Yard:
    services: Services
    tmp_path: Path
    _committers: dict[str, Committer] = field(default_factory=dict)

    async def repository(self, name: str) -> Repository:
        """A new one."""
        return await self.services.repos.create(HERE, name)

    async def row(self, name: str) -> Repository:
        return await self.services.repos.get(HERE, name)

    async def path(self, name: str) -> Path:
        return self.services.settings.store / f"{(await self.row(name)).id}.fossil"

    async def committer(self, name: str) -> Committer:
        if name not in self._committers:
            folder = self.tmp_path / f"checkout-{name}"
            self._committers[name] = await asyncio.to_thread(
                Committer, await self.path(name), folder
            )
        return self._committers[name]

    async def commit(self, name: str, comment: str = "a change") -> str:
        return await asyncio.to_thread((await self.committer(name)).commit, comment)

    async def fossil(self, name: str, *words: str) -> str:
        return await asyncio.to_thread((await self.committer(name))._run, *words)


@asynccontextmanager
async def yard(settings: Settings, tmp_path: Path, **alerts: object) -> AsyncIterator[Yard]:
    async with open_services(outgoing(settings, **alerts)) as services:
        yield Yard(services, tmp_path)
