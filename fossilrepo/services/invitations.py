"""Invitations: one-time links by which a person makes an account."""

from __future__ import annotations

from fossilrepo.db.organizations import OrganizationStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.services.access import Access
from fossilrepo.services.accounts import Accounts
from fossilrepo.services.audit import Audit
from fossilrepo.services.links import Links
from fossilrepo.services.mail import Mail


class Invitations:
    def __init__(
        self,
        people: PeopleStore,
        organizations: OrganizationStore,
        access: Access,
        accounts: Accounts,
        mail: Mail,
        links: Links,
        audit: Audit,
    ) -> None:
        self._people = people
        self._organizations = organizations
        self._access = access
        self._accounts = accounts
        self._mail = mail
        self._links = links
        self._audit = audit
