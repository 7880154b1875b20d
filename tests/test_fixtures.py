"""The fixtures themselves: what they start is real, private and ended."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest
from playwright.async_api import Browser

from fossilrepo.config import Settings
from tests.helpers.poll import until, until_sync


async def test_postgres_databases_are_empty_and_apart(
    postgres_url: str, postgres_database: str
) -> None:
    assert postgres_database != postgres_url
    connection = await asyncpg.connect(postgres_database)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_stat_user_tables") == 0
        assert await connection.fetchval("SHOW listen_addresses") == ""
        await connection.execute("CREATE TABLE t (n int)")
    finally:
        await connection.close()


async def test_postgres_is_reached_through_sqlalchemy_too(postgres_database: str) -> None:
    from sqlalchemy import make_url, text
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(make_url(postgres_database).set(drivername="postgresql+asyncpg"))
    try:
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT 1")) == 1
    finally:
        await engine.dispose()


async def test_chromium_shows_a_page(chromium: Browser) -> None:
    page = await chromium.new_page()
    await page.goto("data:text/html,<title>quiet</title>")
    assert await page.title() == "quiet"


def test_settings_stay_in_the_tests_folder(settings: Settings, tmp_path: Path) -> None:
    assert settings.data.is_relative_to(tmp_path)


async def test_waiting_names_what_did_not_happen() -> None:
    with pytest.raises(AssertionError, match="the moon; last seen: 0"):
        await until(lambda: 0, timeout=0.05, what="the moon")
    with pytest.raises(AssertionError, match="the moon; last seen: 0"):
        until_sync(lambda: 0, timeout=0.05, what="the moon")


async def test_waiting_gives_what_the_condition_gave() -> None:
    answers = iter([None, "", "here"])

    async def ask() -> str | None:
        return next(answers)

    assert await until(ask) == "here"
