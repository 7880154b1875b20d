"""The audit log: every change, who made it, from where, what was before and after.

Owns the writing of entries, which nobody changes or deletes later; `audit_log` owns the
reading. A secret never comes here, and what looks like one is left out. An entry is
written after the change that it tells of, and is also a line in the log.
"""

from __future__ import annotations

import logging
import re
import time
from collections import OrderedDict
from datetime import datetime
from typing import Any

from fossilrepo.db.journal import AuditStore
from fossilrepo.models import Actor, AuditEntry, now

TELL_AGAIN = 60.0  # seconds
MOST_TOLD = 10_000
# Whole words but for the first two: in `before` and `after` logins are keys too, like `secretary`.
_SECRETIVE = re.compile(
    r"password|passphrase|(?:^|_)(?:token|secret|key|hash|cookie|credential)s?(?:_|$)",
    re.IGNORECASE,
)
_LONGEST_ID = 12  # an identity may stand under such a key, nothing longer

log = logging.getLogger(__name__)


class Audit:
    def __init__(self, store: AuditStore) -> None:
        self._store = store
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()  # failed sign-ins

    async def record(self, actor: Actor, action: str, subject: str, **detail: Any) -> None:
        """Write one entry; `action` is like `repository.create`, `detail` plain JSON values."""
        await self._store.add(
            at=now(),
            actor=actor.login,
            address=actor.address,
            action=action,
            subject=_writable(subject),
            detail=_without_secrets(action, detail),
        )
        log.info("%s %s by %s", action, subject, actor.login)

    async def sign_in_failed(self, login: str, address: str) -> None:
        """One entry a minute for each login and address: guessing must not fill the log."""
        key, at = (login[:40], address), time.monotonic()
        last = self._told.get(key)
        if last is not None and at - last < TELL_AGAIN:
            return
        self._told[key] = at
        self._told.move_to_end(key)
        while len(self._told) > MOST_TOLD:
            self._told.popitem(last=False)
        stranger = Actor(_shown(login), address=address)
        await self.record(stranger, "sign-in.failed", _shown(login))

    async def recent(
        self, *, subject: str = "", actor: str = "", since: datetime | None = None, limit: int = 100
    ) -> list[AuditEntry]:
        """Entries, newest first."""
        return await self._store.recent(subject=subject, actor=actor, since=since, limit=limit)


def _shown(login: str) -> str:
    """What somebody typed as a login, as text of one line."""
    return "".join(c if c.isprintable() else "?" for c in login[:40]) or "(nobody)"


def _without_secrets(action: str, detail: dict[str, Any]) -> dict[str, Any]:
    """The second line: the first is that services give no secret."""
    kept: dict[str, Any] = {}
    for key, value in detail.items():
        if _SECRETIVE.search(key) and _is_long(value):
            log.error("%s: %r is not written, it looks like a secret", action, key)
            continue
        nested = isinstance(value, dict)
        kept[_writable(key)] = _without_secrets(action, value) if nested else _plain(value)
    return kept


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _writable(value) if isinstance(value, str) else value


def _writable(text: str) -> str:
    """Without what PostgreSQL keeps in no text, and reads back out of no JSON.

    Names that came with a foreign file can hold that.
    """
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _is_long(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(_is_long(item) for item in value)
    return isinstance(value, str) and len(value) > _LONGEST_ID
