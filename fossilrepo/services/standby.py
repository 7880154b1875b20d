"""A second machine that follows a host's replica, and can take its place in a moment.

Owns the rounds: what changed on the replica is fetched, checked and disarmed as a rebuild does it,
into a folder that is marked as a rebuild which is not done, so that nothing serves it. To promote
it is to let that rebuild end: what is there already is not fetched again.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fossilrepo.config import Settings
from fossilrepo.errors import Damaged, FossilrepoError, NotFound, Unavailable
from fossilrepo.models import iso, now
from fossilrepo.services import rebuild, rebuild_control, rebuild_key
from fossilrepo.services.rebuild import Say, Wish
from fossilrepo.services.rebuild_file import Bringer
from fossilrepo.services.rebuild_ground import Ground, write_private
from fossilrepo.services.rebuild_report import Brought
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools.target import Target
from fossilrepo.tools.targets import target_of
from fossilrepo.wording import plural


@dataclass(frozen=True, slots=True)
class Round:
    """`moment`: the newest change that is here; `failed`: identity to why, tried again next time.

    `error`: the replica could not be read at all.
    """

    at: datetime
    seconds: float
    repositories: int = 0
    fetched: int = 0
    moment: datetime | None = None
    failed: dict[str, str] | None = None
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        moment = iso(self.moment) if self.moment else None
        return {**asdict(self), "at": iso(self.at), "moment": moment, "failed": self.failed or {}}


async def follow(
    settings: Settings, url: str, wish: Wish, say: Say, *, every: float, rounds: int | None = None
) -> Round:
    """Follow the replica at `url`, a round each `every` seconds; the last round.

    Conflict when the data folder is in use or holds anything else, NotFound when there is no
    replica, InvalidInput for a key that does not fit. Later the replica may go away and come back.
    """
    source = await asyncio.to_thread(target_of, settings, url)
    async with rebuild.prepared(settings, source) as (shelf, ground, bringer):
        one = _Standby(settings, source, wish, shelf, ground, bringer)
        count = 0
        while True:
            done = await one.round(is_first=count == 0)
            count += 1
            say(words(done))
            await asyncio.to_thread(_keep, settings, url, done)
            if count == rounds:
                return done
            await asyncio.sleep(max(0.0, every - done.seconds))


def last_round(settings: Settings) -> dict[str, Any]:
    """What the newest round gave, as its process wrote it; NotFound when there was none."""
    try:
        found: dict[str, Any] = json.loads(_state(settings).read_text())
    except (OSError, ValueError):
        raise NotFound(
            f"nothing follows a replica in {settings.data}",
            hint="`fossilrepo standby --from URL` does",
        ) from None
    return found


def words(one: Round) -> str:
    if one.error:
        return f"{one.at:%H:%M:%S} not followed: {one.error}"
    newest = f", the newest change is of {iso(one.moment)}" if one.moment else ""
    failed = f", {len(one.failed)} not: {'; '.join(one.failed.values())}" if one.failed else ""
    here = plural(one.repositories, "repository is", "repositories are")
    told = f"{here} here, {one.fetched} fetched just now"
    return f"{one.at:%H:%M:%S} {told} in {one.seconds:.1f} s{newest}{failed}"


def _state(settings: Settings) -> Path:
    return settings.run_dir / "standby.json"


def _keep(settings: Settings, url: str, one: Round) -> None:
    write_private(_state(settings), json.dumps({"from": url, **one.as_dict()}).encode())


class _Standby:
    def __init__(
        self,
        settings: Settings,
        source: Target,
        wish: Wish,
        shelf: Shelf,
        ground: Ground,
        bringer: Bringer,
    ) -> None:
        self._settings = settings
        self._source = source
        self._wish = wish
        self._shelf = shelf
        self._ground = ground
        self._bringer = bringer

    async def round(self, *, is_first: bool) -> Round:
        at, began = now(), time.monotonic()
        try:
            return await self._round(at, began, is_first=is_first)
        except (Unavailable, NotFound, Damaged) as error:
            if is_first:
                raise
            return Round(at, round(time.monotonic() - began, 3), error=error.message)

    async def _round(self, at: datetime, began: float, *, is_first: bool) -> Round:
        found = await rebuild.look(self._source)
        failed: dict[str, str] = {}
        if found.has_control and self._settings.database.url == "sqlite":
            try:
                await self._try_control(expects_content=bool(found.identities))
            except FossilrepoError as error:
                if is_first:
                    raise
                failed["control database"] = error.message
        if is_first:
            await asyncio.to_thread(self._ground.begin)
        purged = {entry.id for entry in found.entries.values() if entry.purged_at}
        wanted = sorted(found.identities - purged)
        for gone in self._ground.done.keys() - set(wanted):
            await asyncio.to_thread(self._ground.forget, gone)
        before = {identity: one.txid for identity, one in self._ground.done.items()}
        codes = {entry.id: entry.project_code for entry in found.entries.values()}
        brought = await rebuild.bring_all(
            self._bringer, self._ground, wanted, codes, self._wish.workers, _nothing
        )
        back = [one for one in brought if one.is_back]
        failed |= {one.id: one.reason for one in brought if not one.is_back}
        return Round(
            at=at,
            seconds=round(time.monotonic() - began, 3),
            repositories=len(back),
            fetched=sum(before.get(one.id) != one.txid for one in back),
            moment=max((one.moment for one in back if one.moment), default=None),
            failed=failed,
        )

    async def _try_control(self, *, expects_content: bool) -> None:
        """Whether the control database can be had, and the key opens it; nothing is kept."""
        found = await rebuild_control.find(
            self._source, self._bringer, self._shelf.scratch, expects_content=expects_content
        )
        try:
            await asyncio.to_thread(
                rebuild_key.choose, self._settings, self._wish.key_file, found.secrets
            )
        finally:
            await asyncio.to_thread(self._shelf.discard, found.file)


def _nothing(_brought: Brought, _count: int) -> None:
    """A round tells its sums only."""
