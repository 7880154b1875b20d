"""One connection pool to the control database, and the errors of its drivers in our words.

Owns engine, pragmas, transactions and the translation of driver errors. Knows
no table. SQLite runs in WAL mode with foreign keys and a busy timeout; every
writing transaction there begins IMMEDIATE, so that two writers wait for each
other instead of failing half-way.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from fossilrepo.config import Settings
from fossilrepo.errors import Conflict, FossilrepoError, InvalidInput, Unavailable
from fossilrepo.traces import span

BUSY_TIMEOUT_MS = 10_000
_BAD_DATA = "22"  # PostgreSQL's class of states for values, such as text with a zero in it


class Database:
    """Transactions on the control database; `read()` and `write()` give connections."""

    def __init__(self, settings: Settings) -> None:
        self.url = database_url(settings)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite and settings.data.is_dir():
            settings.database_file.touch(mode=0o600)  # SQLite gives its side files the same mode
        self.file = settings.database_file if self.is_sqlite else None
        self.engine: AsyncEngine = _engine(self.url, self.is_sqlite)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for queries; what it sees is one consistent state."""
        with _our_errors(), span("database"):
            async with self._connected() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed at the end of the block, undone when it raises."""
        with _our_errors(), span("database"):
            async with self._connected() as connection:
                if self.is_sqlite:
                    await connection.exec_driver_sql("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    await connection.rollback()
                    raise
                await connection.commit()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        """A connection of the pool; Unavailable when there is none to be had."""
        try:
            connection = await self.engine.connect()
        except DBAPIError:
            raise
        except (OSError, PoolTimeout) as error:
            raise _unreachable(error) from error
        except Exception as error:
            if type(error).__module__.startswith("asyncpg"):  # what its server says, or its absence
                raise _unreachable(error) from error
            raise
        try:
            yield connection
        finally:  # also when its task is cancelled once more
            closing = asyncio.ensure_future(connection.close())
            await asyncio.shield(closing)

    async def close(self) -> None:
        await self.engine.dispose()


def database_url(settings: Settings) -> URL:
    """The SQLAlchemy URL of the configured database, with its async driver."""
    if settings.database.url == "sqlite":
        return URL.create("sqlite+aiosqlite", database=str(settings.database_file))
    return make_url(settings.database.url).set(drivername="postgresql+asyncpg")


def _engine(url: URL, is_sqlite: bool) -> AsyncEngine:
    if not is_sqlite:
        return create_async_engine(url, pool_size=5, max_overflow=5, pool_pre_ping=True)
    arguments = {"timeout": BUSY_TIMEOUT_MS / 1000, "factory": _Settled}
    engine = create_async_engine(url, pool_size=4, max_overflow=4, connect_args=arguments)

    def prepare(connection: Any, record: object) -> None:
        connection.isolation_level = None  # transactions are begun by us, see `write`
        cursor = connection.cursor()
        _to_wal(cursor)
        for pragma in (
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "trusted_schema=OFF",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine.sync_engine, "connect", prepare)
    return engine


def _to_wal(cursor: Any) -> None:
    """SQLite does not wait for others here: two that make a new database meet at this point."""
    until = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            await_only(asyncio.sleep(0.02))
        else:
            return


class _Settled(sqlite3.Connection):
    """Gives up its transaction before it closes.

    A connection is closed while its statements are not done when the task that used it is
    cancelled, as by a visitor who goes away. Python closes with sqlite3_close_v2, which keeps
    the transaction, and so the lock that every writer needs, until the last statement is
    collected as garbage.
    """

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self.rollback()
        super().close()


class _our_errors:
    """Turn a driver's error into one of ours, without the statement and its values."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or not isinstance(error, DBAPIError):
            return
        raise translate(error) from error


def _unreachable(error: Exception) -> Unavailable:
    lines = str(error).splitlines() or [type(error).__name__]
    return Unavailable(
        f"the control database cannot be reached: {lines[0]}",
        hint="see that it runs, and that database.url is right; it is tried again by itself",
    )


def translate(error: DBAPIError) -> FossilrepoError:
    """The error in our words: a taken name, a value that is none, a busy or absent database."""
    text = str(error.orig).splitlines()[0] if error.orig else "no text"
    if isinstance(error, IntegrityError):
        return Conflict("something with this name or login exists already")
    if str(getattr(error.orig, "sqlstate", "") or "").startswith(_BAD_DATA):
        return InvalidInput("what was sent holds a character or a number that cannot be kept")
    if isinstance(error, OperationalError) or error.connection_invalidated:
        return Unavailable(
            f"the control database does not answer: {text}",
            hint="try again; if it stays, see `fossilrepo doctor`",
        )
    return FossilrepoError(f"the control database refused a statement: {text}")
