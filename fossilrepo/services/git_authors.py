"""How the people of a repository are called in Git, and what its main branch is called there.

Owns both settings of an export. A name is fixed when its first check-in is exported, from the
person's account or from what the repository says: a Git commit never changes, so later changes
hold for later check-ins, unless somebody wants all commits to be made anew.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from fossilrepo.bridge import Author
from fossilrepo.db.mirrors import MirrorStore
from fossilrepo.errors import InvalidInput, NotFound
from fossilrepo.models import Actor, Repository, check_text
from fossilrepo.rights import Role
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_db, git_export
from fossilrepo.tools.fossil import FIRST_USER
from fossilrepo.tools.fossil_authors import authors_of

_EMAIL = re.compile(r"[^\s<>@]+@[^\s<>@]+")


class GitAuthors:
    def __init__(
        self,
        mirrors: MirrorStore,
        access: Access,
        shelf: Shelf,
        audit: Audit,
        git: Path,
    ) -> None:
        self._mirrors = mirrors
        self._access = access
        self._shelf = shelf
        self._audit = audit
        self._git = git

    async def of(self, repository: Repository) -> list[Author]:
        """For an export: those that are fixed, and now those of new users too."""
        fixed = list(await self._mirrors.authors(repository.id))
        known = {author.user for author in fixed}
        found = await asyncio.to_thread(authors_of, self._shelf.file(repository.id))
        fresh = [author for author in found if author.user not in known]
        if not fresh:
            return fixed
        people = {user.login: user for user in (await self._access.directory()).users.values()}
        named = []
        for author in fresh:
            person = people.get(author.user)
            if author.user == FIRST_USER:  # ours: it has no contact in any file
                author = Author(FIRST_USER, FIRST_USER, f"{FIRST_USER}@noemail.net")
            if person is not None and person.email:
                author = Author(author.user, person.name or person.login, person.email)
            named.append(author)
        await self._mirrors.add_authors(repository.id, named)
        return list(await self._mirrors.authors(repository.id))

    async def list(self, actor: Actor, repository_name: str) -> list[Author]:
        """Those that hold for the next check-in, by user; users without one as they would be."""
        repository = await self._access.repository(actor, repository_name, Role.ADMIN)
        newest = {a.user: a for a in await self._mirrors.authors(repository.id)}
        found = await asyncio.to_thread(authors_of, self._shelf.file(repository.id))
        return [newest.get(author.user, author) for author in found]

    async def set(
        self,
        actor: Actor,
        repository_name: str,
        user: str,
        name: str,
        email: str,
        *,
        rewrite: bool = False,
    ) -> Author:
        """From the next check-in on; `rewrite`: all commits are made anew, with other hashes."""
        repository = await self._access.repository(actor, repository_name, Role.ADMIN)
        name = check_text(name, what="name", most=200)
        if not name or any(c in name for c in "<>"):
            raise InvalidInput("the name is empty or has < or > in it", field="name")
        if not _EMAIL.fullmatch(email) or len(email) > 200:
            raise InvalidInput(f"{email[:80]!r} is no e-mail address", field="email")
        path = self._shelf.file(repository.id)
        if user not in {author.user for author in await asyncio.to_thread(authors_of, path)}:
            raise NotFound(f"no check-in of {repository.label} is by {user[:80]!r}", field="user")
        newest = (await asyncio.to_thread(fossil_db.waiting, path, 0)).newest_rcvid
        has_export = await asyncio.to_thread(git_export.git_dir(self._folder(repository)).exists)
        author = Author(user, name, email, 0 if rewrite or not has_export else newest)
        await self._mirrors.set_author(repository.id, author, alone=author.since == 0)
        if rewrite and has_export:
            await git_export.forget(self._folder(repository))
        await self._audit.record(
            actor,
            "repository.git-author",
            repository.label,
            id=repository.id,
            user=user,
            after=f"{name} <{email}>",
            rewrite=rewrite,
        )
        return author

    async def main_branch(self, actor: Actor, repository_name: str) -> str:
        repository = await self._access.repository(actor, repository_name, Role.ADMIN)
        return await self._mirrors.main_branch(repository.id)

    async def set_main_branch(self, actor: Actor, repository_name: str, branch: str) -> None:
        """What the trunk is called in Git."""
        repository = await self._access.repository(actor, repository_name, Role.ADMIN)
        if not git_export.legal_branch(branch):
            raise InvalidInput(
                f"{branch[:80]!r} cannot be the name of a Git branch",
                hint="for example main or trunk",
                field="main_branch",
            )
        before = await self._mirrors.main_branch(repository.id)
        await self._mirrors.set_main_branch(repository.id, branch)
        await self._audit.record(
            actor,
            "repository.git-main-branch",
            repository.label,
            id=repository.id,
            before=before,
            after=branch,
        )

    def _folder(self, repository: Repository) -> Path:
        return self._git / repository.id
