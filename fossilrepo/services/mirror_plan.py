"""What a push to a mirror may do: which refs it makes, moves or removes, and which it must not.

Owns the one pure function that decides it. Nothing on the remote is destroyed by surprise: a ref
moves when what it holds is a check-in that Fossil still has, or when a person said so of
exactly what it holds now. Refs that are not ours stay.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from fossilrepo.tools.git_remote import Update

BRANCH, TAG = "refs/heads/", "refs/tags/"
WIKI = f"{BRANCH}fossil-wiki"


@dataclass(frozen=True, slots=True)
class Plan:
    """`conflicts`: refs there that would be lost, with what they hold; then nothing is pushed.

    `others` are refs there that are not ours and stay.
    """

    updates: tuple[Update, ...] = ()
    conflicts: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    is_first: bool = False

    @property
    def stops(self) -> bool:
        return bool(self.conflicts)

    def words(self) -> str:
        """Like `2 branches, 1 tag`; empty when there is nothing to do."""
        parts = []
        for begin, one, many in ((BRANCH, "branch", "branches"), (TAG, "tag", "tags")):
            count = sum(
                update.ref.startswith(begin) and bool(update.new) for update in self.updates
            )
            if count:
                parts.append(f"{count} {one if count == 1 else many}")
        gone = sum(not update.new for update in self.updates)
        if gone:
            parts.append(f"{gone} removed")
        return ", ".join(parts)


def wanted(refs: Mapping[str, str], branches: str, *, tags: bool) -> dict[str, str]:
    """Those of an export's refs that a mirror is to have; `branches` are globs with commas."""
    globs = [glob.strip() for glob in branches.split(",")]
    return {
        ref: commit
        for ref, commit in refs.items()
        if (ref.startswith(TAG) and tags)
        or ref == WIKI
        or any(
            ref.startswith(BRANCH) and fnmatchcase(ref.removeprefix(BRANCH), glob) for glob in globs
        )
    }


def plan(
    *,
    desired: Mapping[str, str],
    export: Collection[str],
    owned: Mapping[str, str],
    remote: Mapping[str, str],
    known: Collection[str],
    taken_over: Mapping[str, str],
) -> Plan:
    """What is to be done.

    `desired` is what the mirror is to have, `export` the names of all that Fossil has, `owned`
    what we pushed there and read back, `remote` what is there, `known` those of its commits that
    are check-ins which Fossil has now, `taken_over` what a person said may go.
    """
    there = {r: h for r, h in remote.items() if r.startswith((BRANCH, TAG))}
    updates: list[Update] = []
    conflicts: dict[str, str] = {}

    def may_go(ref: str, theirs: str) -> bool:
        derived = ref == WIKI and owned.get(ref) == theirs
        return theirs in known or derived or taken_over.get(ref) == theirs

    for ref, commit in sorted(desired.items()):
        theirs = there.get(ref)
        if theirs == commit:
            continue
        if theirs is None or may_go(ref, theirs):
            updates.append(Update(ref, theirs or "", commit))
        else:
            conflicts[ref] = theirs
    for ref in sorted(owned.keys() - set(export)):
        theirs = there.get(ref)
        if theirs is None:
            continue
        if may_go(ref, theirs):
            updates.append(Update(ref, theirs, ""))
        else:
            conflicts[ref] = theirs
    others = {r: h for r, h in there.items() if r not in desired and r not in owned}
    strangers = {r: h for r, h in others.items() if h not in known}
    is_first = not owned
    if is_first and not taken_over and not conflicts and strangers:
        # A remote that holds something else may be the wrong one: a person looks first.
        conflicts = dict(strangers)
    return Plan(() if conflicts else tuple(updates), conflicts, others, is_first)
