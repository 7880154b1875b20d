"""Forgotten passwords: one-time links, given by an administrator or sent by mail."""

from __future__ import annotations

from fossilrepo.db.people import PeopleStore
from fossilrepo.services.accounts import Accounts
from fossilrepo.services.audit import Audit
from fossilrepo.services.links import Links
from fossilrepo.services.mail import Mail


class Resets:
    def __init__(
        self, people: PeopleStore, accounts: Accounts, mail: Mail, links: Links, audit: Audit
    ) -> None:
        self._people = people
        self._accounts = accounts
        self._mail = mail
        self._links = links
        self._audit = audit
