"""Organizations: who is in them, their teams, and what they let their members do."""

from __future__ import annotations

from fossilrepo.db.organizations import OrganizationStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.projection import Projection


class Organizations:
    def __init__(
        self,
        store: OrganizationStore,
        people: PeopleStore,
        repositories: RepositoryStore,
        access: Access,
        projection: Projection,
        audit: Audit,
    ) -> None:
        self._store = store
        self._people = people
        self._repositories = repositories
        self._access = access
        self._projection = projection
        self._audit = audit
