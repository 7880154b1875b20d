"""What lies in the replica, written beside it for whoever has nothing but the replica.

Owns `manifest.json` (identities, names, titles, what was deleted) and `README.txt` (how
to get one repository, or all, back). Both are written when they would say something
else. What is read back may have been changed by a stranger, so it is checked.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fossilrepo import __version__
from fossilrepo.config import Settings
from fossilrepo.db.inventory import Entry, Inventory
from fossilrepo.errors import Conflict, Damaged, FossilrepoError
from fossilrepo.models import RepositoryState, Trust, Visibility, is_id, is_name, iso, now
from fossilrepo.services.links import Links
from fossilrepo.tools.target import Target

log = logging.getLogger(__name__)

MANIFEST, README = "manifest.json", "README.txt"
FORMAT = 1
CONTROL_FILE = "fossilrepo.db"
LOOK_EVERY = 10.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 300.0  # seconds after a failure
LAST_WORDS = 3.0  # seconds that the end may wait for the target
_LARGEST = 64 * 2**20
_CODE = re.compile(r"[0-9a-f]{40,64}")
_TEXT = """Replica of a fossilrepo host

Every folder ID.fossil is one Fossil repository, replicated by Litestream 0.5;
fossilrepo.db is the host's own database (people, names), when it is kept in SQLite.
manifest.json says which identity (ID) has which name.

One repository, as it is now or (with -timestamp 2030-01-31T12:00:00Z) as it was:

    litestream restore -o NAME.fossil '{one}'

The result is an ordinary Fossil repository: fossil open NAME.fossil

Everything, on a machine with fossilrepo and an empty data folder:

    fossilrepo backup rebuild --from '{whole}' --key-file secret.key

