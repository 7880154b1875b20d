"""Where repositories lie in the data folder: files by identity, names as links to them.

Owns the paths and the links. `repos/NAME.fossil` is what people see,
`repos/.served/NAME.fossil` is what Fossil serves; both lead to
`repos/.store/ID.fossil`, which stays where it is for its whole life. Previews lie in
`repos/.previews`. Every change of a link is one atomic rename. Decides nothing about states.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from fossilrepo.config import Settings
from fossilrepo.errors import Unavailable
from fossilrepo.models import HostState, is_id, is_name, is_preview_name
from fossilrepo.services.jobs import process_mark
from fossilrepo.tools import jail
from fossilrepo.tools.identity import Identity, give

SUFFIX = ".fossil"
LEFT_EVERY = 20.0  # seconds
_JOURNAL_MODES = 18  # the place in a database's header: 1 rollback journal, 2 write-ahead log
SIDE_FILES = ("-wal", "-shm", "-journal")


class Shelf:
    def __init__(self, settings: Settings, identity: Identity | None) -> None:
        self.repos = settings.repos
        self.store = settings.store
        self.served = settings.served
        self.previews = settings.repos / ".previews"
        self.scratch = settings.scratch
        self.incoming = settings.incoming
        self.maintenance = settings.run_dir / "maintenance"
        self.undo = settings.undo
        self._settings = settings
        self._identity = identity
        self._using = -1
        self._left: list[Path] = []

    def prepare(self) -> None:
        """Make the folders that are missing; ours alone, except what Fossil must reach."""
        data = self._settings.data
        if not data.exists():
            data.mkdir(parents=True)
            data.chmod(0o711)  # Fossil's account passes through it; what is secret is closed itself
        jail.prepare(self.repos, self._identity)
        for folder in (
            self.scratch,
            self._settings.git,
            self._settings.mirrors,
        ):  # programs work in them as the account
            folder.mkdir(mode=0o700, exist_ok=True)
            self.give(folder)
        for folder in (
            self.incoming,
            self._settings.run_dir,
            self._settings.logs,
            self.maintenance,
            self.undo,
        ):
            folder.mkdir(mode=0o700, exist_ok=True)

    def hand_over(self) -> None:
        """What root made in somebody else's data folder is that account's, who runs the host."""
        data = self._settings.data
        owner = data.stat()
        if os.geteuid() != 0 or owner.st_uid == 0:
            return
        folders = (
            self._settings.run_dir,
            self._settings.logs,
            self.incoming,
            self.scratch,
            self._settings.git,
            self.undo,
            self._settings.litestream_state,
            self._settings.data / "backups",
        )
        for path in (*data.iterdir(), *(inside for f in folders for inside in f.rglob("*"))):
            with suppress(FileNotFoundError):
                if path.lstat().st_uid == 0:
                    os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def give(self, path: Path) -> None:
        """Hand a file of ours to the account that Fossil runs as."""
        give(path, self._identity)

    # Where people could not be written: every process notes it, the host tries again

    @property
    def _unwritten(self) -> Path:
        return self._settings.run_dir / "unwritten"

    def note_unwritten(self, repository_id: str) -> None:
        self._unwritten.mkdir(mode=0o700, exist_ok=True)
        (self._unwritten / repository_id).touch(mode=0o600)

    def note_written(self, repository_id: str) -> None:
        (self._unwritten / repository_id).unlink(missing_ok=True)

    def unwritten(self) -> list[str]:
        with suppress(FileNotFoundError):
            return sorted(os.listdir(self._unwritten))
        return []

    def file(self, repository_id: str) -> Path:
        return self.store / f"{repository_id}{SUFFIX}"

    def name_link(self, name: str) -> Path:
        return self.repos / f"{name}{SUFFIX}"

    def scratch_file(self, stem: str) -> Path:
        return self.scratch / f"{stem}{SUFFIX}"

    def put_name(self, name: str, repository_id: str) -> None:
        """Let the name lead to the repository, for people; replaces only a link."""
        if self.has_plain_file(name):
            return  # the folder deals with it
        _put_link(self.name_link(name), f".store/{repository_id}{SUFFIX}")

    def has_plain_file(self, name: str) -> bool:
        """Something that is no link was dropped on the name."""
        link = self.name_link(name)
        return os.path.lexists(link) and not link.is_symlink()

    def take_name(self, name: str) -> None:
        link = self.name_link(name)
        if link.is_symlink():
            link.unlink(missing_ok=True)

    def serve(self, name: str, repository_id: str) -> None:
        """Let Fossil serve the repository under the name from the next request on.

        Not while it is under maintenance: at the end of that it is served again.
        """
        if not self.in_maintenance(repository_id):
            self._serve(name, repository_id)

    def _serve(self, name: str, repository_id: str) -> None:
        _put_link(self.served / f"{name}{SUFFIX}", f"../.store/{repository_id}{SUFFIX}")

    def stop_serving(self, name: str) -> None:
        (self.served / f"{name}{SUFFIX}").unlink(missing_ok=True)

    def served_names(self) -> dict[str, str]:
        """Name to identity of the repositories that Fossil serves now, without previews."""
        return {
            entry.name.removesuffix(SUFFIX): Path(os.readlink(entry.path)).name.removesuffix(SUFFIX)
            for entry in os.scandir(self.served)
            if entry.is_symlink() and not self._previewed(entry.path)
        }

    def host_state(self, name: str) -> HostState:
        """What the host of this name answers with; two system calls, no database."""
        if not is_name(name):
            return HostState.SERVED if self.serves_preview(name) else HostState.UNKNOWN
        if (self.served / f"{name}{SUFFIX}").exists():
            return HostState.SERVED
        if (self.maintenance / name).exists():
            return HostState.MAINTENANCE
        return HostState.UNKNOWN

    # Maintenance: a file for each name whose repository is not served for a moment. Its text
    # is the identity and the mark of the process that is at work, by which a crash is known.

    def begin_maintenance(self, name: str, repository_id: str) -> None:
        """Nobody is served the repository until the end; its host says that it is at work."""
        (self.maintenance / name).write_text(f"{repository_id} {process_mark(os.getpid())}")
        self.stop_serving(name)

    def end_maintenance(self, name: str, served_as: str | None, repository_id: str) -> None:
        """Serve it again, under the name that it has now; None: not at all."""
        if served_as is not None:
            self._serve(served_as, repository_id)
        (self.maintenance / name).unlink(missing_ok=True)

    def in_maintenance(self, repository_id: str) -> bool:
        return any(identity == repository_id for identity, _ in self._maintained().values())

    def clear_stale_maintenance(self) -> None:
        """End what a process that is gone began; a scan of the folder serves it again."""
        for name, (_, owner) in self._maintained().items():
            pid = owner.partition(" ")[0]
            if not pid.isdigit() or process_mark(int(pid)) != owner:
                (self.maintenance / name).unlink(missing_ok=True)

    def _maintained(self) -> dict[str, tuple[str, str]]:
        found = {}
        for path in self.maintenance.iterdir():
            with suppress(FileNotFoundError):
                identity, _, owner = path.read_text().partition(" ")
                found[path.name] = identity, owner
        return found

    # Previews: the same folder is served, under names that no repository can have.

    def preview_file(self, preview_id: str) -> Path:
        return self.previews / f"{preview_id}{SUFFIX}"

    def place_preview(self, scratch: Path, preview_id: str) -> None:
        os.chmod(scratch, 0o640)
        self.give(scratch)
        os.rename(scratch, self.preview_file(preview_id))

    def serve_preview(self, name: str, preview_id: str) -> None:
        if not is_preview_name(name):
            raise ValueError(f"not the name of a preview: {name!r}")
        _put_link(self.served / f"{name}{SUFFIX}", f"../.previews/{preview_id}{SUFFIX}")

    def serves_preview(self, name: str) -> bool:
        link = self.served / f"{name}{SUFFIX}"
        if is_preview_name(name):
            with suppress(OSError):
                return self._previewed(str(link)) is not None and link.exists()
        return False

    def remove_preview(self, name: str, preview_id: str) -> None:
        self.stop_serving(name)
        self.discard(self.preview_file(preview_id))

    def keep_previews(self, kept: Mapping[str, str]) -> None:
        """Remove every file and link of previews that are not these: name to identity."""
        for entry in os.scandir(self.served):
            name = entry.name.removesuffix(SUFFIX)
            if entry.is_symlink() and self._previewed(entry.path) not in (None, kept.get(name)):
                Path(entry.path).unlink(missing_ok=True)
        files = tuple(self.preview_file(preview_id).name for preview_id in kept.values())
        for path in self.previews.iterdir():
            if not path.name.startswith(files):
                path.unlink(missing_ok=True)

    def _previewed(self, link: str) -> str | None:
        """The identity of the preview that a served link leads to; None for a repository's."""
        target = os.readlink(link)
        identity = target.removeprefix("../.previews/").removesuffix(SUFFIX)
        return identity if target == f"../.previews/{identity}{SUFFIX}" else None

    def own_pids(self) -> set[int]:
        """This process, and the running host: it holds every file's log."""
        pids = {os.getpid()}
        with suppress(OSError, ValueError):
            pids.add(int((self._settings.run_dir / "lock").read_text()))
        return pids

    def identity_of_link(self, link: Path) -> str | None:
        """The identity that a link in the folder of names leads to, None when it is not ours."""
        try:
            target = os.readlink(link)
        except OSError:
            return None
        identity = target.removeprefix(".store/").removesuffix(SUFFIX)
        if target != f".store/{identity}{SUFFIX}" or not is_id(identity):
            return None
        return identity

    def stored_ids(self) -> set[str]:
        found = {
            entry.name.removesuffix(SUFFIX)
            for entry in os.scandir(self.store)
            if entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False)
        }
        return {identity for identity in found if is_id(identity)}

    def place(self, scratch: Path, repository_id: str) -> Path:
        """Move a finished file into the store, on the disk for good before this returns."""
        target = self.file(repository_id)
        handle = os.open(scratch, os.O_RDWR)
        try:
            # Litestream needs a write-ahead log: to change over later locks others out.
            if os.pread(handle, 2, _JOURNAL_MODES) == b"\1\1":
                os.pwrite(handle, b"\2\2", _JOURNAL_MODES)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.chmod(scratch, 0o640)
        self.give(scratch)
        os.rename(scratch, target)
        _sync_folder(self.store)
        return target

    def discard(self, path: Path) -> None:
        """Remove a database file of ours with what SQLite put beside it."""
        for name in (path, *(path.with_name(path.name + side) for side in SIDE_FILES)):
            name.unlink(missing_ok=True)

    def use_scratch(self) -> int:
        """Say that a process works in the scratch folder; the descriptor is closed at its end."""
        path = self._settings.run_dir / "scratch.lock"
        self._using = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._using, fcntl.LOCK_SH)
        return self._using

    def empty_scratch(self) -> bool:
        """At start: what a crash left on its way in or out; False: others work there just now."""
        self._left = list(self.scratch.iterdir())
        return self._remove_left()

    async def empty_scratch_later(self) -> None:
        """What the start could not remove, once no other process works there."""
        while not await asyncio.to_thread(self._remove_left):  # noqa: ASYNC110 - by its lock alone
            await asyncio.sleep(LEFT_EVERY)

    def _remove_left(self) -> bool:
        try:
            fcntl.flock(self._using, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in self._left:
                with suppress(FileNotFoundError):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        except BlockingIOError:
            return False
        finally:
            fcntl.flock(self._using, fcntl.LOCK_SH)  # lost also when the other could not be had
        return True

    def size(self, repository_id: str) -> int:
        """Bytes of the repository with its write-ahead log."""
        path = self.file(repository_id)
        total = 0
        for name in (path, path.with_name(path.name + "-wal")):
            with suppress(FileNotFoundError):
                total += name.stat().st_size
        return total

    def fingerprint(self, repository_id: str) -> str:
        """Changes when the repository's file or its write-ahead log does; empty without a file."""
        path, parts = self.file(repository_id), []
        for name in (path, path.with_name(path.name + "-wal")):
            with suppress(FileNotFoundError):
                status = name.stat()
                if status.st_size:
                    parts.append(f"{status.st_size}.{status.st_mtime_ns}")
        return "+".join(parts)

    def free_share(self) -> float:
        """Free part of the disk that ordinary processes may use, between 0 and 1."""
        disk = os.statvfs(self._settings.data)
        return disk.f_bavail / disk.f_blocks if disk.f_blocks else 1.0

    def low_disk_reason(self) -> str | None:
        """Why nothing may be written now, or None."""
        least = self._settings.limits.free_disk
        free = self.free_share()
        if free >= least:
            return None
        return f"the server's disk has {free:.1%} free, less than the {least:.0%} that are kept"

    def require_space(self, size: int = 0) -> None:
        """Unavailable when writing `size` more bytes would go below the free disk that is kept."""
        disk = os.statvfs(self._settings.data)
        least = self._settings.limits.free_disk * disk.f_blocks * disk.f_frsize
        if disk.f_bavail * disk.f_frsize - size < least:
            raise Unavailable(
                self.low_disk_reason() or "the server's disk has no room for this",
                hint="free some space on the disk, or lower limits.free_disk",
            )


def _put_link(link: Path, target: str) -> None:
    with suppress(OSError):
        if os.readlink(link) == target:
            return
    temporary = link.with_name(f".{link.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    os.symlink(target, temporary)
    os.rename(temporary, link)
    _sync_folder(link.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
