"""The audit log as people read it: searched, in pages, and exported.

Owns who may read which entries. Administrators of the site read everything; a repository's
administrators what happened to it, under the names that it had; an organization's owners
what happened to it and to its teams. A name that was somebody else's before tells nothing
of that time.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fossilrepo.db.journal import AuditFilter, AuditStore, Span
from fossilrepo.errors import Forbidden, InvalidInput
from fossilrepo.models import Actor, AuditEntry, Repository, now
from fossilrepo.rights import Organization, Role
from fossilrepo.services.access import Access
from fossilrepo.services.audit_forms import ExportForm, head, lines
from fossilrepo.services.moments import Moment, parse_moment

PAGE, MOST = 50, 500
_MOST_NAMES = 50  # that one thing had, looked back upon
_MOST_TEXT = 200
_RENAMED = ("repository.rename", "organization.rename")
_RETURNED = "repository.restore"
_REPOSITORY_NAMED = (
    "repository.create",
    "repository.import",
    "repository.adopt",
    "backup.restore.new",
    _RETURNED,
    "repository.rename",
)
_ORGANIZATION_NAMED = ("organization.create", "organization.rename")
_A_DAY = re.compile(r"today|yesterday|\d{4}-\d\d-\d\d", re.IGNORECASE)
_A_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_NEVER = datetime(9999, 12, 30, tzinfo=UTC)
_A_LENGTH = re.compile(r"\d+(?:\.\d+)?\s*[a-z]+", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """What is looked for; what is empty does not count. Times: from `since`, before `until`."""

    words: str = ""
    actor: str = ""
    action: str = ""
    address: str = ""
    repository: str = ""
    organization: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Newest first; `older` is what to give as `before` for the next page, None on the last."""

    entries: tuple[AuditEntry, ...]
    older: int | None = None


class AuditLog:
    def __init__(self, store: AuditStore, access: Access) -> None:
        self._store = store
        self._access = access

    async def search(
        self,
        actor: Actor,
        wanted: AuditSearch,
        *,
        before: int | None = None,
        limit: int = PAGE,
    ) -> AuditPage:
        """One page. Forbidden, or NotFound, for whoever may not read these entries."""
        filters = await self._allowed(actor, wanted)
        limit = max(1, min(limit, MOST))
        found = await self._store.search(filters, before=before, limit=limit + 1)
        shown = tuple(found[:limit])
        return AuditPage(shown, shown[-1].id if len(found) > limit else None)

    async def export(
        self, actor: Actor, wanted: AuditSearch, form: ExportForm, *, limit: int | None = None
    ) -> AsyncIterator[str]:
        """The same search in full as text, a page at a time; refused before the first of it."""
        return self._exported(await self._allowed(actor, wanted), form, limit)

    async def _exported(
        self, filters: AuditFilter, form: ExportForm, limit: int | None
    ) -> AsyncIterator[str]:
        before, left = None, limit
        yield head(form)
        while left is None or left > 0:
            size = MOST if left is None else min(MOST, left)
            found = await self._store.search(filters, before=before, limit=size)
            if found:
                yield lines(form, found)
            if len(found) < size:
                return
            before = found[-1].id
            left = None if left is None else left - len(found)

    # Who

    async def _allowed(self, actor: Actor, wanted: AuditSearch) -> AuditFilter:
        if not (actor.is_admin or wanted.repository or wanted.organization):
            raise Forbidden(
                "the whole audit log is for administrators of the site",
                hint="its part of a repository is for who administers that, "
                "of an organization for its owners",
            )
        repository, identity = await self._of_repository(actor, wanted.repository)
        return AuditFilter(
            words=wanted.words[:_MOST_TEXT],
            actor=wanted.actor[:_MOST_TEXT],
            action=wanted.action[:_MOST_TEXT].lower(),
            address=wanted.address[:_MOST_TEXT],
            since=wanted.since,
            until=wanted.until,
            repository=repository,
            identity=identity,
            organization=await self._of_organization(actor, wanted.organization),
        )

    async def _of_repository(self, actor: Actor, name: str) -> tuple[tuple[Span, ...] | None, str]:
        if not name:
            return None, ""
        if actor.is_admin:
            return (Span(name),), ""  # of every repository that had this name
        repository = await self._access.repository(actor, name, Role.ADMIN)
        return await self._names_of_repository(repository), repository.id

    async def _of_organization(self, actor: Actor, name: str) -> tuple[Span, ...] | None:
        if not name:
            return None
        if actor.is_admin:
            return (Span(name),)
        org = await self._access.owned(actor, name)
        return await self._names_of_organization(org)

    async def _names_of_repository(self, repository: Repository) -> tuple[Span, ...]:
        """Back from the present name to where the repository came from."""
        spans: list[Span] = []
        name, end = repository.label, None
        while len(spans) < _MOST_NAMES:
            taken = await self._store.last(_REPOSITORY_NAMED, subject=name, before=end)
            if taken is None:
                return (*spans, Span(name, end=end, since=repository.created_at))
            if taken.detail.get("id", repository.id) != repository.id:
                spans.append(Span(name, taken.id + 1, end))  # how ours came to it is not told
                break
            spans.append(Span(name, taken.id, end))
            if taken.action == _RETURNED:
                left = await self._store.last(
                    ("repository.delete",), identity=repository.id, before=taken.id
                )
                if left is None:
                    break
                name, end = left.subject, left.id + 1
            elif taken.action in _RENAMED:
                name, end = str(taken.detail.get("before", "")), taken.id
            else:
                break
        return tuple(spans)

    async def _names_of_organization(self, org: Organization) -> tuple[Span, ...]:
        spans: list[Span] = []
        name, end = org.name, None
        while len(spans) < _MOST_NAMES:
            taken = await self._store.last(_ORGANIZATION_NAMED, subject=name, before=end)
            if taken is None:
                return (*spans, Span(name, end=end, since=org.created_at))
            spans.append(Span(name, taken.id, end))
            if taken.action not in _RENAMED:
                break
            name, end = str(taken.detail.get("before", "")), taken.id
        return tuple(spans)


def time_of(text: str, *, field: str, is_end: bool = False) -> datetime | None:
    """The time that somebody wrote; an end that is a day includes it. None when empty."""
    words = text.strip()
    if not words:
        return None
    asked = f"{words} ago" if _A_LENGTH.fullmatch(words) else words
    at = now()
    moment: Moment | None
    try:
        moment = parse_moment(asked, at)
    except InvalidInput as error:
        ahead = _A_DATE.match(words) and error.message.endswith("is in the future")
        moment = parse_moment(asked, _NEVER) if ahead else None
    if moment is None or moment.before is not None:
        raise InvalidInput(
            f"{text[:80]!r} is no time",
            hint="write 2026-05-01T12:00:00Z, 2026-05-01, or 5m ago; times are UTC",
            field=field,
        )
    found = moment.at or at
    return found + timedelta(days=1) if is_end and _A_DAY.fullmatch(words) else found
