"""A whole host back from its replica, with the real Litestream and the real Fossil."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fossilrepo.config import Backup, Database, Limits, Server, Settings
from fossilrepo.core import open_services, prepare
from fossilrepo.errors import (
    Conflict,
    Damaged,
    FossilrepoError,
    InvalidInput,
    NotFound,
    Unavailable,
)
from fossilrepo.models import CONTROL_ID, Actor, RepositoryState, Visibility
from fossilrepo.runtime.locks import acquire_single
from fossilrepo.services import rebuild_file
from fossilrepo.services.rebuild import Wish, rebuild_from
from fossilrepo.services.rebuild_report import KeyUse, Report, Result
from fossilrepo.tools import control_db
from fossilrepo.tools.fossil_users import password_hash
from tests.helpers import s3
from tests.helpers.poll import until, until_sync
from tests.helpers.replicas import ADMIN, Replicated, damage, replicated

HERE = Actor.command_line()
PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Lost:
    """A host whose data folder is gone: its replica, its key, and what it had."""

    replica: Path
    key: Path
    ids: dict[str, str]
    artifacts: dict[str, list[str]]
    passwords: dict[str, str]
    session: str

    @property
    def url(self) -> str:
        return self.replica.as_uri()

    def of(self, name: str) -> Path:
        return self.replica / f"{self.ids[name]}.fossil"


def artifacts(path: Path) -> list[str]:
    return [uuid for (uuid,) in rows(path, "SELECT uuid FROM blob ORDER BY uuid")]


def rows(path: Path, query: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


def settings_for(data: Path, backup: dict[str, Any]) -> Settings:
    return Settings(
        data_dir=str(data),
        server=Server(listen="127.0.0.1:0"),
        limits=Limits.model_validate({"free_disk": "0%"}),
        backup=Backup.model_validate(backup),
    )


async def _live_and_lose(host: Replicated, prepare: Callable[[Replicated], Any]) -> Lost:
    services = host.core.services
    await services.accounts.create_user(HERE, "ada", name="Ada", is_admin=True, password=PASSWORD)
    signed_in = await services.accounts.sign_in("ada", PASSWORD, address="", agent="")
    made = await prepare(host)
    for repository in made.values():
        await host.replicate(repository.id)
    await host.core.manifest.write()
    await host.replication.ensure(CONTROL_ID)
    data = services.settings.data
    return Lost(
        replica=data / "backups",
        key=data / "secret.key",
        ids={name: repository.id for name, repository in made.items()},
        artifacts={name: artifacts(host.file(r)) for name, r in made.items()},
        passwords={
            name: await services.accounts.sync_password("ada", r) for name, r in made.items()
        },
        session=signed_in.token,
    )


async def _ordinary(host: Replicated) -> dict[str, Any]:
    repos = host.core.services.repos
    made = {
        "one": await host.create("one", pages=3),
        "two": await host.create("two"),
        "gone": await host.create("gone"),
        "purged": await host.create("purged"),
    }
    await repos.configure(ADMIN, "two", title="Zwei", visibility=Visibility.PRIVATE)
    await repos.archive(ADMIN, "two")
    await repos.delete(ADMIN, "gone")
    with contextlib.closing(sqlite3.connect(host.file(made["one"]))) as db, db:
        db.execute("UPDATE user SET cookie = 'stolen', cexpire = 9e9 WHERE login = 'ada'")
    await repos.delete(ADMIN, "purged")
    await host.backups.note(made["purged"].id, purged_at=made["purged"].created_at)
    await host.store.remove(made["purged"].id)
    made["late"] = await host.create("late")  # its row had not reached the replica
    await host.store.remove(made["late"].id)
    return made


async def _hostile(host: Replicated) -> dict[str, Any]:
    made = {name: await host.create(name) for name in ("good", "hooked", "armed")}
    with contextlib.closing(sqlite3.connect(host.file(made["hooked"]))) as db, db:
        db.execute("REPLACE INTO config VALUES ('hooks', '[{\"cmd\":\"id\"}]', 0)")
    with contextlib.closing(sqlite3.connect(host.file(made["armed"]))) as db, db:
        db.execute("CREATE TRIGGER t AFTER UPDATE ON user BEGIN DELETE FROM blob; END")
    return made


def _lost(folder: Path, prepare: Callable[[Replicated], Any]) -> Lost:
    async def live() -> Lost:
        async with replicated(settings_for(folder / "data", {})) as host:
            return await _live_and_lose(host, prepare)

    return asyncio.run(live())


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Lost:
    return _lost(tmp_path_factory.mktemp("lost"), _ordinary)


@pytest.fixture(scope="module")
def hostile_once(tmp_path_factory: pytest.TempPathFactory) -> Lost:
    return _lost(tmp_path_factory.mktemp("hostile"), _hostile)


def _copied(lost: Lost, folder: Path) -> Lost:
    shutil.copytree(lost.replica, folder / "replica")
    shutil.copy(lost.key, folder / "kept.key")
    return replace(lost, replica=folder / "replica", key=folder / "kept.key")


@pytest.fixture
def lost(once: Lost, tmp_path: Path) -> Lost:
    return _copied(once, tmp_path)


@pytest.fixture
def hostile(hostile_once: Lost, tmp_path: Path) -> Lost:
    return _copied(hostile_once, tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "new" / "data", {"url": (tmp_path / "replica").as_uri()})


async def rebuilt(settings: Settings, lost: Lost, **wish: Any) -> Report:
    return await rebuild_from(settings, settings, lost.url, Wish(**wish), lambda _: None)


def tree(folder: Path) -> dict[str, bytes]:
    if not folder.exists():
        return {}
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


async def test_everything_is_back_with_the_key(settings: Settings, lost: Lost) -> None:
    report = await rebuilt(settings, lost, key_file=lost.key)
    assert report.ok and report.key is KeyUse.GIVEN and report.renewed == ()
    assert {one.id for one in report.repositories} == {
        lost.ids[name] for name in ("one", "two", "gone", "late")
    }
    assert report.purged == 1
    assert all(one.moment and one.size_bytes and one.txid for one in report.repositories)
    async with open_services(settings) as services:
        for name in ("one", "two", "gone", "late"):
            file = settings.store / f"{lost.ids[name]}.fossil"
            assert artifacts(file) == lost.artifacts[name]
        one = await services.repos.get(ADMIN, "one")
        assert await services.accounts.sync_password("ada", one) == lost.passwords["one"]
        two = await services.repos.get(ADMIN, "two")
        assert (two.title, two.visibility, two.state) == ("Zwei", "private", "archived")
        assert [r.deleted_name for r in await services.repos.trash(ADMIN)] == ["gone"]
        assert await services.accounts.session(lost.session) is None
        assert await services.accounts.sign_in("ada", PASSWORD, address="", agent="")
        told = [e.action for e in await services.audit.recent(limit=2)]
        assert told == ["sign-in", "backup.rebuilt"]
    assert {p.name for p in settings.served.iterdir()} == {
        "late.fossil",
        "one.fossil",
        "two.fossil",
    }
    file = settings.store / f"{lost.ids['one']}.fossil"
    assert rows(file, "SELECT count(*) FROM user WHERE cookie IS NOT NULL") == [(0,)]
    assert settings.key_file.read_bytes() == lost.key.read_bytes()
    assert settings.key_file.stat().st_mode & 0o777 == 0o600
    kept = next(settings.logs.glob("rebuild-*.json"))
    assert json.loads(kept.read_text())["totals"]["restored"] == 4


async def test_the_rebuilt_host_goes_on_with_the_same_replica(
    settings: Settings, lost: Lost
) -> None:
    await rebuilt(settings, lost, key_file=lost.key)
    async with replicated(settings) as host:
        one = await host.core.services.repos.get(ADMIN, "one")
        await host.replicate(one.id)
        await host.write(one, "written after the rebuild")
        await host.replicate(one.id)
        await host.core.services.accounts.create_user(HERE, "bob")
        await host.replication.ensure(CONTROL_ID)
        live = artifacts(host.file(one))
        assert len(live) > len(lost.artifacts["one"])
    again = settings_for(settings.data.parent / "again", {})
    report = await rebuilt(again, lost, key_file=lost.key)
    assert report.ok and report.people == 2
    assert artifacts(again.store / f"{one.id}.fossil") == live


async def test_without_the_key_everybody_gets_new_fossil_passwords(
    settings: Settings, lost: Lost
) -> None:
    report = await rebuilt(settings, lost)
    assert report.ok and report.key is KeyUse.NEW and report.renewed == ("ada",)
    async with open_services(settings) as services:
        one = await services.repos.get(ADMIN, "one")
        new = await services.accounts.sync_password("ada", one)
        assert new != lost.passwords["one"]
    assert stored_password(settings, one.id) == hashed(settings, one.id, new)


def stored_password(settings: Settings, identity: str) -> Any:
    file = settings.store / f"{identity}.fossil"
    return rows(file, "SELECT pw FROM user WHERE login = 'ada'")[0][0]


def hashed(settings: Settings, identity: str, password: str) -> str:
    file = settings.store / f"{identity}.fossil"
    code = rows(file, "SELECT value FROM config WHERE name = 'project-code'")[0][0]
    return password_hash(code, "ada", password)


async def test_a_key_that_lies_in_the_folder_is_taken(settings: Settings, lost: Lost) -> None:
    settings.data.mkdir(parents=True)
    shutil.copy(lost.key, settings.key_file)
    report = await rebuilt(settings, lost)
    assert report.ok and report.key is KeyUse.KEPT and report.renewed == ()
    one = lost.ids["one"]
    assert stored_password(settings, one) == hashed(settings, one, lost.passwords["one"])


async def test_without_the_control_database_the_manifest_tells_the_names(
    settings: Settings, lost: Lost
) -> None:
    shutil.rmtree(lost.replica / "fossilrepo.db")
    report = await rebuilt(settings, lost, key_file=lost.key)
    assert report.ok and report.control_database == "missing" and report.people == 0
    assert any("nobody has an account" in note for note in report.notes)
    async with open_services(settings) as services:
        assert await services.accounts.needs_setup()
        two = await services.repos.get(ADMIN, "two")
        assert (two.id, two.title, two.visibility) == (lost.ids["two"], "Zwei", "private")
        assert two.state is RepositoryState.ARCHIVED
        assert [r.deleted_name for r in await services.repos.trash(ADMIN)] == ["gone"]
        assert services.replication.standing(lost.ids["purged"]).purged_at is not None
        assert (await services.repos.get(ADMIN, "late")).id == lost.ids["late"]
        assert stored_password(settings, two.id) is None
        await services.accounts.create_user(HERE, "ada", is_admin=True)
        new = await services.accounts.sync_password("ada", two)
        assert stored_password(settings, two.id) == hashed(settings, two.id, new)
    assert not (settings.store / f"{lost.ids['purged']}.fossil").exists()


async def test_without_a_manifest_too_the_files_tell_who_they_are(
    settings: Settings, lost: Lost
) -> None:
    shutil.rmtree(lost.replica / "fossilrepo.db")
    (lost.replica / "manifest.json").unlink()
    report = await rebuilt(settings, lost)
    assert report.ok and len(report.repositories) == 5
    async with open_services(settings) as services:
        for name in ("one", "two", "gone", "purged", "late"):
            found = await services.repos.get(ADMIN, name)
            assert found.id == lost.ids[name]
            assert artifacts(settings.store / f"{found.id}.fossil") == lost.artifacts[name]
        assert (await services.repos.get(ADMIN, "two")).visibility is Visibility.PRIVATE


async def test_what_cannot_be_brought_back_is_broken_and_the_others_go_on(
    settings: Settings, lost: Lost
) -> None:
    damage(lost.of("one"))
    shutil.rmtree(lost.of("two"))
    report = await rebuilt(settings, lost, key_file=lost.key)
    assert not report.ok
    results = {one.name: one.result for one in report.repositories}
    assert results == {
        "one": Result.FAILED,
        "two": Result.MISSING,
        "gone": Result.RESTORED,
        "late": Result.RESTORED,
    }
    async with open_services(settings) as services:
        for name in ("one", "two"):
            row = await services.repos.get(ADMIN, name)
            assert row.state is RepositoryState.BROKEN and "brought back" in row.reason
    assert {p.name for p in settings.served.iterdir()} == {"late.fossil"}
    assert os.listdir(settings.scratch) == []


async def test_hostile_content_in_the_replica_is_disarmed_or_refused(
    settings: Settings, hostile: Lost
) -> None:
    report = await rebuilt(settings, hostile, key_file=hostile.key)
    ended = {one.name: one for one in report.repositories}
    assert ended["good"].is_back
    assert ended["hooked"].is_back and ended["hooked"].removed == ("hooks",)
    file = settings.store / f"{hostile.ids['hooked']}.fossil"
    assert rows(file, "SELECT 1 FROM config WHERE name = 'hooks'") == []
    assert ended["armed"].result is Result.FAILED and "trigger t" in ended["armed"].reason
    assert not (settings.store / f"{hostile.ids['armed']}.fossil").exists()


async def test_a_refusal_leaves_the_folder_as_it_was(settings: Settings, lost: Lost) -> None:
    wrong = lost.replica.parent / "wrong.key"
    async with open_services(settings_for(lost.replica.parent / "other", {})) as services:
        shutil.copy(services.settings.key_file, wrong)
    refusals: list[tuple[type[FossilrepoError], str, dict[str, Any]]] = [
        (InvalidInput, "not the key", {"key_file": wrong}),
        (InvalidInput, "no file", {"key_file": wrong.with_name("absent")}),
    ]
    for kind, words, wish in refusals:
        with pytest.raises(kind, match=words):
            await rebuilt(settings, lost, **wish)
        assert not settings.data.parent.exists()
    nothing = (lost.replica.parent / "nothing").as_uri()
    with pytest.raises(NotFound, match="no replica"):
        await rebuild_from(settings, settings, nothing, Wish(), lambda _: None)
    assert not settings.data.parent.exists()

    async with open_services(settings):
        pass  # what a first start makes is no content
    before = tree(settings.data)
    with pytest.raises(InvalidInput, match="not the key"):
        await rebuilt(settings, lost, key_file=wrong)
    assert tree(settings.data) == before
    with acquire_single(settings.run_dir / "lock"), pytest.raises(Conflict, match="running"):
        await rebuilt(settings, lost)
    async with open_services(settings) as services:
        await services.accounts.create_user(HERE, "somebody", is_admin=True)
    with pytest.raises(Conflict, match="has repositories or people"):
        await rebuilt(settings, lost)


@pytest.mark.parametrize("content", ["repos/x.fossil", "incoming/x.fossil", "thesis.txt"])
async def test_a_folder_with_anything_of_anybodys_is_refused(
    settings: Settings, lost: Lost, content: str
) -> None:
    file = settings.data / content
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    before = tree(settings.data)
    with pytest.raises(Conflict, match="is not empty"):
        await rebuilt(settings, lost)
    assert tree(settings.data) == before


def is_free(lock: Path) -> bool:
    """A child that was just being started holds the killed one's files for a moment."""
    try:
        acquire_single(lock).close()
    except Conflict:
        return False
    return True


