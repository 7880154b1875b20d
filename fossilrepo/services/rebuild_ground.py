"""The folder that a rebuild fills: empty before, marked while it is half done.

Owns the judgement whether a data folder holds anything of anybody's, the marker
`run/rebuild.json` by which an interrupted rebuild is recognised and goes on, and
taking back what a refused one made. Never touches a folder that is in use.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fossilrepo.config import Settings
from fossilrepo.errors import Conflict, FossilrepoError
from fossilrepo.runtime.locks import acquire_single
from fossilrepo.services.rebuild_report import Brought
from fossilrepo.services.shelf import SIDE_FILES, SUFFIX, Shelf
from fossilrepo.tools import control_db

# What a host makes at its first start, or may have beside it; replicas are only read.
_OWN = {
    "repos", "tmp", "incoming", "run", "logs", "litestream", "undo", "git", "mirrors", "backups",
    "secret.key", "secret.key.before", "config.toml", "lost+found",
}  # fmt: skip
_JAIL = {".store", ".served", ".previews", "dev", "tmp"}
EMPTY = "give it an empty data folder: set data_dir to another one, or move this one away"


def half_done(settings: Settings) -> str | None:
    """Where from a rebuild was begun here and not ended; None when there is none."""
    try:
        found = json.loads(_marker(settings).read_text())
        return str(found["url"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return "an unknown place"


def refuse_half_done(settings: Settings) -> None:
    """Conflict on a folder whose rebuild has not ended: what is there is not all."""
    if (url := half_done(settings)) is not None:
        raise Conflict(
            f"the rebuild of {settings.data} from {url} is not done",
            hint=f"when it does not run any more: `fossilrepo backup rebuild --from {url}` goes on",
        )


def _marker(settings: Settings) -> Path:
    return settings.run_dir / "rebuild.json"


class Ground:
    """One rebuild's hold on the folder; every method blocks."""

    def __init__(self, settings: Settings, shelf: Shelf, url: str) -> None:
        self.goes_on = False
        self.done: dict[str, Brought] = {}
        self._settings = settings
        self._shelf = shelf
        self._url = url
        self._is_begun = False
        self._writing = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """The folder is ours alone inside; Conflict when it is in use or not empty.

        What fails before `begin` leaves the folder as it was.
        """
        made = self._missing_above()
        self._check_empty()
        before = set(self._paths())
        run = self._settings.run_dir
        if made:
            self._settings.data.mkdir(parents=True)
            self._settings.data.chmod(0o711)  # as at a first start: Fossil passes through it
        run.mkdir(mode=0o700, exist_ok=True)
        with acquire_single(run / "lock", what=f"fossilrepo on {self._settings.data}"):
            try:
                self._check_empty()
                self._read_marker()
                yield
            except BaseException:
                if not self._is_begun and not self.goes_on:
                    self._take_back(before, made)
                raise

    def begin(self) -> None:
        """From here on something stays: mark it, and clear away what an empty host had made."""
        self._is_begun = True
        self.write_marker()
        kept = set(self.done)
        for path in self._settings.repos.glob(f"*{SUFFIX}"):
            if path.is_symlink():
                path.unlink()
        for path in self._settings.served.iterdir():
            path.unlink()
        for identity in self._shelf.stored_ids() - kept:
            self._shelf.discard(self._shelf.file(identity))
        for side in ("", *SIDE_FILES):
            Path(f"{self._settings.database_file}{side}").unlink(missing_ok=True)
        with suppress(FileNotFoundError):  # it tells of other files of the same names
            shutil.rmtree(self._settings.litestream_state)

    def note(self, brought: Brought) -> None:
        """This one is back: an interrupted rebuild need not fetch it again."""
        with self._writing:  # asked from several threads
            self.done[brought.id] = brought
            self.write_marker()

    def forget(self, identity: str) -> None:
        """This one is not wanted any more."""
        with self._writing:
            self.done.pop(identity, None)
            self._shelf.discard(self._shelf.file(identity))
            self.write_marker()

    def write_marker(self) -> None:
        document = {
            "format": 1,
            "url": self._url,
            "done": [one.as_dict() for one in self.done.values()],
        }
        write_private(_marker(self._settings), json.dumps(document).encode())

    def end(self) -> None:
        _marker(self._settings).unlink(missing_ok=True)

    def _read_marker(self) -> None:
        url = half_done(self._settings)
        if url is None:
            return
        if url != self._url:
            raise Conflict(
                f"a rebuild of {self._settings.data} was begun from {url}",
                hint=f"go on with --from {url}, or empty the folder",
            )
        self.goes_on = True
        with suppress(OSError, ValueError, KeyError, TypeError):
            found: dict[str, Any] = json.loads(_marker(self._settings).read_text())
            brought = [Brought.of(row) for row in found["done"]]
            self.done = {one.id: one for one in brought if self._shelf.file(one.id).is_file()}

    def _check_empty(self) -> None:
        if half_done(self._settings) is not None:
            return
        if self._settings.data.exists() and (found := self._first_content()):
            raise Conflict(
                f"the data folder {self._settings.data} is not empty: {found}", hint=EMPTY
            )

    def _first_content(self) -> str:
        """What there is of somebody's, in words; empty when nothing."""
        settings = self._settings
        database = settings.database_file.name
        for name in sorted(os.listdir(settings.data)):
            if name not in _OWN and not name.startswith(database):
                return f"there is {name}"
        for folder, known in (
            (settings.repos, _JAIL),
            (settings.store, set()),
            (settings.incoming, set()),
            (settings.undo, set()),
        ):
            if names := _names(folder) - known:
                return f"{folder.relative_to(settings.data)} holds {min(names)}"
        if settings.database_file.exists() and not control_db.is_unused(settings.database_file):
            return f"{database} has repositories or people in it"
        return ""

    def _missing_above(self) -> list[Path]:
        """The data folder and those above it that have to be made, the lowest first."""
        missing = []
        for path in (self._settings.data, *self._settings.data.parents):
            if path.exists():
                break
            missing.append(path)
        return missing

    def _paths(self) -> Iterator[Path]:
        """Everything in the data folder but a replica, which may be large and is not ours."""
        for where, folders, files in os.walk(self._settings.data):
            folder = Path(where)
            if folder == self._settings.data and "backups" in folders:
                folders.remove("backups")
            yield from (folder / name for name in (*folders, *files))

    def _take_back(self, before: set[Path], made: list[Path]) -> None:
        if made:
            shutil.rmtree(self._settings.data, ignore_errors=True)
            for folder in made[1:]:
                with suppress(OSError):
                    folder.rmdir()
            return
        for path in sorted(set(self._paths()) - before, reverse=True):
            with suppress(OSError):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:
        return set()


def write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, on the disk for good, readable by its owner only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise FossilrepoError(f"{path} cannot be written: {error.strerror}") from None


def keep_record(settings: Settings, name: str, document: dict[str, Any]) -> Path:
    """A report among the logs, of the account that the folder is of; where it lies."""
    settings.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = settings.logs / f"{name}.json"
    write_private(path, json.dumps(document, indent=1).encode())
    owner = settings.logs.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(path, owner.st_uid, owner.st_gid)
    return path
