"""Writes wiki pages and technotes to the branch `fossil-wiki` of the Git export.

Run by `git_wiki.py` as `python -I git_wiki_child.py`; the order is JSON on standard input, the
answer goes out as the last line. One commit for each version, in the order of arrival, so that a
run that begins from nothing gives the same commits. Pages that Fossil's own markup is in are
rendered by Fossil itself and turned into Markdown.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

if __name__ == "__main__":  # -I leaves our own package out
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from markdownify import markdownify  # before the account is changed: it may not see it

from fossilrepo.errors import FossilrepoError
from fossilrepo.tools import fossil_db
from fossilrepo.tools.fossil_artifacts import Artifacts, NotReadable, plain, seconds_of
from fossilrepo.tools.git_export_commits import authors_by_user, committer
from fossilrepo.tools.git_export_state import Git, GitFailed
from fossilrepo.tools.git_names import WIKI

MARKDOWN, PLAIN = "text/x-markdown", "text/plain"
INDEX = "README.md"
_CARD = re.compile(rb"([A-Z]) ?([^\n]*)\n")
_UNSAFE = re.compile(r"[^\w.()+ -]")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a page or a technote; `key` is the same for all of its versions."""

    uuid: str
    key: str
    title: str
    mimetype: str
    text: bytes
    user: str
    date: bytes
    comment: str
    technote: str  # its date, empty for pages


def parse(uuid: str, content: bytes) -> Version | None:
    """None for what is neither a wiki page nor a technote (an attachment)."""
    cards: dict[bytes, bytes] = {}
    at = 0
    while match := _CARD.match(content, at):
        card, rest = match[1], match[2]
        at = match.end()
        if card == b"W":
            size = int(rest) if rest.isdigit() else 0
            cards[card] = content[at : at + size]
            at += size + 1
        else:
            cards.setdefault(card, rest)
    if b"W" not in cards or b"D" not in cards or not (b"L" in cards or b"E" in cards):
        return None
    note = cards.get(b"E", b"").decode("utf-8", "replace").split(" ")
    comment = plain(cards.get(b"C", b"")).decode("utf-8", "replace")
    title = plain(cards.get(b"L", b"")).decode("utf-8", "replace") or comment.split("\n")[0]
    return Version(
        uuid=uuid,
        key=f"note {note[1]}" if len(note) > 1 else f"page {title}",
        title=title[:200],
        mimetype=cards.get(b"N", b"").decode("latin-1"),
        text=cards[b"W"],
        user=plain(cards.get(b"U", b"")).decode("utf-8", "replace"),
        date=cards[b"D"],
        comment=comment,
        technote=note[0] if len(note) > 1 else "",
    )


