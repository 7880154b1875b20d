"""Bring the control database to the newest schema at start.

Owns the decision whether to migrate. Alembic is imported only when there is
something to do, because it costs 10 MiB of memory that a running host does
not need.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, inspect, text

from fossilrepo.db.engine import Database
from fossilrepo.errors import FossilrepoError

log = logging.getLogger(__name__)

_COPIES = 3
MIGRATIONS = Path(__file__).parent / "migrations"


def newest_revision() -> str:
    """The newest migration's number: their files are named NNNN_what.py."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


async def migrate(database: Database) -> bool:
    """Run what is missing, in one transaction; True when something was done.

    Raises FossilrepoError when the database was written by a newer fossilrepo.
    """
    async with database.read() as connection:
        current = await connection.run_sync(_current)
    newest = newest_revision()
    if current == newest:
        return False
    if current is not None and current > newest:
        raise FossilrepoError(
            f"the control database has schema {current}, this fossilrepo knows only {newest}",
            hint="start the newer fossilrepo again, or put the copy from before the upgrade in "
            f"place, fossilrepo.db.schema-{newest} in the data folder",
        )
    if current is not None and database.file is not None:
        await asyncio.to_thread(_keep, database.file, current)
    async with database.write() as connection:
        await connection.run_sync(_upgrade)
    return True


def _keep(file: Path, revision: str) -> None:
    """A copy as it is now, beside it, so that the program from before can be started again.

    The last ones are kept; of PostgreSQL its own backups are.
    """
    copy = file.with_name(f"{file.name}.schema-{revision}")
    partial = copy.with_name(f"{copy.name}.new")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as source:
        with closing(sqlite3.connect(partial)) as target:
            source.backup(target)
    partial.replace(copy)
    log.info("the control database as it was with schema %s is kept in %s", revision, copy)
    for old in sorted(file.parent.glob(f"{file.name}.schema-[0-9]*"))[:-_COPIES]:
        old.unlink()


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection) -> None:
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    logging.getLogger("alembic").setLevel(logging.WARNING)
    if connection.dialect.name == "postgresql":  # two processes starting at once
        connection.execute(text("SELECT pg_advisory_xact_lock(7240119)"))
    scripts = ScriptDirectory(str(MIGRATIONS))

    def steps(revision: object, context: object) -> object:
        return scripts._upgrade_revs("head", revision)  # type: ignore[arg-type]

    context = MigrationContext.configure(connection, opts={"fn": steps, "transactional_ddl": True})
    with Operations.context(context):
        context.run_migrations()
