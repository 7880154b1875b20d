"""Turns check-ins into Git commits: the stream for one `git fast-import`.

Owns the form of a commit, the same as `fossil git export` makes (2.21, export.c), and what may not
become one: everything in a check-in may be a stranger's. Uses the standard library only and
blocks.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any

from fossilrepo.tools.fossil_artifacts import (
    Artifacts,
    Manifest,
    NotReadable,
    git_seconds,
    parse_manifest,
)
from fossilrepo.tools.git_export_state import Git, GitFailed, State

IMPORT = "refs/fossilrepo/import"  # where commits are made; gone at the end
OLD = 365 * 86400.0  # seconds after which a file that is missing is missed for ever (as Fossil)
_KEPT_MANIFESTS = 64
Files = dict[bytes, tuple[str, str]]
ByUser = dict[str, list[tuple[int, str, str]]]


class Commits:
    """Makes the commits of check-ins that Git has not yet.

    `left_out` are check-ins that are not there, or not whole, `waiting` those whose files are due.
    `rids` and `rcvids` are of all check-ins that may leave.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        state: State,
        git: Git,
        authors: list[list[Any]],
        tell: Callable[[int, int], None],
    ) -> None:
        self._db = db
        self._state = state
        self._git = git
        self._tell = tell
        self._artifacts = Artifacts(db)
        self._manifests: OrderedDict[int, Manifest] = OrderedDict()
        self._marks: dict[str, int] = {}  # check-ins of this run
        self._blobs: dict[str, str] = {}  # file contents of this run
        self._authors = authors_by_user(authors)
        self.rids: dict[str, int] = {}
        self.rcvids: dict[str, int] = {}
        self.left_out: dict[str, str] = {}
        self.waiting: set[str] = set()

    @property
    def added(self) -> int:
        return len(self._marks)

    def make(self, new: list[str]) -> None:
        """All of `new`, the oldest first; GitFailed leaves the state as it was."""
        commits = self._git.fast_import(lambda out: self._write_all(new, out))
        made = {uuid: commits[mark] for uuid, mark in self._marks.items() if mark in commits}
        if len(made) != len(self._marks):
            raise GitFailed("git fast-import did not make every commit")
        self._state.write(self._blobs, made, set(), self._git.packs())
        self._state.checkins |= made

    def _write_all(self, new: list[str], out: IO[bytes]) -> None:
        """Parents first, else in the order of time."""
        pending = set(new)
        for done, uuid in enumerate(new):
            stack = [uuid]
            while stack:
                top = stack[-1]
                if top not in pending:
                    stack.pop()
                    continue
                manifest = self._read(top)
                missing = [p for p in manifest.parents if p in pending] if manifest else []
                if missing:
                    if len(stack) > len(new):  # hostile: parents in a circle
                        raise NotReadable("its check-ins are their own ancestors")
                    stack.extend(reversed(missing))
                    continue
                stack.pop()
                pending.discard(top)
                if manifest is not None:
                    self._write(top, manifest, out)
            self._tell(done + 1, len(new))

    def _read(self, uuid: str) -> Manifest | None:
        try:
            return self._manifest(uuid)
        except NotReadable as error:
            self.left_out[uuid] = str(error)
            return None

    def _manifest(self, uuid: str) -> Manifest:
        rid = self.rids.get(uuid)
        if rid is None:
            row = self._db.execute("SELECT rid FROM blob WHERE uuid = ?", (uuid,)).fetchone()
            if row is None:
                raise NotReadable("it has not arrived")
            rid = int(row[0])
        known = self._manifests.get(rid)
        if known is None:
            known = parse_manifest(self._artifacts.content(rid, uuid))
            self._manifests[rid] = known
            if len(self._manifests) > _KEPT_MANIFESTS:
                self._manifests.popitem(last=False)
        else:
            self._manifests.move_to_end(rid)
        return known

    def _files(self, manifest: Manifest) -> Files:
        if manifest.baseline is None:
            return manifest.files
        files = dict(self._manifest(manifest.baseline).files)
        files.update(manifest.files)
        return {name: what for name, what in files.items() if what[0]}

    def _write(self, uuid: str, manifest: Manifest, out: IO[bytes]) -> None:
        """One commit, or none when something of it has not arrived yet.

        Parents that are not in Git are left away; without the first one, the whole tree is written.
        """
        known = [p for p in manifest.parents if p in self._marks or p in self._state.checkins]
        if any(parent in self.waiting for parent in manifest.parents):
            self.waiting.add(uuid)
            return
        try:
            files = self._files(manifest)
            first = manifest.parents[0] if manifest.parents else None
            before = self._files(self._manifest(known[0])) if known and known[0] == first else None
        except NotReadable as error:
            self.left_out[uuid] = str(error)
            return
        changed = files.items() - (before or {}).items()
        lines, late = self._changes(uuid, manifest, sorted(changed), out)
        if late:
            self.waiting.add(uuid)
            return
        self._marks[uuid] = mark = len(self._marks) + 1
        parents = [self._name_of(parent) for parent in dict.fromkeys(known)]
        if not parents:
            out.write(f"reset {IMPORT}\n\n".encode())
        comment = (manifest.comment or b"(no comment)") + f"\n\nFossilOrigin-Name: {uuid}".encode()
        login = manifest.user.decode("utf-8", "replace")
        author = committer(self._authors, login, self.rcvids.get(uuid, 0))
        out.write(f"commit {IMPORT}\nmark :{mark}\n".encode())
        out.write(b"committer %s %d +0000\n" % (author, git_seconds(manifest.at)))
        out.write(b"data %d\n%s\n" % (len(comment), comment))
        for word, parent in zip(["from", *["merge"] * len(parents)], parents, strict=False):
            out.write(f"{word} {parent}\n".encode())
        if before is None:
            out.write(b"deleteall\n")
        else:
            gone = sorted(name for name in before.keys() - files.keys() if _is_possible(name))
            out.writelines(b"D %s\n" % _quoted(name) for name in gone)
        out.writelines(lines)
        out.write(b"\n")

    def _changes(
        self,
        uuid: str,
        manifest: Manifest,
        changed: list[tuple[bytes, tuple[str, str]]],
        out: IO[bytes],
    ) -> tuple[list[bytes], bool]:
        """The lines for these files, and whether one of them is still to come."""
        lines = []
        for name, (content, perm) in changed:
            if not _is_possible(name):
                self.left_out[uuid] = (
                    f"Git can have no file {name[:100].decode(errors='replace')!r}"
                )
                continue
            try:
                blob = self._blob(content, out)
            except NotReadable as error:
                if time.time() - manifest.at.timestamp() < OLD:
                    return [], True
                self.left_out[uuid] = f"{name[:100].decode(errors='replace')}: {error}"
                continue
            mode = "120000" if "l" in perm else "100755" if "x" in perm else "100644"
            lines.append(b"M %s %s %s\n" % (mode.encode(), blob.encode(), _quoted(name)))
        return lines, False

    def _blob(self, uuid: str, out: IO[bytes]) -> str:
        """The Git hash of a file's content, which is written when Git does not have it."""
        known = self._blobs.get(uuid) or self._state.blob(uuid)
        if known is not None:
            return known
        row = self._db.execute("SELECT rid FROM blob WHERE uuid = ?", (uuid,)).fetchone()
        if row is None:
            raise NotReadable("it has not arrived")
        content = self._artifacts.content(int(row[0]), uuid)
        header = b"blob %d\0" % len(content)
        digest = hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
        out.write(b"blob\ndata %d\n" % len(content))
        out.write(content)
        out.write(b"\n")
        self._blobs[uuid] = digest
        return digest

    def _name_of(self, parent: str) -> str:
        mark = self._marks.get(parent)
        return f":{mark}" if mark is not None else self._state.checkins[parent]