async def test_a_rebuild_that_was_killed_goes_on(settings: Settings, lost: Lost) -> None:
    script = (
        "import asyncio, pathlib, sys\n"
        "from fossilrepo.config import load\n"
        "from fossilrepo.services.rebuild import Wish, rebuild_from\n"
        "s = load()\n"
        "w = Wish(pathlib.Path(sys.argv[2]), workers=1)\n"
        "asyncio.run(rebuild_from(s, s, sys.argv[1], w, lambda _: None))\n"
    )
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "FOSSILREPO_DATA_DIR": str(settings.data),
    }
    argv = [sys.executable, "-c", script, lost.url, str(lost.key)]
    process = await asyncio.to_thread(subprocess.Popen, argv, env=env)
    marker = settings.run_dir / "rebuild.json"

    def some_are_done() -> bool:
        return marker.exists() and bool(json.loads(marker.read_text())["done"])

    try:
        await asyncio.to_thread(until_sync, some_are_done, what="the first one to be back")
    finally:
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
    await until(lambda: is_free(settings.run_dir / "lock"), what="its last child to let go")
    with pytest.raises(Conflict, match="is not done"):
        prepare(settings)
    done = {one["id"] for one in json.loads(marker.read_text())["done"]}
    assert len(done) < 4
    kept = {identity: (settings.store / f"{identity}.fossil").stat().st_ino for identity in done}
    with pytest.raises(Conflict, match="was begun from"):
        await rebuild_from(settings, settings, "file:///elsewhere", Wish(), lambda _: None)
    report = await rebuilt(settings, lost, key_file=lost.key)
    assert report.ok and len(report.repositories) == 4
    for name in ("one", "two", "gone", "late"):
        file = settings.store / f"{lost.ids[name]}.fossil"
        assert artifacts(file) == lost.artifacts[name]
        assert kept.get(lost.ids[name], file.stat().st_ino) == file.stat().st_ino
    prepare(settings)


