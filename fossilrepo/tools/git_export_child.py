"""Brings the Git export of one repository up to date, in a process of its own.

Run by `git_export.py` as `python -I -S git_export_child.py`; the order comes as JSON on standard
input, progress and the answer go out as lines of JSON. Reads the repository in one snapshot
and never writes to it; feeds one `git fast-import`; moves the refs in the end. What was done
stands in `state.db` only when Git has all of it, so a run that is killed at any point is simply
done again, and gives the same commits.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # -I leaves our own package out
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fossilrepo.errors import FossilrepoError
from fossilrepo.tools import fossil_db, git_locks
from fossilrepo.tools.fossil_artifacts import NotReadable
from fossilrepo.tools.git_export_commits import Commits
from fossilrepo.tools.git_export_state import VERSION, Git, GitFailed, State
from fossilrepo.tools.git_names import HEADS, TAGS, WIKI, assigned

_told = 0.0


class Export:
    """One run on an open snapshot."""

    def __init__(
        self, order: dict[str, Any], db: sqlite3.Connection, state: State, git: Git
    ) -> None:
        self._order = order
        self._db = db
        self._state = state
        self._git = git
        self._commits = Commits(db, state, git, order["authors"], _tell)

    def run(self) -> dict[str, Any]:
        present = self._present()
        new = [uuid for uuid in present if uuid not in self._state.checkins]
        if new:
            self._commits.make(new)
        gone = self._state.checkins.keys() - present.keys()
        commits = {u: h for u, h in self._state.checkins.items() if u not in gone}
        self._state.write({}, {}, set(gone), self._git.packs())
        renamed = self._move_refs(commits)
        self._git.tidy()
        self._state.write({}, {}, set(), self._git.packs())
        refs = {r: h for r, h in self._git.refs(HEADS, TAGS).items() if r != WIKI}
        newest = self._db.execute("SELECT max(rcvid) FROM rcvfrom").fetchone()[0]
        return {
            "refs": refs,
            "head": self._git.run("symbolic-ref", "HEAD").decode().strip(),
            "checkins": len(commits),
            "added": self._commits.added,
            "rcvid": int(newest or 0),
            "renamed": sorted(renamed),
            "left_out": sorted(self._commits.left_out.items()),
            "waiting": len(self._commits.waiting),
        }

    def _present(self) -> dict[str, None]:
        """The check-ins that may leave, oldest first."""
        found: dict[str, None] = {}
        for uuid, rid, rcvid in self._db.execute(
            """SELECT b.uuid, b.rid, b.rcvid FROM event e JOIN blob b ON b.rid = e.objid
                WHERE e.type = 'ci' AND b.size >= 0
                  AND NOT EXISTS (SELECT 1 FROM private p WHERE p.rid = b.rid)
                  AND NOT EXISTS (SELECT 1 FROM shun s WHERE s.uuid = b.uuid)
                ORDER BY e.mtime, b.rid"""
        ):
            found[str(uuid)] = None
            self._commits.rids[str(uuid)] = int(rid)
            self._commits.rcvids[str(uuid)] = int(rcvid or 0)
        return found

    # Refs

    def _move_refs(self, commits: dict[str, str]) -> list[tuple[str, str]]:
        """Make branches and tags what Fossil has now; the names that had to be changed."""
        wanted, renamed = self._wanted(commits)
        before = self._git.refs(HEADS, TAGS)
        before.pop(WIKI, None)
        gone = [f"delete {ref}\0{old}\0" for ref, old in before.items() if ref not in wanted]
        gone += [f"delete {ref}\0\0" for ref in self._git.refs("refs/fossilrepo/")]
        moved = [f"update {r}\0{h}\0\0" for r, h in wanted.items() if before.get(r) != h]
        for lines in (gone, moved):  # first what may be in the way
            if lines:
                self._git.run("update-ref", "--stdin", "-z", stdin="".join(lines).encode())
        head = f"{HEADS}{self._order['main_branch']}"
        branches = sorted(ref for ref in wanted if ref.startswith(HEADS))
        if head not in wanted and branches:
            head = branches[0]
        if self._git.run("symbolic-ref", "HEAD").decode().strip() != head:
            self._git.run("symbolic-ref", "HEAD", head)
        return renamed

    def _wanted(self, commits: dict[str, str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
        branches = self._newest(
            commits,
            """SELECT x.value, b.uuid FROM tagxref x JOIN tag t USING (tagid)
                 JOIN event e ON e.objid = x.rid JOIN blob b ON b.rid = x.rid
                WHERE t.tagname = 'branch' AND x.tagtype > 0 AND e.type = 'ci'
                ORDER BY e.mtime, b.rid""",
        )
        tags = self._newest(
            commits,
            """SELECT substr(t.tagname, 5), b.uuid FROM tagxref x JOIN tag t USING (tagid)
                 JOIN blob b ON b.rid = x.rid
                WHERE t.tagname GLOB 'sym-*' AND x.tagtype = 1 ORDER BY x.mtime, b.rid""",
        )
        trunk = fossil_db.config(self._db, "main-branch") or "trunk"
        main = f"{HEADS}{self._order['main_branch']}"
        refs: dict[str, str] = {}
        if trunk in branches:
            refs[main] = branches.pop(trunk)
        heads = assigned(HEADS, branches, taken=(*refs, WIKI))
        labels = assigned(TAGS, tags)
        refs |= {heads[name]: commit for name, commit in branches.items()}
        refs |= {labels[name]: commit for name, commit in tags.items()}
        renamed = [(n, r) for n, r in heads.items() if r != f"{HEADS}{n}"]
        renamed += [(n, r) for n, r in labels.items() if r != f"{TAGS}{n}"]
        return refs, renamed

    def _newest(self, commits: dict[str, str], query: str) -> dict[str, str]:
        """By name, the last that is exported."""
        found: dict[str, str] = {}
        for name, uuid in self._db.execute(query):
            commit = commits.get(str(uuid))
            if commit is not None and name:
                found[str(name)] = commit
        return found


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _tell(done: int, of: int) -> None:
    """A few times a second."""
    global _told
    if time.monotonic() - _told > 0.2 or done == of:
        _told = time.monotonic()
        _say({"done": done, "of": of})


# The run as a whole


def _is_sound(folder: Path, git: Git) -> bool:
    """Whether the state and the Git repository beside it are whole and belong together."""
    if not (folder / "state.db").exists() or not (git.path / "HEAD").exists():
        return False
    try:
        with closing(sqlite3.connect(folder / "state.db")) as db:
            meta = dict(db.execute("SELECT key, value FROM meta"))
            tips = [h for (h,) in db.execute("SELECT hash FROM checkins ORDER BY uuid LIMIT 20")]
        if meta.get("version") != VERSION:
            return False
        packs = git.path / "objects" / "pack"
        for name, size in json.loads(meta.get("packs", "{}")).items():
            if not (packs / name).exists() or (packs / name).stat().st_size != size:
                return False
        tips += list(git.refs(HEADS, TAGS).values())
        if not tips:
            return True
        said = git.run("cat-file", "--batch-check=%(objecttype)", stdin="\n".join(tips).encode())
        return set(said.decode().split()) <= {"commit"}
    except (sqlite3.Error, GitFailed, ValueError, OSError):
        return False


def _fresh(folder: Path, git: Git, main_branch: str) -> None:
    """Everything anew; the branch of the wiki is made again by its own export."""
    for name in ("state.db", "state.db-journal", "wiki.db", "wiki.db-journal"):
        (folder / name).unlink(missing_ok=True)
    if git.path.exists():
        shutil.rmtree(git.path)
    folder.mkdir(mode=0o700, exist_ok=True)
    git.run("init", "--quiet", "--bare", f"--initial-branch={main_branch}")


def _export(order: dict[str, Any], *, fresh: bool) -> dict[str, Any]:
    folder = Path(order["folder"])
    git = Git(folder, order["environment"])
    had_one = git.path.exists()
    rebuilt = fresh or not _is_sound(folder, git)
    if rebuilt:
        _fresh(folder, git, order["main_branch"])
    git_locks.clear(git.path)
    for left in folder.glob("import-*"):  # of one that was killed
        shutil.rmtree(left, ignore_errors=True)
    state = State(folder)
    with closing(state.db), fossil_db.reading(Path(order["source"])) as db:
        answer = Export(order, db, state, git).run()
    return answer | {"rebuilt": rebuilt and had_one}


def main() -> None:
    order = json.load(sys.stdin)
    if order["account"] is not None and os.geteuid() == 0:
        uid, gid = order["account"]
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        try:
            answer = _export(order, fresh=False)
        except GitFailed as error:
            if error.by_signal or _is_full(str(error)):
                raise
            answer = _export(order, fresh=True)  # what Git has is not what we think
        _say({"ok": answer})
    except GitFailed as error:
        _say({"failed": str(error), "full": _is_full(str(error))})
    except (NotReadable, sqlite3.Error, OSError, FossilrepoError) as error:
        full = _is_full(str(error)) or getattr(error, "errno", 0) in (27, 28, 122)
        _say({"failed": str(error), "full": full})


def _is_full(words: str) -> bool:
    return any(
        w in words for w in ("No space left", "File too large", "Disk quota", "disk is full")
    )


if __name__ == "__main__":
    main()
