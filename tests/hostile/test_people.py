"""People who reach for more than they were given: other repositories, other rights, other names."""

from __future__ import annotations

import asyncio
import re
import shutil
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from fossilrepo.tools import fossil_db, fossil_users, fossil_write, jail
from fossilrepo.tools.fossil_users import ADMIN_CAPABILITIES, Account, Plan
from tests.helpers import jailed
from tests.helpers.jailed import Place

PRIVATE = {"nobody": "", "anonymous": ""}


@pytest.fixture
async def url(place: Place) -> AsyncIterator[str]:
    walls = await jail.probe(place.repos, place.identity)
    async with jailed.server(place, walls) as address:
        yield address


def caps(path: Path) -> dict[str, str]:
    return {str(login): str(cap) for login, cap in jailed.rows(path, "SELECT login, cap FROM user")}


# A3: Fossil's `a` is `s`, and what we project in its place is not.


async def push_a_superuser(place: Place, url: str, login: str, password: str) -> tuple[int, str]:
    """`fossil config push user` from a clone in which mallory is a superuser."""
    address = url.replace("//", f"//{login}:{password}@")
    clone = place.data / "client" / f"{login}.fossil"
    clone.unlink(missing_ok=True)
    code, said = await jailed.client(
        place, "clone", address, str(clone), "--once", "--no-open", "-A", login, user=login
    )
    assert code == 0, said
    jailed.sql(clone, "INSERT INTO user(login, pw, cap, mtime) VALUES('mallory','x','s',1e10)")
    return await jailed.client(
        place, "configuration", "push", "user", address, "-R", str(clone), user=login
    )


async def test_an_administrator_cannot_make_superusers(
    place: Place, fossil_template: Path, url: str
) -> None:
    path = place.new("demo", fossil_template)
    jailed.sql(path, "INSERT INTO user(login, pw, cap) VALUES('real', 'pw', 'ai')")
    await push_a_superuser(place, f"{url}/demo", "real", "pw")
    assert caps(path)["mallory"] == "s", "with `a` the attack works: this test would tell"

    jailed.sql(path, "DELETE FROM user WHERE login='mallory'")
    plan = Plan({"ann": Account("right", ADMIN_CAPABILITIES)})
    await asyncio.to_thread(fossil_users.project, path, plan)
    await push_a_superuser(place, f"{url}/demo", "ann", "right")
    assert "mallory" not in caps(path)
    await push_a_superuser(place, f"{url}/demo", "real", "pw")
    assert "mallory" not in caps(path), "the native administrator lost `a` at the projection"


async def test_a_superuser_made_inside_is_taken_back(place: Place, fossil_template: Path) -> None:
    path = place.new("demo", fossil_template)
    plan = Plan({"ann": Account("right", "ei")})
    fossil_users.project(path, plan)
    jailed.sql(
        path,
        "UPDATE user SET cap='s', pw='mine' WHERE login='ann';"
        "INSERT INTO user(login, pw, cap) VALUES('mallory', 'x', 's'), (x'6576696c', 'x', 's');"
        "UPDATE user SET cap='s' WHERE login='nobody'",
    )
    done = fossil_users.project(path, plan)
    assert {"ann", "mallory", "nobody"} <= set(done.changed)
    assert not any(set(held) & set("as") for held in caps(path).values())
    project = fossil_db.read_facts(path).project_code
    assert jailed.rows(path, "SELECT pw FROM user WHERE login='ann'") == [
        (fossil_users.password_hash(project, "ann", "right"),)
    ]


# A4: a password hash is a credential of the sync protocol.


async def test_a_hash_from_a_fork_opens_nothing_else(
    place: Place, fossil_template: Path, url: str
) -> None:
    original, fork = (place.new(name, fossil_template) for name in ("original", "fork"))
    for path, password in ((original, "password of it"), (fork, "another password")):
        plan = Plan({"ann": Account(password, "gio")}, PRIVATE)
        await asyncio.to_thread(fossil_users.project, path, plan)
    [(stolen,)] = jailed.rows(fork, "SELECT pw FROM user WHERE login='ann'")
    for name, opens in (("fork", True), ("original", False)):
        address = f"{url}/{name}".replace("//", f"//ann:{stolen}@", 1)
        code, said = await jailed.client(
            place, "clone", address, f"{name}.fossil", "--once", "--no-open", "-A", "x"
        )
        assert (code == 0) is opens, said


