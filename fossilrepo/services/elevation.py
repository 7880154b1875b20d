"""Elevation: an administrator of the site takes Fossil's setup right, for a quarter of an hour."""

from __future__ import annotations

from fossilrepo.db.access import AccessStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.projection import Projection


class Elevations:
    def __init__(
        self,
        store: AccessStore,
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