secret.key is the host's key. It is not kept here; without it everything but
people's Fossil passwords comes back, and they get new ones.
"""


@dataclass(frozen=True, slots=True)
class Contents:
    """A manifest that was read: when it was written, whose it is, what is in the replica."""

    written_at: str
    url: str
    has_control_database: bool
    entries: Mapping[str, Entry]


class Manifest:
    """Keeps the two files true; `last_error` says why it cannot."""

    def __init__(
        self, settings: Settings, target: Target, inventory: Inventory, links: Links
    ) -> None:
        self.last_error = ""
        self._settings = settings
        self._target = target
        self._inventory = inventory
        self._links = links
        self._written: dict[str, Any] | None = None

    async def run(self) -> None:
        """Write what changed every few seconds, and once more at the end, until cancelled."""
        failures = 0
        try:
            while True:
                failures = 0 if await self._try() else failures + 1
                again = FIRST_PAUSE * 2.0 ** min(failures - 1, 10)
                await asyncio.sleep(min(LONGEST_PAUSE, again) if failures else LOOK_EVERY)
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    await self._try()

    async def claim(self) -> None:
        """Make sure that the place is not another host's, before anything is written there.

        Conflict when it is, Unavailable when it cannot be looked at.
        """
        if self._written is None:
            await self._take_over(await self._wanted())

    async def _try(self) -> bool:
        try:
            await self.write()
        except FossilrepoError as error:
            if error.message != self.last_error:
                log.warning("the replica's manifest cannot be written: %s", error.message)
            self.last_error = error.message
            return False
        self.last_error = ""
        return True

    async def write(self) -> bool:
        """Make both files say what the rows say; True when something was written.

        Conflict when the replica is another host's; Unavailable when it cannot be reached.
        """
        wanted = await self._wanted()
        if self._written is None:
            await self._take_over(wanted)
        if self._written == wanted:
            return False
        text = json.dumps({**wanted, "written_at": iso(now())}, indent=1, sort_keys=True)
        await self._target.put(MANIFEST, text.encode())
        self._written = wanted
        return True

    async def _wanted(self) -> dict[str, Any]:
        sqlite = self._settings.database.url == "sqlite"
        return {
            "format": FORMAT,
            "fossilrepo": __version__,
            "url": self._links.public_url,
            "control_database": CONTROL_FILE if sqlite else None,
            "repositories": [_described(entry) for entry in await self._inventory.entries()],
        }

    async def _take_over(self, wanted: dict[str, Any]) -> None:
        """Look at what is there; a fresh host must not write over what another one left."""
        text = await self._target.get(MANIFEST)
        with suppress(Damaged):  # written anew
            there = parse(text) if text is not None else None
            kept = {entry.id for entry in there.entries.values()} if there else set()
            if kept and not kept & {row["id"] for row in wanted["repositories"]}:
                raise Conflict(
                    f"{self._target.url} holds the repositories of another host",
                    hint="bring them back with `fossilrepo backup rebuild` into an empty data "
                    f"folder, or set backup.url to another place; to give them up, remove "
                    f"{MANIFEST} there",
                )
            if there is not None and text is not None:
                self._written = json.loads(text)
                self._written.pop("written_at", None)
        readme = _readme(self._target).encode()
        if await self._target.get(README) != readme:
            await self._target.put(README, readme)


def _readme(target: Target) -> str:
    one = target.replica_url("ID.fossil")
    asked = parse_qsl(urlsplit(one).query)
    query = urlencode([(key, value) for key, value in asked if key in ("endpoint", "region")])
    return _TEXT.format(one=one, whole=target.url + (f"?{query}" if query else ""))


def _described(entry: Entry) -> dict[str, Any]:
    shown = {
        key: iso(value) if isinstance(value, datetime) else value
        for key, value in asdict(entry).items()
    }
    if entry.purged_at is None:
        del shown["purged_at"]
    return shown


async def read(source: Target) -> Contents | None:
    """The manifest of a replica, or None when there is none; Damaged when it is not one."""
    text = await source.get(MANIFEST)
    return parse(text) if text is not None else None


def parse(text: bytes) -> Contents:
    """What a manifest says, every value checked; Damaged when it is no manifest."""
    try:
        if len(text) > _LARGEST:
            raise ValueError
        found = json.loads(text)
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ValueError
        entries = [_entry(row) for row in found["repositories"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Damaged(f"{MANIFEST} in the replica cannot be read") from None
    return Contents(
        written_at=str(found.get("written_at") or ""),
        url=str(found.get("url") or ""),
        has_control_database=bool(found.get("control_database")),
        entries={entry.id: entry for entry in entries if entry is not None},
    )


def _entry(row: dict[str, Any]) -> Entry | None:
    """One row; what is no value of its kind is taken as not said. None without an identity."""
    identity = row.get("id")
    if not isinstance(identity, str) or not is_id(identity):
        return None
    return Entry(
        id=identity,
        name=_name(row.get("name")),
        deleted_name=_name(row.get("deleted_name")),
        deleted_at=_time(row.get("deleted_at")),
        title="".join(c for c in str(row.get("title") or "")[:200] if c.isprintable()),
        visibility=_one_of(row.get("visibility"), Visibility, Visibility.PRIVATE),
        state=_one_of(row.get("state"), RepositoryState, RepositoryState.ACTIVE),
        trust=_one_of(row.get("trust"), Trust, Trust.UNTRUSTED),
        project_code=_code(row.get("project_code")),
        created_at=_time(row.get("created_at")),
        purged_at=_time(row.get("purged_at")),
    )


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and is_name(value) else None


def _code(value: object) -> str:
    return value if isinstance(value, str) and _CODE.fullmatch(value) else ""


def _one_of(
    value: object,
    kind: type[Visibility] | type[RepositoryState] | type[Trust],
    otherwise: Visibility | RepositoryState | Trust,
) -> str:
    return value if isinstance(value, str) and value in set(kind) else str(otherwise)


def _time(value: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return None
    return at if at and at.tzinfo else None
