"""Sample data: made by one command, removed by one command, and nothing else with it."""

from __future__ import annotations

from tests.helpers.command import Command
from tests.helpers.git_servers import git


def test_sample_data_comes_and_goes_and_comes_again(command: Command) -> None:
    made = command("demo", "--json").json
    assert made["repositories"] == ["demo-tides", "demo-almanac", "demo-lantern", "demo-ledger"]
    told = command("repo", "insights", "demo-tides", "--json").json
    assert told["events"]["check-in"] > 100 and told["events"]["wiki edit"] == 2
    assert (told["tickets"]["open"], told["tickets"]["closed"]) == (2, 2)
    assert len(told["contributors"]) == 3 and len(told["days"]) > 50
    mirrors = {m["repository"]: m for m in command("mirror", "list", "--json").json}
    works, fails = mirrors["demo-tides"], mirrors["demo-almanac"]
    assert works["url"] == "folder:demo/tides.git" and works["state"] == "in-sync"
    assert fails["state"] == "failing" and "git.invalid" in fails["last_error"]
    copy = command.data / "mirrors/demo/tides.git"
    assert int(git(copy, "rev-list", "--count", "--all")) == told["events"]["check-in"]
    assert "exists already" in command.refused(1, "demo")
    command("repo", "create", "mine", "--org", "demo")
    left = command.refused(1, "demo", "--remove", "--yes")
    assert "mine" in left
    command("repo", "configure", "mine", "--org", "main")
    assert "removed" in command("demo", "--remove", "--yes").out
    names = [one["name"] for one in command("repo", "list", "--json").json]
    assert names == ["demo", "mine"] and command("repo", "trash", "list", "--json").json == []
    assert command("user", "list", "--json").json == []
    assert not copy.parent.exists() and command("mirror", "list", "--json").json == []
    assert "no organization" in command.refused(1, "demo", "--remove", "--yes")
    command("demo")
    logins = [one["login"] for one in command("user", "list", "--json").json]
    assert logins == ["ines.demo2", "tomas.demo2", "wren.demo2"]


def test_a_taken_name_stops_it_before_anything_is_made(command: Command) -> None:
    command("repo", "create", "demo-ledger")
    assert "demo-ledger" in command.refused(1, "demo")
    assert [one["name"] for one in command("repo", "list", "--json").json] == [
        "demo",
        "demo-ledger",
    ]
    assert "demo" not in [one["name"] for one in command("org", "list", "--json").json]
    command("org", "create", "demo")
    assert "another title" in command.refused(1, "demo", "--remove", "--yes")
