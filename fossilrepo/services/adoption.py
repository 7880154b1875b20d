"""Files that somebody put into the folder of repositories: waiting, adopted, or broken and why.

Owns the judgement of dropped-in files. A file becomes a repository only when
its name is allowed, nobody else has it open, and it passes the gate; until then
it is listed with the reason and never served. It is looked at again when it
changes, and while it waits.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import FossilrepoError, InvalidInput
from fossilrepo.models import (
    Actor,
    DropIn,
    Repository,
    RepositoryState,
    Trust,
    Visibility,
    check_name,
    new_id,
    now,
)
from fossilrepo.services.audit import Audit
from fossilrepo.services.repos import Repositories
from fossilrepo.services.shelf import SUFFIX, Shelf
from fossilrepo.tools import adopt_lease, fossil_write
from fossilrepo.tools.gate import Gate

log = logging.getLogger(__name__)

DROPPED_IN = Actor("dropped into the folder", is_admin=True, trusted_files=True)
LOOK_AGAIN = 1.0  # seconds until a waiting file is tried again

Print = tuple[int, int, int]  # inode, size, mtime in ns


class _Wait(Exception):
    """Not now: somebody else has the file open."""


class Adoption:
    def __init__(
        self,
        store: RepositoryStore,
        shelf: Shelf,
        repos: Repositories,
        gate: Gate,
        audit: Audit,
        largest: int,
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._repos = repos
        self._gate = gate
        self._audit = audit
        self._largest = largest
        self._judged: dict[str, Print | None] = {}
        self._lying: Sequence[Path] = ()
        self._foreign_links: frozenset[str] = frozenset()
        self._offered = asyncio.Event()

    def offer(self, files: Sequence[Path], foreign_links: frozenset[str]) -> None:
        """These files lie in the folder now; `run` judges them in its own time.

        `foreign_links` are file names that the folder's scan itself has told of.
        """
        self._lying, self._foreign_links = files, foreign_links
        self._offered.set()

    async def run(self) -> None:
        """Judge what is offered, until cancelled; what waits is tried again every second."""
        waiting = False
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._offered.wait(), LOOK_AGAIN if waiting else None)
            self._offered.clear()
            waiting = await self._consider(self._lying)

    async def _consider(self, files: Sequence[Path]) -> bool:
        """Judge what is new or has changed, forget what is gone; True when some must wait."""
        await self._forget_gone(files)
        waiting = False
        for path in files:
            if self._shelf.identity_of_link(path):
                continue  # adopted since it was offered
            fingerprint = await asyncio.to_thread(_fingerprint, path)
            if self._judged.get(path.name, ()) == fingerprint:
                continue
            if await self._judge(path):
                self._judged[path.name] = fingerprint
            else:
                waiting = True
        return waiting

    async def _forget_gone(self, files: Sequence[Path]) -> None:
        lying = {path.name for path in files}
        known = {d.filename for d in await self._store.drop_ins()}
        await self._store.forget_drop_ins(known - lying - self._foreign_links)
        for name in self._judged.keys() - lying:
            del self._judged[name]

    async def _judge(self, path: Path) -> bool:
        """True when the matter is settled until the file changes; False: try again soon."""
        try:
            await self._adopt(path)
        except _Wait:
            await self._say(path, "waiting", "another program has it open")
            return False
        except FossilrepoError as error:
            reason = error.message + (f" ({error.hint})" if error.hint else "")
            await self._say(path, "broken", reason)
            return True
        except OSError as error:  # a full disk, a file system that refuses: may be better soon
            await self._say(path, "waiting", f"it could not be taken in: {error.strerror}")
            return False
        await self._store.forget_drop_ins({path.name})
        return True

    async def _say(self, path: Path, state: str, reason: str) -> None:
        known = {d.filename: d for d in await self._store.drop_ins()}.get(path.name)
        if known is None or (known.state, known.reason) != (state, reason):
            log.warning("%s is %s: %s", path.name, state, reason)
            await self._store.set_drop_in(DropIn(path.name, state, reason, now()))

    async def _adopt(self, path: Path) -> None:
        name = check_name(path.name.removesuffix(SUFFIX))
        await asyncio.to_thread(_check_plain, path, self._largest)
        taken = await self._store.by_name(name)
        if await asyncio.to_thread(adopt_lease.in_use, path):
            raise _Wait
        before = await asyncio.to_thread(_fingerprint, path)
        checked = await self._gate.check_file(path)
        if taken is not None:
            await self._second_file(path, taken, checked.facts.project_code)
            return
        self._shelf.require_space()
        draft = Repository(
            id=new_id(),
            name=name,
            title=checked.facts.project_name,
            description=checked.facts.description,
            org=await self._repos.home(DROPPED_IN),
            visibility=Visibility.PUBLIC if checked.facts.public else Visibility.PRIVATE,
            state=RepositoryState.ACTIVE,
            trust=Trust.TRUSTED,
            created_at=now(),
            created_by=DROPPED_IN.login,
        )
        scratch = self._shelf.scratch_file(draft.id)
        if await asyncio.to_thread(_fingerprint, path) != before:
            raise _Wait
        if not await asyncio.to_thread(adopt_lease.move_if_unused, path, scratch):
            raise _Wait
        try:
            await asyncio.to_thread(self._shelf.give, scratch)
            removed = await asyncio.to_thread(fossil_write.disarm, scratch, entering=True)
            await self._repos.add(
                DROPPED_IN, draft, scratch, action="repository.adopt", removed=removed
            )
        except BaseException:
            await asyncio.to_thread(_put_back, scratch, path)
            raise

    async def _second_file(self, path: Path, taken: Repository, project_code: str) -> None:
        """A plain file at a name of ours, as `rsync` leaves it: never over what is served."""
        if project_code != taken.project_code:
            raise InvalidInput(
                f"the name belongs to another repository, which goes on being served; "
                f"this file is a different project ({project_code[:10]})",
                hint="give the file another name",
            )
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        aside = self._shelf.incoming / f"{taken.label}-{stamp}{SUFFIX}"
        if not await asyncio.to_thread(adopt_lease.move_if_unused, path, aside):
            raise _Wait
        await asyncio.to_thread(self._shelf.put_name, taken.label, taken.id)
        await self._audit.record(
            DROPPED_IN, "repository.second-file", taken.label, kept_as=str(aside.name)
        )
        log.warning(
            "%s was put over the link of %s: it is kept as %s; pull from it to take its content in",
            path.name,
            taken.label,
            aside,
        )


def _fingerprint(path: Path) -> Print | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _check_plain(path: Path, largest: int) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise InvalidInput("it is gone") from None
    if stat.S_ISLNK(status.st_mode):
        raise InvalidInput(
            f"a link to {os.readlink(path)}, not a file",
            hint="copy the file itself into the folder",
        )
    if not stat.S_ISREG(status.st_mode):
        raise InvalidInput("not an ordinary file")
    if status.st_nlink > 1:
        raise InvalidInput(
            "the file has a second name elsewhere on the disk", hint="copy it instead of linking it"
        )
    if status.st_size == 0:
        raise InvalidInput("the file is empty")
    if status.st_size > largest:
        raise InvalidInput("the file is larger than limits.repository")


def _put_back(scratch: Path, path: Path) -> None:
    if scratch.exists() and not os.path.lexists(path):
        os.rename(scratch, path)
