"""`repo export-all` and `repo import-all`, as a person types them."""

from __future__ import annotations

from tests.helpers.command import Command


def test_everything_leaves_and_comes_back(command: Command) -> None:
    command("repo", "create", "notes", "--private")
    left = command("repo", "export-all", "out", "--json").json
    assert left["repositories"] == ["demo", "notes"] and left["with_users"] is False
    assert (command.folder / "out" / "demo.fossil").exists()
    assert "exists already" in command.run("repo", "export-all", "out").refusal(1)
    for name in ("demo", "notes"):
        command("repo", "delete", name, "--yes")
    shown = command("repo", "import-all", "--folder", "out", "--dry-run", "--json").json
    assert [(one["name"], one["visibility"]) for one in shown] == [
        ("demo", "public"),
        ("notes", "private"),
    ]
    assert command("repo", "list", "--json").json == []
    done = command("repo", "import-all", "--folder", "out", "--yes")
    assert "2 of 2 are here" in done.out
    again = command.run("repo", "import-all", "--folder", "out", "--yes")
    assert again.code == 1 and "0 of 2 are here" in again.out and "demo: the name" in again.out


def test_a_source_must_be_named_and_be_there(command: Command) -> None:
    assert "say where from" in command.run("repo", "import-all", "--yes").refusal(2)
    assert "no folder" in command.run("repo", "import-all", "--folder", "nowhere").refusal(2)
    assert "cannot be read" in command.run("repo", "import-all", "--list", "nowhere").refusal(2)
