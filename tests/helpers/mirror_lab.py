"""A repository that is mirrored to a real Git server, and what is asked of both.

Owns the few steps that most tests of mirrors take.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fossilrepo.bridge import Mirror
from fossilrepo.models import Actor, Job, JobState
from fossilrepo.services import Services
from tests.helpers.checkins import Committer
from tests.helpers.git_servers import TOKEN, USER, HttpGit, git

HERE = Actor.command_line()


@dataclass
class Lab:
    """A repository `demo`, somebody who commits into it, and a Git server with `project.git`."""

    services: Services
    server: HttpGit
    tmp_path: Path
    committer: Committer
    path: Path

    @property
    def remote(self) -> Path:
        return self.server.folder / "project.git"

    async def add(self, **options: object) -> Mirror:
        given: dict[str, object] = {"user": USER, "token": TOKEN} | options
        return await self.services.mirrors.add(HERE, "demo", self.server.url(), **given)  # type: ignore[arg-type]

    async def run(self, mirror: Mirror) -> Job:
        job = await self.services.mirrors.run(HERE, mirror.id, here=True)
        return await self.services.jobs.wait(job.id)

    async def state(self, mirror: Mirror) -> Mirror:
        return (await self.services.mirrors.get(HERE, mirror.id)).mirror

    async def synced(self, **options: object) -> Mirror:
        mirror = await self.add(**options)
        job = await self.run(mirror)
        assert job.state is JobState.DONE, job.error
        return await self.state(mirror)


@asynccontextmanager
async def looping(lab: Lab) -> AsyncIterator[None]:
    """While what is due is run, as in a host."""
    loop = asyncio.ensure_future(lab.services.runs.run())
    try:
        yield
    finally:
        loop.cancel()
        await asyncio.wait({loop})


def origin_of(path: Path, ref: str = "main") -> str:
    """The check-in that a Git commit was made of."""
    message = git(path, "log", "-1", "--format=%B", ref)
    return next(line.split(": ")[1] for line in message.splitlines() if "FossilOrigin" in line)
