"""Access keys: a machine's way into one repository, as a Fossil user of its own."""

from __future__ import annotations

from fossilrepo.db.access import AccessStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.keys import Keys
from fossilrepo.services.projection import Projection


class AccessKeys:
    def __init__(
        self,
        store: AccessStore,
        repositories: RepositoryStore,
        access: Access,
        projection: Projection,
        keys: Keys,
        audit: Audit,
    ) -> None:
        self._store = store
        self._repositories = repositories
        self._access = access
        self._projection = projection
        self._keys = keys
        self._audit = audit
