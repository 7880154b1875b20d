"""The replica in a folder, of this disk or another one.

Owns reading and writing below that folder. Keys are relative paths with slashes;
one that leads out of the folder is refused.
"""

from __future__ import annotations

import asyncio
import builtins
import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from fossilrepo.errors import InvalidInput, Unavailable
from fossilrepo.tools.target import Stored, Target

T = TypeVar("T")

PATIENCE = 60.0  # seconds; a network folder that hangs must not hold us for ever
_HINTS = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "raise the quota of that folder",
    errno.EACCES: "let the account that runs fossilrepo write there",
    errno.EPERM: "let the account that runs fossilrepo write there",
    errno.EROFS: "mount it writable",
}
_UNFINISHED = ".tmp"


class FileTarget(Target):
    is_local = True

    def __init__(self, folder: Path, sync_interval: float) -> None:
        self.folder = Path(os.path.abspath(folder.expanduser()))
        super().__init__(self.folder.as_uri(), sync_interval)

    def on_same_disk(self, data: Path) -> bool:
        return _existing(self.folder).stat().st_dev == _existing(data).stat().st_dev

    def replica_url(self, name: str) -> str:
        return f"{self.url}/{name}"

    def replica_config(self, name: str = "") -> dict[str, Any]:
        return {
            "type": "file",
            "path": str(self.folder / name),
            "sync-interval": self._sync_interval,
        }

    async def list(self, prefix: str = "") -> builtins.list[Stored]:
        return await self._do(lambda: sorted(self._walk(prefix), key=lambda stored: stored.key))

    async def names(self) -> builtins.list[str]:
        def look() -> builtins.list[str]:
            if not self.folder.is_dir():
                return []
            return sorted(e.name for e in os.scandir(self.folder) if not e.name.startswith("."))

        return await self._do(look)

    async def get(self, key: str) -> bytes | None:
        def read() -> bytes | None:
            with suppress(FileNotFoundError):
                return self._path(key).read_bytes()
            return None

        return await self._do(read)

    async def put(self, key: str, data: bytes) -> None:
        await self._do(lambda: _write(self._path(key), data))

    async def delete(self, prefix: str) -> int:
        if not prefix.strip("/"):
            raise InvalidInput("the whole replica is never deleted at once")
        return await self._do(lambda: _remove(self._path(prefix)))

    async def reachable(self) -> None:
        def look() -> None:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        await self._do(look)

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key).parts
        if not parts or key.startswith("/") or ".." in parts or "\0" in key:
            raise InvalidInput(f"{key!r} is no key of a replica")
        return self.folder.joinpath(*parts)

    def _walk(self, prefix: str) -> Iterator[Stored]:
        top = self.folder
        if "/" in prefix:
            top = self._path(prefix.rpartition("/")[0])
        for where, _, files in os.walk(top):
            for file in files:
                path = Path(where, file)
                key = path.relative_to(self.folder).as_posix()
                if not key.startswith(prefix) or key.endswith(_UNFINISHED):
                    continue
                with suppress(FileNotFoundError):  # compacted away meanwhile
                    stat = path.stat()
                    modified = datetime.fromtimestamp(stat.st_mtime, UTC)
                    yield Stored(key, stat.st_size, modified)

    async def _do(self, action: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.to_thread(action)
        except TimeoutError:
            raise Unavailable(
                f"{self.url} did not answer within {PATIENCE:g} s",
                hint="look at the disk or the network folder",
            ) from None
        except OSError as error:
            raise Unavailable(
                f"{self.url}: {error.strerror or error}",
                hint=_HINTS.get(error.errno or 0, "look at that folder and its disk"),
            ) from error


def _existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there already."""
    while not path.exists():
        path = path.parent
    return path


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_UNFINISHED}")
    try:
        with temporary.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _remove(path: Path) -> int:
    """Links are removed, never followed."""
    if path.is_symlink() or not path.is_dir():
        try:
            path.unlink()
        except FileNotFoundError:
            return 0
        return 1
    count = 0
    for where, folders, files in os.walk(path, topdown=False):
        for name in files:
            Path(where, name).unlink(missing_ok=True)
            count += not name.endswith(_UNFINISHED)
        for name in folders:
            folder = Path(where, name)
            if folder.is_symlink():
                folder.unlink()
            else:
                folder.rmdir()
    path.rmdir()
    return count
