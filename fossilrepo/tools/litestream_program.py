"""Where the `litestream` program is, and what it gets to see.

Owns its place (beside our own interpreter, else on the PATH) and its environment,
made from nothing but the target's credentials.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

from fossilrepo.errors import ToolFailed
from fossilrepo.tools.target import Target


def program() -> str:
    """The path of the program; ToolFailed when it is not installed."""
    own = Path(sysconfig.get_path("scripts"), "litestream")
    found = str(own) if os.access(own, os.X_OK) else shutil.which("litestream")
    if found is None:
        raise ToolFailed("litestream is not installed", hint="install fossilrepo again")
    return found


def environment(target: Target) -> dict[str, str]:
    """Credentials and the places of certificates; reads them anew at every call."""
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "LANG": "C.UTF-8", "TZ": "UTC", **target.environment()}
