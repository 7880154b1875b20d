"""After a day with every secret that the host knows, none of them lies about anywhere.

The day is played on a real host: people sign in and mistype, passwords, tokens, links, keys and
second factors are made and used, imports and pushes succeed and fail. Then everything that the
host wrote, called and printed is searched.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import aiohttp
import pyotp
import pytest

from tests.helpers import gateway_parts as parts
from tests.helpers.git_servers import USER, HttpGit
from tests.helpers.host import Checkout, Host
from tests.helpers.known_secrets import Secrets, Watch, forms
from tests.helpers.opened import Front, Way
from tests.helpers.site import Answer, Browser

PLANTED = "tr1cky p@ss/word+100%"
OF_HOST = b"fossilrepo\0serve\0"  # among its arguments; it is given keys in its environment
OF_JOB = re.compile(r"token [^:]+, \w+: .*/data/tmp/(remote|git)-[^/]+/token$")
NEEDED = {"litestream": "S3 key"}


@dataclass
class Day:
    host: Host
    secrets: Secrets
    client: Path
    port: int = 0

    def command(self, *words: str, given: str = "", fails: bool = False) -> str:
        """A command beside the host; what is given to it on standard input is never an argument."""
        assert not self.secrets.within("\0".join(words).encode())
        done = self.host.call(*words, stdin=given, check=not fails)
        assert (done.returncode != 0) == fails, (words, done.stdout, done.stderr)
        # An error may be mailed, pasted, logged: it repeats nothing that was given.
        assert not self.secrets.within(done.stderr.encode()), (words, done.stderr)
        return done.stdout.strip()

    def person(self, login: str, password: str, *options: str) -> None:
        self.secrets.add(f"site password of {login}", password)
        words = ("user", "create", login, "--password-stdin", *options)
        self.command(*words, given=f"{password}\n")

    def browser(self, session: aiohttp.ClientSession) -> Browser:
        return Browser(session, self.port, f"localhost:{self.port}")


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    home, client = tmp_path / "host", tmp_path / "client"
    for folder in (home, home / "temporary", client):
        folder.mkdir()
    secrets = Secrets()
    closed = f"http://127.0.0.1:{parts.free_port()}"
    host = Host(
        home / "data",
        {
            "TMPDIR": str(home / "temporary"),
            "FOSSILREPO_LOG__LEVEL": "debug",
            "FOSSILREPO_BACKUP__URL": "s3://nobody/here",
            "FOSSILREPO_BACKUP__ENDPOINT": closed,
            "AWS_ACCESS_KEY_ID": "an-identity",
            "AWS_SECRET_ACCESS_KEY": secrets.add("S3 key", "s3/Key+of=the host"),
            "FOSSILREPO_MAIL__SERVER": closed.removeprefix("http://"),
            "FOSSILREPO_MAIL__SENDER": "host@example.org",
            "FOSSILREPO_MAIL__USER": "host",
            "FOSSILREPO_MAIL__PASSWORD": secrets.add("mail password", "m@il/Pass+of the host"),
            "FOSSILREPO_SYNC__ALLOWED_NETWORKS": '["127.0.0.0/8"]',
        },
    )
    yield Day(host, secrets, client)
    assert host.stop() == 0, host.log()[-3000:]
    assert "Traceback" not in host.log()


async def test_no_secret_of_a_whole_day_lies_about_anywhere(day: Day, server: HttpGit) -> None:
    host, secrets = day.host, day.secrets
    day.person("ada", "ada's p@ss/word+1%", "--admin", "--email", "ada@example.org")
    host.start()
    day.port = host.port
    watch = Watch(
        day.client, (host.data / "tmp", host.data / "run", host.data.parent / "temporary")
    )
    with watch.going_on():
        commands(day)
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            await account(day, session)
            await links(day, session)
            await opening(day, session)
            await api(day, session)
        pushes(day)
        imports(day)
        bridge(day, server)
        day.command("backup", "status", fails=True)
        day.command("doctor", fails=True)
        day.command("audit")
    assert len(secrets.values) > 40
    assert watch.programs() >= {"fossil", "git", Path(sys.executable).name}
    key_file = host.data / "secret.key"
    secrets.add("secret.key", key_file.read_bytes().decode("latin-1").strip())
    seen = secrets.in_files(host.data.parent, but=[key_file])
    seen |= watch.arguments(secrets)
    # git is given a token in a private file of one job, which is gone with it.
    seen |= {one for one in watch.short_lived(secrets) if not OF_JOB.search(one)}
    seen |= watch.environments(secrets, of_host=OF_HOST, needed=NEEDED)
    assert not seen
    for file in (host.data / "repos" / ".store").glob("*.fossil"):
        # Fossil's client disguises the password that it remembers.
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
            assert not db.execute("SELECT name FROM config WHERE name LIKE '%sync-pw%'").fetchall()
    # The same search finds what somebody wrote where everybody reads.
    secrets.add("planted", PLANTED)
    host.call("repo", "configure", "left", "--description", f"it is {PLANTED}")
    kinds = {label.rpartition("/")[2] for label in secrets.in_files(host.data.parent)}
    assert any("fossilrepo.db" in kind for kind in kinds)
    assert any(".fossil" in kind for kind in kinds), kinds


def bridge(day: Day, server: HttpGit) -> None:
    """Mirrors, an upstream and webhooks, with secrets that are right and that are not."""
    token = day.secrets.add("token of a mirror", server.token)
    wrong = day.secrets.add("wrong token of a mirror", "n0t/this+token%")
    for name, given, fails in (("left", token, False), ("right", wrong, True)):
        words = ("mirror", "add", name, server.url(), "--user", USER, "--token-stdin", "--json")
        made = json.loads(day.command(*words, given=f"{given}\n"))
        day.command("mirror", "run", made["id"], fails=fails)
        day.command("mirror", "log", made["id"])
        day.command("mirror", "show", made["id"], "--json")
    password = day.secrets.add("password at an upstream", "up/stream+pass%1")
    there = f"http://127.0.0.1:{day.port}/left"
    words = ("upstream", "set", "right", there, "--login", "bob", "--password-stdin")
    day.command(*words, given=f"{password}\n")
    day.command("upstream", "run", "right", fails=True)
    hidden = day.secrets.add("token in a webhook's address", "h00k-t0ken-in-the-address")
    address = f"{server.url('hook')}?token={hidden}"
    made = json.loads(
        day.command("webhook", "add", "left", "--url-stdin", "--json", given=f"{address}\n")
    )
    day.secrets.add("secret of a webhook", made["secret"])
    day.command("webhook", "ping", made["id"])
    day.command("webhook", "deliveries", made["id"])
    day.command("mirror", "list")


def commands(day: Day) -> None:
    day.command("repo", "create", "left")
    day.command("repo", "create", "right", "--private")
    day.person("bob", "bob's p@ss/word+2%")
    day.secrets.add("password that is too common", "password123")
    day.command("user", "create", "eve", "--password-stdin", given="password123\n", fails=True)
    day.command("user", "create", "eve")
    changed = day.secrets.add("site password of eve", "eve's p@ss/word+3%")
    day.command("user", "password", "eve", "--password-stdin", given=f"{changed}\n")
    day.command("grant", "right", "--user", "bob", "--role", "write")
    for login in ("ada", "bob"):
        for name in ("left", "right"):
            word = day.command("user", "sync-password", login, name)
            day.secrets.add(f"Fossil password of {login} in {name}", word)
    day.command("user", "rotate", "ada")
    day.secrets.add("new Fossil password", day.command("user", "sync-password", "ada", "right"))
    made = day.command("access-key", "create", "right", "--role", "write", "--show-password")
    day.secrets.add("access key", made.splitlines()[-1].split()[-1])
    day.secrets.add("API token", day.command("api-token", "create", "bob", "--label", "nightly"))


async def account(day: Day, session: aiohttp.ClientSession) -> None:
    """Signing in, rightly and wrongly, a second factor, a token, another password."""
    browser = day.browser(session)
    bob = day.secrets.values["site password of bob"]
    wrong = day.secrets.add("mistyped password", "bbo's p@ss/word+2%")
    for login, password in (("bob", wrong), ("nobody-here", wrong), ("bob", bob[:-1] + "x")):
        await sent(browser, "/login", {"login": login, "password": password}, status=401)
    typed = day.secrets.add("password in the field for the login", "s0mebody's-p@ss/word")
    await sent(browser, "/login", {"login": typed, "password": "something"}, status=401)
    await browser.sign_in("bob", bob)
    day.secrets.add("session", browser.cookies["fossilrepo"])
    page = (await browser.get("/account/second-factor")).text
    secret = day.secrets.add("second factor", found(r'name="secret" value="([A-Z2-7]+)"', page))
    form = {"secret": secret, "code": "000000", "old": bob}
    await sent(browser, "/account/second-factor", form, status=422)
    form["code"] = pyotp.TOTP(secret).at(int(time.time()) - 30)
    shown = await sent(browser, "/account/second-factor", form)
    codes = found(r'<pre id="codes" class="codes">([^<]+)', shown.text).split()
    for number, code in enumerate(codes):
        day.secrets.add(f"recovery code {number}", code)
    shown = await sent(browser, "/account/tokens", {"label": "phone", "scope": "read", "days": "9"})
    token = found(r'<code id="token">([^<]+)<', shown.text)
    day.secrets.add("API token of a page", token)
    again = day.browser(session)
    asked = await sent(again, "/login", {"login": "bob", "password": bob})
    step = day.secrets.add("second step", found(r'name="token" value="([^"]+)"', asked.text))
    await sent(again, "/login/second", {"token": step, "code": "nonsense-code"}, status=422)
    await sent(again, "/login/second", {"token": step, "code": codes[0]}, status=303)
    day.secrets.add("second session", again.cookies["fossilrepo"])
    await again.get("/account")
    new = day.secrets.add("changed password", "bob's n3w/word+4%")
    form = {"old": wrong, "password": new, "again": new}
    await sent(again, "/account/password", form, status=422)
    await sent(again, "/account/password", form | {"old": bob}, status=303)
    day.secrets.add("renewed session", again.cookies["fossilrepo"])


async def links(day: Day, session: aiohttp.ClientSession) -> None:
    """Invitations, also one that mail could not take, and new passwords by link."""
    url = day.command("user", "invite", "--login", "ida", "--email", "ida@example.org")
    token = day.secrets.add("invitation", url.rpartition("/")[2])
    other = day.command("user", "invite", "--login", "ina")
    day.secrets.add("invitation that waits", other.rpartition("/")[2])
    browser = day.browser(session)
    await browser.get(f"/invite/{token}")
    word = day.secrets.add("site password of ida", "ida's p@ss/word+5%")
    form = {"login": "ida", "name": "Ida", "password": word, "again": "something else"}
    await sent(browser, f"/invite/{token}", form, status=422)
    await sent(browser, f"/invite/{token}", form | {"again": word}, status=303)
    day.secrets.add("session of ida", browser.cookies["fossilrepo"])
    await browser.get(f"/invite/{token}")
    url = day.command("user", "reset-link", "ida")
    token = day.secrets.add("reset link", url.rpartition("/")[2])
    word = day.secrets.add("reset password", "ida's n3w/word+6%")
    browser = day.browser(session)
    await browser.get(f"/reset/{token}")
    await sent(browser, f"/reset/{token}", {"password": word, "again": word}, status=303)
    await browser.get("/forgot")
    await sent(browser, "/forgot", {"who": "ada@example.org"})


async def opening(day: Day, session: aiohttp.ClientSession) -> None:
    """From the site into a repository's own pages."""
    browser = await day.browser(session).sign_in("ada", day.secrets.values["site password of ada"])
    apex = f"localhost:{day.port}"
    front = Front(cast(Any, None), parts.Site(day.port), apex, day.host.data)
    way = Way(front, "ada", "right", {apex: dict(browser.cookies)})
    begun = await way.begin()
    for value in way.cookies[way.host].values():
        day.secrets.add("nonce", value)
    await way.ticket(begun)
    day.secrets.add("ticket", way.fields["ticket"])
    ended = await way.end()
    assert ended.status in (302, 303), ended.body
    assert await way.is_signed_in()
    await way.end()  # a ticket is good once


