"""Grants: a role on a repository or on all of an organization, to a person or to a team."""

from __future__ import annotations

from fossilrepo.db.access import AccessStore
from fossilrepo.db.organizations import OrganizationStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.natives import Natives
from fossilrepo.services.projection import Projection


class Grants:
    def __init__(
        self,
        store: OrganizationStore,
        inside: AccessStore,
        people: PeopleStore,
        repositories: RepositoryStore,
        access: Access,
        natives: Natives,
        projection: Projection,
        audit: Audit,
    ) -> None:
        self._store = store
        self._inside = inside
        self._people = people
        self._repositories = repositories
        self._access = access
        self._natives = natives
        self._projection = projection
        self._audit = audit
