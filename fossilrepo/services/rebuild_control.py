"""The control database out of a replica, looked at before it is used.

Owns which moment of it is taken: the newest, unless that is the empty one of a host
that was started on the replica before anybody thought of a rebuild. Leaves a scratch
file that signs nobody in.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fossilrepo.db.migrate import newest_revision
from fossilrepo.errors import Damaged, FossilrepoError, NotFound
from fossilrepo.services.manifest import CONTROL_FILE
from fossilrepo.services.rebuild_file import Bringer
from fossilrepo.tools import control_db, litestream
from fossilrepo.tools.control_db import Control
from fossilrepo.tools.target import Target

WITHOUT = "`--without-control` brings the repositories back without it"


@dataclass(frozen=True, slots=True)
class Recovered:
    """`moment`: its newest change; `is_older`: the newest one in the replica was empty."""

    file: Path
    secrets: tuple[bytes, ...]
    moment: datetime | None
    is_older: bool


async def find(
    source: Target, bringer: Bringer, scratch: Path, *, expects_content: bool
) -> Recovered:
    """The control database as a file in the folder `scratch`.

    Damaged when none can be used; `expects_content`: an empty one is not the right one.
    """
    seeker = _Seeker(source, bringer, scratch / CONTROL_FILE)
    is_older = False
    try:
        control, txid = await seeker.at()
        if not control.is_used and expects_content:
            control, txid = await seeker.newest_in_use(txid)
            is_older = control.is_used
    except (NotFound, Damaged) as error:
        raise Damaged(error.message, hint=WITHOUT) from error
    if control.revision > newest_revision():
        raise FossilrepoError(
            f"the control database has schema {control.revision}, this fossilrepo knows only "
            f"{newest_revision()}",
            hint="use the newer fossilrepo that wrote it",
        )
    await asyncio.to_thread(control_db.forget_the_passing, seeker.file)
    await asyncio.to_thread(seeker.file.chmod, 0o600)
    files = await litestream.ltx(source, CONTROL_FILE)
    moment = max((file.at for file in files if file.max_txid <= txid), default=None)
    return Recovered(seeker.file, control.secrets, moment, is_older)


class _Seeker:
    def __init__(self, source: Target, bringer: Bringer, file: Path) -> None:
        self.file = file
        self._source = source
        self._bringer = bringer

    async def at(self, txid: int | None = None) -> tuple[Control, int]:
        """The newest, or that of the transaction, and which transaction it is."""
        await asyncio.to_thread(self.file.unlink, True)
        restored = await self._bringer.restore(CONTROL_FILE, self.file, txid)
        return await asyncio.to_thread(control_db.look, self.file), restored.txid

    async def newest_in_use(self, newest: int) -> tuple[Control, int]:
        """The newest with anything in it: back in growing steps, then halves of the last step."""
        files = await litestream.ltx(self._source, CONTROL_FILE)
        txids = sorted({file.max_txid for file in files if file.max_txid < newest})
        used, empty, step = -1, len(txids), 1
        while used < 0 and empty > 0:
            position = max(0, empty - step)
            if await self._is_used(txids[position]):
                used = position
            else:
                empty, step = position, step * 2
        while used >= 0 and empty - used > 1:
            middle = (used + empty) // 2
            if await self._is_used(txids[middle]):
                used = middle
            else:
                empty = middle
        return await self.at(txids[used] if used >= 0 else newest)

    async def _is_used(self, txid: int) -> bool:
        try:
            return (await self.at(txid))[0].is_used
        except (NotFound, Damaged):
            return False
