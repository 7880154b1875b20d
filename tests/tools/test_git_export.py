"""The Git export: the same commits as Fossil's own, and what Fossil's own gets wrong."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fossilrepo.bridge import Author
from fossilrepo.errors import FossilrepoError, Unavailable
from fossilrepo.tools import git_export
from fossilrepo.tools.fossil import Limits
from fossilrepo.tools.fossil_artifacts import Artifacts, NotReadable, apply_delta, parse_manifest
from fossilrepo.tools.fossil_authors import authors_of
from fossilrepo.tools.git_names import HEADS, assigned, is_legal, legal
from tests.helpers.git_servers import git, refs
from tests.helpers.project import Project

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "export"


async def export(project: Project | Path, folder: Path, **options: object) -> git_export.Export:
    source = project.file if isinstance(project, Project) else project
    given: dict[str, object] = {"identity": None, "limits": Limits(seconds=100)} | options
    return await git_export.export(source, folder, **given)  # type: ignore[arg-type]


def by_fossil(project: Project, folder: Path) -> Path:
    project("git", "export", str(folder), "-R", str(project.file), "--mainbranch", "main")
    return folder


def every_shape(project: Project) -> None:
    """Branches, merges, tags, renames, deletions, links, modes, odd names, empty commits."""
    project("settings", "allow-symlinks", "on")
    project.write("a.txt")
    project.write("dir/b.txt")
    project.write("größe/naïve 資料.txt")
    project.write("with space.txt")
    project.commit("first")
    (project.checkout / "link").symlink_to("a.txt")
    project.write("run.sh", "#!/bin/sh\necho\n")
    (project.checkout / "run.sh").chmod(0o755)
    project.commit("a link and a program")
    project("mv", "--hard", "dir/b.txt", "dir/c.txt")
    project.commit("renamed")
    (project.checkout / "run.sh").chmod(0o644)
    project.commit("not a program any more")
    project("tag", "add", "v1", "current")
    project.write("side.txt")
    project.commit("on a branch", "--branch", "side/work")
    project("update", "trunk")
    project.write("a.txt")
    project.commit("on the trunk")
    project("merge", "side/work")
    project.commit("merged")
    (project.checkout / "with space.txt").unlink()
    project.commit("deleted")
    project.commit("nothing changed", "--allow-empty")
    project.commit("  ", "--allow-empty")
    project("tag", "add", "v2", "current")


async def test_the_commits_are_those_of_fossils_own_export(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    every_shape(project)
    done = await export(project, folder, authors=authors_of(project.file))
    assert refs(git_export.git_dir(folder)) == refs(by_fossil(project, tmp_path / "theirs"))
    assert done.head == "refs/heads/main" and done.checkins == done.added > 8
    git(git_export.git_dir(folder), "fsck", "--strict")


async def test_the_trees_are_those_of_the_history_that_was_imported(
    tmp_path: Path, folder: Path
) -> None:
    source = tmp_path / "g.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "trunk", str(source)], check=True)
    stream = subprocess.run(
        [
            *(sys.executable, str(ROOT / "bench" / "history.py")),
            *("--checkins", "150", "--megabytes", "1"),
        ],
        capture_output=True,
        check=True,
    ).stdout
    subprocess.run(["git", "-C", str(source), "fast-import", "--quiet"], input=stream, check=True)
    await _same_trees(source, "trunk", tmp_path, folder)


async def test_this_projects_own_history_comes_out_as_it_went_in(
    tmp_path: Path, folder: Path
) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no Git checkout")
    await _same_trees(ROOT, "HEAD", tmp_path, folder)


async def _same_trees(source: Path, head: str, tmp_path: Path, folder: Path) -> None:
    stream = subprocess.run(
        [
            *("git", "-C", str(source), "fast-export", "--all"),
            *("--signed-tags=strip", "--reencode=yes"),
        ],
        capture_output=True,
        check=True,
    ).stdout
    file = tmp_path / "imported.fossil"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "USER": "ada"}
    subprocess.run(
        ["fossil", "import", "--git", str(file)], input=stream, env=env, check=True, stdout=-3
    )
    done = await export(file, folder)
    place = git_export.git_dir(folder)
    assert git(place, "rev-parse", "HEAD^{tree}") == git(source, "rev-parse", f"{head}^{{tree}}")
    assert done.left_out == ()
    theirs = set(git(source, "log", "--all", "--format=%T").splitlines())
    assert set(git(place, "log", "--all", "--format=%T").splitlines()) == theirs


async def test_a_late_check_in_is_exported_and_fossils_own_misses_it(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    project.write("a.txt")
    project.commit("one")
    theirs = by_fossil(project, tmp_path / "theirs")
    await export(project, folder)
    project.write("late.txt")
    project.commit(
        "late", "--branch", "late", "--date-override", "2001-02-03 04:05:06", "--allow-older"
    )
    by_fossil(project, theirs)
    assert "refs/heads/late" not in refs(theirs)
    await export(project, folder)
    assert "refs/heads/late" in refs(git_export.git_dir(folder))


async def test_nothing_is_written_to_the_repository(project: Project, folder: Path) -> None:
    every_shape(project)
    before = project.file.read_bytes()
    await export(project, folder)
    assert project.file.read_bytes() == before


async def test_private_check_ins_never_leave(project: Project, folder: Path) -> None:
    project.write("a.txt")
    project.commit("public")
    project.write("secret.txt", "the secret of the house")
    project.commit("private work", "--private", "--branch", "hidden")
    project("update", "trunk")
    project.write("b.txt")
    project.commit("public again")
    done = await export(project, folder)
    place = git_export.git_dir(folder)
    assert set(done.refs) == {"refs/heads/main"}
    everything = subprocess.run(
        ["git", "-C", str(place), "cat-file", "--batch-all-objects", "--batch"],
        capture_output=True,
        check=True,
    ).stdout
    assert b"public again" in everything
    assert b"the secret of the house" not in everything and b"private work" not in everything


async def test_refs_follow_what_fossil_has_now(project: Project, folder: Path) -> None:
    project.write("a.txt")
    project.commit("one")
    project("tag", "add", "v1", "current")
    project("branch", "new", "old", "trunk")
    assert set((await export(project, folder)).refs) == {
        "refs/heads/main", "refs/heads/old", "refs/tags/v1",
    }  # fmt: skip
    project("tag", "cancel", "v1", "trunk")
    project("amend", "old", "--branch", "new")
    done = await export(project, folder)
    assert set(done.refs) == {"refs/heads/main", "refs/heads/new"} and done.added == 0


async def test_names_that_git_cannot_have_are_changed_and_told(
    project: Project, folder: Path
) -> None:
    project.write("a.txt")
    project.commit("one")
    for name in ("-oops", "a", "a/b", "x..y", "end.lock", "größe", "fossil-wiki", "main"):
        project("branch", "new", "--", name, "trunk") if name[0] == "-" else project(
            "branch", "new", name, "trunk"
        )
    done = await export(project, folder)
    renamed = dict(done.renamed)
    assert set(renamed) == {"-oops", "a/b", "x..y", "end.lock", "fossil-wiki", "main"}
    assert "refs/heads/größe" in done.refs and "refs/heads/main" in done.refs
    for ref in done.refs:
        git(git_export.git_dir(folder), "check-ref-format", ref)


@given(st.lists(st.text(min_size=1, max_size=12), max_size=12))
def test_assigned_refs_are_legal_and_never_in_each_others_way(names: list[str]) -> None:
    found = assigned(HEADS, names)
    assert found.keys() == set(names) and len(set(found.values())) == len(set(names))
    for ref in found.values():
        assert is_legal(ref.removeprefix(HEADS)) or ref == f"{HEADS}fossil-wiki"
        assert not any(other.startswith(f"{ref}/") for other in found.values())


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=20))
def test_legal_names_are_those_of_git(name: str) -> None:
    done = subprocess.run(
        ["git", "check-ref-format", f"{HEADS}{legal(name)}"], capture_output=True, check=False
    )
    assert done.returncode == 0, (name, legal(name))


async def test_a_person_is_called_as_they_should_be(project: Project, folder: Path) -> None:
    project.write("a.txt")
    project.commit("one")
    with closing(sqlite3.connect(project.file)) as db:
        rcvid = db.execute("SELECT max(rcvid) FROM rcvfrom").fetchone()[0]
    authors = [Author("ada", "Ada", "a@x"), Author("ada", "Ada L <evil>\n", "al@x", since=rcvid)]
    project.write("a.txt")
    project.commit("two")
    await export(project, folder, authors=authors)
    told = git(git_export.git_dir(folder), "log", "--format=%an <%ae>", "main").splitlines()
    assert told[0] == "Ada L evil <al@x>" and set(told[1:]) == {"Ada <a@x>"}


# Hostile content


def put_manifest(file: Path, lines: list[str]) -> None:
    """A check-in as somebody may push it, whatever is in it."""
    import hashlib
    import zlib

    body = "".join(f"{line}\n" for line in lines)
    text = (body + f"Z {hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()}\n").encode()
    uuid = hashlib.sha1(text, usedforsecurity=False).hexdigest()
    stored = len(text).to_bytes(4, "big") + zlib.compress(text)
    with closing(sqlite3.connect(file)) as db, db:
        rid = db.execute(
            "INSERT INTO blob(rcvid, size, uuid, content) VALUES (1, ?, ?, ?)",
            (len(text), uuid, stored),
        ).lastrowid
        db.execute(
            "INSERT INTO event(type, mtime, objid, user, comment) "
            "VALUES ('ci', 2461369.5, ?, 'x', 'x')",
            (rid,),
        )
        branch = db.execute("SELECT tagid FROM tag WHERE tagname = 'branch'").fetchone()[0]
        db.execute(
            "INSERT INTO tagxref(tagid, tagtype, srcid, origid, value, mtime, rid) "
            "VALUES (?, 2, ?, ?, 'evil', 2461369.5, ?)",
            (branch, rid, rid, rid),
        )


async def test_names_in_a_hostile_check_in_inject_nothing(project: Project, folder: Path) -> None:
    project.write("a.txt")
    project.commit("one")
    with closing(sqlite3.connect(project.file)) as db:
        blob = db.execute("SELECT uuid FROM blob JOIN mlink ON fid = rid WHERE fid > 0").fetchone()[
            0
        ]
    inject = "x\\ncommit\\srefs/heads/injected\\ncommitter\\sa\\s<b>\\s1\\s+0000\\ndata\\s0\\n"
    put_manifest(
        project.file,
        [
            f"C {inject}",
            "D 2026-11-25T00:00:00",
            f"F .git/hooks/post-checkout {blob} x",
            f"F ../outside {blob}",
            f'F "quoted {blob}',
            f"F a\\nD\\sa.txt {blob}",
            f"F {inject} {blob}",
            f"F ok.txt {blob}",
            f"F sub/.GIT/config {blob}",
            f"U {inject}",
        ],
    )
    done = await export(project, folder)
    place = git_export.git_dir(folder)
    assert set(done.refs) == {"refs/heads/main", "refs/heads/evil"}
    names = git(place, "ls-tree", "-r", "-z", "--name-only", "evil").split("\0")
    assert "ok.txt" in names and '"quoted' in names and "a\nD a.txt" in names
    assert not any(".git" in name.lower() or ".." in name for name in names)
    assert len(done.left_out) == 1
    git(place, "fsck", "--strict")


@pytest.mark.parametrize(
    "delta", [b"", b"5\n", b"5\n3@9,;", b"zz\n1:a1;", b"5\n!", b"1\n~~~~~~@0,0;", b"3\n2:ab0;"]
)
def test_broken_deltas_are_refused(delta: bytes) -> None:
    with pytest.raises(NotReadable):
        apply_delta(b"abc", delta)


@given(st.binary(max_size=200))
def test_no_manifest_breaks_the_reader(content: bytes) -> None:
    try:
        parse_manifest(content)
    except NotReadable:
        return


async def test_every_artifact_reads_as_fossil_gives_it(project: Project) -> None:
    every_shape(project)
    with closing(sqlite3.connect(project.file)) as db:
        artifacts = Artifacts(db)
        rows = db.execute("SELECT rid, uuid FROM blob WHERE size >= 0").fetchall()
        for rid, uuid in rows:
            assert artifacts.content(rid, uuid) is not None
        deltas = db.execute("SELECT count(*) FROM delta").fetchone()[0]
    assert len(rows) > 15 and deltas > 0


# Faults


async def test_pushes_go_on_while_an_export_runs(project: Project, folder: Path) -> None:
    """Fossil's own export keeps every writer out."""
    every_shape(project)
    running = asyncio.ensure_future(export(project, folder))
    while not running.done():
        with closing(sqlite3.connect(project.file, timeout=0)) as db:
            db.execute("BEGIN IMMEDIATE")
            db.rollback()
        await asyncio.sleep(0.01)
    await running