async def api(day: Day, session: aiohttp.ClientSession) -> None:
    browser = day.browser(session)
    for name in ("API token", "API token of a page", "mistyped password"):
        header = {"Authorization": f"Bearer {day.secrets.values[name]}"}
        answer = await browser.get("/api/v1/repositories", header)
        assert (answer.status == 200) == name.startswith("API"), answer.text


def pushes(day: Day) -> None:
    word = day.secrets.values["new Fossil password"]
    url = f"http://ada:{word}@127.0.0.1:{day.port}/right"
    checkout = Checkout.cloned(url, day.client / "work", "ada")
    for number in range(2):
        checkout.commit(f"file-{number}", "some text")
        checkout.push()
    old = day.secrets.values["Fossil password of ada in right"]
    checkout.push(f"http://ada:{old}@127.0.0.1:{day.port}/right", check=False)
    connection = http.client.HTTPConnection("127.0.0.1", day.port, timeout=30)
    with closing(connection):  # a person who signs in on Fossil's page with the wrong password
        site = day.secrets.values["site password of ada"]
        headers = {
            "Host": f"right.localhost:{day.port}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        body = f"u=ada&p={quote(site)}&in=Login"
        connection.request("POST", "/right/login", body, headers)
        connection.getresponse().read()


def imports(day: Day) -> None:
    closed = f"http://127.0.0.1:{parts.free_port()}"
    there = day.secrets.add("password on another server", "th3re's p@ss/word+7%")
    words = ("--clone", f"{closed}/lib", "--login", "ada", "--password-stdin")
    day.command("repo", "import", "away", *words, given=f"{there}\n", fails=True)
    token = day.secrets.add("token on another server", "git/tok3n+of-another")
    day.command(
        *("repo", "import", "away", "--git", f"{closed}/lib.git", "--token-stdin"),
        given=f"{token}\n",
        fails=True,
    )
    # One that succeeds: from this very host, by the password that ada has there.
    source = f"http://127.0.0.1:{day.port}/right"
    words = ("--clone", source, "--login", "ada", "--password-stdin")
    word = day.secrets.values["new Fossil password"]
    day.command("repo", "import", "again", *words, given=f"{word}\n")


async def sent(browser: Browser, path: str, form: dict[str, str], *, status: int = 200) -> Answer:
    answer = await browser.post(path, form)
    assert answer.status == status, (path, answer.status, re.sub(r"<[^>]+>", "", answer.text))
    return answer


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[1]


# What the search finds


@pytest.mark.parametrize("way", sorted(set(forms(PLANTED).values())))
def test_a_secret_in_any_form_is_found_in_any_kind_of_file(tmp_path: Path, way: str) -> None:
    secrets = Secrets()
    secrets.add("planted", PLANTED)
    assert not secrets.in_files(tmp_path)
    for number, form in enumerate(f for f, how in forms(PLANTED).items() if how == way):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "log").write_bytes(b"before " + form + b" after")
        with closing(sqlite3.connect(folder / "some.db")) as db:
            db.execute("PRAGMA journal_mode = wal")
            db.execute("CREATE TABLE t (a, b)")
            db.execute("INSERT INTO t VALUES (1, ?)", (b"x" * 9000 + form + b"x" * 9000,))
            db.execute("INSERT INTO t VALUES (2, ?)", (b"size" + zlib.compress(form * 9),))
            db.commit()
            assert secrets.in_files(folder) >= {
                f"planted, {way}: {name}" for name in ("log", "some.db")
            }


