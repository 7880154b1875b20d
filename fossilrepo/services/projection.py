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
from fossilrepo.models import Repository, RepositoryState, User, Visibility
from fossilrepo.services.keys import Keys
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_db

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


def native_capabilities(before: str, *, archived: bool) -> str:
    """What a user that the repository brought along keeps: never `a` or `s`, archived reads."""
    kept = set(before) - set("asuvp")
    if set(before) & set("as"):
        kept |= set(ADMIN)
    if archived:
        kept &= set(READ)
    return "".join(sorted(kept))


class Projection:
    def __init__(
        self, repositories: RepositoryStore, people: PeopleStore, keys: Keys, shelf: Shelf
    ) -> None:
        self._repositories = repositories
        self._people = people
        self._keys = keys
        self._shelf = shelf

    async def plan(self, repository: Repository) -> fossil_db.Plan:
        """Who may do what in this repository now."""
        users = await self._people.users()
        secrets = await self._people.sync_secrets()
        natives = await self._repositories.native_users(repository.id)
        archived = repository.state is RepositoryState.ARCHIVED
        return fossil_db.Plan(
            users={
                user.login: fossil_db.PlannedUser(
                    password=self._keys.sync_password(secrets[user.id], repository.id),
                    capabilities=_capabilities(user, archived),
                    info=user.name,
                )
                for user in users
                if user.is_admin and not user.disabled
            },
            pseudo=pseudo_users(repository),
            natives={
                login: native_capabilities(before, archived=archived)
                for login, before in natives.items()
            },
            native_rule=lambda before: native_capabilities(before, archived=archived),
        )

    async def project(self, repository: Repository) -> bool:
        """Write what differs; True when something did. Remembers native users seen first."""
        plan = await self.plan(repository)
        done = await asyncio.to_thread(fossil_db.project, self._shelf.file(repository.id), plan)
        await self._repositories.remember_native(repository.id, done.new_natives)
        return done.changed

    async def project_all(self) -> None:
        """After a change of people: every repository that is not broken or in the trash."""
        living = await self._repositories.all(RepositoryState.ACTIVE, RepositoryState.ARCHIVED)
        for repository in living:
            try:
                await self.project(repository)
            except Exception as error:  # one bad file must not keep people in the others
                log.error("%s: people could not be written: %s", repository.label, error)


def _capabilities(user: User, archived: bool) -> str:
    if archived:
        return READ
    return ADMIN if user.is_admin else ""
