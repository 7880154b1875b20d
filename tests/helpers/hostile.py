"""A running host as an attacker meets it, and what an attacker brings.

Owns raw requests (any Host header, any cookie), files behind the host's back,
messages of the sync protocol signed with a hash in place of a password, and the
marks by which a command that ran is found.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.helpers.host import Host
from tests.helpers.poll import until_sync

FORM = "application/x-www-form-urlencoded"
PLAIN_SYNC = "application/x-fossil-uncompressed"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")

    def every(self, name: str) -> list[str]:
        return self.headers.get_all(name) or []


@dataclass
class Target:
    """The host under attack; `ada` is its administrator."""

    host: Host

    @cached_property
    def port(self) -> int:
        return self.host.port

    @cached_property
    def token(self) -> str:
        return self.host.call("api-token", "create", "ada").stdout.split()[-1]

    @property
    def repos(self) -> Path:
        return self.host.data / "repos"

    def ask(
        self,
        method: str,
        path: str,
        *,
        hosts: list[str] | None = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request; `hosts` are its Host headers as they stand, by default the apex."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for value in [f"localhost:{self.port}"] if hosts is None else hosts:
                connection.putheader("Host", value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            connection.endheaders(body)
            got = connection.getresponse()
            return Answer(got.status, got.headers, got.read())

    def page(self, name: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """A page on the repository's host; with a body it is posted as a form."""
        named = f"{name}.localhost:{self.port}"
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        if body is not None:
            sent = {"Content-Type": FORM, "Referer": f"http://{named}/{name}/", **sent}
        return self.ask(
            "GET" if body is None else "POST", path, hosts=[named], body=body, headers=sent
        )

    def sign_in(self, name: str, login: str, password: str, **headers: str) -> Answer:
        """To Fossil's own page on the repository's host."""
        body = urlencode({"u": login, "p": password, "in": "Login"}).encode()
        return self.page(name, f"/{name}/login", body, **headers)

    def api(self, method: str, path: str, body: Any = None) -> Answer:
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        return self.ask(method, f"/api/v1{path}", body=content, headers=headers)

    def upload(self, name: str, content: bytes) -> dict[str, Any]:
        """What became of a file that came over the network: its job, once it ended."""
        answer = self.api("PUT", f"/imports/{name}", content)
        assert answer.status == 202, answer.text
        job = json.loads(answer.text)

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = json.loads(self.api("GET", f"/jobs/{job['id']}").text)
            return found if found["finished_at"] else None

        return until_sync(ended, timeout=90, what=f"the end of the import of {name}") or {}

    def show(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.api("GET", f"/repositories/{name}").text)
        return found

    def state(self, name: str) -> tuple[str, str]:
        """State and reason of a repository, or of a file that lies in the folder."""
        found = next((r for r in self.listed() if r["name"] == name), None)
        return (found["state"], found["reason"] or "") if found else ("", "")

    def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.host.json("repo", "list")
        return found

    def create(self, name: str) -> None:
        answer = self.api("POST", "/repositories", {"name": name})
        assert answer.status == 201, answer.text

    def drop_in(self, name: str, source: Path) -> None:
        """Copy a file into the folder and wait until it is served."""
        incoming = self.repos / f".{name}.part"
        shutil.copy(source, incoming)
        os.rename(incoming, self.repos / f"{name}.fossil")
        served = self.repos / ".served" / f"{name}.fossil"
        until_sync(served.is_symlink, timeout=20, what=f"the adoption of {name}")

    # Behind the host's back

    def file(self, name: str) -> Path:
        return (self.repos / f"{name}.fossil").resolve(strict=True)

    def write(self, name: str, *statements: str) -> None:
        """Change the live file as somebody with a way around the host would."""
        change(self.file(name), *statements)

    def rows(self, name: str, query: str) -> list[Any]:
        return rows(self.file(name), query)

    def settings(self, name: str) -> set[str]:
        return {row[0] for row in self.rows(name, "SELECT name FROM config")}

    def audited(self, action: str, name: str) -> bool:
        entries = self.host.json("audit", "--repo", name)
        return any(entry["action"] == action for entry in entries)

    def until_gone(self, name: str, *settings: str) -> None:
        until_sync(
            lambda: not self.settings(name) & set(settings),
            timeout=30,
            what=f"the repair of {name}",
        )


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as db, db:
        for statement in statements:
            db.execute(statement)