async def test_a_run_that_is_killed_anywhere_is_made_good_by_the_next(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    every_shape(project)
    await export(project, tmp_path / "whole")
    wanted = refs(git_export.git_dir(tmp_path / "whole"))
    dice = random.Random(5)
    for _ in range(10):
        running = asyncio.ensure_future(export(project, folder))
        await asyncio.sleep(dice.uniform(0.0, 0.5))
        _kill_one_below_us(dice)
        await asyncio.wait({running})
        running.exception()
    done = await export(project, folder)
    assert refs(git_export.git_dir(folder)) == wanted == done.refs
    git(git_export.git_dir(folder), "fsck", "--connectivity-only")


def _kill_one_below_us(dice: random.Random) -> None:
    from fossilrepo.runtime import proc

    found = [
        process
        for process in proc.descendants(os.getpid())
        if b"git" in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    ]
    if found:
        proc.signal_process(dice.choice(found), signal.SIGKILL)


@pytest.mark.parametrize("damage", ["state", "pack", "head", "version"])
async def test_a_damaged_export_is_made_anew_with_the_same_commits(
    project: Project, folder: Path, damage: str
) -> None:
    every_shape(project)
    first = await export(project, folder)
    place = git_export.git_dir(folder)
    if damage == "state":
        (folder / "state.db").write_bytes(b"no database")
    elif damage == "pack":
        git(place, "repack", "-adq")
        await export(project, folder)
        next((place / "objects" / "pack").glob("*.pack")).unlink()
    elif damage == "head":
        (place / "HEAD").unlink()
    else:
        with closing(sqlite3.connect(folder / "state.db")) as db, db:
            db.execute("UPDATE meta SET value = '0' WHERE key = 'version'")
    again = await export(project, folder)
    assert again.rebuilt and again.refs == first.refs


async def test_a_full_disk_is_told_and_leaves_what_was_there(
    project: Project, folder: Path
) -> None:
    project.write("a.txt")
    project.commit("one")
    first = await export(project, folder)
    project.write("large.bin", "".join(random.Random(1).choices("abcdefgh", k=3_000_000)))
    project.commit("large")
    with pytest.raises((Unavailable, FossilrepoError)):
        await export(project, folder, limits=Limits(seconds=60, file_size=300_000))
    place = git_export.git_dir(folder)
    assert refs(place) == first.refs
    done = await export(project, folder)
    assert done.added == 1 and git(place, "cat-file", "-s", "main:large.bin") == "3000000"


async def test_a_check_in_whose_file_has_not_arrived_waits(project: Project, folder: Path) -> None:
    project.write("a.txt")
    project.commit("one")
    project.write("b.txt", "content that comes later")
    newest = project.commit("two")
    with closing(sqlite3.connect(project.file)) as db, db:
        rid, kept = db.execute(
            "SELECT b.rid, b.content FROM blob b JOIN mlink m ON m.fid = b.rid "
            "JOIN filename f ON f.fnid = m.fnid WHERE f.name = 'b.txt'"
        ).fetchone()
        size = db.execute("SELECT size FROM blob WHERE rid = ?", (rid,)).fetchone()[0]
        db.execute("UPDATE blob SET size = -1, content = NULL WHERE rid = ?", (rid,))
    assert (await export(project, folder)).waiting == 1
    with closing(sqlite3.connect(project.file)) as db, db:
        db.execute("UPDATE blob SET size = ?, content = ? WHERE rid = ?", (size, kept, rid))
    done = await export(project, folder)
    assert done.waiting == 0
    assert newest in git(git_export.git_dir(folder), "log", "-1", "--format=%B", "main")


async def test_known_are_check_ins_that_fossil_still_has(project: Project, folder: Path) -> None:
    project.write("a.txt")
    project.commit("one")
    done = await export(project, folder)
    tip = done.refs["refs/heads/main"]
    assert await git_export.known(folder, [tip, "0" * 40]) == {tip}
