"""What somebody changed of people inside Fossil, behind our back: told, and put right.

Owns the record of it and the pass over all repositories once a day. What differs is found
by the projection, which compares with what it wrote last, and repairs in the same go.
"""

from __future__ import annotations

import asyncio
import logging

from fossilrepo.db.access import AccessStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import FossilrepoError
from fossilrepo.models import Actor, Repository, RepositoryState
from fossilrepo.services.audit import Audit
from fossilrepo.services.projection import Projection
from fossilrepo.tools.fossil_users import Drifted

DAY = 86400.0  # seconds
QUICKEST = 0.2  # seconds between two repositories
LONGEST = 200  # characters that are kept of a login or of what was found
MOST = 50  # rows that are told of one repair

log = logging.getLogger(__name__)


class Drift:
    def __init__(
        self,
        store: AccessStore,
        repositories: RepositoryStore,
        projection: Projection,
        audit: Audit,
    ) -> None:
        self._store = store
        self._repositories = repositories
        self._projection = projection
        self._audit = audit
        projection.on_drift.append(self.record)

    async def record(self, repository: Repository, drifts: tuple[Drifted, ...]) -> None:
        """Keep what was found and what it was made to be, for the repository's page and the log."""
        told = [
            Drifted(_plain(one.login), _plain(one.found), _plain(one.repaired))
            for one in drifts[:MOST]
        ]
        for drift in told:
            await self._store.add_drift(repository.id, drift.login, drift.found, drift.repaired)
        await self._audit.record(
            Actor.system(),
            "repository.people-repaired",
            repository.label,
            before={drift.login: drift.found for drift in told},
            after={drift.login: drift.repaired for drift in told},
            count=len(drifts),
        )

    async def look_at_all(self, *, lasts: float = 0.0) -> None:
        """One pass, spread over about so many seconds. A bad file does not end it."""
        living = await self._repositories.all(RepositoryState.ACTIVE, RepositoryState.ARCHIVED)
        for repository in living:
            try:
                await self._projection.project(repository)
            except FossilrepoError as error:
                log.error("%s: people could not be looked at: %s", repository.label, error)
            await asyncio.sleep(max(QUICKEST, lasts / len(living)) if lasts else 0)
        if lasts and not living:
            await asyncio.sleep(lasts)

    async def run(self) -> None:
        await self.look_at_all()  # what a crash left between a change of people and the files
        while True:
            await self.look_at_all(lasts=DAY)


def _plain(text: str) -> str:
    """Whatever stood there, as one short line that every database takes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:LONGEST])[:LONGEST]
