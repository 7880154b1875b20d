"""Looking for known secrets where none may be: files, databases, and processes that run.

Owns the forms that a secret takes (as it is, percent-encoded, base64, hex), what a SQLite file
says beyond its raw bytes, and a watch over arguments, environments and short-lived files.
"""

from __future__ import annotations

import base64
import contextlib
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

EVERY = 0.02  # seconds between two looks at the processes
LARGEST = 2_000_000  # bytes of a short-lived file


def forms(secret: str) -> dict[bytes, str]:
    """Every way in which the secret is looked for, with what the way is called."""
    raw = secret.encode()
    found = {raw.hex().encode(): "hex", raw.hex().upper().encode(): "hex"}
    for start in range(3):  # base64 differs with what stands before it
        whole = base64.b64encode(b"\0" * start + raw)
        first = (start * 8 + 5) // 6  # characters that hold bits of something before it
        inner = whole[first : (start + len(raw)) * 8 // 6]
        found[inner] = found[inner.replace(b"+", b"-").replace(b"/", b"_")] = "base64"
    for encoded in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        found[encoded.encode()] = found[encoded.lower().encode()] = "percent-encoded"
    return found | {raw: "plain"}


@dataclass
class Secrets:
    """The secrets by name."""

    values: dict[str, str] = field(default_factory=dict)
    _forms: list[tuple[bytes, str]] = field(default_factory=list)

    def add(self, name: str, value: str) -> str:
        """Keep it and give it back; one so short that it could stand anywhere is a mistake."""
        assert len(value) >= 9, (name, value)
        self.values[name] = value
        self._forms += [(form, f"{name}, {how}") for form, how in forms(value).items()]
        return value

    def within(self, data: bytes) -> set[str]:
        return {label for form, label in self._forms if form in data}

    def in_files(self, folder: Path, but: Iterable[Path] = ()) -> set[str]:
        """In all files below the folder, links not followed, and in what databases say."""
        found: set[str] = set()
        for file in sorted(folder.rglob("*")):
            if file.is_symlink() or not file.is_file() or file in but:
                continue
            where = file.relative_to(folder)
            for what in contents(file):
                found |= {f"{label}: {where}" for label in self.within(what)}
        return found


def contents(file: Path) -> Iterator[bytes]:
    """The bytes of a file, its name, and each value in it when it is a database."""
    with contextlib.suppress(FileNotFoundError):
        data = file.read_bytes()
        yield data
        yield str(file).encode()
        if data.startswith(b"SQLite format 3\0"):
            yield b"\n".join(_rows(file))


def _rows(file: Path) -> Iterator[bytes]:
    """Values are split over pages in the file; Fossil packs what is long."""
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        db.text_factory = bytes
        tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for row in db.execute(f'SELECT * FROM "{table.decode()}"'):
                for value in row:
                    if isinstance(value, bytes):
                        yield value
                        with contextlib.suppress(zlib.error):
                            yield zlib.decompress(value[4:])


@dataclass
class Watch:
    """What processes were called with, had around them, and what files came and went.

    Processes that have `home` as HOME are the test's own client: it is no part of the host.
    """

    home: Path
    folders: tuple[Path, ...]
    processes: set[tuple[bytes, bytes]] = field(default_factory=set)  # arguments, environment
    files: dict[tuple[str, int, int], bytes] = field(default_factory=dict)  # name, size, time
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        thread = threading.Thread(target=self._go_on, name="watch")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(10)

    def _go_on(self) -> None:
        while not self._stop.wait(EVERY):
            self.look()

    def look(self) -> None:
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                seen = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
                if b"HOME=" + bytes(self.home) not in seen[1].split(b"\0"):
                    self.processes.add(seen)
        for place in self.folders:
            with contextlib.suppress(OSError):  # a folder went while it was read
                for file in place.rglob("*"):
                    self._keep(file)

    def _keep(self, file: Path) -> None:
        with contextlib.suppress(OSError):
            state = file.lstat()
            key = str(file), state.st_size, state.st_mtime_ns
            if key not in self.files and file.is_file() and state.st_size < LARGEST:
                self.files[key] = file.read_bytes()

    def programs(self) -> set[str]:
        """The names of the programs that were seen."""
        return {Path(args.partition(b"\0")[0].decode("latin-1")).name for args, _ in self.processes}

    def arguments(self, secrets: Secrets) -> set[str]:
        """Of any process; the arguments are named by the program alone."""
        found = set()
        for arguments, _ in self.processes:
            program = arguments.partition(b"\0")[0].decode(errors="replace")
            found |= {f"{label}: argument of {program}" for label in secrets.within(arguments)}
        return found

    def environments(
        self, secrets: Secrets, *, of_host: bytes, needed: Mapping[str, str]
    ) -> set[str]:
        """Of any process but the host itself, which has these words among its arguments.

        `needed` are secrets, by name, that the programs of this name work with.
        """
        found = set()
        for arguments, environment in self.processes:
            if of_host not in arguments:
                program = arguments.partition(b"\0")[0].decode(errors="replace")
                mine = needed.get(Path(program).name.partition("-")[0], "nothing")
                found |= {
                    f"{label}: environment of {program}"
                    for label in secrets.within(environment)
                    if not label.startswith(f"{mine}, ")
                }
        return found

    def short_lived(self, secrets: Secrets) -> set[str]:
        found = set()
        for (name, _, _), data in self.files.items():
            found |= {f"{label}: {name}" for label in secrets.within(data)}
        return found
