"""A whole host back from its replica, in an empty data folder.

Owns the order: read what there is, prove the key, bring back the control database, then
every repository, then rows, people and links; and the report. A refusal leaves the
folder as it was; an interruption leaves a marker, and the next run goes on. Nothing of
it is served before the end, and the replica is only read.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fossilrepo import __version__
from fossilrepo.config import Settings
from fossilrepo.db.access import AccessStore
from fossilrepo.db.backups import BackupStore
from fossilrepo.db.engine import Database
from fossilrepo.db.factors import FactorStore
from fossilrepo.db.inventory import Entry, Inventory
from fossilrepo.db.journal import AuditStore
from fossilrepo.db.migrate import migrate
from fossilrepo.db.mirrors import MirrorStore
from fossilrepo.db.organizations import OrganizationStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.db.upstreams import UpstreamStore
from fossilrepo.db.webhooks import WebhookStore
from fossilrepo.errors import Conflict, Damaged, NotFound
from fossilrepo.models import Actor, Repository, is_id, now
from fossilrepo.runtime.locks import FileLocks
from fossilrepo.services import manifest, rebuild_control, rebuild_key
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.projection import Projection
from fossilrepo.services.rebuild_control import Recovered
from fossilrepo.services.rebuild_file import Bringer
from fossilrepo.services.rebuild_ground import Ground, keep_record
from fossilrepo.services.rebuild_report import Brought, KeyUse, Report, Result
from fossilrepo.services.rebuild_rows import Rows
from fossilrepo.services.shelf import SUFFIX, Shelf
from fossilrepo.tools.fossil import Fossil
from fossilrepo.tools.gate import Gate
from fossilrepo.tools.identity import service_identity
from fossilrepo.tools.target import Target
from fossilrepo.tools.targets import target_of

CONTROL_FILE = manifest.CONTROL_FILE
WORKERS = 4
NO_LIMIT = 2**42  # bytes: what grew past limits.repository by pushes comes back all the same

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for. `use_control` off: rows from the manifest and the files."""

    key_file: Path | None = None
    workers: int = WORKERS
    use_control: bool = True


async def rebuild_from(
    settings: Settings, into: Settings, url: str, wish: Wish, say: Say
) -> Report:
    """The same from an address as people write it; endpoint and keys from `settings`."""
    return await rebuild(into, await asyncio.to_thread(target_of, settings, url), wish, say)


@dataclass(slots=True)
class Source:
    """What the replica has, before anything is written."""

    identities: set[str]
    entries: Mapping[str, Entry]
    has_control: bool = False
    control: Recovered | None = None
    said: str = "missing"
    notes: list[str] = field(default_factory=list)


async def rebuild(settings: Settings, source: Target, wish: Wish, say: Say) -> Report:
    """Bring everything back that `source` has.

    Conflict when the data folder is in use or not empty, NotFound when there is no replica,
    InvalidInput for a key that does not fit: nothing is left of it then. Unavailable when
    the place goes away or the disk is full: run again, it goes on.
    """
    async with prepared(settings, source) as (shelf, ground, bringer):
        return await _Rebuild(settings, source, wish, say, shelf, ground, bringer).run()


@asynccontextmanager
async def prepared(
    settings: Settings, source: Target
) -> AsyncIterator[tuple[Shelf, Ground, Bringer]]:
    """The folder, held and ready to be filled; Conflict when it is in use or not empty."""
    identity = await asyncio.to_thread(service_identity, settings.data)
    shelf = Shelf(settings, identity)
    ground = Ground(settings, shelf, source.url)
    async with _held(ground), AsyncExitStack() as stack:
        await asyncio.to_thread(shelf.prepare)
        stack.callback(shelf.hand_over)
        stack.callback(os.close, await asyncio.to_thread(shelf.use_scratch))
        await asyncio.to_thread(shelf.empty_scratch)
        fossil = Fossil(settings.scratch, identity)
        gate = Gate(identity, settings.scratch, largest=NO_LIMIT)
        yield shelf, ground, Bringer(source, shelf, fossil, gate)


@asynccontextmanager
async def _held(ground: Ground) -> AsyncIterator[None]:
    """The folder's hold, taken and let go in threads."""
    held = ground.held()
    await asyncio.to_thread(held.__enter__)
    try:
        yield
    except BaseException as error:
        await asyncio.shield(asyncio.to_thread(held.__exit__, type(error), error, None))
        raise
    await asyncio.to_thread(held.__exit__, None, None, None)


