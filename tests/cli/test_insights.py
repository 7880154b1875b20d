"""`repo insights` and `activity`, beside no host."""

from __future__ import annotations

from tests.helpers.command import Command


def test_the_history_of_a_repository_is_shown(command: Command) -> None:
    shown = command("repo", "insights", "demo")
    assert "check-ins" in shown.out and "trunk" in shown.out
    told = command("repo", "insights", "demo", "--rebuild", "--json").json
    assert told["events"] == {"check-in": 1} and told["tickets"]["open"] == 0
    assert sum(sum(kinds.values()) for kinds in told["days"].values()) == 1
    assert [one["name"] for one in told["branches"]] == ["trunk"]
    assert "no repository" in command.refused(1, "repo", "insights", "nothing-here")


def test_what_was_done_is_listed_and_narrowed(command: Command) -> None:
    command("repo", "insights", "demo")
    assert "initial empty check-in" in command("activity").out
    (event,) = command("activity", "initial", "empt", "--json").json
    assert event["repository"] == "demo" and event["kind"] == "check-in"
    assert command("activity", event["hash"][:8], "--json").json == [event]
    for words in (("--kind", "w"), ("--user", "x"), ("--org", "x"), ("--repo", "x"), ("xyzzy",)):
        assert command("activity", *words, "--json").json == [], words
    assert "nothing was done there" in command("activity", "xyzzy").out
    command.refused(2, "activity", "--kind", "all")
    command.refused(2, "activity", "--limit", "0")
