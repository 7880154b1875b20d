"""The certificates of the site and of every repository's host, where Caddy runs as our child.

Owns what is told of them, when one is too old, and that files of ours are read again when they
change. Whoever runs another server in front has none here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import timedelta

from fossilrepo.config import Settings, effective_issuer
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import FossilrepoError, TooManyRequests
from fossilrepo.models import now
from fossilrepo.services.alerts import Trouble
from fossilrepo.services.health import Check, Health
from fossilrepo.tools.caddy import Caddy, Certificate, Doors

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0  # seconds
TOUCH_EVERY = 3600.0  # seconds
SOON = timedelta(days=14)  # Caddy renews after two thirds of a lifetime: 30 days before the end
SHORT = 0.1  # of a lifetime, for those that live shorter than SOON
MANY = 30  # names; Let's Encrypt gives 50 new ones a week
NEW_IN_WEEK, WEEK = 45, 7 * 86400.0  # some are left for what else the domain has


@dataclass(frozen=True, slots=True)
class Standing:
    """A certificate, and whether it should have been renewed by now."""

    certificate: Certificate
    late: bool


class Certificates:
    def __init__(
        self, settings: Settings, caddy: Caddy, repositories: RepositoryStore, health: Health
    ) -> None:
        self._settings = settings
        self._caddy = caddy
        self._repositories = repositories
        self._health = health
        self._doors: Doors | None = None
        self._seen: tuple[float, ...] = ()
        self._begun: dict[str, float] = {}  # names without a certificate, and when one was allowed
        self._waiting: set[str] = set()

    @property
    def enabled(self) -> bool:
        return self._settings.caddy.enabled

    def standing(self) -> list[Standing]:
        """Those in use, the one that ends first in front; reads some files."""
        at = now()
        found = []
        for one in self._caddy.certificates() if self.enabled else ():
            if self._settings.caddy.certificate or any(map(self._is_served, one.names)):
                lifetime = one.not_after - one.not_before
                found.append(Standing(one, one.not_after - at < min(SOON, lifetime * SHORT)))
        return found

    def _is_served(self, name: str) -> bool:
        repository = name.removesuffix(f".{self._domain}")
        return name == self._domain or (self._settings.served / f"{repository}.fossil").exists()

    async def require_room(self, name: str) -> None:
        """TooManyRequests when no more new names may ask the authority this week.

        Who makes names without end would use up what it gives to the whole domain.
        """
        if not self.enabled or not self._is_counted:
            return
        at = time.monotonic()
        self._begun = {one: began for one, began in self._begun.items() if at - began < WEEK}
        if name in self._begun or await asyncio.to_thread(self._caddy.has_certificate, name):
            self._waiting.discard(name)
            return
        if len(self._begun) < NEW_IN_WEEK:
            self._begun[name] = at
            self._waiting.discard(name)
            return
        if name not in self._waiting:
            log.warning("%s gets no certificate yet: %d new ones this week", name, NEW_IN_WEEK)
            self._waiting.add(name)
        wait = min(self._begun.values()) + WEEK - at
        raise TooManyRequests(f"{name} waits for its certificate", retry_after=wait)

    @property
    def _is_counted(self) -> bool:
        """Whether each name needs a certificate of its own, of an authority that counts them."""
        is_counted = effective_issuer(self._settings) == "acme"
        return is_counted and not self._by_path and not self._settings.caddy.certificate

    def installed(self, doors: Doors) -> None:
        """Caddy was started with what lies there now."""
        self._doors = doors
        self._seen = self._times()

    async def run(self) -> None:
        """Keep Caddy's flags right, and have it read our files again when they change."""
        touched = -TOUCH_EVERY
        while True:
            await asyncio.to_thread(
                self._caddy.flag, "read-only", up=self._health.read_only_reason() is not None
            )
            times = await asyncio.to_thread(self._times)
            if self._doors is not None and times != self._seen:
                await self._renew(self._doors)
                self._seen = times
            if self._doors is not None and time.monotonic() - touched > TOUCH_EVERY:
                await self._touch()
                touched = time.monotonic()
            await asyncio.sleep(LOOK_EVERY)

    async def _renew(self, doors: Doors) -> None:
        try:
            await asyncio.to_thread(self._caddy.prepare)
            await self._caddy.reload(doors)
        except FossilrepoError as error:  # half written, most likely: its end changes it again
            log.error("the new certificate is not used: %s", error)
        else:
            log.info("the certificate of %s was renewed", self._settings.server.domain)

    async def _touch(self) -> None:
        """Visit the names that are due: Caddy fetches and renews when somebody comes."""
        at = now()
        if not self._settings.caddy.certificate:
            await self._caddy.touch(self._domain)
        for one in await asyncio.to_thread(self.standing):
            whole = one.certificate.not_after - one.certificate.not_before
            if one.certificate.not_after - at < whole / 3:
                for name in one.certificate.names:
                    await self._caddy.touch(name)

    def _times(self) -> tuple[float, ...]:
        if not self._settings.caddy.certificate:
            return ()
        try:
            return tuple(path.stat().st_mtime for path in self._caddy.sources())
        except OSError:
            return self._seen

    async def troubles(self) -> list[Trouble]:
        """What people are told of before browsers refuse to come."""
        late = [one.certificate for one in await asyncio.to_thread(self.standing) if one.late]
        waiting = await asyncio.to_thread(self._who_waits)
        return [*map(_waits, waiting[:5]), *self._late(late)]

    def _who_waits(self) -> list[str]:
        return sorted(filter(self._is_served, self._waiting))

    def _late(self, late: list[Certificate]) -> list[Trouble]:
        return [
            Trouble(
                f"certificate {one.names[0]}",
                "late",
                f"the certificate of {one.names[0]} is not renewed",
                f"It ends at {one.not_after:%Y-%m-%d %H:%M} UTC: {self._mend}.",
                "/system#h-certificates",
            )
            for one in late
        ]

    @property
    def _mend(self) -> str:
        if self._settings.caddy.certificate:
            return "renew the files of caddy.certificate and caddy.key"
        return "see the log of caddy; its ports must be reachable from outside"

    async def doctor(self, _thorough: bool) -> list[Check]:
        if not self.enabled:
            return []
        found = await asyncio.to_thread(self.standing)
        return [*self._check(found), *await self._enough()]

    def _check(self, found: list[Standing]) -> list[Check]:
        late = [one.certificate for one in found if one.late]
        if late:
            first = late[0]
            ends = f"{first.names[0]} ends at {first.not_after:%Y-%m-%d %H:%M} UTC"
            return [Check("certificates", "fail", f"not renewed in time: {ends}", self._mend)]
        if not found:
            words = "none yet: each is fetched when its name is first asked for"
            return [Check("certificates", "warn", words, f"open https://{self._domain}/")]
        covered = {name for one in found for name in one.certificate.names}
        wanted = {self._domain} | (set() if self._by_path else {f"*.{self._domain}"})
        if self._settings.caddy.certificate and (missing := wanted - covered):
            words = f"the certificate is not for {' and '.join(sorted(missing))}"
            return [Check("certificates", "fail", words, "get one for the domain and *.domain")]
        first = found[0].certificate
        words = f"{len(found)}, the first ends at {first.not_after:%Y-%m-%d}"
        return [Check("certificates", "ok", words)]

    @property
    def _by_path(self) -> bool:
        return self._settings.server.routing == "path"

    @property
    def _domain(self) -> str:
        return self._settings.server.domain

    async def _enough(self) -> list[Check]:
        """More names than an authority gives certificates for in a week want one for all."""
        count = await self._repositories.count()
        waiting = self._who_waits()
        if not self._is_counted or (count <= MANY and not waiting):
            return []
        words = f"{count} repositories need one each, and Let's Encrypt gives 50 new ones a week"
        if waiting:
            words += f"; {len(waiting)} wait for theirs: {', '.join(waiting[:5])}"
        return [
            Check(
                "number of certificates",
                "fail" if waiting else "warn",
                words,
                f"get one for *.{self._domain} (certbot with a DNS plugin), and name its files in "
                "caddy.certificate and caddy.key; or see server.routing",
            )
        ]


def _waits(name: str) -> Trouble:
    return Trouble(
        f"certificate {name}",
        "waiting",
        f"{name} waits for its first certificate",
        "The authority takes no more new names this week; until then its host cannot be opened.",
        "/system#h-checks",
    )
