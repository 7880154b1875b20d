"""People as administrators see them: renamed, made administrators, leaving, in bulk."""

from __future__ import annotations

from fossilrepo.db.people import PeopleStore
from fossilrepo.services.access import Access
from fossilrepo.services.accounts import Accounts
from fossilrepo.services.audit import Audit
from fossilrepo.services.projection import Projection


class People:
    def __init__(
        self,
        store: PeopleStore,
        accounts: Accounts,
        access: Access,
        projection: Projection,
        audit: Audit,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._access = access
        self._projection = projection
        self._audit = audit
