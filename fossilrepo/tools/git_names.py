"""Names of branches and tags as Git can have them.

Owns the rules of git-check-ref-format(1), and how names that clash are kept apart. Every result
depends on the names alone, so that the same repository always gives the same refs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HEADS, TAGS = "refs/heads/", "refs/tags/"
WIKI = f"{HEADS}fossil-wiki"  # belongs to the export of the wiki
_WRONG = re.compile(r"[\x00-\x20\x7f~^:?*\[\\\x80-\x9f\ud800-\udfff]|\.\.|@\{|//")
_LONGEST = 200  # bytes; file systems have 255


def legal(name: str) -> str:
    """The name itself, or the nearest that Git can have."""
    name = _WRONG.sub("_", name).strip("/") or "_"
    parts = [_part(part) for part in name.split("/")]
    name = "/".join(parts)
    name = "_" if name == "@" else name
    if name.startswith("-"):
        name = f"_{name[1:]}"
    while len(name.encode()) > _LONGEST:
        name = name[:-1]
    return name.rstrip("./") or "_"


def _part(part: str) -> str:
    if part.startswith("."):
        part = f"_{part[1:]}"
    if part.endswith(".lock"):
        part = f"{part[:-5]}_lock"
    return (f"{part[:-1]}_" if part.endswith(".") else part) or "_"


def is_legal(name: str) -> bool:
    return bool(name) and legal(name) == name and f"{HEADS}{name}" != WIKI


def assigned(prefix: str, names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """A ref for each name: legal, and none of them in the way of another.

    Git keeps refs as files: `a` and `a/b` cannot both be. Names that need no change come first.
    """
    found: dict[str, str] = {}
    used: set[str] = set()
    folders: set[str] = set()

    def use(ref: str) -> None:
        used.add(ref)
        folders.update(_folders(ref))

    for ref in taken:
        use(ref)
    for name in sorted(set(names), key=lambda one: (not is_legal(one), one.count("/"), one)):
        wanted = legal(name)
        while (ref := f"{prefix}{wanted}") in used or ref in folders or used & _folders(ref):
            flat = wanted.replace("/", "_")
            wanted = flat if flat != wanted else f"{wanted}_"
        found[name] = ref
        use(ref)
    return found


def _folders(ref: str) -> set[str]:
    return {ref[:at] for at, character in enumerate(ref) if character == "/"}
