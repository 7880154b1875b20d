"""The API's calls for what happens in repositories.

Owns their rows and models. The filters are those of the activity page's address.
"""

from __future__ import annotations

from typing import Any

from fossilrepo.errors import NotFound
from fossilrepo.services import insights_json
from fossilrepo.web.api_call import Call
from fossilrepo.web.api_models import Answer
from fossilrepo.web.pages_activity import Filters, found, older
from fossilrepo.web.visit import Visit, Who

_PER_PAGE, _MOST = 50, 500


class InsightsAnswer(Answer):
    """Days are dates in UTC, sizes bytes; `hours` are the week's 168, from Monday 00:00 UTC on."""

    read_at: str
    head: str | None
    events: dict[str, int]
    days: dict[str, dict[str, int]]
    hours: list[int]
    contributors: list[dict[str, Any]]
    branches: list[dict[str, Any]]
    tickets: dict[str, Any]
    wiki_pages: int
    languages: dict[str, dict[str, int]]
    biggest: list[dict[str, Any]]
    pushes: dict[str, int]
    sizes: dict[str, int]


class EventAnswer(Answer):
    repository: str
    organization: str
    kind: str
    hash: str
    at: str
    user: str
    text: str
    branch: str | None


class ActivityAnswer(Answer):
    """Newest first. `older`: give it as `before` for the next page; null on the last."""

    events: list[EventAnswer]
    older: str | None


async def insights(visit: Visit, _body: None) -> object:
    repository = await visit.services.repos.get(visit.reader, visit.path("name"))
    kept = await visit.services.insights.of(repository)
    if kept is None:
        raise NotFound(
            f"the history of {repository.label} was not read yet",
            hint="a running host reads it in a moment: ask again",
        )
    return insights_json.insights(kept)


async def activity(visit: Visit, _body: None) -> object:
    limit = max(1, visit.number("limit", _PER_PAGE, _MOST))
    events = await found(visit, Filters.of(visit), limit + 1)
    more = len(events) > limit
    return {
        "events": [insights_json.event(one) for one in events[:limit]],
        "older": older(events[limit - 1]) if more else None,
    }


CALLS = (
    Call(
        "GET",
        "/repositories/{name}/insights",
        Who.SIGNED_IN,
        insights,
        "What is known of a repository's history",
        answer=InsightsAnswer,
    ),
    Call(
        "GET",
        "/activity",
        Who.SIGNED_IN,
        activity,
        "What was done in the repositories, newest first",
        answer=ActivityAnswer,
        query=("q", "repository", "org", "user", "kind", "before", "limit"),
    ),
)
