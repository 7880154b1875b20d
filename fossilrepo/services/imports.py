"""Repositories that come from elsewhere: a file, a Fossil on the network, a Git repository.

Owns the three ways in. Each is a job that works on a file in the scratch
folder, lets it through the gate, and ends in `Repositories.add`; whatever fails
leaves nothing behind. What comes from the server's own command line is trusted
and disarmed; everything else is copied into a fresh repository.
"""

from __future__ import annotations

import asyncio
import shutil
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from fossilrepo.config import Settings, format_size
from fossilrepo.errors import Forbidden, FossilrepoError, InvalidInput, TooLarge, ToolFailed
from fossilrepo.models import Actor, Job, Repository, Trust, Visibility, new_id
from fossilrepo.services.jobs import Jobs, Progress
from fossilrepo.services.repos import Repositories
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_write, git
from fossilrepo.tools.addresses import EVERYWHERE
from fossilrepo.tools.fossil import Fossil, Limits
from fossilrepo.tools.gate import Gate
from fossilrepo.tools.relay import Relay
from fossilrepo.wording import plural

Make = Callable[[Progress, Path], Awaitable[dict[str, str]]]
Then = Callable[[Repository], Awaitable[None]]
Follow = Callable[[Actor, Repository, str, str, str], Awaitable[None]]


