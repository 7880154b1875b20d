"""The control database moves to another engine: from SQLite to PostgreSQL, and back.

Owns what must hold before and what is left behind. The host must not run meanwhile; the old
database is only read, so that going back is one key of the configuration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fossilrepo.config import Database as DatabaseKeys
from fossilrepo.config import Settings
from fossilrepo.db.engine import Database
from fossilrepo.db.move import move
from fossilrepo.errors import Conflict
from fossilrepo.runtime.locks import acquire_single
from fossilrepo.values import mask_url


@dataclass(frozen=True, slots=True)
class Moved:
    """`rows` by table; `url` is what database.url is to be, its password masked."""

    url: str
    rows: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.rows.values())


async def move_to(settings: Settings, url: str, say: Callable[[str], None]) -> Moved:
    """Copy every row to the database at `url` ("sqlite": the file in the data folder).

    ConfigError for what is no URL, Conflict while the host runs or when there is something at
    `url` already; nothing is left there then.
    """
    wanted = settings.model_copy(update={"database": DatabaseKeys.model_validate({"url": url})})
    if wanted.database.url == settings.database.url:
        raise Conflict("the control database is there already", hint="name another one")
    with acquire_single(settings.run_dir / "lock", what=f"fossilrepo on {settings.data}"):
        file = wanted.database_file if url == "sqlite" else None
        if file is not None and await asyncio.to_thread(file.exists):
            raise Conflict(
                f"there is a control database already: {file}",
                hint=f"it is from before a move: `mv {file} {file}.before`",
            )
        try:
            return Moved(mask_url(url), await _move(settings, wanted, say))
        except BaseException:
            if file is not None:
                await asyncio.to_thread(_take_away, file)
            raise


async def _move(before: Settings, after: Settings, say: Callable[[str], None]) -> dict[str, int]:
    source, target = Database(before), Database(after)
    try:
        return await move(source, target, say)
    finally:
        await target.close()
        await source.close()


def _take_away(file: Path) -> None:
    for end in ("", "-wal", "-shm"):
        file.with_name(file.name + end).unlink(missing_ok=True)
