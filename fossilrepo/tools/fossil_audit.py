"""What Fossil's own security audit (the page /secaudit0) says of a repository.

Owns how it is asked without running anything of the repository's: the audit looks at settings and
users alone, so these are copied into an empty repository, without skins and whatever else Fossil
would run or follow.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from html import unescape
from pathlib import Path

from fossilrepo.errors import ToolFailed
from fossilrepo.tools.fossil import Fossil
from fossilrepo.tools.fossil_db import PREFIX, reading
from fossilrepo.tools.fossil_write import DANGEROUS
from fossilrepo.tools.identity import Identity, give

_SKIN = ("css", "header", "footer", "details", "js", "draft*", "skin:*", "mainmenu", "index-page")
_LEFT_OUT = (*DANGEROUS, *_SKIN, "baseurl:*", "ckout:*", f"{PREFIX}*", "*-code", "aux-schema")
# A request from this machine is an administrator's, and leaves no process behind.
_HERE = (("localauth", "0"), ("backoffice-disable", "1"))
_FINDING = re.compile(r"<b>(?:WARNING|Caution):</b>(.*?)(?=<li>|<p>|</ol>)", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
# What the host has decided for all repositories, or has for all of them in another way.
_OURS = ("unencrypted connection", '"Write-Unver" privilege (')


class Auditor:
    """Made by `auditor`; each question takes some hundredths of a second."""

    def __init__(self, fossil: Fossil, folder: Path, identity: Identity | None) -> None:
        self._fossil = fossil
        self._folder = folder
        self._identity = identity

    async def findings(self, repository: Path) -> list[str]:
        """Its warnings, a sentence each. FossilrepoError when the file cannot be read."""
        name = f"{repository.stem}.fossil"
        copy = await asyncio.to_thread(self._copy, repository, self._folder / name)
        try:
            page = await self._fossil.page(copy, "/secaudit0")
        finally:
            await asyncio.to_thread(copy.unlink, missing_ok=True)
        return parse(page)

    def _copy(self, repository: Path, copy: Path) -> Path:
        out = " AND ".join("name NOT GLOB ?" for _ in _LEFT_OUT)
        with reading(repository) as db:
            settings = _texts(
                db,
                "SELECT CAST(name AS BLOB), CAST(value AS BLOB) FROM config"  # noqa: S608
                f" WHERE typeof(value) != 'blob' AND {out}",
                _LEFT_OUT,
            )
            users = _texts(db, "SELECT CAST(login AS BLOB), CAST(cap AS BLOB) FROM user")
        shutil.copyfile(self._folder / "empty", copy)
        give(copy, self._identity)
        with closing(sqlite3.connect(copy)) as db, db:
            db.execute("DELETE FROM user")
            db.executemany("INSERT OR REPLACE INTO user (login, cap) VALUES (?, ?)", users)
            db.executemany("REPLACE INTO config (name, value, mtime) VALUES (?, ?, 0)", settings)
            db.executemany("REPLACE INTO config (name, value, mtime) VALUES (?, ?, 0)", _HERE)
        return copy


def _texts(
    db: sqlite3.Connection, statement: str, values: tuple[str, ...] = ()
) -> list[tuple[str, str]]:
    """Pairs of texts; what is none, in the file of a stranger, as well as it goes."""
    rows = db.execute(statement, values)
    return [(_text(first), _text(second)) for first, second in rows]


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


@asynccontextmanager
async def auditor(
    fossil: Fossil, scratch: Path, identity: Identity | None
) -> AsyncIterator[Auditor]:
    """For as many repositories as there are; its files are gone at the end."""
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="audit-", dir=scratch))
    try:
        give(folder, identity)
        await fossil.init(folder / "empty")
        yield Auditor(fossil, folder, identity)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, True)


def parse(page: str) -> list[str]:
    """The first sentence of every warning on the page; ToolFailed when it is another page."""
    if "capabilitySummary" not in page:
        raise ToolFailed("fossil did not show its security audit")
    found = []
    for text in _FINDING.findall(page):
        words = " ".join(unescape(_TAG.sub("", text)).split())
        if words and not any(known in words for known in _OURS):
            found.append(re.split(r"(?<=\.) ", words)[0])
    return found
