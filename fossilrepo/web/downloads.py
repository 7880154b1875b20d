"""Files that jobs make for a person to take away.

Owns them from the job's start to an hour after its end, or to the end of the site.
Each lies in a folder of its own in the scratch folder; a job's number leads to it, and
no path does.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from fossilrepo.models import Job, new_id
from fossilrepo.services.jobs import Jobs

KEEP = 3600.0  # seconds after the job's end


@dataclass(frozen=True, slots=True)
class Download:
    path: Path
    filename: str

    def answer(self) -> web.StreamResponse:
        headers = {"Content-Disposition": f'attachment; filename="{self.filename}"'}
        response = web.FileResponse(self.path, headers=headers)
        response.content_type = "application/x-sqlite3"
        return response


class Downloads:
    def __init__(self, jobs: Jobs, scratch: Path) -> None:
        self._jobs = jobs
        self._scratch = scratch
        self._kept: dict[str, Download] = {}
        self._ends: set[asyncio.Task[None]] = set()

    async def made_by(self, start: Callable[[Path], Awaitable[Job]], filename: str) -> Job:
        """Start a job that writes the file which it is given; kept under the job's number."""
        path = self._scratch / f"download-{new_id()}" / filename
        await asyncio.to_thread(path.parent.mkdir, mode=0o700)
        try:
            job = await start(path)
        except BaseException:
            await asyncio.to_thread(path.parent.rmdir)
            raise
        self._kept[job.id] = Download(path, filename)
        end = asyncio.create_task(self._end(job.id), name=f"download of job {job.id}")
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)
        return job

    def of(self, job_id: str) -> Download | None:
        """The file of the job, which may still be at work on it."""
        return self._kept.get(job_id)

    async def _end(self, job_id: str) -> None:
        try:
            await self._jobs.wait(job_id)
            await asyncio.sleep(KEEP)
        finally:
            kept = self._kept.pop(job_id)
            await asyncio.to_thread(shutil.rmtree, kept.path.parent, True)

    async def close(self, _app: web.Application) -> None:
        """The site ends, and with it what nobody took away."""
        for end in self._ends:
            end.cancel()
        await asyncio.gather(*self._ends, return_exceptions=True)


DOWNLOADS: web.AppKey[Downloads] = web.AppKey("downloads", Downloads)