def rows(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
        return db.execute(query).fetchall()


def setting(name: str, value: str) -> str:
    """The statement that puts a row into `config`."""
    quoted = value.replace("'", "''")
    return f"REPLACE INTO config (name, value, mtime) VALUES ('{name}', '{quoted}', 0)"


# Commands that ran


@dataclass(frozen=True)
class Marks:
    """A command that leaves files of an unmistakable name wherever it may, and the search."""

    word: str
    folders: tuple[Path, ...]

    @classmethod
    def new(cls, *folders: Path) -> Marks:
        return cls(f"ran-{secrets.token_hex(6)}", (Path("/tmp"), *folders))  # noqa: S108

    @property
    def command(self) -> str:
        places = [f"{folder}/{self.word}" for folder in self.folders]
        return "; ".join(f"id > {place}" for place in [*places, self.word, f"/{self.word}"])

    def found(self) -> list[Path]:
        """The marks that are there; nothing is left of them."""
        seen = [path for path in self._everywhere() if self.word in path.name]
        for path in seen:
            path.unlink(missing_ok=True)
        return seen

    def _everywhere(self) -> Iterator[Path]:
        for folder in (Path("/"), Path.cwd(), *self.folders):
            yield from folder.glob(f"{self.word}*")
        for folder in self.folders[1:]:
            yield from folder.rglob(f"{self.word}*")


def traps(marks: Marks) -> dict[str, str]:
    """Settings that run commands in Fossil 2.21, those that only could, and those that reach out.

    The page's header shows `trap=42` while `th1-setup` is in force.
    """
    run = f"catch {{tclEval {{exec sh -c {{{marks.command}}}}}}}"
    leak = "catch {tclEval {set f [open /etc/passwd]; read $f}} got; puts $got"
    return {
        "hooks": json.dumps([{"type": "after-receive", "cmd": marks.command, "seq": 1}]),
        "hook-last-rcvid": "0",
        "tcl": "1",
        "tcl-setup": f"exec sh -c {{{marks.command}}}",
        "th1-setup": f"set trap [expr 40+2]; {run}",
        "header": f"<html><body>trap=$trap <th1>{run}; {leak}</th1>",
        "email-send-method": "pipe",
        "email-send-command": marks.command,
        "email-self": "a@example.org",
        "ssh-command": marks.command,
        "pgp-command": marks.command,
        "editor": marks.command,
        "web-browser": marks.command,
        "diff-command": marks.command,
        "xfer-common-script": run,
        "th1-hooks": "1",
        "proxy": "http://127.0.0.1:9/",
        "remote_user_ok": "1",
        "self-register": "1",
        "default-perms": "s",
    }


TAKEN_OUT = frozenset({"hooks", "tcl", "tcl-setup", "th1-setup", "email-send-method",
                       "email-send-command", "ssh-command", "pgp-command", "editor",
                       "web-browser", "diff-command", "xfer-common-script", "th1-hooks",
                       "proxy", "remote_user_ok", "self-register", "default-perms"})  # fmt: skip


# The sync protocol


def hashed(project_code: str, login: str, password: str) -> str:
    """`user.pw`, which is itself the credential of the sync protocol."""
    return hashlib.sha1(f"{project_code}/{login}/{password}".encode()).hexdigest()


def signed(login: str, pw: str, cards: str) -> bytes:
    """A sync message with its login card made from the hash (Fossil's www/sync.wiki)."""
    nonce = hashlib.sha1(cards.encode()).hexdigest()
    signature = hashlib.sha1((nonce + pw).encode()).hexdigest()
    return f"login {login} {nonce} {signature}\n{cards}".encode()


def config_push(project_code: str, area: str, row: str) -> str:
    """The cards that write one row of a configuration area."""
    payload = f"{int(time.time()) + 5} {row}"
    return f"push {'0' * 40} {project_code}\nconfig /{area} {len(payload)}\n{payload}\n"
