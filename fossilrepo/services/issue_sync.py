"""Tickets to issues of a forge, one way: title, text, comments, whether it is closed, edits.

Owns what an issue looks like and what is written when. A hidden mark in each issue and comment
says which ticket it is, so nothing is written twice even when our own record is lost. Nobody there
is notified by what stands in a ticket: mentions and references are made plain.
"""

from __future__ import annotations

import asyncio
import hashlib
import re

from fossilrepo.bridge import Mirror
from fossilrepo.db.mirrors import IssueLink, MirrorStore
from fossilrepo.models import Repository
from fossilrepo.services.jobs import Progress
from fossilrepo.services.links import Links
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import fossil_tickets
from fossilrepo.tools.forge import Forge
from fossilrepo.tools.fossil_tickets import Remark, Ticket
from fossilrepo.wording import plural

MARK = "<!-- fossil-ticket:"
LIMIT = 50  # requests that change something, in one run
_LONGEST = 60_000  # characters; GitHub takes 65,536
_PINGS = re.compile(r"([@#!~%])(?=[\w])")


class IssueSync:
    def __init__(self, store: MirrorStore, shelf: Shelf, links: Links) -> None:
        self._store = store
        self._shelf = shelf
        self._links = links

    async def sync(
        self,
        mirror: Mirror,
        repository: Repository,
        forge: Forge,
        path: str,
        progress: Progress,
        limit: int = LIMIT,
    ) -> str:
        """Bring issues up to date, at most `limit` changes; what was done, in words.

        What is left waits for the next run. RateLimited keeps what was done.
        """
        tickets = await asyncio.to_thread(fossil_tickets.tickets, self._shelf.file(repository.id))
        known = await self._store.issues(mirror.id)
        if tickets and not known:
            known = await self._found(mirror, forge, path)
        left = limit
        for done, ticket in enumerate(tickets):
            if left <= 0:
                return (
                    f"{done} of {len(tickets)} tickets are there; the rest comes with the next run"
                )
            left -= await self._one(mirror, repository, forge, path, ticket, known, left)
            progress.say(f"tickets: {done + 1} of {len(tickets)}")
        return f"{plural(len(tickets), 'ticket')} there" if tickets else "there are no tickets"

    async def _found(self, mirror: Mirror, forge: Forge, path: str) -> dict[str, IssueLink]:
        """What an earlier run made that is not in our record any more."""
        found: dict[str, IssueLink] = {}
        for issue in await forge.issues(path, marker=MARK):
            ticket = issue.body.partition(MARK)[2].partition(" ")[0]
            if ticket and ticket not in found:
                comments = {}
                for comment in await forge.comments(path, issue.number):
                    remark = comment.body.partition(MARK)[2].partition(" ")[0].partition("/")[2]
                    if remark:
                        comments[remark] = {"id": comment.id, "digest": ""}
                found[ticket] = IssueLink(ticket, issue.number, "", comments)
                await self._store.set_issue(mirror.id, found[ticket])
        return found

    async def _one(
        self,
        mirror: Mirror,
        repository: Repository,
        forge: Forge,
        path: str,
        ticket: Ticket,
        known: dict[str, IssueLink],
        left: int,
    ) -> int:
        """How many requests it took; each is on record before the next."""
        used = 0
        title, body = _quiet(ticket.title)[:250], self._body(repository, ticket)
        digest = _digest(title, body, str(ticket.is_closed))
        link = known.get(ticket.uuid)
        if link is None:
            issue = await forge.create_issue(path, title=title, body=body)
            link = IssueLink(ticket.uuid, issue.number, "" if ticket.is_closed else digest, {})
            await self._store.set_issue(mirror.id, link)
            used += 1
        if link.digest != digest:
            await forge.update_issue(
                path, link.number, title=title, body=body, closed=ticket.is_closed
            )
            link = IssueLink(link.ticket, link.number, digest, link.comments)
            await self._store.set_issue(mirror.id, link)
            used += 1
        for remark in ticket.remarks:
            if used >= left:
                break
            text = self._remark(ticket, remark)
            mine, before = _digest(text), link.comments.get(remark.id)
            if before is None:
                comment = await forge.add_comment(path, link.number, text)
                entry = {"id": comment.id, "digest": mine}
            elif before["digest"] != mine:
                await forge.update_comment(path, link.number, before["id"], text)
                entry = {"id": before["id"], "digest": mine}
            else:
                continue
            link = IssueLink(
                link.ticket, link.number, link.digest, link.comments | {remark.id: entry}
            )
            await self._store.set_issue(mirror.id, link)
            used += 1
        return used

    def _body(self, repository: Repository, ticket: Ticket) -> str:
        url = f"{self._links.repo_url(repository.label)}tktview/{ticket.uuid}"
        facts = [f"Status: {_plain(ticket.status)}"] if ticket.status else []
        facts += [f"Type: {_plain(ticket.kind)}"] if ticket.kind else []
        by = f"{_plain(ticket.user)}, " if ticket.user else ""
        return (
            f"{_plain(ticket.text)[:_LONGEST]}\n\n---\n"
            f"[Ticket {ticket.uuid[:10]}]({url}) by {by}{ticket.at:%Y-%m-%d %H:%M} UTC. "
            f"{'. '.join(facts)}\n{MARK}{ticket.uuid} -->"
        )

    def _remark(self, ticket: Ticket, remark: Remark) -> str:
        who = f"{_plain(remark.user)}, " if remark.user else ""
        return (
            f"{_plain(remark.text)[:_LONGEST]}\n\n---\n{who}{remark.at:%Y-%m-%d %H:%M} UTC\n"
            f"{MARK}{ticket.uuid}/{remark.id} -->"
        )


def _plain(text: str) -> str:
    """Shown as it is: no HTML, no mark of ours, and nothing that notifies or links anybody."""
    return _quiet(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def _quiet(text: str) -> str:
    return _PINGS.sub("\\1\u200b", text.replace("\0", ""))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
