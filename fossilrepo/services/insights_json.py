"""Insights as plain values: for `repo insights --json`, `activity --json` and the API.

Owns the keys, which are promises. Days are dates in UTC, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from fossilrepo.insight import KIND_WORDS, Event, Kept
from fossilrepo.models import iso
from fossilrepo.services.insights import contributors


def insights(kept: Kept) -> dict[str, Any]:
    """All that is known of one repository's history; without its readme."""
    return {
        "read_at": iso(kept.read_at),
        "head": kept.head or None,
        "events": {KIND_WORDS[kind]: count for kind, count in sorted(kept.counts.items())},
        "days": {
            _date(day): {KIND_WORDS[kind]: count for kind, count in sorted(kinds.items())}
            for day, kinds in sorted(kept.days.items())
        },
        "hours": list(kept.hours),
        "contributors": [
            {
                "name": one.name,
                "names": list(one.names),
                "checkins": one.checkins,
                "others": one.others,
                "first_at": iso(one.first_at),
                "last_at": iso(one.last_at),
            }
            for one in contributors(kept)
        ],
        "branches": [
            {
                "name": one.name,
                "open": one.is_open,
                "checkins": one.checkins,
                "first_at": iso(one.first_at),
                "last_at": iso(one.last_at),
            }
            for one in kept.branches
        ],
        "tickets": {
            "open": kept.tickets.open,
            "closed": kept.tickets.closed,
            "opened_on": _dates(kept.tickets.opened_on),
            "closed_on": _dates(kept.tickets.closed_on),
        },
        "wiki_pages": kept.wiki_pages,
        "languages": {
            ending: {"files": files, "bytes": size}
            for ending, (files, size) in sorted(kept.languages.items())
        },
        "biggest": [
            {"name": one.name or None, "hash": one.hash, "bytes": one.size} for one in kept.biggest
        ],
        "pushes": _dates(kept.pushes),
        "sizes": _dates(kept.sizes),
    }


def event(one: Event) -> dict[str, Any]:
    return {
        "repository": one.repository,
        "organization": one.org,
        "kind": KIND_WORDS[one.kind],
        "hash": one.hash,
        "at": iso(one.at),
        "user": one.user,
        "text": one.text,
        "branch": one.branch or None,
    }


def _dates(days: Mapping[int, int]) -> dict[str, int]:
    return {_date(day): count for day, count in sorted(days.items())}


def _date(day: int) -> str:
    return date.fromordinal(day).isoformat()
