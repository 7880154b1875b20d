"""Wiki pages and technotes as Markdown, on a branch of the Git export that is theirs alone.

Owns the starting of `git_wiki_child.py`. The branch is never one that people push to: in other
systems a forced push of the mirror erased the wiki.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fossilrepo.bridge import Author
from fossilrepo.errors import ToolFailed
from fossilrepo.runtime import process
from fossilrepo.runtime.process import Command
from fossilrepo.tools import git
from fossilrepo.tools.fossil import Limits
from fossilrepo.tools.identity import Identity

_CHILD = Path(__file__).with_name("git_wiki_child.py")


async def export_wiki(
    source: Path,
    folder: Path,
    *,
    authors: Sequence[Author] = (),
    identity: Identity | None,
    limits: Limits,
) -> str | None:
    """The commit of `refs/heads/fossil-wiki`, brought up to date; None while there is no page.

    `folder` is that of an export which has been made. ToolFailed leaves the branch as it was.
    """
    environment = git.command((), folder, {}, identity, limits).env
    order = {
        "source": str(source),
        "folder": str(folder),
        "authors": [[one.user, one.name, one.email, one.since] for one in authors],
        "environment": dict(environment),
        "account": [identity.uid, identity.gid] if identity else None,
    }
    command = Command(
        (sys.executable, "-I", str(_CHILD)),
        env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
        cwd=Path("/"),
        max_file_size=limits.file_size,
    )
    done = await process.run(command, timeout=limits.seconds, stdin=json.dumps(order).encode())
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        answer = {"failed": (done.stderr.strip().splitlines() or ["it gave no answer"])[-1]}
    if "ok" not in answer:
        raise ToolFailed(f"the wiki could not be exported: {str(answer['failed'])[:300]}")
    tip: str | None = answer["ok"]
    return tip
