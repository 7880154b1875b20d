"""Browsers that are signed in to a repository: Fossil's own login cookies.

Owns the columns of Fossil's `user` table that hold them. A user has one cookie in each
repository, whatever the number of browsers: a second sign-in is handed the same one, so to
sign out one browser here is to sign out all.
"""

from __future__ import annotations

from pathlib import Path

from fossilrepo.tools.fossil_db import reading, writing

_SIGNED_IN = "login = ? AND (cookie NOTNULL OR cexpire NOTNULL)"


def end(path: Path, login: str) -> bool:
    """Sign every browser of the user out of the repository; True when one was signed in."""
    with reading(path) as db:
        query = f"SELECT 1 FROM user WHERE {_SIGNED_IN}"  # noqa: S608
        if db.execute(query, (login,)).fetchone() is None:
            return False
    with writing(path, ("user",)) as db:
        db.execute(
            f"UPDATE user SET cookie = NULL, cexpire = NULL, ipaddr = NULL WHERE {_SIGNED_IN}",  # noqa: S608
            (login,),
        )
    return True
