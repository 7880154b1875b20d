"""Alerts: people are told once when something breaks, and once when it is well again.

Owns what counts as bad, how long it must be so before anybody is told, and the ping that is sent
while all is well, so that an outside watcher notices silence. What was told is kept in the
control database: a restart tells nothing again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from fossilrepo.bridge import Mirror, MirrorState, Upstream
from fossilrepo.config import Settings
from fossilrepo.db.alerts import Alert, AlertStore
from fossilrepo.db.mirrors import MirrorStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.db.upstreams import UpstreamStore
from fossilrepo.errors import Conflict, Forbidden, FossilrepoError
from fossilrepo.models import Actor, BackupState, Replica, Repository, RepositoryState, now
from fossilrepo.services.health import Check, Health
from fossilrepo.services.links import Links
from fossilrepo.services.replication import Replication
from fossilrepo.tools import checked_http, notify
from fossilrepo.tools.addresses import EVERYWHERE

LOOK_EVERY = 15.0  # seconds
PING_EVERY = 60.0  # seconds
TOKEN_DAYS = (14, 2)  # before a token ends
AGAIN_AFTER, AGAIN_AT_LATEST = 30.0, 3600.0  # seconds after a message that could not be sent

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something bad that lasts. `patience`: seconds before people are told of it."""

    subject: str
    condition: str
    title: str
    text: str
    path: str
    patience: float = 0.0


