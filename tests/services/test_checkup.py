"""What doctor looks for below the surface: it finds what is wrong, and mends what it may."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from fossilrepo.config import Limits, Settings
from fossilrepo.core import open_services
from fossilrepo.errors import InvalidInput
from fossilrepo.models import Actor, new_id, now
from fossilrepo.services import Services
from fossilrepo.services.health import Check
from fossilrepo.tools import machine

HERE = Actor.command_line()


@pytest.fixture
async def services(settings: Settings) -> AsyncIterator[Services]:
    roomy = settings.model_copy(update={"limits": Limits(free_disk="0%")})
    async with open_services(roomy) as one:
        await one.repos.create(HERE, "demo")
        yield one


async def look(services: Services, name: str) -> Check:
    checks = await services.checkup.doctor(thorough=True)
    return next(one for one in checks if one.name == name)


async def test_a_healthy_host_has_nothing_to_mend(services: Services) -> None:
    checks = await services.checkup.doctor(thorough=True)
    assert {one.name for one in checks if one.result != "ok"} <= {"secret key", "file system"}
    assert len({one.name for one in checks}) == len(checks)
    assert await services.checkup.fix(checks) == []
    programs = await look(services, "programs")
    assert "git 2." in programs.found and "litestream 0.5" in programs.found


async def test_the_key_is_closed_and_its_copy_confirmed(services: Services, tmp_path: Path) -> None:
    key = services.settings.key_file
    key.chmod(0o644)
    found = await look(services, "secret key")
    assert found.result == "fail" and "can be read by others" in found.found
    (line,) = await services.checkup.fix([found])
    assert "is closed now" in line and stat.S_IMODE(key.stat().st_mode) == 0o600
    assert (await look(services, "secret key")).result == "warn"
    copy = tmp_path / "copy"
    for wrong, why in ((b"something else", "not the key of this host"), (b"", "not the key")):
        copy.write_bytes(wrong)
        with pytest.raises(InvalidInput, match=why):
            services.checkup.confirm_copy(copy)
    with pytest.raises(InvalidInput, match="is the key itself"):
        services.checkup.confirm_copy(key)
    os.link(key, tmp_path / "same")
    with pytest.raises(InvalidInput, match="is the key itself"):
        services.checkup.confirm_copy(tmp_path / "same")
    copy.write_bytes(key.read_bytes().strip())
    services.checkup.confirm_copy(copy)
    assert (await look(services, "secret key")).result == "ok"
    kept = key.with_name("secret.key.copy")
    assert key.read_text().strip() not in kept.read_text()
    old = (now() - timedelta(days=400)).isoformat()
    kept.write_text(kept.read_text().replace(kept.read_text().split('"')[3], old))
    assert "last looked at" in (await look(services, "secret key")).found
    kept.write_text("{")
    assert (await look(services, "secret key")).result == "warn"


async def test_settings_that_run_commands_are_found_and_taken_out(services: Services) -> None:
    row = await services.repos.get(HERE, "demo")
    file = services.settings.store / f"{row.id}.fossil"
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("INSERT INTO config VALUES ('th1-setup', 'evil', 1)")
    found = await look(services, "settings in repositories")
    assert found.result == "fail" and "demo" in found.found
    assert await services.checkup.fix([found]) == ["settings in repositories: taken out of demo"]
    assert (await look(services, "settings in repositories")).result == "ok"
    row = await services.repos.get(HERE, "demo")
    assert row.removed == ("th1-setup",)
    assert (await services.repos.kept_aside(row))["th1-setup"] == "evil"


async def test_what_fossil_itself_warns_of_is_told(services: Services) -> None:
    assert (await look(services, "security audit of Fossil")).result == "ok"
    row = await services.repos.get(HERE, "demo")
    with closing(sqlite3.connect(services.settings.store / f"{row.id}.fossil")) as db, db:
        db.execute("UPDATE user SET cap = 'hi' WHERE login = 'anonymous'")
    found = await look(services, "security audit of Fossil")
    assert found.result == "warn"
    assert "demo: Anonymous users can push new check-ins into the repository." in found.found


async def test_files_and_rows_that_do_not_match_are_named(services: Services) -> None:
    row = await services.repos.get(HERE, "demo")
    file = services.settings.store / f"{row.id}.fossil"
    stranger = services.settings.store / f"{new_id()}.fossil"
    stranger.write_bytes(file.read_bytes())
    found = await look(services, "files")
    assert found.result == "warn" and stranger.stem in found.found
    stranger.unlink()
    file.rename(file.with_name("away"))
    found = await look(services, "files")
    assert found.result == "fail" and "demo" in found.found


async def test_rights_that_wait_are_told_and_written(services: Services) -> None:
    row = await services.repos.get(HERE, "demo")
    waiting = services.settings.run_dir / "unwritten"
    waiting.mkdir(exist_ok=True)
    (waiting / row.id).touch()
    found = await look(services, "people in repositories")
    assert found.result == "fail" and "demo" in found.found
    await services.checkup.fix([found])
    assert (await look(services, "people in repositories")).result == "ok"


async def test_long_logs_and_changes_from_the_future_are_told(services: Services) -> None:
    row = await services.repos.get(HERE, "demo")
    log = services.settings.store / f"{row.id}.fossil-wal"
    with log.open("wb") as file:
        file.truncate(65 * 2**20)
    assert "demo" in (await look(services, "write-ahead logs")).found
    log.unlink()
    await services.repos._store.update(row.id, last_change=now() + timedelta(days=2))
    found = await look(services, "clock")
    assert found.result == "warn" and "demo" in found.found


def test_the_kind_of_a_file_system_is_the_kernels_own(tmp_path: Path) -> None:
    assert machine.file_system(Path("/proc")) == "proc"
    assert machine.file_system(Path("/proc/self")) == "proc"
    here = machine.file_system(tmp_path)
    assert here and here not in machine.NETWORK
    watches = machine.inotify_watches()
    assert watches is None or watches > 0
