"""What stands beside the replica, for whoever has nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fossilrepo.config import Backup, Limits, Settings
from fossilrepo.core import Core, open_core
from fossilrepo.db.backups import BackupStore
from fossilrepo.db.engine import Database
from fossilrepo.errors import Conflict, Damaged
from fossilrepo.models import Actor, now
from fossilrepo.services import manifest as module
from fossilrepo.services.manifest import Manifest, parse, read
from fossilrepo.tools.targets import target_of
from tests.helpers.poll import until

ADMIN = Actor("ada", is_admin=True)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    backup = Backup(url=(tmp_path / "replica").as_uri())
    limits = Limits.model_validate({"free_disk": "0%"})
    return settings.model_copy(update={"backup": backup, "limits": limits})


@pytest.fixture
async def core(settings: Settings) -> AsyncIterator[Core]:
    def fatal(name: str, error: BaseException) -> None:
        raise AssertionError(f"{name} died: {error}")

    async with open_core(settings, fatal) as core:
        yield core


@pytest.fixture
def manifest(core: Core) -> Manifest:
    return core.manifest


@pytest.mark.sqlite
async def test_it_names_what_lives_what_was_deleted_and_what_was_purged(
    core: Core, settings: Settings, manifest: Manifest, tmp_path: Path
) -> None:
    repos = core.services.repos
    one = await repos.create(ADMIN, "one", title="First")
    gone = await repos.create(ADMIN, "gone")
    await repos.delete(ADMIN, "gone")
    database = Database(settings)
    await BackupStore(database).note("abcdefghijkl", label="old", purged_at=now())
    await BackupStore(database).note("abcdefghijkm", label="x", purged_at=now(), cleared_at=now())
    await database.close()
    assert await manifest.write()
    document = json.loads((tmp_path / "replica" / "manifest.json").read_text())
    assert document["format"] == 1 and document["control_database"] == "fossilrepo.db"
    assert document["url"] == core.services.links.public_url and document["written_at"]
    found = {row["id"]: row for row in document["repositories"]}
    assert found.keys() == {one.id, gone.id, "abcdefghijkl"}
    assert found[one.id]["name"] == "one" and found[one.id]["title"] == "First"
    assert found[one.id]["project_code"] == one.project_code and "purged_at" not in found[one.id]
    assert found[gone.id]["name"] is None and found[gone.id]["deleted_name"] == "gone"
    assert found["abcdefghijkl"]["deleted_name"] == "old" and found["abcdefghijkl"]["purged_at"]
    contents = await read(target_of(settings))
    assert contents is not None and contents.entries[gone.id].deleted_at is not None
    text = (tmp_path / "replica" / "README.txt").read_text()
    assert f"{(tmp_path / 'replica').as_uri()}/ID.fossil" in text and "backup rebuild" in text


async def test_it_is_written_only_when_it_says_something_else(
    core: Core, settings: Settings, manifest: Manifest, tmp_path: Path
) -> None:
    await core.services.repos.create(ADMIN, "one")
    assert await manifest.write()
    file = tmp_path / "replica" / "manifest.json"
    before = file.stat().st_ino
    assert not await manifest.write()
    async with open_core(settings, lambda *_: None) as after_a_restart:
        assert not await after_a_restart.manifest.write()
    assert file.stat().st_ino == before
    await core.services.repos.rename(ADMIN, "one", "two")
    assert await manifest.write()
    assert "two" in file.read_text()


async def test_a_failure_is_told_and_tried_again_and_the_end_writes_the_last(
    core: Core, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.05)
    folder = tmp_path / "replica"
    folder.write_text("in the way")
    task = asyncio.create_task(manifest.run())
    await until(lambda: manifest.last_error, what="the failure to be told")
    folder.unlink()
    await until(lambda: (folder / "manifest.json").exists(), what="another try")
    await until(lambda: not manifest.last_error, what="the failure to be over")
    await core.services.repos.create(ADMIN, "late")
    task.cancel()
    await asyncio.wait({task})
    assert '"late"' in (folder / "manifest.json").read_text()


@pytest.mark.sqlite
async def test_the_manifest_of_another_host_is_never_written_over(
    core: Core, settings: Settings, manifest: Manifest, tmp_path: Path
) -> None:
    await core.services.repos.create(ADMIN, "one")
    await manifest.write()
    before = (tmp_path / "replica" / "manifest.json").read_bytes()
    fresh = settings.model_copy(update={"data_dir": str(tmp_path / "fresh")})
    async with open_core(fresh, lambda *_: None) as other:
        with pytest.raises(Conflict, match="another host") as refusal:
            await other.manifest.write()
        assert "backup rebuild" in refusal.value.hint
    assert (tmp_path / "replica" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"format": 2, "repositories": []}', b"[" * 100_000, b"\xff"]
)
def test_what_is_no_manifest_is_said_to_be_none(text: bytes) -> None:
    with pytest.raises(Damaged):
        parse(text)


def test_what_a_stranger_wrote_into_a_manifest_is_not_believed() -> None:
    row = {
        "id": "abcdefghijkl",
        "name": "../../etc/x",
        "deleted_name": 5,
        "state": "root",
        "visibility": "everyone",
        "trust": "own",
        "project_code": "x",
        "title": "a\x1b[31m\nb",
        "created_at": "yesterday",
    }
    document = {"format": 1, "repositories": [row, {"id": "../x"}, {"id": None}]}
    entries = parse(json.dumps(document).encode()).entries
    assert entries.keys() == {"abcdefghijkl"}
    found = entries["abcdefghijkl"]
    assert (found.name, found.deleted_name, found.created_at) == (None, None, None)
    assert (found.state, found.visibility, found.project_code) == ("active", "private", "")
    assert found.title == "a[31mb"
