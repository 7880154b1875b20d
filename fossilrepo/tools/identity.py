"""Which operating-system account repository files belong to.

Owns one decision: under which account Fossil runs and whose its files are.
An ordinary user has no choice; root picks an account that is not root, so that
what a hostile repository could reach is never root's. Never changes the
account of this process.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

ACCOUNTS = ("fossilrepo", "nobody")


@dataclass(frozen=True, slots=True)
class Identity:
    uid: int
    gid: int
    name: str


def service_identity(data: Path) -> Identity | None:
    """The account for Fossil and its files; None: our own, as when we are not root.

    The owner of `data/repos`, else of `data`, when that is not root; else the
    account `fossilrepo`, else `nobody`, if it can get as far as `data`: a folder
    below `/root` is closed to every other account.
    """
    if os.geteuid() != 0:
        return None
    for folder in (data / "repos", data):
        if (found := _owner(folder)) is not None:
            return found
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        found = Identity(entry.pw_uid, entry.pw_gid, name)
        return found if _reaches(found, data) else None
    return None


def give(path: Path, identity: Identity | None) -> None:
    """Make the file, folder or link itself the account's; nothing when we are not root."""
    if identity is not None:
        os.chown(path, identity.uid, identity.gid, follow_symlinks=False)


def _reaches(account: Identity, data: Path) -> bool:
    """Whether the account may pass through every folder that leads to `data`."""
    for folder in (data.absolute(), *data.absolute().parents):
        try:
            status = folder.stat()
        except OSError:
            continue  # not made yet
        bit = stat.S_IXOTH
        if status.st_uid == account.uid:
            bit = stat.S_IXUSR
        elif status.st_gid == account.gid:
            bit = stat.S_IXGRP
        if not status.st_mode & bit:
            return False
    return True


def _owner(folder: Path) -> Identity | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    if status.st_uid == 0:
        return None
    try:
        name = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        name = str(status.st_uid)
    return Identity(status.st_uid, status.st_gid, name)
