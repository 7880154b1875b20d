"""One person before one repository: Fossil's pages and the real client, each action tried whole.

Owns what an action is, and that it counts as allowed by its effect alone: what is in the
repository on the server afterwards, or in the file on the client. A refused person still sends
the form, with the best token that they have.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from tests.helpers.host import Checkout, Host

ACTIONS = ("browse", "clone", "pull", "push", "wiki", "ticket", "forum", "users", "setup")
# `fossil info` shows the first 40 digits.
CHECKIN = "SELECT 1 FROM blob WHERE substr(uuid, 1, 40) = ?"
NEWEST = """SELECT substr(uuid, 1, 40) FROM event JOIN blob ON rid = objid
    WHERE type = 'ci' ORDER BY rid DESC"""
NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Desk:
    """The command line beside a running host; `way` is the port by which visitors reach `port`."""

    host: Host
    port: int
    way: int

    def __call__(self, *words: str) -> str:
        return self.host.call(*words).stdout.strip()


@dataclass
class Place:
    """A repository with two check-ins; `old` is a clone that has the first only."""

    desk: Desk
    name: str
    folder: Path
    old: Path = field(init=False)
    work: Checkout = field(init=False)
    newest: str = field(init=False)

    @classmethod
    def made(cls, desk: Desk, name: str, folder: Path, *options: str) -> Place:
        """By `ada`, who runs the site."""
        desk("repo", "create", name, *options)
        place = cls(desk, name, folder / name)
        url = place.url("ada", desk("user", "sync-password", "ada", name))
        place.work = Checkout.cloned(url, place.folder / "work", "ada")
        place.old = place.folder / "old.fossil"
        shutil.copyfile(place.work.file, place.old)
        place.newest = place.work.commit("readme.txt", "What it is for.\n")
        place.work.push()
        assert place.holds(CHECKIN, place.newest)
        return place

    def url(self, login: str = "", password: str = "") -> str:
        user = f"{login}:{password}@" if login else ""
        return f"http://{user}127.0.0.1:{self.desk.way}/{self.name}"

    def holds(self, query: str, *values: object) -> bool:
        """Whether the file on the server has such a row."""
        live = (self.desk.host.data / "repos" / f"{self.name}.fossil").resolve(strict=True)
        return bool(_row(live, query, *values))

    def visitor(self, login: str = "") -> Visitor:
        """Signed in as far as the password that the person has lets them; "" is a stranger."""
        if not login:
            return Visitor(self)
        done = self.desk.host.call("user", "sync-password", login, self.name, check=False)
        visitor = Visitor(self, login, done.stdout.strip() or "not-known-to-anybody")
        visitor.sign_in()
        return visitor


@dataclass
class Visitor:
    place: Place
    login: str = ""
    password: str = ""
    cookie: str = ""

    def may(self, action: str) -> bool:
        tries: Mapping[str, Callable[[], bool]] = {
            "browse": self._browse,
            "clone": self._clone,
            "pull": self._pull,
            "push": self._push,
            "wiki": self._wiki,
            "ticket": self._ticket,
            "forum": self._forum,
            "users": lambda: self._shows("setup_ulist", "setup_uedit?id="),
            "setup": lambda: self._shows("setup", "setup_access"),
        }
        return tries[action]()

    def all(self) -> str:
        """The actions that are allowed."""
        return self._allowed(ACTIONS)

    def doors(self) -> str:
        """The same of four that read and write, by pages and by the client."""
        return self._allowed(("browse", "clone", "push", "wiki"))

    def _allowed(self, actions: Sequence[str]) -> str:
        return " ".join(action for action in actions if self.may(action))

    # Pages

    def ask(self, page: str, form: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
        """The answer, not read yet; a form is sent as a browser sends it from that page."""
        host = f"{self.place.name}.localhost:{self.place.desk.port}"
        headers = {"Host": host, "Connection": "close"}
        if self.cookie:
            headers["Cookie"] = self.cookie
        if form is not None:
            headers |= {
                "Content-Type": "application/x-www-form-urlencoded",
                "Origin": f"http://{host}",
                "Referer": f"http://{host}/{self.place.name}/{page}",
            }
        connection = http.client.HTTPConnection("127.0.0.1", self.place.desk.way, timeout=30)
        body = None if form is None else urlencode(form)
        method = "GET" if form is None else "POST"
        connection.request(method, f"/{self.place.name}/{page}", body, headers)
        return connection.getresponse()

    def sign_in(self) -> bool:
        """On Fossil's own page; whether it gave a cookie."""
        with self.ask("login", {"u": self.login, "p": self.password, "in": "Login"}) as answer:
            lines = answer.headers.get_all("Set-Cookie") or []
        self.cookie = "; ".join(line.partition(";")[0] for line in lines)
        return bool(self.cookie)

    def _shows(self, page: str, what: str) -> bool:
        with self.ask(page) as answer:
            return answer.status == 200 and what in answer.read().decode(errors="replace")

    def _browse(self) -> bool:
        return self._shows("timeline?y=ci", self.place.newest[:10])

    def _token(self, page: str) -> str:
        """Of the page's form, else the one that Fossil would put there for this cookie."""
        with self.ask(page) as answer:
            found = re.search(r'name="csrf" value="([^"]+)"', answer.read().decode())
        return found[1] if found else self.cookie.partition("=")[2][:10]

    def _sent(self, page: str, form: Mapping[str, str]) -> None:
        with self.ask(page, {"csrf": self._token("tktnew"), **form}) as answer:
            assert answer.status < 500, (answer.status, answer.read())

    def _wiki(self) -> bool:
        name = f"Page {next(NUMBERS)}"
        form = {"page": name, "content": "text", "mimetype": "text/x-markdown", "isnew": "1"}
        self._sent("wikiajax/save", form)
        return self.place.holds("SELECT 1 FROM tag WHERE tagname = ?", f"wiki-{name}")

    def _ticket(self) -> bool:
        title = f"Ticket {next(NUMBERS)}"
        form = {"title": title, "type": "Code_Defect", "icomment": "text", "submit": "Submit"}
        self._sent("tktnew", form)
        return self.place.holds("SELECT 1 FROM ticket WHERE title = ?", title)

    def _forum(self) -> bool:
        title = f"Post {next(NUMBERS)}"
        form = {"title": title, "content": "text", "mimetype": "text/plain", "submit": "Submit"}
        self._sent("forume1", form)
        posted = "SELECT 1 FROM event WHERE comment LIKE ?"
        if self.place.holds("SELECT 1 FROM sqlite_master WHERE name = 'modreq'"):
            posted += " AND objid NOT IN (SELECT objid FROM modreq)"  # not waiting for a moderator
        return self.place.holds(posted, f"%{title}")

    # The client

    def _client(self) -> Checkout:
        """The checkout of the repository, in this person's hands."""
        url = self.place.url(self.login, self.password)
        return Checkout(self.place.work.folder, self.login or "somebody", url)

    @staticmethod
    def _said(done: subprocess.CompletedProcess[str]) -> None:
        """Only the right refusals count."""
        said = done.stdout + done.stderr
        assert "server says: 429" not in said and "server says: 5" not in said, said

    def _clone(self) -> bool:
        client, file = self._client(), self.place.folder / f"clone-{next(NUMBERS)}.fossil"
        done = client.fossil("clone", "--once", "--no-open", client.url, str(file), check=False)
        self._said(done)
        return done.returncode == 0 and file.exists() and _has(file, self.place.newest)

    def _pull(self) -> bool:
        client, file = self._client(), self.place.folder / f"old-{next(NUMBERS)}.fossil"
        shutil.copyfile(self.place.old, file)
        assert not _has(file, self.place.newest)
        self._said(client.fossil("pull", client.url, "--once", "-R", str(file), check=False))
        return _has(file, self.place.newest)

    def _push(self) -> bool:
        client = self._client()
        # Another size each time: Fossil does not see an edit of equal size within a second.
        (client.folder / "readme.txt").write_text("line\n" * next(NUMBERS))
        client.fossil("commit", "-m", "a change", "--no-warnings", "--allow-fork")
        checkin = _row(client.file, NEWEST)
        assert not self.place.holds(CHECKIN, checkin)
        self._said(client.push(check=False))
        return self.place.holds(CHECKIN, checkin)


def _row(file: Path, query: str, *values: object) -> str:
    """The first column of the first row, "" where there is none."""
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        row = db.execute(query, values).fetchone()
    return str(row[0]) if row else ""


def _has(file: Path, checkin: str) -> bool:
    return bool(_row(file, CHECKIN, checkin[:40]))
