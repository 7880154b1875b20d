"""A migrated control database, once on SQLite and once on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fossilrepo.config import Database as DatabaseSettings
from fossilrepo.config import Settings
from fossilrepo.db.engine import Database
from fossilrepo.db.migrate import migrate


@pytest.fixture(params=["sqlite", "postgresql"])
def configured(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    settings.data.mkdir()
    if request.param == "sqlite":
        return settings
    url = request.getfixturevalue("postgres_database")
    return settings.model_copy(update={"database": DatabaseSettings(url=url)})


@pytest.fixture
async def database(configured: Settings) -> AsyncIterator[Database]:
    database = Database(configured)
    await migrate(database)
    yield database
    await database.close()