class Alerts:
    def __init__(
        self,
        settings: Settings,
        store: AlertStore,
        mirrors: MirrorStore,
        upstreams: UpstreamStore,
        repositories: RepositoryStore,
        replication: Replication,
        health: Health,
        links: Links,
        *,
        look_every: float = LOOK_EVERY,
        patience: float = 120.0,
    ) -> None:
        self._urls = [url.get_secret_value() for url in settings.alerts.urls]
        self._ping_url = settings.alerts.ping_url.get_secret_value()
        self._store = store
        self._mirrors = mirrors
        self._upstreams = upstreams
        self._repositories = repositories
        self._replication = replication
        self._health = health
        self._links = links
        self._look_every = look_every
        self._patience = patience
        self._failures = 0
        self._quiet_until = 0.0
        self._pinged = -PING_EVERY
        self.last_error = ""
        self.more: list[Callable[[], Awaitable[list[Trouble]]]] = []

    @property
    def configured(self) -> bool:
        return bool(self._urls)

    async def run(self) -> None:
        """Look and tell, until cancelled; nothing where nobody is to be told."""
        while self._urls or self._ping_url:
            troubles = await self.look()
            if self._urls:
                await self._tell_changes(troubles)
            if self._ping_url and not troubles:
                await self._ping()
            await asyncio.sleep(self._look_every)

    async def test(self, actor: Actor) -> None:
        """A trial message to every address; Conflict when there is none."""
        if not actor.is_admin:
            raise Forbidden("only an administrator of the site may do this")
        if not self._urls:
            raise Conflict("no address for alerts is configured", hint="set alerts.urls")
        title = f"A trial of the alerts of {self._links.domain}"
        await notify.notify(self._urls, title, "This message was sent to see whether they work.")

    async def doctor(self, thorough: bool) -> list[Check]:
        """Whether anybody would be told, and what is not well with mirrors and upstreams."""
        return [await self._check_addresses(thorough), await self._check_bridge()]

    async def _check_addresses(self, thorough: bool) -> Check:
        if not self._urls:
            return Check(
                "alerts",
                "warn",
                "nobody is told when something breaks",
                "set alerts.urls, for example to mailto://… or ntfy://…",
            )
        if self.last_error:
            return Check("alerts", "fail", self.last_error, "see `fossilrepo alerts test`")
        if thorough:
            try:
                await notify.check(self._urls)
            except FossilrepoError as error:
                return Check("alerts", "fail", error.message, error.hint)
        return Check("alerts", "ok", f"{len(self._urls)} are told when something breaks")

    async def _check_bridge(self) -> Check:
        standing = [one.standing for one in await self._mirrors.list()]
        standing += [one.standing for one in await self._upstreams.list()]
        bad = [one for one in standing if one.state in (MirrorState.FAILING, MirrorState.STOPPED)]
        if bad:
            return Check(
                "mirrors",
                "warn",
                f"{len(bad)} of {len(standing)} fail or wait for a decision: {bad[0].last_error}",
                "see `fossilrepo mirror list` and `fossilrepo upstream list`",
            )
        return Check("mirrors", "ok", f"{len(standing)}, and none fails")

    # What is bad

    async def look(self) -> list[Trouble]:
        """Everything that is not well now."""
        mirrors, upstreams = await self._mirrors.list(), await self._upstreams.list()
        late = self._late_backups()
        names: dict[str, str] = {}
        if mirrors or upstreams or late:  # thousands of rows, four times a minute
            names = {r.id: r.label for r in await self._repositories.all() if _is_living(r)}
        found = self._of_children() + self._of_disk() + self._of_backups(late, names)
        for mirror in mirrors:
            name = names.get(mirror.repository_id)
            if name is not None:
                found += self._of_standing("mirror", mirror, name, f"/mirrors/{mirror.id}")
                found += self._of_token(mirror, name)
        for upstream in upstreams:
            name = names.get(upstream.repository_id)
            if name is not None:
                found += self._of_standing("upstream", upstream, name, f"/repos/{name}/upstream")
        for more in self.more:
            found += await more()
        return found

    def _of_standing(
        self, kind: str, one: Mirror | Upstream, name: str, path: str
    ) -> list[Trouble]:
        known = one.standing
        state = known.state
        if state is MirrorState.RUNNING and known.failures:
            state = MirrorState.FAILING
        if state is MirrorState.PAUSED and not known.failures:
            return []  # somebody paused it
        words = {
            MirrorState.FAILING: "fails",
            MirrorState.STOPPED: "waits for a decision",
            MirrorState.PAUSED: "has paused itself",
        }
        if state not in words:
            return []
        why = known.paused_why if state is MirrorState.PAUSED else known.last_error
        return [
            Trouble(
                f"{kind} {one.id}",
                str(state),
                f"{name}: its {kind} {words[state]}",
                "\n".join(
                    part for part in (one.url, known.last_error or why, known.last_hint) if part
                ),
                path,
                self._patience if state is MirrorState.FAILING else 0.0,
            )
        ]

    def _of_token(self, mirror: Mirror, name: str) -> list[Trouble]:
        ends = mirror.token_expires_at
        if ends is None:
            return []
        left = ends - now()
        for days in sorted(TOKEN_DAYS):
            if left <= timedelta(days=days):
                return [
                    Trouble(
                        f"token {mirror.id}",
                        f"{days} days",
                        f"{name}: the token of a mirror ends {ends:%Y-%m-%d}",
                        "Make another one on the server and set it, before the mirror fails.",
                        f"/mirrors/{mirror.id}",
                    )
                ]
        return []

    def _of_children(self) -> list[Trouble]:
        return [
            Trouble(
                f"child {child.name}",
                "down",
                f"{child.name} does not run",
                child.last_error or str(child.state),
                "/system",
                60.0,
            )
            for child in self._health.children()
            if not child.ready
        ]

    def _of_disk(self) -> list[Trouble]:
        reason = self._health.read_only_reason()
        if not reason:
            return []
        return [Trouble("disk", "full", "The host is read-only", reason, "/system")]

    def _late_backups(self) -> list[Replica]:
        return [
            row
            for row in self._replication.statuses().values()
            if row.state in (BackupState.FAILING, BackupState.BEHIND)
        ]

    def _of_backups(self, late: list[Replica], names: dict[str, str]) -> list[Trouble]:
        bad = [row for row in late if row.repository_id in names]
        if not bad:
            return []
        shown = ", ".join(names[row.repository_id] for row in bad[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        why = next((row.reason for row in bad if row.reason), "")
        return [
            Trouble(
                "backups", "behind", f"Backups are behind: {shown}{more}", why, "/backups", 300.0
            )
        ]

    # Telling

    async def _tell_changes(self, troubles: Sequence[Trouble]) -> None:
        known, moment = await self._store.all(), now()
        current = {trouble.subject: trouble for trouble in troubles}
        for trouble in troubles:
            before = known.get(trouble.subject)
            if before is None or before.condition != trouble.condition:
                told = before.told_at if before else None
                fresh = Alert(trouble.subject, trouble.condition, moment, None, trouble.title)
                # What people know of already and only changes its kind is told anew.
                before = replace(fresh, since=before.since if before and told else moment)
                await self._store.set(before)
            waited = (moment - before.since).total_seconds()
            if before.told_at is None and waited >= trouble.patience:
                if await self._send(f"{trouble.title}", trouble.text, trouble.path):
                    await self._store.set(replace(before, told_at=moment))
        for subject, before in known.items():
            if subject in current:
                continue
            if before.told_at is None or subject.startswith("token "):
                await self._store.clear(subject)
            elif await self._send(f"Well again: {before.text}", "It works again.", ""):
                await self._store.clear(subject)

    async def _send(self, title: str, text: str, path: str) -> bool:
        if time.monotonic() < self._quiet_until:
            return False
        link = f"\n\n{self._links.public_url}{path}" if path else ""
        try:
            await notify.notify(self._urls, title, f"{text}{link}")
        except FossilrepoError as error:
            self._failures += 1
            pause = min(AGAIN_AFTER * 2 ** (self._failures - 1), AGAIN_AT_LATEST)
            self._quiet_until = time.monotonic() + pause
            self.last_error = error.message
            log.warning("an alert could not be sent: %s", error.message)
            return False
        self._failures, self.last_error = 0, ""
        log.info("alert: %s", title)
        return True

    async def _ping(self) -> None:
        if time.monotonic() - self._pinged < PING_EVERY:
            return
        self._pinged = time.monotonic()
        with suppress(FossilrepoError):  # its absence is what the watcher looks for
            await checked_http.request("GET", self._ping_url, networks=EVERYWHERE)


def _is_living(row: Repository) -> bool:
    return row.state in (RepositoryState.ACTIVE, RepositoryState.ARCHIVED)
