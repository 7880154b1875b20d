"""Fossil's own security audit, asked without running anything of the repository's."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fossilrepo.errors import ToolFailed
from fossilrepo.tools.fossil import Fossil
from fossilrepo.tools.fossil_audit import auditor, parse


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


async def findings(path: Path, tmp_path: Path) -> list[str]:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    async with auditor(Fossil(scratch, None), scratch, None) as one:
        found = await one.findings(path)
    assert list(scratch.iterdir()) == []
    return found


@pytest.fixture
async def repository(tmp_path: Path) -> Path:
    path = tmp_path / "demo.fossil"
    await Fossil(tmp_path, None).init(path)
    return path


async def test_a_new_repository_has_nothing_to_warn_of(repository: Path, tmp_path: Path) -> None:
    change(repository, "UPDATE user SET cap = 'ghjorz' WHERE login = 'nobody'")
    assert await findings(repository, tmp_path) == []


async def test_what_users_and_settings_leave_open_is_told(repository: Path, tmp_path: Path) -> None:
    change(
        repository,
        "UPDATE user SET cap = 'hmi' WHERE login = 'anonymous'",
        "INSERT INTO user (login, cap) VALUES (x'ff00', 'x')",
        "REPLACE INTO config (name, value) VALUES ('strict-manifest-syntax', 0)",
    )
    before = repository.read_bytes()
    found = " ".join(await findings(repository, tmp_path))
    assert "Anonymous users can push new check-ins into the repository." in found
    assert 'The "strict-manifest-syntax" flag is off.' in found
    assert repository.read_bytes() == before


async def test_a_skin_with_a_program_in_it_is_not_run(repository: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    script = f"<th1>tclEval {{exec touch {mark}}}</th1>"
    change(
        repository,
        "REPLACE INTO config (name, value) VALUES ('tcl', 1)",
        f"REPLACE INTO config (name, value) VALUES ('th1-setup', 'tclEval {{exec touch {mark}}}')",
        *(
            f"REPLACE INTO config (name, value) VALUES ('{name}', '{script}')"
            for name in ("header", "footer", "mainmenu")
        ),
    )
    await findings(repository, tmp_path)
    assert not mark.exists()
    # The same repository, asked as it is, does run it: the test can fail.
    await Fossil(tmp_path, None).page(repository, "/timeline")
    assert mark.exists()


def test_another_page_is_no_audit() -> None:
    with pytest.raises(ToolFailed):
        parse("HTTP/1.0 302 Moved Temporarily\r\nLocation: /login\r\n\r\n")
