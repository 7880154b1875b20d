"""Locks in a bare Git repository of ours that nobody holds: a git that was killed left them.

Git holds one while it writes a ref or a file of settings, for moments, and refuses to write while
another one's is there. Uses the standard library only and blocks.
"""

from __future__ import annotations

import time
from pathlib import Path

STALE = 60.0  # seconds


def stale(repository: Path) -> list[Path]:
    """Those that are older than any that is held; `objects/` is left to git's own care."""
    found = []
    for path in (*repository.glob("*.lock"), *(repository / "refs").rglob("*.lock")):
        try:
            if time.time() - path.stat().st_mtime > STALE:
                found.append(path)
        except OSError:
            continue  # let go of meanwhile
    return found


def clear(repository: Path) -> int:
    """Remove them; how many there were."""
    found = stale(repository)
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)
