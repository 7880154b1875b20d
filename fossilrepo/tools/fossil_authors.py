"""Who made the check-ins of a repository, as the repository itself knows them.

Owns Fossil's own rule for the name and the address of a Git commit (export.c of 2.21): the
address in the user's contact line, or the one that came with an import from Git.
"""

from __future__ import annotations

import re
from pathlib import Path

from fossilrepo.bridge import Author
from fossilrepo.tools.fossil_db import reading

_BRACKETED = re.compile(r"<([^>\s]*)")


def authors_of(path: Path) -> list[Author]:
    """One for each user that check-ins name, private ones aside."""
    with reading(path) as db:
        tables = {
            name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        }
        contacts = dict(db.execute("SELECT login, info FROM user"))
        if {"fx_git"} <= tables:
            contacts = dict(db.execute("SELECT user, email FROM fx_git"))
        users = db.execute(
            """SELECT DISTINCT e.user FROM event e WHERE e.type = 'ci' AND e.user IS NOT NULL
                AND NOT EXISTS (SELECT 1 FROM private p WHERE p.rid = e.objid) ORDER BY 1"""
        )
        return [_author(str(user), contacts.get(user)) for (user,) in users]


def _author(user: str, contact: object) -> Author:
    if not isinstance(contact, str):
        return Author(user, user, user if "@" in user else f"{user}@noemail.net")
    found = _BRACKETED.search(contact)
    return Author(user, user, found[1] if found else contact)