def authors_by_user(given: list[list[Any]]) -> ByUser:
    """By user, what holds from which rcvid on, the newest first."""
    found: dict[str, list[tuple[int, str, str]]] = {}
    for user, name, email, since in given:
        found.setdefault(user, []).append((int(since), name, email))
    return {user: sorted(entries, reverse=True) for user, entries in found.items()}


def committer(authors: ByUser, login: str, rcvid: int) -> bytes:
    """Name and address for what arrived with this rcvid."""
    for since, name, email in authors.get(login, ()):
        if rcvid > since:
            return f"{_tidy(name)} <{_tidy(email)}>".encode()
    email = login if "@" in login else f"{login}@noemail.net"
    return f"{_tidy(login)} <{_tidy(email)}>".encode()


def _tidy(text: str) -> str:
    """What may stand in a Git identity."""
    return "".join(c for c in text if c not in "<>" and c.isprintable()).strip()


def _is_possible(name: bytes) -> bool:
    """Whether Git can have a file of this name, and no work tree is harmed by it."""
    if not name or b"\0" in name or len(name) > 4000:
        return False
    parts = name.split(b"/")
    return not any(part in (b"", b".", b"..") or _is_git(part) for part in parts)


def _is_git(part: bytes) -> bool:
    """`.git` as any file system may read it; see fsck's hasDotgit."""
    plain = part.lower().rstrip(b". ")
    return plain in (b".git", b"git~1") or b".git:" in part.lower()


def _quoted(name: bytes) -> bytes:
    """A path as git-fast-import(1) reads it whatever is in it."""
    if name[:1] != b'"' and b"\n" not in name and name[:1] != b" ":
        return name
    escaped = name.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return b'"' + escaped + b'"'
