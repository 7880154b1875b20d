"""Everything that somebody has here, to take along: plain `.fossil` files and a manifest.

Owns the form of what leaves. Each file is the same consistent copy as of a single export.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fossilrepo import __version__
from fossilrepo.errors import Conflict, InvalidInput, NotFound
from fossilrepo.models import Actor, Repository, RepositoryState, iso, now
from fossilrepo.services.links import Links
from fossilrepo.services.repos import Repositories, check_target

MANIFEST = "manifest.json"
_README = """These are Fossil repositories, whole and ordinary.

    fossil server FOLDER --repolist      serves all of them
    fossil open NAME.fossil              checks one out

manifest.json has their names, titles and who could read them, and the SHA-256 of each file.
`fossilrepo repo import-all --folder FOLDER` brings them into another fossilrepo as they were.
People and their rights are not in it: Fossil's own users are, without passwords.
"""


@dataclass(frozen=True, slots=True)
class Left:
    """What was written: `target` is a folder or a tar file."""

    target: Path
    repositories: tuple[str, ...]
    size: int


class _Bag(Protocol):
    def put(self, file: Path, name: str) -> None: ...
    def note(self, name: str, text: str) -> None: ...
    def close(self) -> None: ...


class Leaving:
    def __init__(self, repositories: Repositories, links: Links) -> None:
        self._repositories = repositories
        self._links = links

    async def take(
        self,
        actor: Actor,
        target: Path,
        *,
        org: str = "",
        with_users: bool = False,
        say: Callable[[str], None] = lambda _words: None,
    ) -> Left:
        """Every repository that the actor runs, of one organization or of all.

        `target`: a new folder, or a new file that ends in .tar. Conflict when it is there;
        nothing is left of one that could not be finished.
        """
        await asyncio.to_thread(check_target, target)
        wanted = await self._wanted(actor, org)
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        bag: _Bag = await asyncio.to_thread(_Tar if target.suffix == ".tar" else _Folder, partial)
        entries: list[dict[str, Any]] = []
        try:
            for number, one in enumerate(wanted, 1):
                say(f"{number} of {len(wanted)}: {one.label}")
                entries.append(await self._take(actor, one, bag, with_users))
            manifest = {
                "format": 1,
                "fossilrepo": __version__,
                "host": self._links.domain,
                "organization": org or None,
                "at": iso(now()),
                "with_users": with_users,
                "repositories": entries,
            }
            text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
            await asyncio.to_thread(_finish, bag, text, partial, target)
        except BaseException:
            await asyncio.to_thread(_discard, bag, partial)
            raise
        size = sum(int(one["size_bytes"]) for one in entries)
        return Left(target, tuple(one.label for one in wanted), size)

    async def _wanted(self, actor: Actor, org: str) -> list[Repository]:
        found = await self._repositories.administered_all(actor)
        wanted = [
            one
            for one in found
            if org in ("", one.org)
            and one.state in (RepositoryState.ACTIVE, RepositoryState.ARCHIVED)
        ]
        if not wanted:
            where = f"in {org} " if org else ""
            raise NotFound(f"there is no repository {where}that you run", field="org")
        return sorted(wanted, key=lambda one: one.label)

    async def _take(
        self, actor: Actor, one: Repository, bag: _Bag, with_users: bool
    ) -> dict[str, Any]:
        scratch = await self._repositories.export_scratch(actor, one.label, with_users=with_users)
        file = f"{one.label}.fossil"
        try:
            digest = await asyncio.to_thread(_sha256, scratch)
            size = (await asyncio.to_thread(scratch.stat)).st_size
            await asyncio.to_thread(bag.put, scratch, file)
        finally:
            await asyncio.to_thread(scratch.unlink, True)
        return {
            "file": file,
            "name": one.label,
            "title": one.title,
            "description": one.description,
            "organization": one.org,
            "visibility": str(one.visibility),
            "state": str(one.state),
            "project_code": one.project_code,
            "checkins": one.checkins,
            "size_bytes": size,
            "sha256": digest,
        }


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700)

    def put(self, file: Path, name: str) -> None:
        shutil.copyfile(file, self._folder / name)

    def note(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text, encoding="utf-8")

    def close(self) -> None:
        return None


class _Tar:
    """Written as it comes; nothing is held in memory but one entry's head."""

    def __init__(self, file: Path) -> None:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)

    def put(self, file: Path, name: str) -> None:
        entry = self._entry(name, file.stat().st_size)
        with file.open("rb") as content:
            self._tar.addfile(entry, content)

    def note(self, name: str, text: str) -> None:
        content = text.encode()
        self._tar.addfile(self._entry(name, len(content)), io.BytesIO(content))

    def _entry(self, name: str, size: int) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = size, 0o600, int(now().timestamp())
        return entry

    def close(self) -> None:
        self._tar.close()
        self._file.close()


def _finish(bag: _Bag, manifest: str, partial: Path, target: Path) -> None:
    bag.note(MANIFEST, manifest)
    bag.note("README.txt", _README)
    bag.close()
    if os.path.lexists(target):
        raise Conflict(f"{target} was made meanwhile", hint="choose another name")
    try:
        partial.rename(target)
    except OSError as error:
        raise InvalidInput(f"{target} cannot be written: {error.strerror}") from None


def _discard(bag: _Bag, partial: Path) -> None:
    bag.close()
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        partial.unlink(missing_ok=True)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
