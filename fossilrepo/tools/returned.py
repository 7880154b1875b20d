"""A repository file that comes back from a replica: what in it must not count any more.

Owns that list. The replica may have been in other hands, and a login cookie in it is
as good as a password for a year. Blocks; for files that nobody else has open.
"""

from __future__ import annotations

from pathlib import Path

from fossilrepo.tools.fossil_db import writing


def sign_everybody_out(path: Path) -> None:
    """No browser that was signed in to the repository is so any more."""
    with writing(path, ("user",)) as db:
        db.execute(
            "UPDATE user SET cookie = NULL, cexpire = NULL, ipaddr = NULL"
            " WHERE cookie IS NOT NULL OR cexpire IS NOT NULL OR ipaddr IS NOT NULL"
        )
