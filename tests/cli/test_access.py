"""`native …`, `access-key …` and `repo elevate` on a real data folder."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.helpers.command import Command


def put(command: Command, *rows: tuple[str, str, str]) -> None:
    """Users in `demo`, as a file brings them along."""
    file = (command.data / "repos" / "demo.fossil").resolve()
    with closing(sqlite3.connect(file)) as db, db:
        db.executemany("INSERT INTO user(login, pw, cap, info) VALUES (?, 'x', ?, ?)", rows)


def caps(command: Command, login: str) -> str:
    file = (command.data / "repos" / "demo.fossil").resolve()
    with closing(sqlite3.connect(file)) as db:
        (found,) = db.execute("SELECT cap FROM user WHERE login = ?", (login,)).fetchone()
    return str(found)


def test_natives_are_listed_and_adopted_and_the_role_they_had_is_said(command: Command) -> None:
    command("user", "create", "joe", "--name", "Joe Doe")
    assert "no users of its own" in command("native", "list", "demo").out
    put(command, ("joe", "ei", "Joe Doe"), ("boss", "s", ""))
    command("user", "create", "ada", "--admin")  # writes people into every repository
    rows = command("native", "list", "demo").out.splitlines()
    assert rows[0].split() == ["LOGIN", "MAY", "COULD", "PASSWORD", "IS"]
    assert "keeps our person of this login out" in rows[2]
    boss, joe = command("native", "list", "demo", "--json").json
    assert (boss["original"], boss["role"], joe["collides"]) == ("s", "admin", True)
    assert command("native", "list", "--json").json[1] == {
        "login": "joe", "repositories": ["demo"], "suggestion": "joe"
    }  # fmt: skip
    assert "boss" in command("native", "list").out

    asked = command.refused(2, "native", "adopt", "joe", "joe", "--repo", "demo")
    assert "--yes" in asked
    for where in ((), ("--repo", "demo", "--everywhere")):
        assert "give one of" in command.refused(2, "native", "adopt", "joe", "joe", *where, "--yes")
    done = command("native", "adopt", "joe", "joe", "--repo", "demo", "--yes")
    assert done.out == "joe is joe now in 1 repository\n"
    assert "fossilrepo grant demo --user joe --role write" in done.err
    assert caps(command, "joe") == ""
    taken = command("native", "adopt", "boss", "ada", "--everywhere", "--yes", "--json").json
    assert taken["repositories"] == 1 and caps(command, "boss") == ""
    assert command("native", "list", "--json").json == []
    assert "nobody has adopted" in command("native", "list").out
    command.refused(1, "native", "adopt", "nat", "ada", "--everywhere", "--yes")
    command.refused(1, "native", "list", "never-there")


def test_an_access_key_is_printed_with_its_address_and_its_password_only_when_asked_for(
    command: Command,
) -> None:
    assert "no access keys" in command("access-key", "list", "demo").out
    plain = command("access-key", "create", "demo", "--role", "read", "--label", "nightly")
    assert plain.out.startswith("key-") and "fossil clone http" in plain.out
    (key,) = command("access-key", "list", "demo", "--json").json
    word = command("access-key", "password", "demo", key["id"]).out
    assert len(word) == 25 and word.strip() not in plain.out + plain.err
    assert word == command("access-key", "password", "demo", key["login"]).out

    shown = command("access-key", "create", "demo", "--role", "write", "--show-password")
    assert len(shown.out.splitlines()[-1]) == 24
    made = command("access-key", "create", "demo", "--role", "read", "--days", "3", "--json").json
    assert made["expires_at"] and "password" not in made and made["login"] in made["clone_url"]
    table = command("access-key", "list", "demo").out
    assert "nightly" in table and "never" in table and "in 2 days" in table

    command.refused(2, "access-key", "create", "demo", "--role", "admin")
    command.refused(2, "access-key", "create", "demo", "--role", "nonsense")
    command.refused(2, "access-key", "create", "demo", "--role", "read", "--days", "0")
    assert "--yes" in command.refused(2, "access-key", "revoke", "demo", key["id"])
    ended = command("access-key", "revoke", "demo", key["id"], "--yes")
    assert ended.out == f"revoked {key['login']}\n" and caps(command, key["login"]) == ""
    command.refused(1, "access-key", "password", "demo", key["id"])
    log = command("audit", "--json").out
    assert "access-key.revoke" in log and word.strip() not in log


def test_the_setup_right_is_given_and_taken_back(command: Command) -> None:
    command("user", "create", "ada", "--admin")
    done = command("repo", "elevate", "demo", "--json").json
    assert (done["name"], done["login"]) == ("demo", "ada") and done["until"]
    assert "s" in caps(command, "ada")
    assert "no more" in command("repo", "elevate", "demo", "--end").out
    assert "s" not in caps(command, "ada")
    command.refused(1, "repo", "elevate", "demo", "--end")
    command("user", "create", "eve", "--admin")
    command("user", "create", "bob")
    assert "--login" in command.refused(2, "repo", "elevate", "demo")
    command.refused(2, "repo", "elevate", "demo", "--login", "bob")
    command("repo", "archive", "demo")
    assert "unarchive" in command.refused(1, "repo", "elevate", "demo", "--login", "ada")


def test_hostile_logins_are_one_line_of_plain_text(command: Command) -> None:
    hostile = ("a\nb", "\x1b[31mred", "'; DROP TABLE user;--", "x" * 5000, "\u202eevil", "<b>")
    put(command, *((login, "i", login) for login in hostile))
    command("user", "create", "ada", "--admin")
    for words in (("native", "list", "demo"), ("native", "list")):
        out = command(*words).out
        assert len(out.splitlines()) == len(hostile) + 1
        assert not any(c in out for c in "\x1b\u202e\r\x00")
    listed = command("native", "list", "demo", "--json").json
    assert {one["login"] for one in listed} == set(hostile)
    for login in hostile:
        command("native", "adopt", login, "ada", "--repo", "demo", "--yes")
        assert caps(command, login) == ""
