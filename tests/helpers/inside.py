"""Real people and machines at a repository's door: Fossil's client and Fossil's own pages.

Owns what one of them does in one line: clone, push, sign in, and change a user in Fossil's
setup pages as its form does.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fossilrepo.models import Actor, Visibility
from fossilrepo.rights import Role
from tests.helpers import gateway_parts as parts
from tests.helpers import hostile
from tests.helpers.opened import Front, Way

HERE = Actor.command_line()
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass
class Client:
    """The `fossil` command of one login, with a folder of its own."""

    front: Front
    folder: Path
    login: str
    password: str
    fossil: parts.Fossil = field(init=False)

    def __post_init__(self) -> None:
        self.fossil = parts.Fossil(self.folder / f"home-of-{self.login}", self.login)

    def url(self, name: str) -> str:
        return f"http://{self.login}:{self.password}@127.0.0.1:{self.front.site.port}/{name}"

    async def run(self, *words: str | Path) -> str:
        """What it said, with its exit code on the last line."""
        return await asyncio.to_thread(self.fossil.run, *words, ok=False)

    async def can_clone(self, name: str) -> bool:
        file = self.fossil.home / f"{name}.fossil"
        file.unlink(missing_ok=True)
        said = await self.run("clone", "--once", "--no-open", self.url(name), file)
        return said.endswith("exit 0") and file.exists()

    async def can_push(self, name: str) -> bool:
        """Whether a check-in of a fresh clone arrives."""
        if not await self.can_clone(name):
            return False
        return await asyncio.to_thread(self._push, name)

    def _push(self, name: str) -> bool:
        file, work = self.fossil.home / f"{name}.fossil", self.fossil.home / "work"
        self.fossil.run("open", "--nosync", "--force", file, "--workdir", work)
        self.fossil.run("settings", "autosync", "off", cwd=work)
        (work / f"by-{self.login}").write_text(self.password)
        self.fossil.run("add", f"by-{self.login}", cwd=work)
        words = ("commit", "-m", f"by {self.login}", "--no-warnings", "--allow-fork")
        self.fossil.run(*words, "--user-override", self.login, cwd=work)
        self.fossil.run("push", "--once", self.url(name), cwd=work, ok=False)
        self.fossil.run("close", cwd=work)
        (checkin,) = hostile.rows(file, "SELECT uuid FROM blob ORDER BY rid DESC LIMIT 1")
        there = hostile.rows(live(self.front, name), "SELECT uuid FROM blob")
        return checkin in there


def live(front: Front, name: str) -> Path:
    return (front.data / "repos" / f"{name}.fossil").resolve(strict=True)


def caps(front: Front, name: str) -> dict[str, str]:
    rows = hostile.rows(live(front, name), "SELECT login, CAST(cap AS TEXT) FROM user")
    return {str(login): str(cap or "") for login, cap in rows}


async def create(front: Front, name: str = "demo", *, private: bool = True) -> None:
    seen = Visibility.PRIVATE if private else Visibility.PUBLIC
    await front.services.repos.create(HERE, name, visibility=seen)


async def person(front: Front, folder: Path, login: str, name: str = "demo") -> Client:
    """One of ours, made when they are not there, with the Fossil password for the repository."""
    accounts, services = front.services.accounts, front.services
    if login not in {user.login for user in await accounts.users()}:
        await accounts.create_user(HERE, login)
    repository = await services.repos.get(HERE, name)
    return Client(front, folder, login, await accounts.sync_password(login, repository))


async def granted(front: Front, role: Role, login: str, name: str = "demo") -> Actor:
    """One of ours with this role in the repository."""
    users = {user.login: user for user in await front.services.accounts.users()}
    user = users.get(login) or await front.services.accounts.create_user(HERE, login)
    await front.services.grants.grant(HERE, role, repository=name, user=login)
    return Actor(login, is_admin=user.is_admin, user_id=user.id)


async def may_set_up(way: Way) -> bool:
    """Whether Fossil shows its setup pages to this browser."""
    answer = await way.ask("GET", f"/{way.name}/setup_ulist")
    return answer.status == 200 and b"setup_uedit" in answer.body


async def edit_user(way: Way, login: str, **fields: str) -> None:
    """Change a user, or make one, in Fossil's own page; fields as its form names them."""
    rows = hostile.rows(live(way.front, way.name), "SELECT uid, login, info, cap FROM user")
    uid, info, cap = next(((u, i, c) for u, name, i, c in rows if name == login), (0, "", ""))
    page = await way.ask("GET", f"/{way.name}/setup_uedit?id={uid}")
    found = re.search(rb'name="csrf" value="([^"]+)"', page.body)
    assert found, page.body[:2000]
    form: dict[str, Any] = {"csrf": found[1].decode(), "id": uid, "login": login}
    form |= {"info": info or "", "pw": "", "apply": "Apply Changes"}
    form |= {f"a{letter}": "on" for letter in cap or ""} | fields
    await post(way, "setup_uedit", form)


async def post(way: Way, page: str, form: Mapping[str, Any]) -> parts.Answer:
    referer = f"{way.front.origin(way.name)}/{way.name}/{page}"
    headers = {**FORM, "Referer": referer, "Origin": way.front.origin(way.name)}
    body = urlencode(form).encode()
    answer = await way.ask("POST", f"/{way.name}/{page}", headers, body)
    assert answer.status in (200, 302), answer.body[:2000]
    return answer
