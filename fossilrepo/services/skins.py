"""The look of repositories: those of an organization that wants it wear the site's.

Owns which repository wears what. The skin is Fossil's own mechanism (two rows of its settings),
leads back to the site, and goes as it came; whoever made a skin of their own keeps it.
"""

from __future__ import annotations

import asyncio
import logging
from html import escape
from pathlib import Path

from fossilrepo import resources
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import FossilrepoError
from fossilrepo.models import Repository, RepositoryState
from fossilrepo.services.access import Access
from fossilrepo.services.links import Links
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_skin
from fossilrepo.tools.fossil_skin import Skin, Worn

log = logging.getLogger(__name__)

LIVING = (RepositoryState.ACTIVE, RepositoryState.ARCHIVED)


class Skins:
    def __init__(
        self, repositories: RepositoryStore, access: Access, shelf: Shelf, links: Links
    ) -> None:
        self._repositories = repositories
        self._access = access
        self._shelf = shelf
        self._links = links
        folder = resources.templates() / "fossil"
        self._css = (folder / "skin.css").read_text()
        self._header = (folder / "header.txt").read_text()

    def skin(self, repository: Repository) -> Skin:
        """What the repository wears when its organization wants it to."""
        page = f"{self._links.public_url}/repos/{repository.label}"
        header = self._header.replace("{{page}}", _in_header(page))
        return Skin(self._css, header.replace("{{domain}}", _in_header(self._links.domain)))

    async def dress(self, repository: Repository, file: Path | None = None) -> Worn:
        """Give it what its organization wants; raises what reading and writing any file does.

        `file`: where it lies before it has its place.
        """
        directory = await self._access.directory()
        org = directory.organizations.get(repository.org)
        skin = self.skin(repository) if org is not None and org.skin else None
        path = file or self._shelf.file(repository.id)
        return await asyncio.to_thread(fossil_skin.wear, path, skin)

    async def changed(self, repository: Repository) -> None:
        """It is renamed or moved, or its file changed: a file that cannot be read says so
        elsewhere, and is dressed with its next change."""
        try:
            await self.dress(repository)
        except FossilrepoError as error:
            log.warning("%s: its skin could not be set: %s", repository.label, error)

    async def dress_all(self, org: str | None = None) -> None:
        """Every repository that is served, or those of one organization."""
        for repository in await self._repositories.all(*LIVING):
            if org in (None, repository.org):
                await self.changed(repository)


def _in_header(text: str) -> str:
    """As text in a header of Fossil's, which is HTML in which TH1 replaces $variables."""
    return escape(text).replace("$", "&#36;")
