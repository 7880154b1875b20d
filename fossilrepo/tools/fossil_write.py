"""What this program writes into a repository's settings, and takes out of them.

Owns our own rows in the `config` table (identity), the settings that every
repository gets, the list of settings that run code or reach out (disarmed),
and the scrubbing of files that leave. User rows for people are the business of
`fossil_users`. Every function blocks; each is one transaction.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fossilrepo.tools.fossil_db import PREFIX, compact, config, reading, writing

# What every repository carries here. The server honours only the repository's own rows.
SETTINGS: Mapping[str, str] = {
    "backoffice-nodelay": "1",  # no process of Fossil's stays behind for a minute
    "localauth": "1",  # a request from this machine is not an administrator's
    "access-log": "0",  # strangers' sign-in attempts would grow the file without end
    "auto-hyperlink": "1",  # people without an account get real links, robots do not
}

# Settings that run programs, write files, reach out or open other ways in (SQLite GLOBs).
DANGEROUS = (
    "hooks", "tcl", "tclsh", "tcl-*", "th1-*", "xfer-*-script", "email-send-*",
    "backoffice-logfile", "backoffice-disable", "ssh-command", "pgp-command", "editor",
    "web-browser", "diff-command", "gdiff-command", "gmerge-command", "ssl-*", "proxy",
    "peer-*", "login-group-*", "remote_user_ok", "self-register", "self-pw-reset",
    "default-perms", "last-sync-*", "sync-*", "syncwith:*", "syncfrom:*", "gitpush:*",
    "http-auth:*", "cert:*", "cert-*", "allow-symlinks", "repolist-skin",
    "walias:*",  # a writer's raw page under an address that the gateway takes for Fossil's own
)  # fmt: skip
# Where the file was used before. Fossil writes these again at every visit to a new address, so
# they go when a file enters, and not after every change.
_PLACES = ("baseurl:*", "ckout:*")

_PERSONAL = ("captcha-secret*", "last-sync-*", "sync-*", "syncwith:*", "syncfrom:*", "gitpush:*",
             "http-auth:*", "email-send-*", "peer-*", "login-group-*", "baseurl:*", "ckout:*",
             "subrepo:*", f"{PREFIX}*")  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """Which of our repositories a file is, kept inside it: the files alone tell everything."""

    id: str
    name: str
    title: str
    description: str
    visibility: str


def read_identity(path: Path) -> StoredIdentity | None:
    """What `write_identity` left in the file; None when it is not one of ours."""
    with reading(path) as db:
        values = [config(db, PREFIX + field) for field in StoredIdentity.__dataclass_fields__]
    if not values[0]:
        return None
    return StoredIdentity(*(value or "" for value in values))


def write_identity(path: Path, identity: StoredIdentity) -> bool:
    """Keep who the repository is inside it, and tell Fossil its title; True when it changed."""
    rows = {PREFIX + name: getattr(identity, name) for name in identity.__dataclass_fields__}
    rows["project-name"] = identity.title or identity.name
    rows["project-description"] = identity.description
    with writing(path, ("config",)) as db:
        return bool(put_config(db, rows))


def apply_settings(path: Path, settings: Mapping[str, str] = SETTINGS) -> bool:
    """Give the repository the settings that hosting here needs; True when it changed."""
    with writing(path, ("config",)) as db:
        return bool(put_config(db, settings))


def mark_restored(path: Path, at: datetime) -> None:
    """A write that changes nothing for people: Litestream looks at a file when it is written."""
    with writing(path, ("config",)) as db:
        put_config(db, {f"{PREFIX}restored": at.isoformat()})


def give_a_front_page(path: Path) -> None:
    """Let a repository that names no front page open on its timeline, not on an empty page."""
    with writing(path, ("config",)) as db:
        if config(db, "index-page") is None:
            put_config(db, {"index-page": "/timeline"})


def dangerous(path: Path) -> dict[str, str]:
    """The settings that `disarm` would take out, with their values."""
    with reading(path) as db:
        return _matching(db, DANGEROUS)


def disarm(path: Path, *, entering: bool = False) -> dict[str, str]:
    """Take out every setting that runs code or reaches out; gives back what was there.

    From a file that is `entering` go also the addresses where it was used before.
    Asked after every change of a repository, so it takes no lock when there is nothing to do.
    """
    globs = (*DANGEROUS, *_PLACES) if entering else DANGEROUS
    with reading(path) as db:
        if not _matching(db, globs) and not differing(db, SETTINGS):
            return {}
    with writing(path, ("config",)) as db:
        found = _matching(db, DANGEROUS)
        gone = _matching(db, globs)
        db.executemany("DELETE FROM config WHERE name = ?", [(name,) for name in gone])
        put_config(db, SETTINGS)
    return found


def scrub(path: Path) -> None:
    """Make a copy fit to leave: no password, cookie, address, mail or stored credential.

    Only for copies: the live file keeps them. The copy is written anew at the end,
    because deleted rows stay in the free space of a file.
    """
    with writing(path, ("config", "user", "accesslog", "subscriber", "rcvfrom")) as db:
        db.execute(
            "UPDATE user SET pw = NULL, cookie = NULL, cexpire = NULL, ipaddr = NULL, info = ''"
            " WHERE login NOT IN ('nobody', 'developer', 'reader', 'anonymous')"
        )
        db.execute("UPDATE user SET cookie = NULL, cexpire = NULL, ipaddr = NULL")
        db.execute("UPDATE user SET pw = hex(randomblob(8)) WHERE login = 'anonymous'")
        db.execute("UPDATE rcvfrom SET ipaddr = NULL")
        for name in _matching(db, _PERSONAL):
            db.execute("DELETE FROM config WHERE name = ?", (name,))
        for table in ("accesslog", "subscriber"):
            if _has_table(db, table):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 -- the two names above
    compact(path)


def put_config(db: sqlite3.Connection, rows: Mapping[str, str]) -> int:
    """Write the rows of `config` that differ; the number written."""
    written = differing(db, rows)
    db.executemany(
        "REPLACE INTO config (name, value, mtime) VALUES (?, ?, ?)",
        [(name, value, int(time.time())) for name, value in written.items()],
    )
    return len(written)


def differing(db: sqlite3.Connection, rows: Mapping[str, str]) -> dict[str, str]:
    """Those of the rows that the repository does not have yet."""
    return {name: value for name, value in rows.items() if config(db, name) != value}


def _matching(db: sqlite3.Connection, globs: tuple[str, ...]) -> dict[str, str]:
    condition = " OR ".join(["name GLOB ?"] * len(globs))
    names = db.execute(f"SELECT name FROM config WHERE {condition}", globs).fetchall()  # noqa: S608
    return {name: config(db, name) or "" for (name,) in names}


def _has_table(db: sqlite3.Connection, table: str) -> bool:
    found = db.execute("SELECT 1 FROM sqlite_schema WHERE type='table' AND name=?", (table,))
    return found.fetchone() is not None
