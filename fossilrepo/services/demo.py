"""Sample data for those who just look: made on request, and all of it removed by one word.

Owns what there is of it: an organization, people who cannot sign in, repositories with months of
invented history, wiki and tickets, a mirror into a folder of the server, and one that
fails. Everything is made by the services that people use. What is removed is known by its names
and by the organization that it is in.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fossilrepo.errors import Conflict, FossilrepoError, NotFound
from fossilrepo.models import Actor, Repository, RepositoryState, Trust, Visibility, now
from fossilrepo.rights import MemberRole, Role
from fossilrepo.runtime.process import Command
from fossilrepo.services.demo_history import stream
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools.fossil import Fossil, Limits

if TYPE_CHECKING:
    from fossilrepo.services import Services

ORG = "demo"
_TITLE = "Sample data"
_PEOPLE = (("ines", "Inês Prado"), ("tomas", "Tomáš Novák"), ("wren", "Wren Okafor"))
_LOGIN = re.compile(r"(ines|tomas|wren)\.demo\d*")
_FOLDER = "demo/tides.git"
# Never a real host (RFC 2606): that mirror shows what a failure looks like.
_NOWHERE = "https://git.invalid/demo/almanac.git"
_SECONDS = 60.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Sample:
    name: str
    title: str
    description: str
    days: int
    visibility: Visibility


_SAMPLES = (
    _Sample("demo-tides", "Tides", "High and low water by the hour", 270, Visibility.PUBLIC),
    _Sample("demo-almanac", "Almanac", "Sun, moon and stars for a year", 180, Visibility.PUBLIC),
    _Sample("demo-lantern", "Lantern", "A small web page of the harbor", 90, Visibility.INTERNAL),
    _Sample("demo-ledger", "Ledger", "Who owes whom a beer", 40, Visibility.PRIVATE),
)
_TICKETS = (
    ("The table of March is one hour off", "Open"),
    ("Print the height in feet too", "Open"),
    ("Wrong colour in dark mode", "Fixed"),
    ("Crash at the pole", "Closed"),
)
_PAGES = {
    "Guide": "# Guide\n\nHow to read the tables, and what *neap* means.\n",
    "Plan": "# Plan\n\n1. Feet\n2. Moonrise\n3. A map\n",
}


class Demo:
    """`services` are those of the host that it is made in: all of them are used."""

    def __init__(self, fossil: Fossil, shelf: Shelf, mirrors: Path) -> None:
        self._fossil = fossil
        self._shelf = shelf
        self._mirrors = mirrors

    async def make(self, services: Services, actor: Actor, say: Say) -> list[Repository]:
        """All of it; Conflict, and nothing made, when one of its names is taken."""
        await services.organizations.create(actor, ORG, title=_TITLE)
        await services.organizations.configure(actor, ORG, skin=True)
        try:
            for sample in _SAMPLES:  # refused before the first one is made
                await _draft(services, actor, sample)
        except FossilrepoError:
            await services.organizations.delete(actor, ORG)
            raise
        try:
            return await self._make(services, actor, say)
        except BaseException:
            await self.remove(services, actor)
            raise

    async def _make(self, services: Services, actor: Actor, say: Say) -> list[Repository]:
        authors = [await _person(services, actor, name, full) for name, full in _PEOPLE]
        ines, tomas, wren = authors
        made = []
        for sample in _SAMPLES:
            say(f"inventing {sample.days} days of {sample.title}")
            made.append(await self._repository(services, actor, sample, authors))
        await services.grants.grant(actor, Role.WRITE, org=ORG, user=ines)
        await services.grants.grant(actor, Role.ADMIN, repository=made[0].name, user=tomas)
        await services.grants.grant(actor, Role.READ, repository=made[3].name, user=wren)
        say("writing wiki pages and tickets")
        for repository in made[:2]:
            await self._write(repository, ines)
        say("running its mirrors")
        for repository, url in ((made[0], f"folder:{_FOLDER}"), (made[1], _NOWHERE)):
            mirror = await services.mirrors.add(actor, repository.label, url)
            job = await services.mirrors.run(actor, mirror.id, here=True)
            await services.jobs.wait(job.id)
        for repository in made:
            await services.insights.refresh(await services.repos.get(actor, repository.label))
        return made

    async def remove(self, services: Services, actor: Actor) -> tuple[int, int]:
        """How many repositories and people went; NotFound when there is no sample data."""
        detail = await services.organizations.show(actor, ORG)
        if detail.org.title != _TITLE:
            raise NotFound(
                f"the organization {ORG} is not the one of the sample data",
                hint="it has another title; nothing was removed",
            )
        names = {sample.name for sample in _SAMPLES}
        repositories = 0
        for row in await _all(services, actor):
            if row.org == ORG and row.label in names:
                if row.state is not RepositoryState.TRASHED:
                    row = await services.repos.delete(actor, row.label)
                await services.repos.purge(actor, row.id)
                repositories += 1
        await asyncio.to_thread(_forget, self._mirrors / _FOLDER)
        people = [
            user.login for user in await services.accounts.users() if _LOGIN.fullmatch(user.login)
        ]
        for login in people:
            await services.people.delete(actor, login)
        await services.organizations.delete(actor, ORG)
        return repositories, len(people)

    async def _repository(
        self, services: Services, actor: Actor, sample: _Sample, authors: list[str]
    ) -> Repository:
        draft = await _draft(services, actor, sample)
        story, scratch = (self._shelf.scratch_file(f"{draft.id}{end}") for end in (".git", ""))
        self._shelf.require_space()
        try:
            _write_down(story, sample, authors)
            source = Command(("cat", "--", str(story)), env={"PATH": "/usr/bin:/bin"})
            await self._fossil.import_git(source, scratch, limits=Limits(seconds=_SECONDS))
            return await services.repos.add(actor, draft, scratch, action="repository.create")
        finally:
            self._shelf.discard(story)
            self._shelf.discard(scratch)

    async def _write(self, repository: Repository, login: str) -> None:
        file = self._shelf.file(repository.id)
        for name, text in _PAGES.items():
            words = ("wiki", "create", name, "--mimetype", "text/x-markdown")
            await self._fossil.on_file(file, login, *words, stdin=text.encode())
        for title, status in _TICKETS:
            await self._fossil.on_file(
                file, login, "ticket", "add", "title", title, "status", status
            )


def _write_down(file: Path, sample: _Sample, authors: list[str]) -> None:
    with file.open("wb") as target:
        target.writelines(stream(sample.name, sample.title, authors, now(), sample.days))
    file.chmod(0o644)


def _forget(copy: Path) -> None:
    shutil.rmtree(copy, ignore_errors=True)
    with suppress(OSError):  # not there, or not ours alone
        copy.parent.rmdir()


async def _all(services: Services, actor: Actor) -> list[Repository]:
    found = await services.repos.search(actor, "demo", limit=500)
    return [*found.repositories, *await services.repos.trash(actor)]


async def _draft(services: Services, actor: Actor, sample: _Sample) -> Repository:
    return await services.repos.draft(
        *(actor, sample.name, sample.title, sample.visibility, Trust.OWN),
        *(sample.description, ORG),
    )


async def _person(services: Services, actor: Actor, name: str, full: str) -> str:
    """A login is never given twice, so after a removal the next ones have a number."""
    for number in ("", *range(2, 1000)):
        login = f"{name}.demo{number}"
        try:
            await services.accounts.create_user(
                actor, login, name=full, email=f"{name}@demo.invalid"
            )
        except Conflict:
            continue
        await services.organizations.set_member(actor, ORG, login, MemberRole.MEMBER)
        return login
    raise Conflict(f"every login like {name}.demo is taken")