async def test_a_host_started_on_the_replica_before_the_rebuild_hides_nothing(
    settings: Settings, lost: Lost
) -> None:
    async with replicated(settings) as host:
        await host.replication.ensure(CONTROL_ID)
        with pytest.raises(Conflict, match="another host"):
            await host.core.manifest.write()
    report = await rebuilt(settings, lost, key_file=lost.key)
    assert report.ok and report.people == 1
    assert any("empty one" in note for note in report.notes)
    async with open_services(settings) as services:
        assert (await services.repos.get(ADMIN, "two")).state is RepositoryState.ARCHIVED


async def test_a_control_database_that_would_run_something_is_refused(
    settings: Settings, lost: Lost, tmp_path: Path
) -> None:
    path = tmp_path / "control.db"
    made = settings_for(tmp_path / "host", {})
    async with open_services(made):
        pass
    shutil.copy(made.database_file, path)
    control_db.look(path)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TRIGGER t AFTER DELETE ON sessions BEGIN DELETE FROM users; END")
    with pytest.raises(Damaged, match="trigger t"):
        control_db.look(path)
    damage(lost.replica / "fossilrepo.db")
    with pytest.raises(Damaged) as refusal:
        await rebuilt(settings, lost)
    assert "--without-control" in refusal.value.hint and not settings.data.exists()
    report = await rebuilt(settings, lost, use_control=False)
    assert report.ok and report.control_database == "left out"


