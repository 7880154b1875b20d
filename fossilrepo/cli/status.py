"""`status`: what the running server says of itself.

Owns the form for people; the document's keys are the server's.
"""

from __future__ import annotations

from typing import Any

from fossilrepo.cli import context, output
from fossilrepo.cli.control import ask
from fossilrepo.cli.options import AsJson
from fossilrepo.wording import plural


def status(as_json: AsJson = False) -> None:
    """Say what runs; exit code 1 when nothing does."""
    found = ask(context.settings().control_socket)
    if as_json:
        output.document(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    pid, uptime = found.get("pid"), _long(found.get("uptime_s", 0))
    output.say(
        output.clean(f"fossilrepo {found.get('version')} runs at {found.get('url')} ")
        + f"(pid {pid}, for {uptime})"
    )
    backup, jobs = found.get("backup") or {}, found.get("jobs") or {}
    output.pairs(
        {
            "repositories": found.get("repositories"),
            "jobs": f"{jobs.get('running', 0)} running, {jobs.get('failed', 0)} failed",
            "backup": _backup(backup),
        }
    )
    output.say()
    output.table(
        ("child", "state", "pid", "restarts", "last error"),
        [
            (c["name"], c["state"], c["pid"] or "-", c["restarts"], c["last_error"] or "-")
            for c in found.get("children", [])
        ],
    )


def _backup(backup: dict[str, Any]) -> str:
    if not backup.get("url"):
        return str(backup.get("state") or "none")
    behind = backup.get("behind") or []
    late = f", behind: {', '.join(behind)}" if behind else ""
    lag = backup.get("lag_s")
    return f"{backup['url']}" + ("" if lag is None else f", {lag} s behind") + late


def _long(seconds: float) -> str:
    for word, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return plural(int(seconds // length), word)
    return plural(int(seconds), "second")
