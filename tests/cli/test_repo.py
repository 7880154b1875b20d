"""`repo …` on a real data folder, without a server."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.helpers.command import Command

PROMISED = {
    "id",
    "name",
    "title",
    "org",
    "visibility",
    "state",
    "size_bytes",
    "checkins",
    "last_change",
    "url",
    "clone_url",
    "backup",
    "mirrors",
}
BAD_NAMES = ["../x", "a/b", ".", "", "X", "a" * 64, "ümlaut", "a_b", "admin", "x-", "a--b", "a b"]


def test_the_first_command_makes_the_data_folder_and_a_repository(fresh: Command) -> None:
    made = fresh("repo", "create", "first", "--title", "The first", "--private", "--json").json
    assert made.keys() >= PROMISED
    assert (made["name"], made["title"], made["state"]) == ("first", "The first", "active")
    assert made["visibility"] == "private"
    assert (fresh.data / "repos" / "first.fossil").resolve().name == f"{made['id']}.fossil"


def test_a_repository_that_is_made_is_a_real_one(command: Command) -> None:
    copy = command.folder / "copy.fossil"
    told = command("repo", "export", "demo", str(copy)).out
    assert str(copy) in told
    said = subprocess.run(
        ["fossil", "info", "-R", str(copy)],
        check=True,
        capture_output=True,
        text=True,
        env=command.environment | {"USER": "reader"},
    ).stdout
    assert "A demonstration" in said


def test_list_and_show_are_for_people_and_for_programs(command: Command) -> None:
    shown = command("repo", "show", "demo", "--json").json
    assert shown.keys() >= PROMISED
    (listed,) = command("repo", "list", "--json").json
    assert listed.keys() >= PROMISED and listed["id"] == shown["id"]
    for arguments in (("list",), ("list", "demonst"), ("show", "demo")):
        text = command("repo", *arguments).out
        assert "demo" in text and "A demonstration" in text and "KiB" in text
    assert command("repo", "list", "--json", "no-such-word").json == []


def test_configure_changes_what_is_given_and_nothing_else(command: Command) -> None:
    after = command("repo", "configure", "demo", "--visibility", "internal", "--json").json
    assert (after["visibility"], after["title"]) == ("internal", "A demonstration")
    after = command("repo", "configure", "demo", "--title", "", "--json").json
    assert (after["visibility"], after["title"]) == ("internal", "")
    assert "--title" in command.refused(2, "repo", "configure", "demo")
    assert "no organization" in command.refused(2, "repo", "configure", "demo", "--org", "other")


def test_rename_moves_the_name_and_frees_the_old_one(command: Command) -> None:
    before = command("repo", "show", "demo", "--json").json
    after = command("repo", "rename", "demo", "other", "--json").json
    assert (after["id"], after["name"]) == (before["id"], "other")
    assert "no repository 'demo'" in command.refused(1, "repo", "show", "demo")
    assert os.listdir(command.data / "repos" / ".served") == ["other.fossil"]
    command("repo", "create", "demo")


def test_archive_and_unarchive(command: Command) -> None:
    assert command("repo", "archive", "demo", "--json").json["state"] == "archived"
    assert "already" in command.refused(1, "repo", "archive", "demo")
    assert command("repo", "unarchive", "demo", "--json").json["state"] == "active"


def test_delete_asks_and_what_is_deleted_comes_back(command: Command) -> None:
    before = command.tree()
    assert "--yes" in command.refused(2, "repo", "delete", "demo")
    assert command.tree() == before
    told = command("repo", "delete", "demo", "--yes").out
    (trashed,) = command("repo", "trash", "list", "--json").json
    assert f"repo trash restore {trashed['id']}" in told
    assert command("repo", "list", "--json").json == []
    back = command("repo", "trash", "restore", "demo", "--as", "again", "--json").json
    assert (back["id"], back["name"], back["state"]) == (trashed["id"], "again", "active")


def test_purge_ends_one_or_all_and_leaves_no_file(command: Command) -> None:
    for name in ("one", "two"):
        command("repo", "create", name)
        command("repo", "delete", name, "-y")
    one = next(r for r in command("repo", "trash", "list", "--json").json if r["name"] == "one")
    assert "cannot be undone" in command.refused(2, "repo", "trash", "purge")
    gone = command("repo", "trash", "purge", one["id"], "--yes", "--json").json
    assert gone == {"purged": [{"id": one["id"], "name": "one"}]}
    assert "two" in command("repo", "trash", "purge", "--yes").out
    assert command("repo", "trash", "list", "--json").json == []
    assert "the trash is empty" in command("repo", "trash", "purge", "--yes").out
    left = [name for name in os.listdir(command.data / "repos" / ".store") if "fossil" in name]
    assert len(left) == 1  # demo


def test_one_in_use_does_not_keep_the_others_in_the_trash(command: Command) -> None:
    made = {name: command("repo", "create", name, "--json").json["id"] for name in ("one", "two")}
    for name in made:
        command("repo", "delete", name, "--yes")
    with (command.data / "repos" / ".store" / f"{made['two']}.fossil").open("rb"):
        outcome = command.run("repo", "trash", "purge", "--yes")
        assert outcome.code == 1 and "one" in outcome.out and "two" not in outcome.out
        assert "error: two is still open" in outcome.err
    (left,) = command("repo", "trash", "list", "--json").json
    assert left["id"] == made["two"]
    command("repo", "trash", "purge", "two", "--yes")


def test_two_of_the_same_name_in_the_trash_are_told_apart_by_their_identity(
    command: Command,
) -> None:
    for _ in range(2):
        command("repo", "create", "twin")
        command("repo", "delete", "twin", "--yes")
    ids = [r["id"] for r in command("repo", "trash", "list", "--json").json]
    said = command.refused(2, "repo", "trash", "restore", "twin")
    assert all(identity in said for identity in ids)
    command("repo", "trash", "restore", ids[0])


def test_a_terminal_is_asked_before_a_delete(command: Command) -> None:
    no = command.at_terminal("repo", "delete", "demo", typed=["n"])
    assert no.code == 2 and "nothing was changed" in no.err
    yes = command.at_terminal("repo", "delete", "demo", typed=["y"])
    assert yes.code == 0 and "[y/N]" in yes.err
    assert command("repo", "list", "--json").json == []


def test_names_of_every_bad_kind_are_refused_and_leave_nothing(command: Command) -> None:
    before = command.tree()
    with ThreadPoolExecutor(2) as pool:
        said = pool.map(lambda name: command.refused(2, "repo", "create", "--", name), BAD_NAMES)
        assert all(text.count("\n") == 2 for text in said)
    for arguments in (("rename", "demo", "../x"), ("create", "-x")):
        command.refused(2, "repo", *arguments)
    command.refused(1, "repo", "show", "../../etc/passwd")
    assert "in use" in command.refused(1, "repo", "create", "demo")
    assert command.tree() == before


def test_export_never_writes_over_a_file(command: Command, tmp_path: Path) -> None:
    target = tmp_path / "there.fossil"
    target.write_text("mine")
    assert "exists" in command.refused(1, "repo", "export", "demo", str(target))
    assert target.read_text() == "mine"
    command.refused(2, "repo", "export", "demo", str(tmp_path / "no-folder" / "x.fossil"))
    command.refused(1, "repo", "export", "no-such", str(tmp_path / "y.fossil"))
    assert sorted(os.listdir(tmp_path)) == ["host", "there.fossil"]


def test_export_has_passwords_only_when_asked(command: Command, tmp_path: Path) -> None:
    command("user", "create", "ada", "--admin")
    for name, options in (("plain", []), ("whole", ["--with-users"])):
        command("repo", "export", "demo", str(tmp_path / name), *options)

    def password(name: str) -> str | None:
        with sqlite3.connect(tmp_path / name) as file:
            row = file.execute("SELECT pw FROM user WHERE login='ada'").fetchone()
        file.close()
        return row[0] if row else None

    assert not password("plain") or password("plain") != password("whole")
    assert len(password("whole") or "") == 40


def test_what_a_repository_says_does_not_command_the_terminal(command: Command) -> None:
    command.refused(2, "repo", "configure", "demo", "--title", "a\x1b[2Jb")
    with sqlite3.connect(command.data / "fossilrepo.db") as database:
        database.execute("UPDATE repositories SET title = ?", ("x\x1b[2J\x9b\n[red]",))
    database.close()
    for arguments in (("list",), ("show", "demo")):
        text = command("repo", *arguments).out
        assert "\x1b" not in text and "\x9b" not in text and "[red]" in text
    assert command("repo", "show", "demo", "--json").json["title"] == "x\x1b[2J\x9b\n[red]"
