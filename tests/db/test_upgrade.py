"""An upgrade keeps the database as it was: whoever goes back finds it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from fossilrepo.config import Settings
from fossilrepo.db.engine import Database
from fossilrepo.db.migrate import migrate, newest_revision


@pytest.fixture
def old(settings: Settings) -> Settings:
    settings.data.mkdir()
    return settings


async def test_the_state_before_an_upgrade_is_kept(old: Settings) -> None:
    database = Database(old)
    assert await migrate(database)
    await database.close()
    assert not list(old.data.glob("*.schema-*")), "a new database has no past"
    for _ in range(5):
        with closing(sqlite3.connect(old.database_file)) as db:
            db.executescript(
                "ALTER TABLE organizations DROP COLUMN skin;"
                "UPDATE alembic_version SET version_num = '0005'"
            )
        database = Database(old)
        assert await migrate(database)
        assert not await migrate(database)
        await database.close()
    (kept,) = old.data.glob("*.schema-*")
    assert kept.name == "fossilrepo.db.schema-0005"
    assert kept.stat().st_mode & 0o077 == 0
    with closing(sqlite3.connect(kept)) as db:
        names = {row[1] for row in db.execute("PRAGMA table_info(organizations)")}
        assert "skin" not in names and "default_role" in names
        assert db.execute("SELECT version_num FROM alembic_version").fetchone() == ("0005",)
    with closing(sqlite3.connect(old.database_file)) as db:
        found = db.execute("SELECT version_num FROM alembic_version").fetchone()
        assert found == (newest_revision(),)


async def test_the_last_three_are_kept(old: Settings) -> None:
    for number in ("0001", "0002", "0003", "0004"):
        (old.data / f"fossilrepo.db.schema-{number}").touch()
    database = Database(old)
    await migrate(database)
    await database.close()
    with closing(sqlite3.connect(old.database_file)) as db:
        db.executescript(
            "ALTER TABLE organizations DROP COLUMN skin;"
            "UPDATE alembic_version SET version_num = '0005'"
        )
    database = Database(old)
    await migrate(database)
    await database.close()
    names = sorted(path.name[-4:] for path in old.data.glob("*.schema-*"))
    assert names == ["0003", "0004", "0005"]
