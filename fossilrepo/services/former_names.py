"""Names that repositories had: where they lead, and for whom they are kept.

Owns the times. A renamed repository's old name leads to it; the name of one that was deleted
leads nowhere. Either is kept for its organization meanwhile: whoever got it would get the
cookies, the stored data and the pushes that are meant for what was there. Taking a name
ends its lead.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from fossilrepo.db.access import AccessStore, FormerName
from fossilrepo.errors import Conflict
from fossilrepo.models import Actor, Repository, now

LEADS = timedelta(days=90)
KEPT = timedelta(days=30)  # of a deleted repository
RENEWED_EVERY = 3.0  # seconds; other processes rename too


class FormerNames:
    def __init__(self, store: AccessStore) -> None:
        self._store = store
        self._leads: dict[str, tuple[str, datetime]] = {}

    def present(self, name: str) -> str | None:
        """The present name of the repository that had this one; asked at every request."""
        found = self._leads.get(name)
        return found[0] if found is not None and found[1] > now() else None

    async def refuse_if_kept(self, actor: Actor, name: str, org: str) -> None:
        """Conflict unless the name is for a repository of the organization that had it.

        Who runs the site may give it to another one. The organization is not named: who asks
        may know nothing of it.
        """
        former = await self._store.former_name(name)
        if former is None or former.until <= now() or actor.is_admin or former.org == org:
            return
        raise Conflict(
            f"the name {name!r} was in use and is kept for its organization until "
            f"{former.until.date().isoformat()}",
            hint="choose another name, or ask an administrator of the site",
            field="name",
        )

    async def renamed(self, before: Repository) -> None:
        """Its name from before leads to it from now on."""
        await self._keep(before, leads=True, lasts=LEADS)

    async def deleted(self, before: Repository) -> None:
        await self._keep(before, leads=False, lasts=KEPT)

    async def taken(self, name: str) -> None:
        """A repository has the name now."""
        await self._store.free_name(name)
        await self.load()

    async def _keep(self, before: Repository, *, leads: bool, lasts: timedelta) -> None:
        if before.name is not None:
            await self._store.keep_name(
                FormerName(before.name, before.id, before.org, leads, now() + lasts)
            )
            await self.load()

    async def load(self) -> None:
        """Know what leads where, from the control database."""
        self._leads = {
            former.name: (present, former.until)
            for former, present in await self._store.former_names()
            if former.leads and present is not None
        }

    async def run(self) -> None:
        while True:
            await self.load()
            await asyncio.sleep(RENEWED_EVERY)
