from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from fossilrepo.errors import Damaged
from fossilrepo.tools.adopt_lease import in_use, move_if_unused
from tests.helpers import jailed
from tests.helpers.poll import until_sync


@pytest.fixture
def source(tmp_path: Path, fossil_template: Path) -> Path:
    return Path(shutil.copy(fossil_template, tmp_path / "source.fossil"))


@contextmanager
def holder(path: Path, script: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that does `script` on the database `db`, says so, and waits."""
    program = textwrap.dedent(
        f"""
        import sqlite3, sys
        db = sqlite3.connect({str(path)!r}, isolation_level=None)
        {script}
        print("ready", flush=True)
        sys.stdin.readline()
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_an_unused_file_is_moved_whole(source: Path, tmp_path: Path) -> None:
    before = source.read_bytes()
    target = tmp_path / "target.fossil"
    assert not in_use(source)
    assert move_if_unused(source, target)
    assert not source.exists() and target.read_bytes() == before
    assert not in_use(target)


@pytest.mark.parametrize(
    "script",
    [
        "db.execute('SELECT count(*) FROM config').fetchone()",
        "db.execute('BEGIN IMMEDIATE'); db.execute('DELETE FROM config')",
        "db.execute('PRAGMA journal_mode=WAL'); db.execute('DELETE FROM shun')",
        "file = open(db.execute('PRAGMA database_list').fetchone()[2]); db.close()",
    ],
    ids=["idle", "in a transaction", "in WAL mode", "a plain reader, as cp"],
)
def test_a_file_that_is_open_elsewhere_stays(source: Path, tmp_path: Path, script: str) -> None:
    target = tmp_path / "target.fossil"
    with holder(source, script):
        assert in_use(source)
        assert not move_if_unused(source, target)
        assert source.exists() and not target.exists()
    assert move_if_unused(source, target)


def test_a_copy_in_progress_is_left_alone(source: Path, tmp_path: Path) -> None:
    growing = tmp_path / "growing.fossil"
    with growing.open("wb") as file:
        file.write(source.read_bytes()[:100_000])
        file.flush()
        assert not move_if_unused(growing, tmp_path / "target.fossil")
        file.write(source.read_bytes()[100_000:])
    assert move_if_unused(growing, tmp_path / "target.fossil")


def test_what_a_crashed_writer_left_in_the_log_is_taken_in(source: Path, tmp_path: Path) -> None:
    script = (
        "db.execute('PRAGMA journal_mode=WAL');"
        " db.execute('INSERT INTO config VALUES(\\'kept\\', \\'yes\\', 0)')"
    )
    with holder(source, script) as writer:
        writer.kill()
        writer.wait()
        assert Path(f"{source}-wal").stat().st_size > 0
        target = tmp_path / "target.fossil"
        assert move_if_unused(source, target)
    assert jailed.rows(target, "SELECT value FROM config WHERE name='kept'") == [("yes",)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target.fossil"]


def test_a_hot_journal_is_rolled_back_first(source: Path, tmp_path: Path) -> None:
    before = jailed.rows(source, "SELECT name FROM config ORDER BY name")
    script = (
        "db.execute('PRAGMA cache_size=1'); db.execute('BEGIN IMMEDIATE');"
        " db.execute('DELETE FROM config');"
        " db.executemany('INSERT INTO shun VALUES(?,0,?)',"
        " [(str(n), 'x' * 900) for n in range(2000)])"
    )
    with holder(source, script) as writer:
        writer.kill()
        writer.wait()
        assert Path(f"{source}-journal").stat().st_size > 0
        target = tmp_path / "target.fossil"
        assert move_if_unused(source, target)
    assert jailed.rows(target, "SELECT name FROM config ORDER BY name") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target.fossil"]


def test_no_opener_ever_writes_beside_a_moved_file(fossil_template: Path, tmp_path: Path) -> None:
    """Whoever opens the file while it is moved gets the whole file, or finds none."""
    source = tmp_path / "source.fossil"
    script = textwrap.dedent(
        f"""
        import sqlite3, sys, os
        for _ in iter(sys.stdin.readline, ""):
            for _ in range(20):
                try:
                    db = sqlite3.connect("file:{source}?mode=rw", uri=True, timeout=1)
                    db.execute("INSERT INTO config VALUES(hex(randomblob(9)), 1, 0)")
                    db.commit()
                    db.close()
                except sqlite3.OperationalError as error:
                    if "unable to open" not in str(error):
                        print(error, flush=True)
            print("done", flush=True)
        """
    )
    opener = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert opener.stdin is not None and opener.stdout is not None
    try:
        moved = 0
        for number in range(12):
            shutil.copy(fossil_template, source)
            opener.stdin.write("go\n")
            opener.stdin.flush()
            target = tmp_path / f"target{number}.fossil"
            if until_sync(lambda target=target: move_if_unused(source, target), timeout=10):  # type: ignore[misc]
                moved += 1
            assert opener.stdout.readline() == "done\n"
            assert not source.exists() and not Path(f"{source}-journal").exists()
            with closing(sqlite3.connect(target)) as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert moved == 12
    finally:
        opener.kill()
        opener.communicate()


def test_a_damaged_file_is_told_and_stays(tmp_path: Path) -> None:
    source = tmp_path / "source.fossil"
    source.write_bytes(b"SQLite format 3\0" + os.urandom(4000))
    with pytest.raises(Damaged):
        move_if_unused(source, tmp_path / "target.fossil")
    assert source.exists()


def test_a_link_is_never_moved(source: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.fossil"
    link.symlink_to(source)
    with pytest.raises(OSError, match="symbolic links"):
        move_if_unused(link, tmp_path / "target.fossil")
    assert link.is_symlink() and source.exists()


def test_a_missing_file_is_not_in_use(tmp_path: Path) -> None:
    assert not in_use(tmp_path / "nothing.fossil")
