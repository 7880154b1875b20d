"""Files whose settings are commands, against a whole host: none runs, whichever way they came.

That the walls alone hold them, and that they do run without walls, is in `test_traps.py`.
"""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path
from urllib.parse import urlencode

import pytest

from fossilrepo.tools import jail
from tests.helpers import hostile, jailed
from tests.helpers.host import Checkout
from tests.helpers.hostile import TAKEN_OUT, Marks, Target, hashed, setting

ROUNDS = 5


def armed(path: Path, marks: Marks) -> list[str]:
    statements = [setting(name, value) for name, value in hostile.traps(marks).items()]
    hostile.change(path, *statements)
    return statements


async def test_a_superuser_s_sql_page_reaches_nothing_outside_the_repository(
    place: jailed.Place, crafted: Path
) -> None:
    code = hostile.rows(crafted, "SELECT value FROM config WHERE name='project-code'")[0][0]
    pw = hashed(code, "setup", "secret")
    hostile.change(crafted, f"UPDATE user SET cap='s', pw='{pw}' WHERE login='setup'")
    place.serve("demo", crafted)
    control = place.data / "fossilrepo.db"
    jailed.sql(control, "CREATE TABLE t(x); INSERT INTO t VALUES('of the host')")
    control.chmod(0o644)
    walls = await jail.probe(place.repos, place.identity)
    async with jailed.server(place, walls) as url:
        page = f"{url}/demo/admin_sql"
        cookie = await asyncio.to_thread(_cookie, url)

        async def run(query: str) -> str:
            headers = {"Cookie": cookie, "Referer": page}
            _, form = await asyncio.to_thread(jailed.request, page, None, **headers)
            token = re.search(r"name=.csrf. value=.([^'\"]+)", form)
            assert token
            body = urlencode({"q": query, "go": "1", "csrf": token[1]}).encode()
            return (await asyncio.to_thread(jailed.request, page, body, **headers))[1]

        assert "37035" in await run("SELECT 12345*3")
        for file in (control, place.secret, "/etc/passwd"):
            for query in (
                f"ATTACH '{file}' AS x",
                f"SELECT readfile('{file}')",
                f"SELECT writefile('{file}', 'x')",
                f"SELECT load_extension('{file}')",
            ):
                said = await run(query)
                assert re.search(r"not authorized|no such function", said), query


def _cookie(url: str) -> str:
    import urllib.error
    import urllib.request

    body = b"u=setup&p=secret&in=Login"
    asked = urllib.request.Request(  # noqa: S310 - our own server
        f"{url}/demo/login", data=body, headers={"Referer": f"{url}/demo/login"}
    )
    try:
        urllib.request.build_opener(jailed._Stay).open(asked)
    except urllib.error.HTTPError as moved:
        with moved:
            return str(moved.headers["Set-Cookie"]).split(";")[0]
    raise AssertionError("not signed in")


# A whole host


def _visit(target: Target, name: str) -> list[str]:
    return [
        target.page(name, f"/{name}/{page}").text
        for page in ("timeline", "login", "home", "dir", "wiki", "ticket")
    ]


def _push(target: Target, name: str, folder: Path) -> None:
    url = target.host.url(name, "ada", target.host.fossil_password("ada", name))
    checkout = Checkout.cloned(url, folder / name, "ada")
    checkout.commit("a.txt", f"{name}\n")
    checkout.push()


@pytest.mark.parametrize("way", ["drop-in", "import", "upload"])
def test_a_file_full_of_commands_is_disarmed(
    target: Target, marks: Marks, crafted: Path, tmp_path: Path, way: str
) -> None:
    armed(crafted, marks)
    name = f"armed-{way}"
    if way == "drop-in":
        target.drop_in(name, crafted)
    elif way == "import":
        target.host.call("repo", "import", name, "--file", str(crafted))
    else:
        assert target.upload(name, crafted.read_bytes())["state"] == "done"
    assert set(target.show(name)["removed"]) >= TAKEN_OUT
    assert not target.settings(name) & TAKEN_OUT
    _push(target, name, tmp_path)
    for page in _visit(target, name):
        assert "trap=42" not in page and "root:x:0" not in page and marks.word not in page
    assert marks.found() == []


