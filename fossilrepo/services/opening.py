"""From the site into a repository: tickets that sign a browser in there, once."""

from __future__ import annotations

from fossilrepo.db.access import AccessStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.keys import Keys
from fossilrepo.services.projection import Projection
from fossilrepo.services.shelf import Shelf


class Opening:
    def __init__(
        self,
        store: AccessStore,
        people: PeopleStore,
        repositories: RepositoryStore,
        access: Access,
        projection: Projection,
        keys: Keys,
        shelf: Shelf,
        audit: Audit,
    ) -> None:
        self._store = store
        self._people = people
        self._repositories = repositories
        self._access = access
        self._projection = projection
        self._keys = keys
        self._shelf = shelf
        self._audit = audit