class _Rebuild:
    def __init__(
        self,
        settings: Settings,
        source: Target,
        wish: Wish,
        say: Say,
        shelf: Shelf,
        ground: Ground,
        bringer: Bringer,
    ) -> None:
        self._settings = settings
        self._source = source
        self._wish = wish
        self._say = say
        self._shelf = shelf
        self._ground = ground
        self._bringer = bringer
        self._began_at = now()
        self._began = time.monotonic()

    async def run(self) -> Report:
        found = await self._look()
        secrets = found.control.secrets if found.control else ()
        key = await asyncio.to_thread(
            rebuild_key.choose, self._settings, self._wish.key_file, secrets
        )
        if self._wish.key_file and not secrets:
            found.notes.append("there was nobody in the replica to try the key on")
        if self._settings.database.url != "sqlite" and not self._ground.goes_on:
            await self._refuse_used_database()
        await asyncio.to_thread(self._ground.begin)
        if found.control is not None:
            os.rename(found.control.file, self._settings.database_file)
        keys = await asyncio.to_thread(rebuild_key.install, self._settings, self._wish.key_file)
        database = Database(self._settings)
        try:
            await migrate(database)
            people = PeopleStore(database)
            renewed = await rebuild_key.renew(people, keys)
            found.notes += await rebuild_key.renew_others(
                people, FactorStore(database), AccessStore(database), keys
            )
            found.notes += await rebuild_key.pause_bridge(
                MirrorStore(database), UpstreamStore(database), WebhookStore(database), keys
            )
            store = RepositoryStore(database)
            if found.control is None:
                for row in await store.all():  # an interrupted run made them
                    await store.remove(row.id)
            organizations, inside = OrganizationStore(database), AccessStore(database)
            access = Access(database, organizations, inside, store)
            locks = FileLocks(self._settings.run_dir / "locks")
            projection = Projection(store, people, access, keys, self._shelf, locks)
            rows = Rows(store, self._shelf, projection, found.entries)
            backups = BackupStore(database)
            outcomes, purged = await self._bring_all(found, await rows.known(), backups)
            self._say("writing names and people into the repositories")
            known = await rows.known()
            outcomes = await rows.settle(known, outcomes)
            await _note_proofs(backups, outcomes)
            report = self._report(found, key, renewed, await people.count(), outcomes, purged)
            await Audit(AuditStore(database)).record(
                Actor.command_line(), "backup.rebuilt", self._source.url, **_totals(report)
            )
        finally:
            await database.close()
        name = f"rebuild-{now():%Y%m%dT%H%M%SZ}"
        await asyncio.to_thread(keep_record, self._settings, name, report.as_dict())
        await asyncio.to_thread(self._ground.end)
        return report

    # What the replica has

    async def _look(self) -> Source:
        self._say(f"reading what {self._source.url} has")
        found = await look(self._source)
        await self._find_control(found, found.has_control)
        return found

    async def _find_control(self, found: Source, is_there: bool) -> None:
        if self._settings.database.url != "sqlite":
            found.said = "postgresql"
            found.notes.append("people are in PostgreSQL, which has backups of its own")
            return
        if not is_there or not self._wish.use_control:
            found.said = "left out" if is_there else "missing"
            found.notes.append(
                "without the control database nobody has an account: the first start prints a "
                "link that makes an administrator; who had one has no way in until then"
            )
            return
        self._say("restoring the control database")
        found.said = "restored"
        found.control = await rebuild_control.find(
            self._source, self._bringer, self._shelf.scratch, expects_content=bool(found.identities)
        )
        if found.control.is_older:
            found.notes.append(
                "the newest control database in the replica is an empty one, of a host that was "
                "started on it; the one before it was taken"
            )

    async def _refuse_used_database(self) -> None:
        database = Database(self._settings)
        try:
            if await Inventory(database).is_used():
                raise Conflict(
                    "the PostgreSQL database has repositories or people in it",
                    hint="give an empty one in database.url",
                )
        finally:
            await database.close()

    # The repositories

    async def _bring_all(
        self, found: Source, known: Mapping[str, Repository], backups: BackupStore
    ) -> tuple[list[Brought], int]:
        """How each came out, and how many were purged and stay so."""
        purged = {row.repository_id for row in await backups.replicas() if row.purged_at}
        if found.control is None:
            gone = [entry for entry in found.entries.values() if entry.purged_at]
            await backups.note_all(  # their replicas end when their time does
                {e.id: {"label": e.deleted_name or "", "purged_at": e.purged_at} for e in gone}
            )
            purged |= {entry.id for entry in gone}
        else:
            purged -= known.keys()
        living = {entry.id for entry in found.entries.values() if entry.id not in purged}
        listed = set(known) | (living if found.control is None else set())
        codes = {entry.id: entry.project_code for entry in found.entries.values()}
        codes |= {row.id: row.project_code for row in known.values()}
        wanted = sorted((found.identities | listed) - purged)
        labels = {entry.id: entry.name or entry.deleted_name for entry in found.entries.values()}
        labels |= {row.id: row.label for row in known.values()}
        for identity in self._ground.done.keys() - set(wanted):  # purged since a standby fetched it
            await asyncio.to_thread(self._ground.forget, identity)

        def told(brought: Brought, count: int) -> None:
            self._say(_told(brought, labels.get(brought.id), count, len(wanted)))

        outcomes = await bring_all(
            self._bringer, self._ground, wanted, codes, self._wish.workers, told
        )
        return outcomes, len(purged & (found.identities | found.entries.keys()))

    # The report

    def _report(
        self,
        found: Source,
        key: KeyUse,
        renewed: tuple[str, ...],
        people: int,
        outcomes: list[Brought],
        purged: int,
    ) -> Report:
        return Report(
            url=self._source.url,
            data=str(self._settings.data),
            began_at=self._began_at,
            seconds=time.monotonic() - self._began,
            version=__version__,
            control_database=found.said,
            control_moment=found.control.moment if found.control else None,
            key=key,
            renewed=renewed,
            people=people,
            repositories=tuple(outcomes),
            purged=purged,
            notes=tuple(found.notes),
        )