def test_a_header_that_sends_requests_is_not_obeyed(target: Target, crafted: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.5)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/internal"
        header = f"<html><body><th1>catch {{http -asynchronous -- {url}}} r; puts $r</th1>"
        hostile.change(crafted, setting("header", header), setting("th1-uri-regexp", "^.*$"))
        target.drop_in("caller", crafted)
        assert "th1-uri-regexp" in target.show("caller")["removed"]
        _visit(target, "caller")
        with pytest.raises(TimeoutError):
            listener.accept()


def test_commands_written_behind_our_back_do_not_run_and_are_taken_out(
    target: Target, marks: Marks, crafted: Path
) -> None:
    """The first line is the jail: the rows are in force here, again and again, while visited."""
    rows = hostile.traps(marks)
    # Once only: Fossil keeps its own lock for seconds when there is no shell for a hook.
    hook = setting("hooks", rows.pop("hooks"))
    statements = [setting(name, value) for name, value in rows.items()]
    target.create("behind")
    in_force = 0
    for _ in range(ROUNDS):
        target.write("behind", *statements)
        page = target.page("behind", "/behind/timeline").text
        in_force += "trap=42" in page
        assert "root:x:0" not in page
    assert in_force, "no visit was quicker than the repair"
    target.write("behind", *statements, hook)
    target.page("behind", "/behind/timeline")
    target.until_gone("behind", *TAKEN_OUT)
    assert target.page("behind", "/behind/timeline").status == 200
    assert target.audited("repository.disarmed", "behind")
    assert set(target.show("behind")["removed"]) >= TAKEN_OUT
    assert marks.found() == []


# Login groups: one file that reaches into another


def test_a_login_group_does_not_reach_another_repository(target: Target, crafted: Path) -> None:
    code = hostile.rows(crafted, "SELECT value FROM config WHERE name='project-code'")[0][0]
    group = [setting("login-group-name", "friends"), setting("login-group-code", "c" * 40)]
    for number, victim in enumerate(
        (str(target.repos / "victim.fossil"), "/.served/victim.fossil", "victim.fossil")
    ):
        group += [
            setting(f"peer-repo-{number}{'a' * 15}", victim),
            setting(f"peer-name-{number}{'a' * 15}", "victim"),
        ]
    pw = hashed(code, "mallory", "secret")
    mallory = f"INSERT INTO user (login, pw, cap) VALUES ('mallory', '{pw}', 'a')"
    target.create("victim")
    before = target.rows("victim", "SELECT login, pw, cap FROM user ORDER BY login")

    hostile.change(crafted, *group, mallory)
    target.drop_in("taker", crafted)
    names = target.settings("taker")
    assert not [name for name in names if name.startswith(("peer-", "login-group-"))]
    signed_in = target.sign_in("taker", "mallory", "secret")
    cookie = signed_in.every("Set-Cookie")[0].split(";")[0]
    form = {"login": "intruder", "pw": "x", "aa": "on", "ai": "on", "all": "1", "apply": "1"}
    csrf = cookie.partition("=")[2][:10]
    body = urlencode({**form, "csrf": csrf}).encode()
    asked = target.page("taker", "/taker/setup_uedit", body, Cookie=cookie)
    assert "intruder" not in str(target.rows("taker", "SELECT login FROM user")), asked.text

    target.write("taker", *group)  # and behind our back
    target.until_gone("taker", "login-group-name", "login-group-code", "peer-repo-0" + "a" * 15)
    assert target.audited("repository.disarmed", "taker")
    after = target.rows("victim", "SELECT login, pw, cap FROM user ORDER BY login")
    assert after == before
