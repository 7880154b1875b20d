"""Bring the control database to the newest schema at start.

Owns the decision whether to migrate. Alembic is imported only when there is
something to do, because it costs 10 MiB of memory that a running host does
not need.
"""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from fossilrepo.db.engine import Database
from fossilrepo.errors import FossilrepoError

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
            hint="start the newer fossilrepo again, or restore the database from before",
        )
    async with database.write() as connection:
        await connection.run_sync(_upgrade)
    return True


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