async def look(source: Target) -> Source:
    """What there is, without the control database; NotFound when it is no host's replica."""
    names = set(await source.names())
    identities = {
        name.removesuffix(SUFFIX)
        for name in names
        if name.endswith(SUFFIX) and is_id(name.removesuffix(SUFFIX))
    }
    if not identities and CONTROL_FILE not in names and manifest.MANIFEST not in names:
        raise NotFound(
            f"there is no replica of a fossilrepo host at {source.url}",
            hint="write the address of the folder that has manifest.json in it",
        )
    found = Source(identities, {}, CONTROL_FILE in names)
    try:
        contents = await manifest.read(source)
    except Damaged as error:
        contents = None
        found.notes.append(error.message)
    if contents is not None:
        found.entries = contents.entries
    else:
        found.notes.append("without a manifest, names are what the repositories themselves say")
    return found


async def bring_all(
    bringer: Bringer,
    ground: Ground,
    wanted: Sequence[str],
    codes: Mapping[str, str],
    workers: int,
    told: Callable[[Brought, int], None],
) -> list[Brought]:
    """Each of these, as many as `workers` at once; `told` of each, and how many there were."""
    outcomes: list[Brought] = []
    waiting = list(reversed(wanted))

    async def work() -> None:
        while waiting:
            identity = waiting.pop()
            before = ground.done.get(identity)
            brought = await bringer.bring(identity, codes.get(identity, ""), before)
            if brought.is_back and brought is not before:
                await asyncio.to_thread(ground.note, brought)
            outcomes.append(brought)
            told(brought, len(outcomes))

    tasks = [asyncio.create_task(work()) for _ in range(max(1, workers))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return outcomes


def _told(brought: Brought, label: str | None, count: int, total: int) -> str:
    name = label or brought.id
    what = f"{name} is back" if brought.is_back else f"{name} is not back: {brought.reason}"
    return f"{count} of {total}: {what}"


async def _note_proofs(backups: BackupStore, outcomes: list[Brought]) -> None:
    """Each came back whole from its replica a moment ago: that is a proof."""
    at = now()
    await backups.note_all(
        {
            one.id: {
                "label": one.name,
                "proven_at": at,
                "proven_seconds": one.seconds,
                "proven_checkins": one.checkins,
            }
            for one in outcomes
            if one.result is Result.RESTORED
        }
    )


def _totals(report: Report) -> dict[str, Any]:
    return {**report.as_dict()["totals"], "key": str(report.key), "seconds": report.seconds}
