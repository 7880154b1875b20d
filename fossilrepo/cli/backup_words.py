"""What the commands about backups share: arguments, and the words for a difference.

Owns the JSON form of what a restore in place would change, and its lines for people.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fossilrepo.cli import output
from fossilrepo.models import iso, now
from fossilrepo.services.moments import parse_moment, write_time
from fossilrepo.wording import plural

if TYPE_CHECKING:
    from fossilrepo.services.difference import Difference

At = Annotated[
    str,
    typer.Option(
        "--at",
        metavar="TIME",
        help="RFC 3339, a date, like 5m ago, or before CHECKIN; the newest without it.",
        show_default=False,
    ),
]
Subject = Annotated[
    str, typer.Argument(metavar="NAME", help="Its name, or the identity of a deleted one.")
]


def check_moment(text: str) -> None:
    """InvalidInput for what is no moment, before anything is opened or asked."""
    parse_moment(text, now())


def difference(found: Difference) -> dict[str, Any]:
    """`at` is None for the newest moment; it can be given to `--at` as it is."""
    return {
        "at": write_time(found.at) if found.at else None,
        "checkins_now": found.checkins_now,
        "checkins_then": found.checkins_then,
        "changes": [
            {"what": change.what, "gone": change.gone, "back": change.back}
            for change in found.changes
        ],
        **{
            key: [
                {
                    "hash": checkin.hash,
                    "at": iso(checkin.at),
                    "user": checkin.user,
                    "branch": checkin.branch,
                    "comment": checkin.comment,
                }
                for checkin in checkins
            ]
            for key, checkins in (("gone", found.gone), ("back", found.back))
        },
        "warning": found.warning,
    }


def difference_lines(found: dict[str, Any]) -> Iterator[str]:
    """What would change, a line for each kind and each of the newest check-ins."""
    moment = found["at"] or "the newest moment"
    if not found["changes"]:
        yield f"{moment} holds exactly what is there now"
        return
    yield (
        f"{moment} has {plural(found['checkins_then'], 'check-in')}, "
        f"now there are {found['checkins_now']}"
    )
    for change in found["changes"]:
        for key, word in (("gone", "go"), ("back", "come back")):
            if change[key]:
                yield f"  {change[key]} {change['what']} would {word}"
    for key, sign in (("gone", "-"), ("back", "+")):
        for checkin in found[key]:
            yield output.clean(
                f"  {sign} {checkin['hash'][:10]}  {output.ago(checkin['at'])}  "
                f"{checkin['user']}  {checkin['comment']}"
            )
    if any(change["gone"] for change in found["changes"]):
        yield found["warning"]