class Wiki:
    """One run on an open snapshot."""

    def __init__(
        self, order: dict[str, Any], db: sqlite3.Connection, state: sqlite3.Connection, git: Git
    ) -> None:
        self._order = order
        self._db = db
        self._state = state
        self._git = git
        self._artifacts = Artifacts(db)
        self._authors = authors_by_user(order["authors"])
        self._done = {uuid for (uuid,) in state.execute("SELECT uuid FROM versions")}
        # Of each page and technote: its file, the date of what is in it, its title (none: gone).
        self._pages: dict[str, tuple[str, str, str | None]] = {
            key: (file, date, title)
            for key, file, date, title in state.execute("SELECT * FROM pages")
        }

    def run(self) -> str | None:
        """The tip of the branch; None while there is no page."""
        new = self._new()
        tip = self._git.refs(WIKI).get(WIKI)
        if not new:
            return tip
        self._git.fast_import(lambda out: self._write_all(new, tip, out))
        self._keep([version for version, _ in new])
        return self._git.refs(WIKI).get(WIKI)

    def _write_all(self, new: list[tuple[Version, int]], tip: str | None, out: IO[bytes]) -> None:
        for version, rcvid in new:
            if self._write(version, rcvid, tip, out):
                tip = ""

    def _new(self) -> list[tuple[Version, int]]:
        found = []
        for uuid, rid, rcvid in self._db.execute(
            """SELECT b.uuid, b.rid, b.rcvid FROM event e JOIN blob b ON b.rid = e.objid
                WHERE e.type IN ('w', 'e') AND b.size >= 0
                  AND NOT EXISTS (SELECT 1 FROM private p WHERE p.rid = b.rid)
                ORDER BY b.rcvid, e.mtime, b.rid"""
        ):
            if uuid in self._done:
                continue
            try:
                version = parse(str(uuid), self._artifacts.content(int(rid), str(uuid)))
            except NotReadable:
                continue
            if version is not None:
                found.append((version, int(rcvid or 0)))
        return found

    def _write(self, version: Version, rcvid: int, tip: str | None, out: IO[bytes]) -> bool:
        """One commit; False when a newer version is there already, so that it changes nothing."""
        known = self._pages.get(version.key)
        if known is not None and known[1] > version.date.decode("latin-1"):
            return False
        is_gone = not version.text.strip()
        file = known[0] if known else self._file(version)
        before = self._titles()
        title = None if is_gone else version.title
        self._pages[version.key] = (file, version.date.decode("latin-1"), title)
        words = version.comment or f"{'Delete' if is_gone else 'Edit'} {version.title}"
        message = f"{words}\n\nFossilOrigin-Name: {version.uuid}".encode()
        author = committer(self._authors, version.user, rcvid)
        out.write(f"commit {WIKI}\n".encode())
        out.write(b"committer %s %d +0000\n" % (author, seconds_of(version.date)))
        out.write(b"data %d\n%s\n" % (len(message), message))
        if tip:
            out.write(f"from {tip}\n".encode())
        if is_gone:
            out.write(f"D {file}\n".encode())
        else:
            _inline(out, file, self._markdown(version))
        if self._titles() != before:
            _inline(out, INDEX, self._index())
        out.write(b"\n")
        return True

    def _file(self, version: Version) -> str:
        """A name of its own, which stays the same for all versions."""
        stem = (
            _UNSAFE.sub("_", version.title).replace("..", "_").strip(" .-").replace(" ", "-")[:80]
            or "page"
        )
        if version.technote:
            stem = f"technotes/{version.technote[:10]}-{stem}"
        taken = {file.lower() for file, _, _ in self._pages.values()} | {INDEX.lower()}
        name, number = f"{stem}.md", 2
        while name.lower() in taken:
            name, number = f"{stem}-{number}.md", number + 1
        return name

    def _titles(self) -> dict[str, str]:
        return {file: title for file, _, title in self._pages.values() if title is not None}

    def _index(self) -> bytes:
        lines = ["# Wiki", ""]
        for file, title in sorted(self._titles().items(), key=lambda one: (one[1].lower(), one[0])):
            shown = title.replace("[", "(").replace("]", ")")
            lines.append(f"- [{shown}](<{file}>)")
        return ("\n".join(lines) + "\n").encode()

    def _markdown(self, version: Version) -> bytes:
        head = b""
        if version.technote:
            head = f"---\ntechnote: {version.technote}\n---\n\n".encode()
        if version.mimetype == MARKDOWN:
            return head + version.text
        if version.mimetype == PLAIN:
            return head + b"```\n" + version.text.replace(b"```", b"'''").rstrip() + b"\n```\n"
        return head + self._rendered(version.text).encode()

    def _rendered(self, text: bytes) -> str:
        with tempfile.TemporaryDirectory(dir=self._order["folder"]) as folder:
            page = Path(folder) / "page.wiki"
            page.write_bytes(text)
            done = subprocess.run(
                ["fossil", "test-wiki-render", str(page)],
                capture_output=True,
                cwd=folder,
                env={**self._order["environment"], "HOME": folder, "USER": "nobody"},
                timeout=30,
                check=False,
            )
        if done.returncode != 0:
            raise GitFailed(f"fossil could not render a wiki page: {done.stderr[-200:]!r}")
        html = done.stdout.decode("utf-8", "replace")
        return str(markdownify(html, heading_style="ATX")).strip() + "\n"

    def _keep(self, versions: list[Version]) -> None:
        self._state.execute("BEGIN IMMEDIATE")
        self._state.executemany(
            "INSERT OR IGNORE INTO versions VALUES (?)", ((one.uuid,) for one in versions)
        )
        rows = [(key, *what) for key, what in self._pages.items()]
        self._state.executemany("INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?)", rows)
        self._state.execute("COMMIT")


def _inline(out: IO[bytes], file: str, content: bytes) -> None:
    out.write(f"M 100644 inline {file}\n".encode())
    out.write(b"data %d\n%s\n" % (len(content), content))


def _export(order: dict[str, Any]) -> str | None:
    folder = Path(order["folder"])
    git = Git(folder, order["environment"])
    with closing(sqlite3.connect(folder / "wiki.db", isolation_level=None)) as state:
        state.executescript(
            """CREATE TABLE IF NOT EXISTS versions(uuid TEXT PRIMARY KEY) WITHOUT ROWID;
               CREATE TABLE IF NOT EXISTS pages(key TEXT PRIMARY KEY, file TEXT, date TEXT,
                                                title TEXT) WITHOUT ROWID;
               CREATE TABLE IF NOT EXISTS tip(hash TEXT);"""
        )
        said = state.execute("SELECT hash FROM tip").fetchone()
        tip = git.refs(WIKI).get(WIKI)
        if tip != (said[0] if said else None):  # cut off in between: everything anew
            if tip:
                git.run("update-ref", "-d", WIKI)
            state.executescript("DELETE FROM versions; DELETE FROM pages; DELETE FROM tip;")
        with fossil_db.reading(Path(order["source"])) as db:
            tip = Wiki(order, db, state, git).run()
        state.execute("DELETE FROM tip")
        if tip:
            state.execute("INSERT INTO tip VALUES (?)", (tip,))
        return tip


def main() -> None:
    order = json.load(sys.stdin)
    markdownify("<p>warm</p>")
    if order["account"] is not None and os.geteuid() == 0:
        uid, gid = order["account"]
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    try:
        answer: dict[str, Any] = {"ok": _export(order)}
    except (GitFailed, NotReadable, sqlite3.Error, OSError, FossilrepoError) as error:
        answer = {"failed": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
