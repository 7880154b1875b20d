"""`audit` on a real data folder: searched, narrowed, exported."""

from __future__ import annotations

import csv
import io
import json

from tests.helpers.command import Command


def test_changes_are_narrowed_and_exported(command: Command) -> None:
    command("user", "create", "bob")
    command("user", "disable", "bob")
    command("repo", "configure", "demo", "--title", "=Ours")
    configured, made = command("audit", "--repo", "demo", "--json").json
    assert (configured["action"], made["action"]) == ("repository.configure", "repository.create")
    assert configured["detail"]["before"] == {"title": "A demonstration"}
    assert configured["detail"]["after"] == {"title": "=Ours"}
    table = command("audit", "--action", "repository.configure").out
    assert "title=A demonstration → title==Ours" in table
    (disabled,) = command("audit", "--action", "person.dis", "--json").json
    assert (disabled["detail"]["before"], disabled["detail"]["after"]) == (
        {"disabled": False},
        {"disabled": True},
    )
    everything = command("audit", "--json").json
    assert len(everything) == 4
    lines = command("audit", "--export", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == everything
    rows = list(csv.DictReader(io.StringIO(command("audit", "--export", "csv").out)))
    assert [row["id"] for row in rows] == [str(entry["id"]) for entry in everything]
    assert len(command("audit", "--export", "jsonl", "--limit", "2").out.splitlines()) == 2


def test_a_time_bounds_what_is_shown(command: Command) -> None:
    today = command("audit", "--json").json[0]["at"][:10]
    assert command("audit", "--until", today, "--json").json  # the day itself is in it
    assert command("audit", "--until", "2001-01-01").out == "there is no such change\n"
    assert command("audit", "--since", "5h ago", "--until", "4h", "--json").json == []
    assert "is no time" in command.refused(2, "audit", "--until", "soon")
    command.refused(2, "audit", "--export", "xls")
    assert "differ" in command.refused(2, "audit", "--export", "csv", "--json")
