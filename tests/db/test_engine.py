"""The pool of connections under what happens to tasks: they are cancelled at any point."""

from __future__ import annotations

import asyncio
import random

from sqlalchemy import text

from fossilrepo.db.engine import Database


async def test_tasks_that_are_cancelled_leave_no_lock_behind(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE cancelled (id INTEGER PRIMARY KEY, word TEXT)"))

    async def writer(number: int) -> None:
        async with database.write() as connection:
            added = text("INSERT INTO cancelled (id, word) VALUES (:id, 'a') RETURNING id")
            await connection.execute(added, {"id": number})
            await connection.execute(text("UPDATE cancelled SET word = 'b' WHERE id >= 0"))

    chance, ended = random.Random(7), []
    for round_ in range(100):
        tasks = [asyncio.create_task(writer(round_ * 10 + number)) for number in range(6)]
        await asyncio.sleep(chance.random() * 0.01)
        for task in tasks:
            task.cancel()
        ended += tasks  # what they raised keeps their statements alive, as logs do
    async with asyncio.timeout(20):
        await asyncio.wait(ended)
        await writer(9999)
    async with database.read() as connection:
        words = (await connection.execute(text("SELECT DISTINCT word FROM cancelled"))).scalars()
        assert set(words) == {"b"}, "what was cancelled was undone as a whole"