# A2: a login group writes users into other repositories.


def sign_in(url: str, login: str, password: str) -> urllib.request.OpenerDirector:
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    form = urllib.parse.urlencode({"u": login, "p": password, "in": "Login"}).encode()
    with browser.open(f"{url}/login", form, timeout=20):
        return browser


def add_everywhere(url: str, browser: urllib.request.OpenerDirector) -> str:
    """Make a user in all repositories of the login group, as the form of Fossil does."""
    with browser.open(f"{url}/setup_uedit", timeout=20) as answer:
        page = answer.read().decode()
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found, page[:500]
    fields = {"csrf": found[1], "login": "intruder", "info": "x", "pw": "intruder", "aa": "on"}
    fields |= {"id": "0", "ai": "on", "all": "1", "apply": "Apply Changes"}
    form = urllib.parse.urlencode(fields).encode()
    asked = urllib.request.Request(f"{url}/setup_uedit", form, {"Referer": f"{url}/setup_ulist"})  # noqa: S310 - our own server
    with browser.open(asked, timeout=20) as answer:
        return str(answer.read().decode())


async def test_a_login_group_does_not_reach_other_repositories(
    place: Place, fossil_template: Path, url: str
) -> None:
    attacker, victim = (place.new(name, fossil_template) for name in ("attacker", "victim"))
    jailed.sql(
        attacker,
        "INSERT INTO user(login, pw, cap, info) VALUES('boss', 'pw', 'a', '');"
        "UPDATE config SET value='0000000000000000000000000000000000000000'"
        " WHERE name='project-code';"
        "INSERT INTO config VALUES('login-group-name','group',0), ('login-group-code','12ab',0),"
        f" ('peer-repo-x','/.store/{victim.name}',0), ('peer-name-x','victim',0)",
    )
    browser = await asyncio.to_thread(sign_in, f"{url}/attacker", "boss", "pw")
    await asyncio.to_thread(add_everywhere, f"{url}/attacker", browser)
    assert "intruder" in caps(victim), "armed, the attack works: this test would tell"

    jailed.sql(victim, "DELETE FROM user WHERE login='intruder'")
    jailed.sql(attacker, "DELETE FROM user WHERE login='intruder'")
    removed = await asyncio.to_thread(fossil_write.disarm, attacker)
    assert {"login-group-name", "login-group-code", "peer-repo-x"} <= removed.keys()
    browser = await asyncio.to_thread(sign_in, f"{url}/attacker", "boss", "pw")
    await asyncio.to_thread(add_everywhere, f"{url}/attacker", browser)
    assert "intruder" in caps(attacker) and "intruder" not in caps(victim)


async def test_a_login_group_does_not_reach_a_file_outside_the_jail(
    place: Place, fossil_template: Path
) -> None:
    attacker = place.new("attacker", fossil_template)
    outside = place.data / "outside"
    outside.mkdir()
    outside.chmod(0o777)
    victim = outside / "victim.fossil"
    shutil.copy(fossil_template, victim)
    victim.chmod(0o666)
    jailed.sql(
        attacker,
        "INSERT INTO user(login, pw, cap, info) VALUES('boss', 'pw', 'a', '');"
        "UPDATE config SET value='0000000000000000000000000000000000000000'"
        " WHERE name='project-code';"
        "INSERT INTO config VALUES('login-group-name','group',0), ('login-group-code','12ab',0),"
        f" ('peer-repo-x','{victim}',0), ('peer-name-x','victim',0)",
    )
    walls = await jail.probe(place.repos, place.identity)
    assert walls.kind != "none"
    for standing in (jail.Walls("none", "", place.identity, ()), walls):
        async with jailed.server(place, standing) as url:
            browser = await asyncio.to_thread(sign_in, f"{url}/attacker", "boss", "pw")
            await asyncio.to_thread(add_everywhere, f"{url}/attacker", browser)
        assert "intruder" in caps(attacker)
        assert ("intruder" in caps(victim)) is (standing is not walls)
        jailed.sql(attacker, "DELETE FROM user WHERE login='intruder'")
        jailed.sql(victim, "DELETE FROM user WHERE login='intruder'")
