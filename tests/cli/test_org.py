"""`org …`, `team …`, `grant`, `revoke`, `access` and `user where` on a real data folder."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.helpers.command import Command


def caps(command: Command, login: str, name: str = "demo") -> str:
    """What the file says of a login; empty without a row."""
    file = (command.data / "repos" / f"{name}.fossil").resolve()
    with closing(sqlite3.connect(file)) as db:
        row = db.execute("SELECT cap FROM user WHERE login = ?", (login,)).fetchone()
    return str(row[0]) if row else ""


def test_an_organization_is_made_changed_and_deleted_when_it_is_empty(command: Command) -> None:
    made = command("org", "create", "acme", "--title", "Acme", "--json").json
    assert (made["name"], made["title"], made["default_role"]) == ("acme", "Acme", None)
    assert "exists already" in command.refused(1, "org", "create", "acme")
    for name in ("-x", "a/b"):
        command.refused(2, "org", "create", "--", name)
    assert "nothing to change" in command.refused(2, "org", "configure", "acme")
    assert "no role 'root'" in command.refused(2, "org", "configure", "acme", "--default-role=root")
    arguments = ("--default-role", "write", "--members-create", "--title", "Acme & Co")
    after = command("org", "configure", "acme", *arguments, "--json").json
    assert (after["default_role"], after["members_create"]) == ("write", True)
    kept = command("org", "configure", "acme", "--no-members-create", "--json").json
    assert (kept["title"], kept["default_role"], kept["members_create"]) == (
        "Acme & Co", "write", False
    )  # fmt: skip
    command("repo", "configure", "demo", "--org", "acme")
    assert command("org", "rename", "acme", "apex").out == "acme is apex now\n"
    assert command("repo", "show", "demo", "--json").json["org"] == "apex"
    listed = {one["name"]: one for one in command("org", "list", "--json").json}
    assert (listed["apex"]["repositories"], listed["main"]["repositories"]) == (1, 0)
    table = command("org", "list").out.splitlines()
    assert table[1].split()[0] == "apex" and "Acme & Co" in table[1]
    assert command("org", "show", "apex", "--json").json["repositories"] == ["demo"]

    assert "--yes" in command.refused(2, "org", "delete", "apex")
    assert "has 1 repositor" in command.refused(1, "org", "delete", "apex", "--yes")
    command("repo", "delete", "demo", "--yes")
    assert "trash" in command.refused(1, "org", "delete", "apex", "--yes")
    command("org", "delete", "main", "--yes")
    command("repo", "trash", "purge", "demo", "--yes")
    assert "only organization" in command.refused(1, "org", "delete", "apex", "--yes")
    command("org", "create", "main")
    assert command("org", "delete", "apex", "--yes", "--json").json == {"deleted": "apex"}
    assert "no organization" in command.refused(1, "org", "show", "apex")


def test_members_and_teams_decide_what_the_repository_lets_them_do(command: Command) -> None:
    command("repo", "configure", "demo", "--visibility", "private")
    for login in ("bob", "tim"):
        command("user", "create", login, "--name", login.title())
    assert "no person" in command.refused(1, "org", "member", "add", "main", "nobody-here")
    added = command("org", "member", "add", "main", "bob", "--role", "owner")
    assert added.out == "bob is owner of main\n" and "t" in caps(command, "bob")
    command("org", "member", "add", "main", "bob")
    assert caps(command, "bob") == ""
    assert command("org", "member", "list", "main", "--json").json == [
        {"login": "bob", "name": "Bob", "role": "member"}
    ]

    made = command("team", "create", "docs", "--description", "The manual", "--json").json
    assert made == {"org": "main", "name": "docs", "description": "The manual"}
    assert "a team 'docs' already" in command.refused(1, "team", "create", "main/docs")
    assert "not a member" in command.refused(2, "team", "member", "add", "main/docs", "tim")
    command("team", "member", "add", "main/docs", "bob")
    granted = command("grant", "demo", "--team", "main/docs", "--role", "write")
    assert granted.out == "main/docs may write on demo\n" and "i" in caps(command, "bob")
    command("team", "configure", "docs", "--name", "writers")
    (team,) = command("team", "list", "main", "--json").json
    assert (team["name"], team["description"], team["members"]) == (
        "writers",
        "The manual",
        ["bob"],
    )
    assert "bob" in command("team", "member", "list", "writers").out
    command("team", "member", "remove", "writers", "bob")
    assert caps(command, "bob") == ""
    command("team", "member", "add", "writers", "bob")
    command("team", "delete", "writers", "--yes")
    assert caps(command, "bob") == ""
    assert "names no team" in command.refused(2, "team", "delete", "main/", "--yes")

    command("org", "configure", "main", "--default-role", "read")
    assert "o" in caps(command, "bob")
    gone = command("org", "member", "remove", "main", "bob")
    assert gone.out == "bob is no longer in main\n" and caps(command, "bob") == ""


def test_grants_are_given_replaced_taken_and_explained(command: Command) -> None:
    command("repo", "configure", "demo", "--visibility", "private")
    command("user", "create", "bob")
    command("org", "member", "add", "main", "bob")
    for wrong in (
        ("grant", "--user", "bob", "--role", "read"),
        ("grant", "demo", "--org", "main", "--user", "bob", "--role", "read"),
        ("grant", "demo", "--user", "bob", "--team", "docs", "--role", "read"),
        ("grant", "demo", "--user", "bob", "--role", "owner"),
    ):
        command.refused(2, *wrong)
    made = command("grant", "demo", "--user", "bob", "--role", "read", "--json").json
    assert (made["holder"], made["place"], made["role"]) == ("bob", "demo", "read")
    assert made["granted_by"] == "command line" and made["granted_at"]
    command("grant", "demo", "--user", "bob", "--role", "write")
    command("grant", "--org", "main", "--user", "bob", "--role", "read")

    report = command("access", "demo", "--json").json
    assert report["visibility"] == "private"
    (bob,) = report["people"]
    assert bob == {
        "login": "bob",
        "name": "",
        "role": "write",
        "reasons": [
            {"role": "write", "why": "granted"},
            {"role": "read", "why": "granted on all of main"},
        ],
    }
    assert [(one["place"], one["role"]) for one in report["grants"]] == [
        ("demo", "write"),
        ("all of main", "read"),
    ]
    shown = command("access", "demo").out
    assert shown.startswith("demo is private\n") and "granted" in shown
    (place,) = command("user", "where", "bob", "--json").json
    assert (place["repository"], place["role"], place["reasons"]) == (
        "demo", "write", bob["reasons"]
    )  # fmt: skip
    assert "demo" in command("user", "where", "bob").out
    assert "bob: read on all of main" in command("org", "show", "main").out

    command("revoke", "demo", "--user", "bob")
    assert "no grant on demo" in command.refused(1, "revoke", "demo", "--user", "bob")
    assert "o" in caps(command, "bob") and "i" not in caps(command, "bob")
    taken = command("revoke", "--org", "main", "--user", "bob")
    assert taken.out == "bob has no grant on all of main any more\n" and caps(command, "bob") == ""
    assert command("user", "where", "bob").out == "bob can go nowhere\n"
    command("user", "disable", "bob")
    refusal = command.refused(1, "grant", "demo", "--user", "bob", "--role", "read")
    assert "who can sign in" in refusal
    command.refused(1, "access", "never-there")


def test_the_report_shows_natives_keys_and_the_setup_right(command: Command) -> None:
    command("user", "create", "ada", "--admin")
    file = (command.data / "repos" / "demo.fossil").resolve()
    hostile = "na\x1b[31mt\nx"
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("INSERT INTO user(login, pw, cap) VALUES (?, 'x', 'ei')", (hostile,))
    made = command("access-key", "create", "demo", "--role", "read", "--label", "x", "--json").json
    command("repo", "elevate", "demo")
    report = command("access", "demo", "--json").json
    assert [native["login"] for native in report["natives"]] == [hostile]
    assert [(key["login"], key["label"]) for key in report["keys"]] == [(made["login"], "x")]
    assert [one["login"] for one in report["elevated"]] == ["ada"]
    shown = command("access", "demo").out
    assert "ada has the setup right until" in shown and f"key {made['login']} (x): read" in shown
    assert "\x1b" not in shown and "31mt" in shown
