"""Messages to the people who run the host, through Apprise.

Owns the starting of `notify_child.py`: Apprise costs 25 MB of memory that a quiet host does not
need. Addresses hold secrets: they go by standard input, and errors name their scheme only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fossilrepo.errors import ToolFailed
from fossilrepo.runtime import process
from fossilrepo.runtime.process import Command

WITHIN = 45.0  # seconds for all addresses
_CHILD = Path(__file__).with_name("notify_child.py")
# These act on the machine itself.
_LOCAL = frozenset("dbus qt kde glib gnome macosx windows syslog file exec custom".split())


async def notify(urls: Sequence[str], title: str, body: str) -> None:
    """One message to each address. ToolFailed names the kinds of those that did not take it."""
    results = await _ask(urls, title, body, check=False)
    _expect(urls, results, "did not take the message")


async def check(urls: Sequence[str]) -> None:
    """ToolFailed when an address is none that Apprise understands; nothing is sent."""
    results = await _ask(urls, "", "", check=True)
    _expect(urls, results, "is no address of Apprise")


async def _ask(urls: Sequence[str], title: str, body: str, *, check: bool) -> list[str]:
    for url in urls:
        if _scheme(url) in _LOCAL:
            raise ToolFailed(f"alerts.urls: {_scheme(url)}:// is not allowed on a server")
    order = {"urls": list(urls), "title": title, "body": body, "check": check}
    done = await process.run(
        Command(
            (sys.executable, "-I", str(_CHILD)),
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": os.devnull},
            cwd=Path("/"),
        ),
        timeout=WITHIN,
        stdin=json.dumps(order).encode(),
    )
    try:
        return [str(one) for one in json.loads(done.stdout)]
    except ValueError:
        raise ToolFailed(f"alerts could not be sent: it ended with {done.returncode}") from None


def _expect(urls: Sequence[str], results: list[str], what: str) -> None:
    bad = [_scheme(url) for url, said in zip(urls, results, strict=True) if said != "ok"]
    if bad:
        raise ToolFailed(f"{', '.join(f'{one}://…' for one in bad)} {what}", hint="see alerts.urls")


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()[:30]
