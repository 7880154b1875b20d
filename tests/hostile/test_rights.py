"""People who want more than they were given, against a whole host.

The same on files alone, with the attacks seen to work on what was not projected, is in
`test_people.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import hostile
from tests.helpers.hostile import PLAIN_SYNC, Target, config_push, hashed, signed
from tests.helpers.poll import until_sync

CAPS = "SELECT login, CAST(cap AS TEXT) FROM user"
PW = "SELECT pw FROM user WHERE login = 'ada'"


def superusers(target: Target, name: str) -> dict[str, str]:
    return {str(login): cap for login, cap in target.rows(name, CAPS) if set(cap or "") & set("as")}


def project_code(target: Target, name: str) -> str:
    query = "SELECT value FROM config WHERE name='project-code'"
    return str(target.rows(name, query)[0][0])


def sync(target: Target, name: str, message: bytes, client: str = "203.0.113.1") -> str:
    """The answer to a message by the path form, from an address of the test's own."""
    headers = {"Content-Type": PLAIN_SYNC, "X-Forwarded-For": client}
    return target.ask("POST", f"/{name}", body=message, headers=headers).text


# A3


def test_an_administrator_cannot_make_a_superuser_by_sync(target: Target) -> None:
    target.create("pushed")
    code, [(pw,)] = project_code(target, "pushed"), target.rows("pushed", PW)
    before = target.rows("pushed", "SELECT login, pw, cap FROM user ORDER BY login")
    for area, row in (
        ("user", "'mallory' pw 'x' cap 's' info ''"),
        ("user", "'ada' cap 's'"),
        ("user", "'nobody' cap 's'"),
        ("project", "'th1-setup' value 'set x 1'"),
        ("config", "'header' value '<th1>puts pwned</th1>'"),
        ("skin", "'header' value '<th1>puts pwned</th1>'"),
    ):
        said = sync(target, "pushed", signed("ada", pw, config_push(code, area, row)))
        assert "login failed" not in said.replace("\\s", " "), said
    assert target.rows("pushed", "SELECT login, pw, cap FROM user ORDER BY login") == before
    assert not {"th1-setup", "header"} & target.settings("pushed")
    assert superusers(target, "pushed") == {}


def test_nobody_is_a_superuser_in_any_repository(target: Target, crafted: Path) -> None:
    hostile.change(
        crafted,
        "UPDATE user SET cap = 'as' WHERE login IN ('nobody', 'anonymous', 'reader', 'developer')",
        "INSERT INTO user(login, pw, cap) VALUES ('mallory', 'x', 'as'), ('ADA', 'x', 'a'),"
        " (x'6d616c', 'x', 's'), ('fossilrepo', 'x', 's'), ('', 'x', 's'), ('m%', 'x', x'73')",
        "INSERT INTO user(login, pw, cap) VALUES (NULL, 'x', 's')",
        hostile.setting("fossilrepo-users", '["mallory", "nobody"]'),
        hostile.setting("fossilrepo-natives", '{"ADA": {"original": "s", "applied": "a"}}'),
    )
    target.drop_in("natives", crafted)
    assert target.upload("natives-up", crafted.read_bytes())["state"] == "done"
    target.create("own")
    for row in target.listed():
        if row["state"] == "active":
            assert superusers(target, row["name"]) == {}, row["name"]
    for name in ("natives", "natives-up"):
        assert target.rows(name, "SELECT cap FROM user WHERE login='developer'") == [("",)]
        assert target.page(name, f"/{name}/setup").status != 200


def test_a_right_taken_behind_our_back_is_put_back(target: Target) -> None:
    target.create("taken")
    before = target.rows("taken", "SELECT login, pw, cap FROM user ORDER BY login")
    target.write(
        "taken",
        "UPDATE user SET cap = 's' WHERE login IN ('ada', 'nobody')",
        "UPDATE user SET pw = 'mine' WHERE login = 'ada'",
    )
    until_sync(
        lambda: target.rows("taken", "SELECT login, pw, cap FROM user ORDER BY login") == before,
        timeout=8,
        what="the repair of people",
    )
    target.write("taken", "INSERT INTO user(login, pw, cap) VALUES('mallory', 'x', 's')")
    until_sync(lambda: not superusers(target, "taken"), timeout=8, what="the repair of mallory")
    until_sync(lambda: target.audited("repository.people-repaired", "taken"), what="the audit log")


# A4


def test_a_hash_or_password_of_a_fork_is_refused_in_the_original(
    target: Target, tmp_path: Path
) -> None:
    target.create("original")
    target.host.call("repo", "export", "original", str(tmp_path / "fork"))
    target.host.call("repo", "import", "fork", "--file", str(tmp_path / "fork"))
    code = project_code(target, "original")
    assert project_code(target, "fork") == code
    pws = {name: target.rows(name, PW)[0][0] for name in ("original", "fork")}
    assert pws["original"] != pws["fork"]
    cards = f"pull {'0' * 40} {code}\n"
    for name, opened in (("fork", True), ("original", False)):
        said = sync(target, name, signed("ada", pws["fork"], cards), "203.0.113.2")
        assert ("login\\sfailed" not in said) is opened, said
    password = target.host.fossil_password("ada", "fork")
    assert pws["fork"] == hashed(code, "ada", password)
    statuses = {
        name: target.sign_in(name, "ada", password, X_Forwarded_For="203.0.113.2").status
        for name in ("fork", "original")
    }
    assert statuses == {"fork": 302, "original": 401}


# A11


@pytest.mark.parametrize(
    "login",
    ["nobody", "anonymous", "reader", "developer", "root", "admin", "site", "fossilrepo",
     "ROOT", "Nobody", "Ada", "ada", "~x", "", " ", "a b", "-x", "1a", "a" * 33, "a/b", "é",
     "nobody\n", "a\u0000b"],
)  # fmt: skip
def test_a_login_that_is_somebody_elses_cannot_be_made(target: Target, login: str) -> None:
    people = target.api("GET", "/users").content
    body = {"login": login, "password": "four words of mine", "is_admin": True}
    answer = target.api("POST", "/users", body)
    assert answer.status in (409, 422), answer.text
    assert target.api("GET", "/users").content == people


# A13


def test_wrong_sign_ins_in_a_row_are_slowed(target: Target) -> None:
    target.create("guessed")
    password = target.host.fossil_password("ada", "guessed")
    who = "203.0.113.3"
    code = project_code(target, "guessed")
    wrong = signed("ada", "0" * 40, f"pull {'0' * 40} {code}\n")
    for _ in range(10):
        assert "login\\sfailed" in sync(target, "guessed", wrong, who)
    slowed = target.sign_in("guessed", "ada", password, X_Forwarded_For=who)
    assert slowed.status == 429 and int(slowed.headers["Retry-After"]) > 0
    right = signed("ada", target.rows("guessed", PW)[0][0], f"pull {'0' * 40} {code}\n")
    assert "many failed sign-ins" in sync(target, "guessed", right, who)
    elsewhere = target.sign_in("guessed", "ada", password, X_Forwarded_For="203.0.113.4")
    assert elsewhere.status == 302
