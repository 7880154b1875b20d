"""The second factor: codes of an authenticator, and recovery codes for when it is lost."""

from __future__ import annotations

from fossilrepo.db.people import PeopleStore
from fossilrepo.services.audit import Audit
from fossilrepo.services.keys import Keys


class SecondFactor:
    def __init__(self, store: PeopleStore, keys: Keys, audit: Audit) -> None:
        self._store = store
        self._keys = keys
        self._audit = audit
