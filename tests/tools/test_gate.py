from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from fossilrepo.errors import InvalidInput
from fossilrepo.tools import fossil_db
from fossilrepo.tools.gate import Gate
from fossilrepo.tools.identity import give
from tests.helpers import jailed
from tests.helpers.jailed import Place


@pytest.fixture
def gate(place: Place) -> Gate:
    return Gate(place.identity, place.scratch)


def given(place: Place, source: Path | bytes, name: str = "given.fossil") -> Path:
    path = place.scratch / name
    if isinstance(source, bytes):
        path.write_bytes(source)
    else:
        shutil.copy(source, path)
    give(path, place.identity)
    return path


async def test_a_good_file_passes_unchanged(
    place: Place, gate: Gate, fossil_template: Path
) -> None:
    path = given(place, fossil_template)
    before = path.read_bytes()
    checked = await gate.check_file(path)
    facts = fossil_db.read_facts(fossil_template)
    assert checked.facts.project_code == facts.project_code
    assert (checked.facts.checkins, checked.facts.artifacts) == (1, facts.artifacts)
    assert checked.facts.public and checked.admins == ("setup",)
    assert path.read_bytes() == before
    assert [file.name for file in place.scratch.iterdir()] == ["given.fossil"]


@pytest.mark.parametrize(
    "prepare",
    [
        "fossil fts-config index on -R {0} && fossil fts-config enable cdtwef -R {0}",
        "fossil rebuild {0} --wal",
        "sqlite3 {0} 'CREATE TABLE _litestream_seq(id INTEGER PRIMARY KEY, seq INTEGER)'",
        "fossil uv add --as notes.txt /etc/hostname -R {0}",
        "fossil rebuild --pagesize 8192 --vacuum {0}",
    ],
)
async def test_what_fossil_itself_makes_is_not_foreign(
    place: Place, gate: Gate, fossil_template: Path, prepare: str
) -> None:
    path = place.data / "made.fossil"
    shutil.copy(fossil_template, path)
    environment = {"HOME": str(place.data), "USER": "setup", "PATH": os.environ["PATH"]}
    subprocess.run(
        ["sh", "-euc", prepare.format(path)], env=environment, check=True, capture_output=True
    )
    give(path, place.identity)
    os.rename(path, place.scratch / "made.fossil")
    assert (await gate.check_file(place.scratch / "made.fossil")).facts.checkins == 1


async def test_content_in_a_journal_beside_the_file_counts(
    place: Place, gate: Gate, fossil_template: Path
) -> None:
    path = place.scratch / "wal.fossil"
    shutil.copy(fossil_template, path)
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("INSERT INTO config VALUES('project-name', 'only in the journal', 0)")
    db.commit()
    copy = place.scratch / "copy.fossil"
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
        give(Path(f"{copy}{suffix}"), place.identity)
    db.close()
    assert (await gate.check_file(copy)).facts.project_name == "only in the journal"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("CREATE TRIGGER sly AFTER INSERT ON user BEGIN SELECT 1; END", "trigger sly"),
        ("CREATE VIEW peek AS SELECT * FROM user", "view peek"),
        ("CREATE VIEW ftscontent AS SELECT load_extension('x') FROM user", "view ftscontent"),
        ("CREATE VIRTUAL TABLE vt USING fts5(x)", "virtual table vt"),
        ("CREATE TABLE mine(x)", "table mine"),
        ("CREATE INDEX ix ON config(length(value))", "index ix"),
        ("ALTER TABLE shun ADD COLUMN g AS (length(uuid))", "table shun"),
        ("DELETE FROM config WHERE name='project-code'", "project code"),
        ("DROP TABLE blob", "no table blob"),
    ],
)
async def test_what_fossil_does_not_make_is_refused_by_name(
    place: Place, gate: Gate, fossil_template: Path, script: str, says: str
) -> None:
    path = given(place, fossil_template)
    jailed.sql(path, script)
    with pytest.raises(InvalidInput, match=says):
        await gate.check_file(path)


