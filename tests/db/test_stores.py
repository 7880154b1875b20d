"""The stores behave the same on SQLite and on PostgreSQL."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import inspect, text

from fossilrepo.config import Settings
from fossilrepo.db import tables_bridge, tables_insights  # noqa: F401 - more tables of the same metadata
from fossilrepo.db.engine import Database
from fossilrepo.db.journal import AuditStore, JobStore
from fossilrepo.db.migrate import migrate, newest_revision
from fossilrepo.db.people import PeopleStore
from fossilrepo.db.repositories import Readable, RepositoryStore
from fossilrepo.db.tables import metadata
from fossilrepo.errors import Conflict, FossilrepoError, NotFound, Unavailable
from fossilrepo.models import (
    DropIn,
    JobState,
    Repository,
    RepositoryState,
    Trust,
    Visibility,
    new_id,
    now,
)


def repository(name: str | None = "demo", **changes: Any) -> Repository:
    return replace(
        Repository(
            id=new_id(),
            name=name,
            title="Démo",
            description="",
            org="main",
            visibility=Visibility.PUBLIC,
            state=RepositoryState.ACTIVE,
            trust=Trust.OWN,
            created_at=now(),
            created_by="ada",
        ),
        **changes,
    )


async def test_migrations_make_exactly_the_tables_of_the_code(database: Database) -> None:
    async with database.read() as connection:

        def compare(sync: Any) -> list[Any]:
            from alembic.autogenerate import compare_metadata
            from alembic.migration import MigrationContext

            def ours(_item: Any, name: str | None, *_: Any) -> bool:
                return not (name or "").startswith("timeline_words")  # the index of words

            options = {"include_object": ours}
            context = MigrationContext.configure(sync, opts=options)
            return list(compare_metadata(context, metadata))

        assert await connection.run_sync(compare) == []
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    assert "repositories" in names


async def test_migrating_again_does_nothing(database: Database) -> None:
    assert await migrate(database) is False


async def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(FossilrepoError, match="9999.*knows only " + newest_revision()):
        await migrate(database)


async def test_two_processes_that_start_at_once_migrate_once(configured: Settings) -> None:
    first, second = Database(configured), Database(configured)
    try:
        done = await asyncio.gather(migrate(first), migrate(second))
        assert True in done
        async with first.read() as connection:
            rows = (await connection.execute(text("SELECT version_num FROM alembic_version"))).all()
        assert [tuple(row) for row in rows] == [(newest_revision(),)]
    finally:
        await first.close()
        await second.close()


async def test_a_repository_comes_back_as_it_was_written(database: Database) -> None:
    store = RepositoryStore(database)
    written = repository(last_change=now(), removed=("hooks",), size_bytes=5 * 2**40)
    await store.add(written, {"hooks": "x"})
    assert await store.get(written.id) == written
    assert await store.by_name("demo") == written
    assert await store.kept_aside(written.id) == {"hooks": "x"}


async def test_a_taken_name_is_a_conflict_and_a_trashed_one_is_free(database: Database) -> None:
    store = RepositoryStore(database)
    first = repository()
    await store.add(first)
    with pytest.raises(Conflict):
        await store.add(repository())
    await store.update(first.id, name=None, state=RepositoryState.TRASHED)
    await store.add(repository())
    assert await store.count() == 1


async def test_of_two_writers_of_one_name_one_wins(database: Database) -> None:
    store = RepositoryStore(database)
    done = await asyncio.gather(
        *(store.add(repository("wanted")) for _ in range(6)), return_exceptions=True
    )
    assert sorted(type(d).__name__ for d in done) == ["Conflict"] * 5 + ["NoneType"]


async def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError):
        async with database.write() as connection:
            await connection.execute(text("DELETE FROM alembic_version"))
            raise RuntimeError
    assert await migrate(database) is False


async def test_search_finds_every_word_pages_and_counts(database: Database) -> None:
    store = RepositoryStore(database)
    for number in range(25):
        await store.add(repository(f"tool-{number:02}", title="A 100% tool_box"))
    await store.add(repository("hidden", visibility=Visibility.PRIVATE, title="tool"))
    await store.add(repository(None, state=RepositoryState.TRASHED, title="tool"))
    page = await store.search("TOOL", offset=20, limit=10)
    assert (page.total, [r.name for r in page.repositories]) == (
        26,
        [f"tool-{n}" for n in range(19, 25)],
    )
    assert (await store.search("tool 07")).total == 1
    assert (await store.search("100% tool_")).total == 25
    assert (await store.search("0%1")).total == 0
    assert (await store.search("tool", readable=Readable(("public",)))).total == 25
    beyond = await store.search("tool", offset=500)
    assert (beyond.repositories, beyond.total) == ([], 26)


async def test_changing_what_is_not_there_is_said(database: Database) -> None:
    with pytest.raises(NotFound):
        await RepositoryStore(database).update(new_id(), title="x")
    with pytest.raises(NotFound):
        await PeopleStore(database).update_user("nobody-here", name="x")


async def test_drop_ins_are_replaced_and_forgotten(database: Database) -> None:
    store = RepositoryStore(database)
    await store.set_drop_in(DropIn("a.fossil", "waiting", "open", now()))
    await store.set_drop_in(DropIn("a.fossil", "broken", "empty", now()))
    assert [(d.filename, d.state) for d in await store.drop_ins()] == [("a.fossil", "broken")]
    await store.forget_drop_ins({"a.fossil"})
    assert await store.drop_ins() == []


async def test_a_session_lives_until_it_ends_or_its_person_is_disabled(database: Database) -> None:
    people = PeopleStore(database)
    at = now()
    user = await people.add_user(login="ada", sync_secret=b"s", created_at=at)
    times = {"created_at": at, "last_seen": at, "expires_at": at + timedelta(hours=1)}
    for token in ("one", "two"):
        await people.add_session(token_hash=token, user_id=user.id, csrf="c", **times)
    found = await people.session("one", at)
    assert found is not None and found[0].user == user
    assert await people.session("one", at + timedelta(hours=2)) is None
    await people.end_session("two")
    assert await people.session("two", at) is None
    await people.update_user("ada", disabled=True)
    assert await people.session("one", at) is None


async def test_a_login_is_there_once(database: Database) -> None:
    people = PeopleStore(database)
    await people.add_user(login="ada", sync_secret=b"s", created_at=now())
    with pytest.raises(Conflict):
        await people.add_user(login="ada", sync_secret=b"s", created_at=now())


async def test_jobs_are_counted_and_old_ones_forgotten(database: Database) -> None:
    jobs = JobStore(database)
    for state in (JobState.RUNNING, JobState.FAILED, JobState.DONE):
        await jobs.add(id=new_id(), kind="import", state=state, created_at=now(), finished_at=now())
    assert await jobs.counts() == (1, 1)
    assert len(await jobs.live()) == 1
    await jobs.forget(now() + timedelta(seconds=1))
    assert await jobs.recent() == []


async def test_audit_entries_are_found_by_subject_and_person(database: Database) -> None:
    audit = AuditStore(database)
    for subject in ("a", "b"):
        await audit.add(at=now(), actor="ada", action="x", subject=subject, detail={"n": 1})
    entries = await audit.recent(subject="b", actor="ada")
    assert [(e.subject, e.detail) for e in entries] == [("b", {"n": 1})]
    assert await audit.recent(since=now() + timedelta(hours=1)) == []


async def test_a_database_that_is_not_there_is_told_in_our_words(settings: Settings) -> None:
    database = Database(settings)  # its folder does not exist
    with pytest.raises(Unavailable, match="control database"):
        async with database.read() as connection:
            await connection.execute(text("SELECT 1"))
    await database.close()
