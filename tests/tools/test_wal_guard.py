"""A database's log is held until it is on the replica, whatever other programs do with it."""

import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fossilrepo.tools.wal_guard import WalGuard, is_guarded, prepare
from tests.helpers.poll import until_sync

# Another program: commits `rows` rows, then checkpoints as Fossil does at the end of a request.
_COMMIT = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=5, isolation_level=None)
db.execute("BEGIN IMMEDIATE")
for number in range(int(sys.argv[2])):
    db.execute("INSERT INTO t VALUES (?)", ("x" * 3000,))
db.execute("COMMIT")
db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
db.close()
"""
_HOLD = """
import sys, time
from pathlib import Path
from fossilrepo.tools.wal_guard import WalGuard
guard = WalGuard()
print(guard.hold(Path(sys.argv[1])), flush=True)
time.sleep(60)
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "one.fossil"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (x)")
        db.commit()
    return path


def commit(path: Path, rows: int = 1) -> None:
    subprocess.run([sys.executable, "-c", _COMMIT, str(path), str(rows)], check=True, timeout=30)


def log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def salts(path: Path) -> bytes:
    """They change when the log is begun anew."""
    return log(path).read_bytes()[16:24]


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM t").fetchone()[0])


def test_without_the_guard_the_log_is_begun_anew_or_deleted(database: Path) -> None:
    """What the guard is for: the control of the tests below."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL").fetchone()
        other.execute("SELECT count(*) FROM t").fetchone()
        commit(database, 20)
        before = salts(database)
        commit(database)
        assert salts(database) != before
    assert not log(database).exists()


def test_a_held_log_keeps_every_commit_whoever_checkpoints(database: Path) -> None:
    guard = WalGuard()
    assert guard.hold(database) and guard.holds(database)
    commit(database, 20)
    before, size = salts(database), log(database).stat().st_size
    commit(database)
    assert salts(database) == before
    assert log(database).stat().st_size > size
    assert rows(database) == 21
    guard.close()


def test_the_last_program_that_closes_the_database_keeps_the_log(database: Path) -> None:
    guard = WalGuard()
    guard.hold(database)
    commit(database, 5)
    assert log(database).stat().st_size > 5 * 3000
    guard.close()
    assert rows(database) == 5


def test_a_held_log_is_written_into_the_database_when_asked(database: Path) -> None:
    guard = WalGuard()
    guard.hold(database)
    commit(database, 20)
    before = salts(database)
    with guard.no_writer(database) as alone:
        assert alone
        with (
            closing(sqlite3.connect(database, timeout=0.05)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("INSERT INTO t VALUES (1)")
        assert guard.checkpoint(database)
    assert guard.holds(database)
    commit(database)
    assert salts(database) != before
    assert log(database).stat().st_size > 20 * 3000  # the rest of the old one
    after = salts(database)
    commit(database)
    assert salts(database) == after  # held again
    assert rows(database) == 22
    guard.close()


def test_nothing_is_lost_when_the_holder_is_killed(database: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(database)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline().strip() == b"True"
        assert is_guarded(database)
        commit(database, 7)
        os.kill(holder.pid, signal.SIGKILL)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    until_sync(lambda: not is_guarded(database), what="the locks to go")
    commit(database)
    assert rows(database) == 8


def test_what_is_no_database_is_not_held_and_a_new_file_is(database: Path, tmp_path: Path) -> None:
    guard = WalGuard()
    broken = tmp_path / "broken.fossil"
    broken.write_bytes(os.urandom(9000))
    assert not guard.hold(broken)
    assert not guard.hold(tmp_path / "missing.fossil")
    guard.hold(database)
    copy = tmp_path / "copy"
    shutil.copy(database, copy)
    for name in (database, log(database), database.with_name(database.name + "-shm")):
        name.unlink()
    assert not guard.holds(database)
    guard.release(database)
    copy.rename(database)
    assert guard.hold(database)
    commit(database, 3)
    assert rows(database) == 3
    guard.close()


def test_letting_go_lets_others_checkpoint(database: Path) -> None:
    guard = WalGuard()
    guard.hold(database)
    commit(database, 3)
    guard.release(database)
    assert not guard.holds(database)
    commit(database)
    assert not log(database).exists()  # the last one that closed it
    guard.close()


def ltx_header(offset: int, size: int, log_salts: bytes) -> bytes:
    """The part of Litestream's file that says up to where it has read which log."""
    return bytes(48) + struct.pack(">qq", offset, size) + log_salts


def test_a_log_begun_anew_while_nobody_held_it_is_emptied_before_litestream_starts(
    database: Path, tmp_path: Path
) -> None:
    ltx = tmp_path / "newest.ltx"
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL").fetchone()
        other.execute("SELECT count(*) FROM t").fetchone()
        commit(database, 20)
        ltx.write_bytes(ltx_header(32, log(database).stat().st_size - 32, salts(database)))
        assert prepare(database, ltx)
        assert log(database).stat().st_size > 0  # read to its end: nothing can be missed
        commit(database)  # begins it anew
        assert prepare(database, ltx)
        assert log(database).stat().st_size == 0
    assert rows(database) == 21


def test_a_log_that_was_folded_in_unread_is_emptied_before_litestream_starts(
    database: Path, tmp_path: Path
) -> None:
    ltx = tmp_path / "newest.ltx"
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL").fetchone()
        other.execute("SELECT count(*) FROM t").fetchone()
        commit(database, 20)
        ltx.write_bytes(ltx_header(32, 4096 + 24, salts(database)))  # only its first frame
        assert prepare(database, ltx)
        assert log(database).stat().st_size == 0
    assert rows(database) == 20


def test_a_folded_log_is_not_folded_again_though_its_file_keeps_its_size(database: Path) -> None:
    guard = WalGuard()
    guard.hold(database)
    commit(database, 20)
    assert guard.unfolded(database) > 20 * 3000
    with guard.no_writer(database) as alone, guard.no_writer(database) as second:
        assert alone and not second
        assert guard.checkpoint(database)
    assert guard.unfolded(database) == 0
    commit(database)
    assert 0 < guard.unfolded(database) < 5 * 4120
    assert log(database).stat().st_size > 20 * 3000
    guard.close()