def _broken(template: Path) -> dict[str, tuple[bytes, str]]:
    whole = template.read_bytes()
    middle = bytearray(whole)
    for page in range(2, 20):
        middle[page * 4096 : page * 4096 + 200] = os.urandom(200)
    return {
        "empty": (b"", "empty"),
        "text": (b"not a database at all" * 100, "not an SQLite file"),
        "header": (whole[:60], "cut short"),
        "truncated": (whole[: len(whole) // 2], "cut short"),
        "scribbled": (bytes(middle), "damaged|malformed|cannot be read"),
    }


@pytest.mark.parametrize("kind", ["empty", "text", "header", "truncated", "scribbled"])
async def test_broken_files_are_refused_with_the_reason(
    place: Place, gate: Gate, fossil_template: Path, kind: str
) -> None:
    content, says = _broken(fossil_template)[kind]
    with pytest.raises(InvalidInput, match=says):
        await gate.check_file(given(place, content))


async def test_other_databases_links_and_large_files_are_refused(
    place: Place, gate: Gate, fossil_template: Path
) -> None:
    other = given(place, b"", "other.db")
    jailed.sql(other, "CREATE TABLE t(x)")
    with pytest.raises(InvalidInput, match="no Fossil repository"):
        await gate.check_file(other)
    jailed.sql(other, "CREATE TABLE vvar(x); CREATE TABLE vfile(x)")
    with pytest.raises(InvalidInput, match="check-out"):
        await gate.check_file(other)
    link = place.scratch / "link.fossil"
    link.symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput, match="cannot be read"):
        await gate.check_file(link)
    with pytest.raises(InvalidInput, match="cannot be read"):
        await gate.check_file(place.scratch / "missing.fossil")
    with pytest.raises(InvalidInput, match="larger than"):
        await Gate(place.identity, place.scratch, largest=100_000).check_file(
            given(place, fossil_template)
        )


async def test_a_check_that_takes_too_long_is_ended(place: Place, fossil_template: Path) -> None:
    path = given(place, fossil_template)
    with pytest.raises(InvalidInput, match="too long"):
        await Gate(place.identity, place.scratch, seconds=0).check_file(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="about what root hands over")
async def test_a_private_file_of_root_is_handed_over_but_no_second_name_of_one(
    place: Place, gate: Gate, fossil_template: Path
) -> None:
    private = place.data / "private"
    shutil.copy(fossil_template, private)
    private.chmod(0o600)
    linked = place.scratch / "linked.fossil"
    os.link(private, linked)
    with pytest.raises(InvalidInput, match="cannot be read"):
        await gate.check_file(linked)
    assert private.stat().st_uid == 0
    linked.unlink()
    alone = place.scratch / "alone.fossil"
    os.rename(private, alone)
    await gate.check_file(alone)


async def test_a_strangers_content_is_copied_and_nothing_else(
    place: Place, gate: Gate, fossil_template: Path
) -> None:
    source = given(place, fossil_template)
    jailed.sql(
        source,
        "INSERT INTO user(login, pw, cap, cookie) VALUES('mallory', 'x', 's', 'c');"
        "UPDATE rcvfrom SET uid=(SELECT uid FROM user WHERE login='mallory');"
        "INSERT INTO config VALUES('hooks','[]',0), ('header','<th1>x</th1>',0),"
        " ('project-name','Kept',0), ('th1-setup','x',0);"
        "CREATE TRIGGER sly AFTER INSERT ON blob BEGIN DELETE FROM user; END;"
        "INSERT INTO reportfmt(owner,title,cols,sqlcode) VALUES('m','R','','SELECT 1');"
        "CREATE VIEW peek AS SELECT * FROM user;",
    )
    before = source.read_bytes()
    target = place.scratch / "target.fossil"
    copied = await gate.copy_untrusted(source, target)
    await place.fossil.rebuild(target)
    await place.fossil.test_integrity(target)
    facts, original = fossil_db.read_facts(target), fossil_db.read_facts(fossil_template)
    assert facts.project_code == original.project_code and facts.project_name == "Kept"
    assert (facts.checkins, facts.head) == (1, original.head)
    assert copied.removed.keys() >= {"hooks", "header", "th1-setup"}
    assert "last-sync-pw" not in copied.removed
    names = {name for (name,) in jailed.rows(target, "SELECT name FROM config")}
    assert not names & {"hooks", "header", "th1-setup"}
    assert jailed.rows(target, "SELECT pw, cap, cookie FROM user WHERE login='mallory'") == [
        (None, "", None)
    ]
    assert fossil_db.recent_checkins(target, 1)[0].pushed_by == "mallory"
    foreign = "SELECT name FROM sqlite_schema WHERE type='trigger' OR name='peek'"
    assert jailed.rows(target, foreign) == []
    assert jailed.rows(target, "SELECT title FROM reportfmt WHERE title='R'") == [("R",)]
    assert source.read_bytes() == before
    secret = jailed.rows(target, "SELECT value FROM config WHERE name='server-code'")
    assert secret != jailed.rows(source, "SELECT value FROM config WHERE name='server-code'")


async def test_a_copy_that_fails_leaves_nothing(
    place: Place, gate: Gate, fossil_template: Path
) -> None:
    source = given(place, fossil_template.read_bytes()[:100_000])
    with pytest.raises(InvalidInput):
        await gate.copy_untrusted(source, place.scratch / "target.fossil")
    assert [file.name for file in place.scratch.iterdir()] == ["given.fossil"]
