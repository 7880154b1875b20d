"""The checks of `doctor` that look at the machine and below the surface of the data.

Owns what is looked for, how it is mended, and which of it may be mended without asking
(`doctor --fix`): only what loses nothing. The checks of the programs and replicas are `health`'s.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from fossilrepo.config import Settings
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import Damaged, FossilrepoError, InvalidInput, ToolFailed, Unavailable
from fossilrepo.models import Repository, RepositoryState, iso, now
from fossilrepo.runtime import process
from fossilrepo.runtime.process import Command
from fossilrepo.services.health import Check
from fossilrepo.services.insights import Insights
from fossilrepo.services.keys import fingerprint
from fossilrepo.services.name_checks import names_lead_here
from fossilrepo.services.port_checks import ports
from fossilrepo.services.projection import Projection
from fossilrepo.services.shelf import SUFFIX, Shelf
from fossilrepo.services.standing import host_answers
from fossilrepo.tools import caddy, fossil_audit, fossil_write, git_locks, litestream, machine
from fossilrepo.tools.fossil import Fossil
from fossilrepo.wording import plural

LONG_LOG = 64 * 2**20  # bytes of a write-ahead log
SOON_FULL = 30  # days
COPY_GOOD_FOR = timedelta(days=365)
AHEAD = timedelta(hours=1)
WATCHES = 1024
_SECONDS = 10.0
_SERVED = (RepositoryState.ACTIVE, RepositoryState.ARCHIVED)
_NAMES = 5

Fix = Callable[[], Awaitable[str]]


class Checkup:
    def __init__(
        self,
        settings: Settings,
        store: RepositoryStore,
        shelf: Shelf,
        projection: Projection,
        insights: Insights,
        fossil: Fossil,
    ) -> None:
        self._settings = settings
        self._store = store
        self._shelf = shelf
        self._projection = projection
        self._insights = insights
        self._fossil = fossil
        self._fixes: dict[str, Fix] = {
            "secret key": self._close_key,
            "people in repositories": self._write_people,
            "settings in repositories": self._disarm,
            "locks": self._unlock,
        }

    async def doctor(self, thorough: bool) -> list[Check]:
        """`thorough`: also what starts programs, asks name servers or opens every file."""
        rows = await self._store.all()
        checks = [
            await asyncio.to_thread(self._key),
            *await asyncio.to_thread(self._machine),
            self._clock(rows),
            await self._disk_trend(),
            await asyncio.to_thread(self._logs, rows),
            await asyncio.to_thread(self._files, rows),
            self._people(rows),
            await asyncio.to_thread(self._locks),
        ]
        if thorough:
            checks.append(await self._programs())
            checks += await self._names()
            runs = await host_answers(self._settings.control_socket)
            checks.append(await ports(self._settings, runs=runs))
            checks.append(await asyncio.to_thread(self._inside, rows))
            checks.append(await self._audited(rows))
        return checks

    async def fix(self, checks: Iterable[Check]) -> list[str]:
        """Mend what may be mended without asking; what was done, a line each."""
        done = []
        for check in checks:
            fix = self._fixes.get(check.name)
            if check.result != "ok" and fix is not None:
                try:
                    done.append(f"{check.name}: {await fix()}")
                except FossilrepoError as error:
                    done.append(f"{check.name}: could not be mended: {error.message}")
        return [line for line in done if not line.endswith(": ")]

    # The secret key

    def confirm_copy(self, copy: Path) -> None:
        """Remember that `copy` is the same key; InvalidInput when it is not."""
        try:
            content = copy.read_bytes()
        except OSError as error:
            raise InvalidInput(f"{copy} cannot be read: {error.strerror}") from None
        own = self._settings.key_file
        if copy.resolve() == own.resolve() or copy.stat().st_ino == own.stat().st_ino:
            raise InvalidInput(f"{copy} is the key itself", hint="name the copy that is kept away")
        if fingerprint(content) != fingerprint(own.read_bytes()):
            raise InvalidInput(
                f"{copy} is not the key of this host", hint=f"make a new copy of {own}"
            )
        kept = {"at": iso(now()), "key": fingerprint(content)}
        self._confirmed.write_text(json.dumps(kept) + "\n")

    def has_copy_of_key(self) -> bool:
        """Whether a copy of the key was confirmed not too long ago; reads two small files."""
        return self._key().result == "ok"

    @property
    def _confirmed(self) -> Path:
        return self._settings.key_file.with_name("secret.key.copy")

    def _key(self) -> Check:
        path = self._settings.key_file
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            return Check("secret key", "fail", f"{path} can be read by others", f"chmod 600 {path}")
        keep = f"copy {path} to another machine, then `fossilrepo key confirm COPY`"
        try:
            kept = json.loads(self._confirmed.read_text())
            at = datetime.fromisoformat(kept["at"])
        except (OSError, ValueError, KeyError, TypeError):
            why = "nobody has confirmed that a copy is kept elsewhere; without it Fossil passwords"
            return Check("secret key", "warn", f"{why} must be renewed after a loss", keep)
        if kept.get("key") != fingerprint(path.read_bytes()):
            return Check(
                "secret key", "warn", "the copy that was confirmed is of another key", keep
            )
        if now() - at > COPY_GOOD_FOR:
            return Check(
                "secret key", "warn", f"its copy was last looked at on {at:%Y-%m-%d}", keep
            )
        return Check("secret key", "ok", f"closed, and a copy was confirmed on {at:%Y-%m-%d}")

    async def _close_key(self) -> str:
        path = self._settings.key_file
        if not stat.S_IMODE(path.stat().st_mode) & 0o077:
            return ""
        path.chmod(0o600)
        return f"{path} is closed now; if somebody may have read it, `fossilrepo user rotate` each"

    # The machine

    def _machine(self) -> list[Check]:
        kind = machine.file_system(self._settings.data)
        if kind in machine.NETWORK:
            files = Check(
                "file system",
                "fail",
                f"{self._settings.data} lies on {kind}: SQLite's log does not work over a network",
                "move the data folder to a disk of this machine",
            )
        elif kind in machine.FLEETING:
            files = Check(
                "file system",
                "warn",
                f"{self._settings.data} lies on {kind}, which ends with the machine or container",
                "put the data folder on a volume or a disk",
            )
        else:
            files = Check("file system", "ok", f"{kind or 'unknown'}, on this machine")
        watches = machine.inotify_watches()
        if watches is not None and watches < WATCHES:
            return [
                files,
                Check(
                    "inotify",
                    "warn",
                    f"only {watches} folders may be watched by this account",
                    f"sysctl fs.inotify.max_user_watches={WATCHES * 8}",
                ),
            ]
        return [files, Check("inotify", "ok", "enough for the folders that are watched")]

    def _clock(self, rows: list[Repository]) -> Check:
        at = now() + AHEAD
        ahead = [row.label for row in rows if row.last_change and row.last_change > at]
        if ahead:
            return Check(
                "clock",
                "warn",
                f"changes from the future in {_some(ahead)}: this clock is behind, or theirs ahead",
                "`timedatectl` tells whether the clock of this machine is set by the network",
            )
        return Check("clock", "ok", f"{now():%Y-%m-%d %H:%M} UTC, and no change is newer")

    async def _disk_trend(self) -> Check:
        storage = await self._insights.storage()
        if storage.full_in is not None and storage.full_in < SOON_FULL:
            return Check(
                "disk trend",
                "warn",
                f"full in about {storage.full_in} days, as it grew lately",
                "free some space, or get a larger disk",
            )
        found = "not growing" if storage.full_in is None else f"full in {storage.full_in} days"
        return Check("disk trend", "ok", found)

    async def _programs(self) -> Check:
        """Whether each answers, and with which version."""
        wanted = {"git": ("git", "--version"), "litestream": (litestream.program(), "version")}
        if self._settings.caddy.enabled:
            wanted["caddy"] = (caddy.program(), "version")
        found = {name: await _version(command) for name, command in wanted.items()}
        broken = [name for name, version in found.items() if not version]
        if broken:
            again = "start `./run` once more: it installs what is missing"
            return Check("programs", "fail", f"{_some(broken)} does not start", again)
        words = ", ".join(f"{name} {version}" for name, version in found.items())
        return Check("programs", "ok", words)

    async def _names(self) -> list[Check]:
        """Whether the names lead here; not asked for names that only this machine knows."""
        domain = self._settings.server.domain
        if "." not in domain or domain.endswith((".localhost", ".local", ".internal", ".test")):
            return []
        return await names_lead_here(domain, self._settings.server.routing)

    # The data

    def _logs(self, rows: list[Repository]) -> Check:
        long = []
        for row in rows:
            log = self._shelf.file(row.id).with_name(f"{row.id}{SUFFIX}-wal")
            try:
                if log.stat().st_size > LONG_LOG:
                    long.append(row.label)
            except OSError:
                continue
        if long:
            return Check(
                "write-ahead logs",
                "warn",
                f"more than {LONG_LOG // 2**20} MiB for {_some(long)}: not all is on the replica",
                "see `fossilrepo backup status`; they shrink when the replica has everything",
            )
        return Check("write-ahead logs", "ok", "all of them are short")

    def _locks(self) -> Check:
        """Of Git only: ours and SQLite's end with whoever holds them."""
        found = [path for place in self._gits() for path in git_locks.stale(place)]
        if found:
            return Check(
                "locks",
                "warn",
                f"a git that was killed left {plural(len(found), 'lock')}, the first is {found[0]}",
                "the next run of the mirror removes them, or `fossilrepo doctor --fix`",
            )
        return Check("locks", "ok", "nobody left one behind")

    def _gits(self) -> list[Path]:
        """Git repositories of our own: exports, and mirrors into folders of this server."""
        exports, mirrors = self._settings.git, self._settings.mirrors
        heads = (*exports.glob("*/*/HEAD"), *mirrors.glob("*/HEAD"), *mirrors.glob("*/*/HEAD"))
        return [head.parent for head in heads]

    async def _unlock(self) -> str:
        cleared = [await asyncio.to_thread(git_locks.clear, place) for place in self._gits()]
        return f"removed {sum(cleared)}"

    def _files(self, rows: list[Repository]) -> Check:
        """Rows whose file is gone, and files that no row knows."""
        stored = self._shelf.stored_ids()
        gone = [row.label for row in rows if row.id not in stored]
        unknown = sorted(stored - {row.id for row in rows})
        if gone:
            return Check(
                "files",
                "fail",
                f"the files of {_some(gone)} are not there",
                "bring them back: `fossilrepo backup restore NAME --at now --as NEW`",
            )
        if unknown:
            return Check(
                "files",
                "warn",
                f"{len(unknown)} files belong to no repository: {_some(unknown)}",
                "the next start puts them into the trash, where they can be looked at",
            )
        return Check("files", "ok", f"nothing is missing, {plural(len(rows), 'file')} looked for")

    def _people(self, rows: list[Repository]) -> Check:
        labels = {row.id: row.label for row in rows if row.state in _SERVED}
        waiting = [labels[one] for one in self._shelf.unwritten() if one in labels]
        if waiting:
            return Check(
                "people in repositories",
                "fail",
                f"changes of rights are not yet in {_some(waiting)}",
                "a program holds the file, or the disk is full; it is tried again by itself",
            )
        return Check("people in repositories", "ok", "everyone has the rights that they are given")

    async def _write_people(self) -> str:
        await self._projection.write_again()
        return "the rights of people are written"

    def _inside(self, rows: list[Repository]) -> Check:
        """Settings in the files that would run commands or reach out."""
        found = [row.label for row in rows if row.state in _SERVED and self._dangerous(row)]
        if found:
            return Check(
                "settings in repositories",
                "fail",
                f"some that run commands or reach out are in {_some(found)}",
                "`fossilrepo doctor --fix` takes them out; see `repo show` for what was there",
            )
        return Check("settings in repositories", "ok", "none runs commands or reaches out")

    def _dangerous(self, row: Repository) -> bool:
        try:
            return bool(fossil_write.dangerous(self._shelf.file(row.id)))
        except FossilrepoError:
            return False  # a file that cannot be read is told of elsewhere

    async def _audited(self, rows: list[Repository]) -> Check:
        """What Fossil itself warns of in the settings and users of each repository."""
        name, served = "security audit of Fossil", [row for row in rows if row.state in _SERVED]
        try:
            found = await self._findings(served)
        except ToolFailed as error:
            return Check(name, "warn", f"not known: {error.message}", error.hint)
        if not found:
            return Check(
                name,
                "ok",
                f"no warning, {plural(len(served), 'repository')} looked at",
            )
        told = [f"{_some(labels)}: {finding}" for finding, labels in sorted(found.items())]
        mend = "change it in /setup_ulist or /setup of the repository (`fossilrepo repo elevate`)"
        return Check(name, "warn", " ".join(told), mend)

    async def _findings(self, rows: list[Repository]) -> dict[str, list[str]]:
        """What is warned of, and in which repositories."""
        found: dict[str, list[str]] = {}
        async with fossil_audit.auditor(
            self._fossil, self._shelf.scratch, self._fossil.identity
        ) as auditor:
            for row in rows:
                with suppress(Damaged, Unavailable):  # told of elsewhere
                    for finding in await auditor.findings(self._shelf.file(row.id)):
                        found.setdefault(finding, []).append(row.label)
        return found

    async def _disarm(self) -> str:
        taken = []
        for row in await self._store.all(*_SERVED):
            if await asyncio.to_thread(self._dangerous, row):
                gone = await asyncio.to_thread(fossil_write.disarm, self._shelf.file(row.id))
                kept = {**await self._store.kept_aside(row.id), **gone}
                names = tuple(sorted({*row.removed, *gone}))
                await self._store.update(row.id, removed=names, kept_aside=kept)
                taken.append(row.label)
        return f"taken out of {_some(taken)}"


async def _version(command: tuple[str, ...]) -> str:
    """The first number with dots that the program tells of itself; "" when it does not start."""
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent"}
    try:
        done = await process.run(Command(command, env=env), timeout=_SECONDS)
    except FossilrepoError:
        return ""
    found = re.search(r"\d+(?:\.\d+)+", done.stdout.decode(errors="replace"))
    return found[0] if found and done.returncode == 0 else ""


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more
