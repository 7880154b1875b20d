"""`user …`, `api-token …` and `audit` on a real data folder."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pyotp
import pytest

from fossilrepo.cli.audit import moment
from fossilrepo.config import Settings
from fossilrepo.core import open_services
from fossilrepo.errors import InvalidInput
from tests.helpers import smtp
from tests.helpers.command import Command

PASSWORD = "four random words"


def test_a_person_without_a_password_is_made_and_it_is_said(command: Command) -> None:
    told = command("user", "create", "ada", "--admin", "--name", "Ada L.").out
    assert "no password yet" in told and "fossilrepo user password ada" in told
    (ada,) = command("user", "list", "--json").json
    assert (ada["login"], ada["name"], ada["admin"]) == ("ada", "Ada L.", True)
    assert "administrator" in command("user", "list").out


def test_passwords_come_by_stdin_environment_or_prompt_never_as_an_argument(
    command: Command,
) -> None:
    made = command("user", "create", "ada", "--password-stdin", "--json", given=f"{PASSWORD}\n")
    assert made.json["password_set"] is True
    made = command("user", "create", "bob", "--json", FOSSILREPO_PASSWORD=PASSWORD)
    assert made.json["password_set"] is True
    asked = command.at_terminal("user", "create", "eve", typed=[PASSWORD, PASSWORD])
    assert asked.code == 0 and "no password" not in asked.out
    assert PASSWORD not in asked.err + asked.out
    differ = command.at_terminal("user", "password", "eve", typed=[PASSWORD, "another one here"])
    assert differ.code == 2 and "differ" in differ.err
    assert "no such option" in command.refused(2, "user", "create", "x", "--password", PASSWORD)
    assert "--password-stdin" in command.refused(2, "user", "password", "eve")


def test_a_refused_person_is_not_made(command: Command) -> None:
    for login in ("root", "Ada", "../x", "x" * 33):
        command.refused(2, "user", "create", login)
    command.refused(2, "user", "create", "ada", "--password-stdin", given="short\n")
    command.refused(2, "user", "create", "ada", "--password-stdin", given="two\nlines of it\n")
    assert command("user", "list", "--json").json == []
    command("user", "create", "ada")
    command.refused(1, "user", "create", "ada")
    for arguments in (("password", "nobody-here"), ("disable", "nobody-here"), ("rotate", "x")):
        assert "no person" in command.refused(1, "user", *arguments)


def test_the_sync_password_is_printed_alone_and_changes_with_rotation(command: Command) -> None:
    command("user", "create", "ada", "--admin")
    word = command("user", "sync-password", "ada", "demo")
    assert (
        word.err == ""
        and len(word.out) == 25
        and word.out == command("user", "sync-password", "ada", "demo").out
    )
    command("user", "rotate", "ada")
    assert command("user", "sync-password", "ada", "demo").out != word.out
    command.refused(1, "user", "sync-password", "ada", "no-such")
    command.refused(1, "user", "sync-password", "eve", "demo")


def test_disable_and_enable(command: Command) -> None:
    command("user", "create", "ada", "--admin")
    assert "last administrator" in command.refused(1, "user", "disable", "ada")
    command("user", "create", "bob")
    assert command("user", "disable", "bob", "--json").json["disabled"] is True
    assert "disabled" in command("user", "list").out
    assert command("user", "enable", "bob", "--json").json["disabled"] is False


def test_a_token_is_printed_once_and_ends_when_revoked(command: Command) -> None:
    command("user", "create", "ada")
    made = command("api-token", "create", "ada", "--label", "job", "--days", "9")
    token = made.out.strip()
    assert token.startswith("frt_") and "\n" not in token and token not in made.err
    (listed,) = command("api-token", "list", "--json").json
    assert (listed["login"], listed["label"]) == ("ada", "job")
    assert listed["expires_at"].endswith("Z")
    assert token not in command("api-token", "list").out
    assert listed["scope"] == "admin" and listed["last_used"] is None
    command("api-token", "revoke", listed["id"])
    assert command("api-token", "list", "--json").json == []
    command.refused(1, "api-token", "revoke", listed["id"])
    command.refused(2, "api-token", "create", "ada", "--days", "0")
    narrow = command("api-token", "create", "ada", "--scope", "read", "--json").json
    assert (narrow["scope"], narrow["token"][:4]) == ("read", "frt_")
    assert "read, write or admin" in command.refused(
        2, "api-token", "create", "ada", "--scope", "all"
    )


def test_a_lost_second_factor_is_switched_off_and_it_is_told(command: Command) -> None:
    command("user", "create", "bob")
    asyncio.run(switch_second_factor_on(command, "bob"))
    assert command("user", "show", "bob", "--json").json["second_factor"] is True
    assert "--yes" in command.refused(2, "user", "second-factor-off", "bob")
    done = command("user", "second-factor-off", "bob", "--yes", "--json").json
    assert done == {"login": "bob", "second_factor": False}
    assert command("user", "show", "bob", "--json").json["second_factor"] is False
    assert "no second factor" in command.refused(1, "user", "second-factor-off", "bob", "--yes")
    told = [entry["action"] for entry in command("audit", "--json").json]
    assert told.count("person.second-factor-off") == 1


async def switch_second_factor_on(command: Command, login: str) -> None:
    async with open_services(Settings(data_dir=str(command.data))) as services:
        user = await services.accounts.user(login)
        secret = services.second_factor.offer(user).secret
        await services.second_factor.confirm(user, secret, pyotp.TOTP(secret).now())


def test_audit_tells_who_did_what_and_no_secret(command: Command) -> None:
    command("user", "create", "ada", "--admin", "--password-stdin", given=PASSWORD)
    command("repo", "configure", "demo", "--title", "New")
    entries = command("audit", "--json").json
    assert [entry["action"] for entry in entries] == [
        "repository.configure",
        "person.create",
        "repository.create",
    ]
    assert {"id", "at", "actor", "address", "action", "subject", "detail"} == entries[0].keys()
    assert entries[0]["at"].endswith("Z")
    assert PASSWORD not in command("audit").out
    assert command("audit", "--repo", "ada", "--json").json == []
    (only,) = command("audit", "--action", "person.", "--json").json
    assert only["action"] == "person.create"
    assert command("audit", "--user", "somebody", "--json").json == []
    assert len(command("audit", "--since", "1h ago", "--limit", "2", "--json").json) == 2
    assert command("audit", "--since", "2999-01-01", "--json").json == []
    assert "5m ago" in command.refused(2, "audit", "--since", "soon")


def test_a_moment_is_rfc_3339_a_date_or_a_duration_ago() -> None:
    assert moment("2026-05-01T12:00:00Z") == datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert moment("2026-05-01T12:00:00+02:00") == datetime(2026, 5, 1, 10, tzinfo=UTC)
    assert moment("2026-05-01") == datetime(2026, 5, 1, tzinfo=UTC)
    for text in ("5m", "5m ago"):
        assert abs(datetime.now(UTC) - timedelta(minutes=5) - moment(text)) < timedelta(seconds=5)
    for text in ("", "soon", "5", "99999999999d ago", "2026-13-01"):
        with pytest.raises(InvalidInput):
            moment(text)


def test_a_person_is_shown_renamed_configured_and_leaves(command: Command) -> None:
    command("user", "create", "ada", "--admin")
    command("user", "create", "bob")
    command("user", "configure", "bob", "--name", "Bob B", "--email", "bob@example.org")
    command.refused(2, "user", "configure", "bob", "--email", "no address")
    assert command("user", "rename", "bob", "robert").out == "renamed bob to robert\n"
    shown = command("user", "show", "robert", "--json").json
    assert (shown["name"], shown["former_logins"]) == ("Bob B", ["bob"])
    assert shown["memberships"] == [] and shown["second_factor"] is False
    assert "bob@example.org" in command("user", "show", "robert").out
    assert "no person" in command.refused(1, "user", "show", "bob")
    assert "never used again" in command.refused(1, "user", "create", "bob")
    assert command("user", "admin", "robert", "on", "--json").json["admin"] is True
    command("user", "admin", "ada", "off")
    assert "last administrator" in command.refused(1, "user", "admin", "robert", "off")
    command.refused(2, "user", "admin", "ada", "maybe")
    assert "--yes" in command.refused(2, "user", "delete", "ada")
    assert command("user", "delete", "ada", "--yes", "--json").json["deleted"] is True
    assert [user["login"] for user in command("user", "list", "--json").json] == ["robert"]
    assert "never used again" in command.refused(1, "user", "create", "ada")


def test_links_are_printed_alone_and_invitations_end(command: Command) -> None:
    command("user", "create", "ada", "--admin")
    made = command("user", "invite", "--org", "main", "--email", "bob@example.org")
    assert made.err == "" and "/invite/" in made.out and made.out.count("\n") == 1
    (waiting,) = command("user", "invitations", "--json").json
    assert (waiting["org"], waiting["email"]) == ("main", "bob@example.org")
    assert "bob@example.org" in command("user", "invitations").out
    command("user", "uninvite", waiting["id"])
    assert command("user", "invitations", "--json").json == []
    command.refused(1, "user", "uninvite", waiting["id"])
    command.refused(2, "user", "invite", "--org", "main", "--team", "nowhere")
    link = command("user", "reset-link", "ada")
    assert link.err == "" and "/reset/" in link.out and link.out.count("\n") == 1
    token = link.out.strip().rpartition("/")[2]
    assert token not in command("audit", "--json").out
    assert token not in (command.data / "logs" / "commands.log").read_text()


def test_a_file_of_people_is_taken_whole(command: Command) -> None:
    file = command.folder / "people.csv"
    file.write_text("login,name,org\nbob,Bob,main\nroot,,\n")
    assert "line 3" in command.refused(2, "user", "import", "people.csv")
    assert command("user", "list", "--json").json == []
    file.write_text("login,name,org\nbob,Bob,main\neve,,\n")
    told = command("user", "import", "people.csv").out
    assert told.count("/reset/") == 2
    assert len(command("user", "list", "--json").json) == 2
    command.refused(2, "user", "import", "no-such.csv")


def test_mail_is_tried_and_doctor_says_whether_it_works(command: Command) -> None:
    assert "mail.server" in command.refused(1, "mail", "test", "bob@example.org")
    with smtp.running(password="a secret of the mail server") as post:
        configured = command.with_env(
            {
                "FOSSILREPO_MAIL__SERVER": post.server,
                "FOSSILREPO_MAIL__SECURITY": "none",
                "FOSSILREPO_MAIL__SENDER": "fossil@example.org",
                "FOSSILREPO_MAIL__USER": "fossil",
                "FOSSILREPO_MAIL__PASSWORD": "a secret of the mail server",
            }
        )
        assert "took a message" in configured("mail", "test", "bob@example.org").out
        assert post.recipients == ["bob@example.org"]
        assert "a secret" not in configured("config", "show").out
        checks = {c["name"]: c["result"] for c in configured.run("doctor", "--json").json}
        assert checks["mail"] == "ok"
    told = configured.refused(1, "mail", "test", "bob@example.org")
    assert post.server in told and "a secret" not in told
    checks = {c["name"]: c["result"] for c in configured.run("doctor", "--json").json}
    assert checks["mail"] == "fail"


def test_a_login_that_a_repository_has_already_is_told_and_left_alone(command: Command) -> None:
    (file,) = (command.data / "repos" / ".store").glob("*.fossil")
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("INSERT INTO user (login, pw, cap, info) VALUES ('bob', 'f00', 'i', 'native')")
    made = command("user", "create", "bob")
    assert "another bob is in demo already" in made.err
    assert command("user", "show", "bob", "--json").json["native_elsewhere"] == ["demo"]
    assert command("user", "create", "eve").err == ""
    command("user", "rename", "bob", "robert")
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT info FROM user WHERE login = 'bob'").fetchall() == [("native",)]