def test_base64_is_found_whatever_stands_before_and_after_it() -> None:
    secrets = Secrets()
    secrets.add("planted", PLANTED)
    for before in ("", "a", "ab", "login:", "ada:"):
        whole = f"{before}{PLANTED}\n".encode()
        assert secrets.within(base64.b64encode(whole)) == {"planted, base64"}
        assert secrets.within(base64.urlsafe_b64encode(whole)) == {"planted, base64"}


def test_a_secret_in_arguments_an_environment_or_a_file_that_goes_is_found(tmp_path: Path) -> None:
    secrets = Secrets()
    secrets.add("planted", PLANTED)
    passing = tmp_path / "passing"
    watch = Watch(tmp_path / "home", (tmp_path,))
    code = "print('up', flush=True); input()"
    for arguments, variables in (((PLANTED,), {}), ((), {"WORD": PLANTED})):
        with subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={"HOME": str(tmp_path), **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout and process.stdout.readline()
            passing.write_text(PLANTED)
            watch.look()
            passing.unlink()
            process.communicate(b"\n")
    program = sys.executable
    assert watch.arguments(secrets) == {f"planted, plain: argument of {program}"}
    around = watch.environments(secrets, of_host=OF_HOST, needed=NEEDED)
    assert around == {f"planted, plain: environment of {program}"}
    assert watch.short_lived(secrets) == {f"planted, plain: {passing}"}
