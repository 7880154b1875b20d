"""What people may do, written into each repository's own user table.

Owns the capabilities of each role and the plan for a repository; Fossil itself
enforces it, for the web, clone, push and sync. Nobody is ever given `a` or `s`:
in Fossil 2.21 `a` makes itself `s` with one configuration push, and `s` is a
shell on the server.
"""

from __future__ import annotations

import asyncio
import logging

from fossilrepo.db.people import PeopleStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import FossilrepoError
from fossilrepo.models import Repository, RepositoryState, Visibility
from fossilrepo.services.keys import Keys
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_users

log = logging.getLogger(__name__)

# g clone, h hyperlinks, j read wiki, o check out, r read tickets, z download archives, 2 read forum
READ = "ghjorz2"
# b attach, c append to tickets, f new wiki pages, i check in, k write wiki, m append to wiki,
# n new tickets, w write tickets, y unversioned files, 3 write forum, 4 forum without moderation
WRITE = READ + "bcfikmnwy34"
# l moderate wiki, q moderate tickets, t ticket reports, 5 moderate forum, 6 pin forum posts,
# A announce
ADMIN = WRITE + "lqt56A"


def pseudo_users(repository: Repository) -> dict[str, str]:
    """Capabilities of Fossil's four special users: strangers read what is public, or nothing."""
    public = repository.visibility is Visibility.PUBLIC
    return {
        "nobody": READ if public else "",
        "anonymous": READ if public else "",
        "reader": "",
        "developer": "",
    }


class Projection:
    def __init__(
        self, repositories: RepositoryStore, people: PeopleStore, keys: Keys, shelf: Shelf
    ) -> None:
        self._repositories = repositories
        self._people = people
        self._keys = keys
        self._shelf = shelf

    async def plan(self, repository: Repository) -> fossil_users.Plan:
        """Who may do what in this repository now."""
        archived = repository.state is RepositoryState.ARCHIVED
        return fossil_users.Plan(
            users=await self._admins(repository.id, READ if archived else ADMIN),
            pseudo=pseudo_users(repository),
            archived=archived,
        )

    async def reading_plan(self, repository_id: str) -> fossil_users.Plan:
        """For a copy of the repository that administrators look at, and nobody else.

        They have the passwords in it that they have in the repository.
        """
        return fossil_users.Plan(
            users=await self._admins(repository_id, READ),
            pseudo=dict.fromkeys(fossil_users.PSEUDO_USERS, ""),
            archived=True,
        )

    async def _admins(
        self, repository_id: str, capabilities: str
    ) -> dict[str, fossil_users.Account]:
        users = await self._people.users()
        secrets = await self._people.sync_secrets()
        return {
            user.login: fossil_users.Account(
                password=self._keys.sync_password(secrets[user.id], repository_id),
                capabilities=capabilities,
                full_name=user.name,
            )
            for user in users
            if user.is_admin and not user.disabled
        }

    async def project(self, repository: Repository) -> bool:
        """Write what differs; True when something did."""
        plan = await self.plan(repository)
        path = self._shelf.file(repository.id)
        done = await asyncio.to_thread(fossil_users.project, path, plan)
        if done.collisions:
            log.warning(
                "%s: %s exist there already and are left alone",
                repository.label,
                ", ".join(done.collisions),
            )
        return bool(done.changed)

    async def project_all(self) -> None:
        """After a change of people: every repository that is not broken or in the trash."""
        living = await self._repositories.all(RepositoryState.ACTIVE, RepositoryState.ARCHIVED)
        for repository in living:
            try:
                await self.project(repository)
            except FossilrepoError as error:  # one bad file must not keep people in the others
                log.error("%s: people could not be written: %s", repository.label, error)
