"""`backup status`, `backup targets`: how the replicas stand, and where they are.

Owns the form for people. A running host is asked, since only it measures; without
one the rows of the last time are shown, with nothing claimed about now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from fossilrepo.cli import context, control, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson
from fossilrepo.models import BackupState, Replica, now
from fossilrepo.services import backup_report
from fossilrepo.wording import plural

if TYPE_CHECKING:
    from fossilrepo.services import Services

Document = dict[str, Any]
EVERY = 100_000  # repositories
_WELL = (BackupState.CURRENT, BackupState.OFF)


def status(as_json: AsJson = False) -> None:
    """Say how the replicas stand.

    Exit code 1 when one is failing, or when what came back from one was not whole.
    """
    found, running = _ask()
    if as_json:
        output.document(found)
    else:
        _show(found, running)
    if backup_report.is_bad(found):
        raise typer.Exit(1)


def _ask() -> tuple[Document, bool]:
    try:
        return control.ask(context.settings().control_socket, "/backup"), True
    except control.NotRunning:
        return context.run(_last_known), False


async def _last_known(services: Services) -> Document:
    """What the rows say, with those repositories that no host has seen yet."""
    found = backup_report.report(services.replication, await services.retention.targets())
    seen = {row["id"] for row in found["repositories"]}
    living = await services.repos.search(ACTOR, limit=EVERY)
    every = [*living.repositories, *await services.repos.trash(ACTOR)]
    found["repositories"] += [
        backup_report.described(Replica(r.id, label=r.label, project_code=r.project_code), now())
        for r in every
        if r.id not in seen
    ]
    return found


def _show(found: Document, running: bool) -> None:
    every = [*found["repositories"], *filter(None, [found["control_database"]])]
    trouble = [row for row in every if _needs_a_look(row, running)]
    if trouble:
        output.table(
            ("repository", "state", "behind", "since", "what is wrong"),
            [
                (
                    row["name"],
                    row["state"],
                    _behind(row),
                    output.ago(row["since"], never="-"),
                    _wrong(row),
                )
                for row in trouble
            ],
        )
        for hint in dict.fromkeys(filter(None, (row["hint"] for row in trouble))):
            output.say(f"  -> {output.clean(hint)}")
        output.say()
    output.say(output.clean(_sentence(found, running)))
    if found["place"] == "this disk":
        output.say(backup_report.LOCAL_ONLY)
        output.say(f"  -> {backup_report.LOCAL_ONLY_HINT}")
    for target in found["targets"][1:]:
        if not target["let_go_at"]:
            output.say(output.clean(f"an earlier replica is kept at {target['url']}"))


def _needs_a_look(row: Document, running: bool) -> bool:
    """Without a host every state is unknown: that is said once, not for each."""
    if row["verify_error"]:
        return True
    if row["state"] == BackupState.UNKNOWN:
        return running
    return row["state"] not in _WELL or (row["state"] == BackupState.OFF and bool(row["reason"]))


def _behind(row: Document) -> str:
    if row["lag_s"] is None:
        return "-"
    text = seconds(row["lag_s"])
    count = row["lag_transactions"]
    return f"{text}, {plural(count, 'change')}" if count else text


def _wrong(row: Document) -> str:
    failed = row["verify_error"]
    return "; ".join(
        filter(None, [row["reason"], f"its trial restore failed: {failed}" if failed else ""])
    )


def _sentence(found: Document, running: bool) -> str:
    rows = [row for row in found["repositories"] if row["state"] != BackupState.OFF]
    total = plural(len(rows), "repository")
    where = found["url"]
    if not running:
        return f"fossilrepo is not running: {total} at {where} as last known; {_proven(rows)}"
    current = sum(row["state"] == BackupState.CURRENT for row in rows)
    if current == len(rows):
        text = f"everything of {total} is at {where}"
    else:
        text = f"{current} of {total} {'is' if current == 1 else 'are'} current at {where}"
        if found["lag_s"] is not None:
            text += f", the latest is {seconds(found['lag_s'])} behind"
    return f"{text}; {_proven(rows)}"


def _proven(rows: list[Document]) -> str:
    """How many were brought back on trial, and when the one that waits longest was."""
    proven = [row["proven_at"] for row in rows if row["proven_at"]]
    if not rows:
        return "nothing to restore yet"
    if not proven:
        return "none was restored on trial yet"
    oldest = output.ago(min(proven))
    if len(proven) == len(rows):
        return f"each was restored and checked, the earliest {oldest}"
    return f"{len(proven)} were restored and checked, the earliest {oldest}"


def seconds(value: float) -> str:
    """A short time for people: 0.2 s, 45 s, 12 minutes."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    for word, length in (("day", 86400), ("hour", 3600)):
        if value >= 2 * length:
            return plural(int(value // length), word)
    return plural(int(value // 60), "minute")


def targets(as_json: AsJson = False) -> None:
    """List the places where replicas are or were, the one in use first."""

    async def work(services: Services) -> list[Document]:
        found = await services.retention.targets()
        return [backup_report.described_target(target) for target in found]

    found = context.run(work)
    if as_json:
        output.document(found)
        return
    output.table(
        ("id", "place", "since", "proven", "state"),
        [
            (
                target["id"],
                target["url"],
                output.ago(target["since"]),
                output.ago(target["proven_at"], never="not yet"),
                _use(target, first=target is found[0]),
            )
            for target in found
        ],
    )


def _use(target: Document, *, first: bool) -> str:
    if first:
        return "in use"
    if target["let_go_at"]:
        return f"let go {output.ago(target['let_go_at'])}"
    return f"kept: end it with `fossilrepo backup let-go {target['id']}`"
