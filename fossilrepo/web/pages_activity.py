"""What happens in the repositories: one list with filters, and the same as Atom feeds.

Owns the filters, whose state is in the address, and the form of the feeds (RFC 4287). Feeds of
what strangers may read need nobody to sign in; others take an API token as a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as Xml

from aiohttp import web

from fossilrepo.insight import KIND_WORDS, KINDS, Asked, Event
from fossilrepo.models import iso, now
from fossilrepo.web import render
from fossilrepo.web.visit import Form, Route, Visit, Who

PER_PAGE = 50
_IN_FEED = 30
_USUAL = ("ci", "w", "t", "e", "f")  # changes of tags are shown to who asks for them
_ATOM = "http://www.w3.org/2005/Atom"
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Filters:
    """What of the activity is shown; `before` names the event after which a page begins.

    `user` may be several names with commas between: one person has more than one in Fossil.
    """

    words: str = ""
    repository: str = ""
    org: str = ""
    user: str = ""
    kind: str = ""
    before: str = ""

    @classmethod
    def of(cls, visit: Visit) -> Filters:
        kind = visit.query("kind") if visit.query("kind") in KINDS else ""
        return cls(
            words=visit.query("q")[:200].strip(),
            repository=visit.query("repository")[:63].strip(),
            org=visit.query("org")[:63].strip(),
            user=visit.query("user")[:1000].strip(),
            kind=kind,
            before=visit.query("before")[:60],
        )

    @property
    def is_narrow(self) -> bool:
        return bool(self.words or self.repository or self.org or self.user or self.kind)

    def asked(self) -> Asked:
        return Asked(
            repository=self.repository,
            org=self.org,
            users=tuple(one for part in self.user.split(",") if (one := part.strip())),
            kinds=(self.kind,) if self.kind else _USUAL,
            before=_before(self.before),
        )

    def url(self, path: str = "/activity", **changes: str) -> str:
        """The address of another view."""
        given = replace(self, **changes)
        names = {"q": "words", "repository": "repository", "org": "org", "user": "user"}
        names |= {"kind": "kind", "before": "before"}
        query = urlencode({k: getattr(given, v) for k, v in names.items() if getattr(given, v)})
        return f"{path}?{query}" if query else path


def older(last: Event) -> str:
    """What stands as `before` in the address of the list that goes on after this event."""
    return f"{last.at.isoformat()}_{last.id}"


def _before(text: str) -> tuple[datetime, int] | None:
    at, _, number = text.rpartition("_")
    try:
        when = datetime.fromisoformat(at)
        return (when, int(number)) if when.tzinfo and number.isascii() else None
    except ValueError:
        return None


async def activity(visit: Visit) -> web.StreamResponse:
    filters = Filters.of(visit)
    events = await found(visit, filters, PER_PAGE + 1)
    more = ""
    if len(events) > PER_PAGE:
        events = events[:PER_PAGE]
        more = filters.url(before=older(events[-1]))
    return render.page(
        visit, "activity.html", events=events, filters=filters, more=more, kinds=KIND_WORDS
    )


async def found(visit: Visit, filters: Filters, limit: int) -> list[Event]:
    insights = visit.services.insights
    if filters.words:
        return await insights.search(visit.reader, filters.words, filters.asked(), limit)
    return await insights.events(visit.reader, filters.asked(), limit)


# Feeds


async def feed(visit: Visit) -> web.StreamResponse:
    filters = replace(Filters.of(visit), before="")
    return await _feed(visit, filters, f"Activity on {visit.services.links.domain}")


async def repository_feed(visit: Visit) -> web.StreamResponse:
    repository = await visit.services.repos.get(visit.reader, visit.path("name"))
    filters = replace(Filters.of(visit), repository=repository.label, org="", before="")
    return await _feed(visit, filters, f"Activity in {repository.label}")


async def org_feed(visit: Visit) -> web.StreamResponse:
    org = await visit.services.access.organization(visit.actor, visit.path("org"))
    filters = replace(Filters.of(visit), org=org.name, repository="", before="")
    return await _feed(visit, filters, f"Activity in {org.title or org.name}")


async def _feed(visit: Visit, filters: Filters, title: str) -> web.StreamResponse:
    events = await found(visit, filters, _IN_FEED)
    links = visit.services.links
    here = links.public_url + visit.request.rel_url.raw_path_qs
    root = Xml.Element("feed", xmlns=_ATOM)
    _add(root, "title", title)
    _add(root, "id", here)
    _add(root, "updated", iso(max((one.at for one in events), default=now())) or "")
    Xml.SubElement(root, "link", rel="self", href=here)
    Xml.SubElement(root, "link", href=links.public_url + filters.url())
    for one in events:
        _add_entry(root, one, f"{links.repo_url(one.repository)}info/{one.hash}")
    text = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return web.Response(body=text, content_type="application/atom+xml", charset="utf-8")


def _add_entry(root: Xml.Element, one: Event, url: str) -> None:
    entry = Xml.SubElement(root, "entry")
    first = (one.text or KIND_WORDS[one.kind]).splitlines()[0][:200]
    _add(entry, "title", f"{one.repository}: {first}")
    _add(entry, "id", f"urn:fossil:{one.hash}")
    _add(entry, "updated", iso(one.at) or "")
    Xml.SubElement(entry, "link", href=url)
    _add(Xml.SubElement(entry, "author"), "name", one.user or "unknown")
    Xml.SubElement(entry, "category", term=KIND_WORDS[one.kind])
    _add(entry, "content", one.text, type="text")


def _add(parent: Xml.Element, name: str, text: str, **attributes: Any) -> None:
    Xml.SubElement(parent, name, attributes).text = _NO_XML.sub("\ufffd", text)


ROUTES = (
    Route("GET", "/activity", Who.SIGNED_IN, activity),
    Route("GET", "/activity.atom", Who.SIGNED_IN, feed, form=Form.JSON),
    Route("GET", "/repos/{name}/activity.atom", Who.PUBLIC, repository_feed, form=Form.JSON),
    Route("GET", "/orgs/{org}/activity.atom", Who.SIGNED_IN, org_feed, form=Form.JSON),
)