class Imports:
    def __init__(
        self,
        settings: Settings,
        repos: Repositories,
        shelf: Shelf,
        fossil: Fossil,
        gate: Gate,
        jobs: Jobs,
    ) -> None:
        self._settings = settings
        self._repos = repos
        self._shelf = shelf
        self._fossil = fossil
        self._gate = gate
        self._jobs = jobs
        self._follow: Follow | None = None

    def followed_by(self, follow: Follow) -> None:
        """Who makes the place that a clone came from its upstream (URL, login, password)."""
        self._follow = follow

    async def file(
        self,
        actor: Actor,
        name: str,
        path: Path,
        *,
        title: str = "",
        visibility: Visibility = Visibility.PUBLIC,
        org: str = "",
        move: bool = False,
    ) -> Job:
        """Import a .fossil file of this machine; `move`: it is in the scratch folder, take it."""
        if not actor.trusted_files and not move:
            raise Forbidden("files of the server are imported on its own command line only")
        trust = Trust.TRUSTED if actor.trusted_files else Trust.UNTRUSTED
        draft = await self._repos.draft(actor, name, title, visibility, trust, org=org)
        size = await asyncio.to_thread(_size, path)
        self._check_size(size, self._settings.limits.repository, "limits.repository")
        self._shelf.require_space(0 if move else size)

        async def make(progress: Progress, scratch: Path) -> dict[str, str]:
            progress.say("checking the file")
            source = path
            if not move:
                source = scratch.with_name(f"source-{scratch.name}")
                await asyncio.to_thread(shutil.copyfile, path, source)
            try:
                return await self._let_in(progress, source, scratch, draft)
            finally:
                self._shelf.discard(source)

        return await self._start("import of a file", actor, draft, make)

    async def upload(
        self,
        actor: Actor,
        name: str,
        chunks: AsyncIterator[bytes],
        length: int | None,
        *,
        title: str = "",
        visibility: Visibility = Visibility.PUBLIC,
        org: str = "",
    ) -> Job:
        """Import a .fossil file as it arrives; it is never held in memory."""
        trust = Trust.UNTRUSTED
        await self._repos.draft(actor, name, title, visibility, trust, org=org)
        most = min(self._settings.limits.upload, self._settings.limits.repository)
        self._check_size(length or 0, most, "limits.upload")
        self._shelf.require_space(length or 0)
        target = self._shelf.scratch_file(f"upload-{new_id()}")
        stranger = replace(actor, trusted_files=False)
        try:
            with await asyncio.to_thread(target.open, "xb") as file:
                size = 0
                async for chunk in chunks:
                    size += len(chunk)
                    self._check_size(size, most, "limits.upload")
                    self._shelf.require_space(len(chunk))
                    await asyncio.to_thread(file.write, chunk)
            return await self.file(
                stranger, name, target, title=title, visibility=visibility, org=org, move=True
            )
        except BaseException:
            self._shelf.discard(target)
            raise

    async def clone(
        self,
        actor: Actor,
        name: str,
        url: str,
        *,
        login: str = "",
        password: str = "",
        title: str = "",
        visibility: Visibility = Visibility.PUBLIC,
        org: str = "",
        follow: bool = False,
    ) -> Job:
        """Clone a Fossil of another server, through a proxy that checks where it goes.

        `follow`: what is new there is pulled from then on.
        """
        draft = await self._repos.draft(actor, name, title, visibility, Trust.UNTRUSTED, org=org)
        address = git.with_credentials(url, login, password, schemes=("http", "https"))
        self._shelf.require_space()

        async def make(progress: Progress, scratch: Path) -> dict[str, str]:
            cloned = scratch.with_name(f"clone-{scratch.name}")
            progress.say("cloning")
            try:
                await self._fetch(actor, address, cloned, progress)
                return await self._let_in(progress, cloned, scratch, draft)
            finally:
                self._shelf.discard(cloned)

        async def then(done: Repository) -> None:
            if follow and self._follow is not None:
                await self._follow(actor, done, url, login, password)

        return await self._start("clone of a Fossil", actor, draft, make, then)

    async def git(
        self,
        actor: Actor,
        name: str,
        source: str,
        *,
        token: str = "",
        title: str = "",
        visibility: Visibility = Visibility.PUBLIC,
        org: str = "",
    ) -> Job:
        """Import a Git history; folders of this machine by its own command line only."""
        draft = await self._repos.draft(actor, name, title, visibility, Trust.UNTRUSTED, org=org)
        self._shelf.require_space()
        local = git.is_local(source)
        if local and not actor.trusted_files:
            raise Forbidden(
                "folders of the server are imported on its own command line only",
                hint="give an address that begins with https://",
            )
        if not local:
            git.check_url(source)
        elif not await asyncio.to_thread(Path(source).is_dir):
            raise InvalidInput(f"there is no folder {source}", field="source")

        async def make(progress: Progress, scratch: Path) -> dict[str, str]:
            folder = self._shelf.scratch / f"git-{draft.id}"
            limits = self._limits()
            try:
                if local:
                    export = git.fast_export(Path(source))
                else:
                    progress.say("fetching the Git repository")
                    await git.fetch_mirror(
                        source,
                        folder,
                        token=token,
                        networks=self._networks(actor),
                        limits=limits,
                        on_line=progress.say,
                        identity=self._fossil.identity,
                    )
                    export = git.fast_export(folder, self._fossil.identity)
                progress.say("turning its history into Fossil's")
                await self._fossil.import_git(export, scratch, limits=limits, on_line=progress.say)
                return {}
            finally:
                await asyncio.to_thread(shutil.rmtree, folder, True)

        return await self._start("import from Git", actor, draft, make)

    async def _start(
        self, kind: str, actor: Actor, draft: Repository, make: Make, then: Then | None = None
    ) -> Job:
        async def work(progress: Progress) -> None:
            scratch = self._shelf.scratch_file(draft.id)
            try:
                removed = await make(progress, scratch)
                size = await asyncio.to_thread(_size, scratch)
                self._check_size(size, self._settings.limits.repository, "limits.repository")
                progress.say("giving it its place")
                done = await self._repos.add(
                    actor, draft, scratch, action="repository.import", removed=removed
                )
                progress.repository_id = done.id
                words = f"done: {plural(done.checkins, 'check-in')}"
                if then is not None:
                    try:
                        await then(done)
                    except FossilrepoError as error:
                        words = f"{words}; it is not followed: {error.message}"
                progress.say(words, 1.0)
            finally:
                self._shelf.discard(scratch)

        return await self._jobs.start(kind, draft.label, actor, work)

    async def _let_in(
        self, progress: Progress, source: Path, scratch: Path, draft: Repository
    ) -> dict[str, str]:
        """Through the gate; gives back the settings that were taken out, with their values."""
        await self._gate.check_file(source)
        if draft.trust is Trust.TRUSTED:
            await asyncio.to_thread(source.rename, scratch)
            await asyncio.to_thread(self._shelf.give, scratch)
            return await asyncio.to_thread(fossil_write.disarm, scratch, entering=True)
        progress.say("copying its content into a fresh repository")
        copied = await self._gate.copy_untrusted(source, scratch)
        progress.say("rebuilding")
        await self._fossil.rebuild(scratch, self._limits())
        return dict(copied.removed)

    async def _fetch(self, actor: Actor, address: str, target: Path, progress: Progress) -> None:
        async with Relay(address, self._networks(actor)) as relay:
            try:
                await self._fossil.clone(
                    relay.url, target, limits=self._limits(), on_line=progress.say
                )
            except ToolFailed as failure:
                if relay.refusal:
                    raise InvalidInput(relay.refusal, field="url") from failure
                raise

    def _networks(self, actor: Actor) -> Sequence[str]:
        """Whoever has a shell on the server reaches its networks without us."""
        return EVERYWHERE if actor.trusted_files else self._settings.sync.allowed_networks

    def _limits(self) -> Limits:
        return Limits(
            seconds=self._settings.limits.import_time,
            file_size=self._settings.limits.repository,
        )

    def _check_size(self, size: int, most: int, key: str) -> None:
        if size > most:
            raise TooLarge(
                f"it is larger than {format_size(most)}",
                hint=f"an administrator of the server can raise {key}",
            )


def _size(path: Path) -> int:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InvalidInput(f"there is no file {path}", field="file") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", field="file") from None
    if not stat.S_ISREG(status.st_mode):
        raise InvalidInput(f"{path} is not a file", field="file")
    return status.st_size
