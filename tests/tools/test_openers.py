"""Who has a file open, whatever the name it was opened by."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from fossilrepo.tools.openers import LITESTREAM, named, openers, users_of


def holder(path: Path, *, name: str = "") -> subprocess.Popen[bytes]:
    """A process that has the file open until its input ends; `name` is its own for itself."""
    rename = f"open('/proc/self/comm', 'w').write({name!r});" if name else ""
    script = f"import sys;{rename}f = open({str(path)!r}); print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_an_opener_is_found_through_a_link_and_by_its_log(tmp_path: Path) -> None:
    file, link = tmp_path / "x.fossil", tmp_path / "link"
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE t (x)")
        link.symlink_to(file)
        assert openers(file, but={os.getpid()}) == []
        assert [one.pid for one in openers(file)] == [os.getpid()]
        for opened in (link, Path(f"{file}-wal")):
            with holder(opened) as process:
                (found,) = openers(file, but={os.getpid()})
                assert found.pid == process.pid and named([found]).endswith(f"(pid {found.pid})")
                process.communicate(b"")
    assert openers(file) == []


def test_litestream_is_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "x.fossil"
    file.touch()
    with holder(file, name=LITESTREAM) as process:
        assert [one.program for one in openers(file)] == [LITESTREAM]
        assert users_of(file) == []
        process.communicate(b"")


def test_nobody_has_a_file_open_that_is_not_there(tmp_path: Path) -> None:
    assert openers(tmp_path / "missing.fossil") == []