async def test_rows_come_into_an_empty_postgresql_and_into_no_other(
    settings: Settings, lost: Lost, postgres_database: str
) -> None:
    settings = settings.model_copy(update={"database": Database(url=postgres_database)})
    report = await rebuilt(settings, lost)
    assert report.ok and report.control_database == "postgresql"
    async with open_services(settings) as services:
        assert (await services.repos.get(ADMIN, "two")).state is RepositoryState.ARCHIVED
    other = settings.model_copy(update={"data_dir": str(settings.data.parent / "other")})
    with pytest.raises(Conflict, match="PostgreSQL"):
        await rebuilt(other, lost)
    assert not other.data.exists()


async def test_a_drill_leaves_its_record_and_nothing_else(lost: Lost, tmp_path: Path) -> None:
    data, place = tmp_path / "live", tmp_path / "drill"
    async with open_services(settings_for(data, {})):
        pass
    shutil.copy(lost.key, data / "secret.key")
    before = (data / "fossilrepo.db").read_bytes()
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "FOSSILREPO_DATA_DIR": str(data),
        "FOSSILREPO_BACKUP__URL": lost.url,
    }
    argv = [sys.executable, "-m", "fossilrepo", "backup", "drill", "--json", "--into", str(place)]
    done = await asyncio.to_thread(
        subprocess.run, argv, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] and report["totals"]["restored"] == 4 and report["key"] == "given"
    assert not place.exists() and (data / "fossilrepo.db").read_bytes() == before
    assert json.loads(next(data.glob("logs/drill-*.json")).read_text()) == report
    argv[-1] = str(data / "inside")
    done = await asyncio.to_thread(
        subprocess.run, argv, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and not (data / "inside").exists()


async def test_the_replica_in_the_data_folder_itself_is_enough(tmp_path: Path, lost: Lost) -> None:
    settings = settings_for(tmp_path / "data", {})
    settings.data.mkdir()
    lost.replica.rename(settings.data / "backups")
    before = tree(settings.data / "backups")
    lost = replace(lost, replica=settings.data / "backups")
    wrong = tmp_path / "wrong.key"
    async with open_services(settings_for(tmp_path / "other", {})) as services:
        shutil.copy(services.settings.key_file, wrong)
    with pytest.raises(InvalidInput):
        await rebuilt(settings, lost, key_file=wrong)
    assert os.listdir(settings.data) == ["backups"]
    report = await rebuilt(settings, lost, key_file=lost.key)
    assert report.ok and len(report.repositories) == 4
    assert tree(settings.data / "backups") == before


async def test_a_full_disk_breaks_nothing_and_the_next_run_goes_on(
    settings: Settings, lost: Lost
) -> None:
    folder = settings.data.parent
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=900k,mode=755", "tmpfs", str(folder)]
    mounted = await asyncio.to_thread(subprocess.run, ["mount", *options], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this account may not mount a small disk")
    try:
        with pytest.raises(Unavailable, match="is full"):
            await rebuilt(settings, lost, key_file=lost.key)
        with pytest.raises(Conflict, match="is not done"):
            prepare(settings)
        await asyncio.to_thread(
            subprocess.run, ["mount", "-o", "remount,size=40m", str(folder)], check=True
        )
        report = await rebuilt(settings, lost, key_file=lost.key)
        assert report.ok and len(report.repositories) == 4
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", str(folder)], check=True)


async def test_a_bucket_that_goes_away_in_between_is_waited_for_by_the_next_run(
    lost: Lost, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild_file, "PAUSES", (0.05,))
    with s3.rclone(tmp_path / "s3") as server:
        for name, value in server.keys.items():
            monkeypatch.setenv(name, value)
        for path in lost.replica.rglob("*.ltx"):
            _into_bucket(path, lost.replica, tmp_path / "s3" / "bucket" / "replica")
        url = f"s3://bucket/replica?endpoint={server.endpoint}"

        def stop_after_one(said: str) -> None:
            if said.startswith("1 of"):
                server.stop()

        wish = Wish(lost.key, workers=1)
        with pytest.raises(Unavailable) as outage:
            await rebuild_from(settings, settings, url, wish, stop_after_one)
        assert "goes on where it was" in outage.value.hint
        server.start()
        report = await rebuild_from(settings, settings, url, wish, lambda _: None)
    assert report.ok and len(report.repositories) == 4
    for name in ("one", "two", "gone", "late"):
        file = settings.store / f"{lost.ids[name]}.fossil"
        assert artifacts(file) == lost.artifacts[name]


def _into_bucket(path: Path, replica: Path, bucket: Path) -> None:
    """The same object as it would be in a bucket, where levels have four digits."""
    name, _, level, file = path.relative_to(replica).parts
    target = bucket / name / f"{int(level):04x}" / file
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)


async def test_a_host_comes_back_from_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3.rclone(tmp_path / "s3") as server:
        for name, value in server.keys.items():
            monkeypatch.setenv(name, value)
        async with replicated(settings_for(tmp_path / "data", server.section())) as host:
            lost = await _live_and_lose(host, _small)
        fresh = settings_for(tmp_path / "new", {})
        url = f"s3://bucket/replica?endpoint={server.endpoint}"
        report = await rebuild_from(fresh, fresh, url, Wish(lost.key), lambda _: None)
        assert report.ok and report.people == 1 and report.renewed == ()
        file = fresh.store / f"{lost.ids['one']}.fossil"
        assert artifacts(file) == lost.artifacts["one"]
        assert report.repositories[0].moment is not None
        goes_on = fresh.model_copy(update={"backup": Backup.model_validate(server.section())})
        async with replicated(goes_on) as host:
            one = await host.core.services.repos.get(ADMIN, "one")
            await host.replicate(one.id)
            await host.write(one, "written after the rebuild")
            await host.replicate(one.id)
            live = artifacts(host.file(one))
        again = settings_for(tmp_path / "again", {})
        assert (await rebuild_from(again, again, url, Wish(lost.key), lambda _: None)).ok
        assert artifacts(again.store / f"{one.id}.fossil") == live


async def _small(host: Replicated) -> dict[str, Any]:
    return {"one": await host.create("one")}
