"""Access keys: a machine's way into one repository, as a Fossil user of its own.

Owns making, showing, ending and expiring them. A key's password is derived from a secret
of its own and the repository's identity, so it opens nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from datetime import timedelta

from fossilrepo.db.access import AccessStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import Conflict, FossilrepoError, InvalidInput, NotFound
from fossilrepo.models import (
    KEY_LOGIN,
    AccessKey,
    Actor,
    Repository,
    RepositoryState,
    check_text,
    new_id,
    now,
)
from fossilrepo.rights import Role
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.keys import Keys
from fossilrepo.services.projection import Projection

MOST = 100  # keys of one repository
MOST_DAYS = 3650
_NOTED_EVERY = 60.0  # seconds between two notes of the last use
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"

log = logging.getLogger(__name__)


class AccessKeys:
    def __init__(
        self,
        store: AccessStore,
        repositories: RepositoryStore,
        access: Access,
        projection: Projection,
        keys: Keys,
        audit: Audit,
    ) -> None:
        self._store = store
        self._repositories = repositories
        self._access = access
        self._projection = projection
        self._keys = keys
        self._audit = audit
        self._noted: dict[str, float] = {}  # login to when its use was last written (monotonic)
        self._dropped: set[str] = set()  # expired keys that are out of their repositories

    async def create(
        self,
        actor: Actor,
        repository_name: str,
        role: Role,
        *,
        label: str = "",
        days: int | None = None,
    ) -> tuple[AccessKey, str]:
        """A new key that works at once, and its password; without `days` it does not expire."""
        repository = await self._access.repository(actor, repository_name, Role.ADMIN)
        if repository.state is RepositoryState.BROKEN:
            raise Conflict(f"{repository_name} is broken", hint=repository.reason)
        if role is Role.ADMIN:
            raise InvalidInput(
                "an access key cannot administer", hint="choose read or write", field="role"
            )
        if days is not None and not 1 <= days <= MOST_DAYS:
            raise InvalidInput(f"the days must be 1 to {MOST_DAYS}", field="days")
        label = check_text(label, what="label", most=100)
        if len(await self._store.keys(repository.id)) >= MOST:
            raise Conflict(
                f"{repository_name} has {MOST} access keys", hint="revoke those not in use"
            )
        secret = self._keys.new_sync_secret()
        key = await self._store.add_key(
            id=new_id(),
            repository_id=repository.id,
            login="key-" + "".join(secrets.choice(_ALPHABET) for _ in range(6)),
            label=label,
            role=str(role),
            secret=secret,
            created_by=actor.login,
            created_at=now(),
            expires_at=now() + timedelta(days=days) if days else None,
        )
        try:
            await self._projection.project(repository)
        except FossilrepoError:
            await self._store.remove_key(key.id)
            raise
        await self._audit.record(
            actor,
            "access-key.create",
            repository.label,
            login=key.login,
            role=key.role,
            label=label,
            days=days,
        )
        return key, self._keys.sync_password(secret, repository.id)

    async def list(self, actor: Actor, repository_name: str) -> list[AccessKey]:
        """Oldest first, with those that have expired."""
        repository = await self._access.repository(actor, repository_name, Role.ADMIN)
        return await self._store.keys(repository.id)

    async def reveal(self, actor: Actor, repository_name: str, key_id: str) -> str:
        """The key's password."""
        repository = await self._access.repository(actor, repository_name, Role.ADMIN)
        key = await self._key(repository, key_id)
        picture = await self._access.picture()
        for known, secret in picture.inside.keys.get(repository.id, ()):
            if known.id == key.id:
                await self._audit.record(
                    actor, "access-key.reveal", repository.label, login=key.login
                )
                return self._keys.sync_password(secret, repository.id)
        raise _no_key(key_id)

    async def revoke(self, actor: Actor, repository_name: str, key_id: str) -> AccessKey:
        """It opens nothing from now on, also what is running ends at its next request."""
        repository = await self._access.repository(actor, repository_name, Role.ADMIN)
        key = await self._key(repository, key_id)
        await self._store.remove_key(key.id)
        await self._audit.record(
            actor, "access-key.revoke", repository.label, login=key.login, label=key.label
        )
        if repository.state is not RepositoryState.BROKEN:
            await self._projection.project(repository)
        return key

    async def used(self, login: str) -> None:
        """Note that a key was used, now; once a minute at most. Any login may be asked."""
        if not KEY_LOGIN.fullmatch(login):
            return
        at = time.monotonic()
        if at - self._noted.get(login, -_NOTED_EVERY) < _NOTED_EVERY:
            return
        if len(self._noted) > 10_000:  # strangers may send any login
            self._noted.clear()
        self._noted[login] = at
        await self._store.key_used(login, now())

    async def drop_expired(self) -> None:
        """Take keys that have expired out of their repositories; those gone before are known."""
        ended = {
            key.id: key.repository_id
            for key in await self._store.keys()
            if key.expires_at is not None and key.expires_at <= now()
        }
        self._dropped &= ended.keys()
        for repository_id in {ended[key_id] for key_id in ended.keys() - self._dropped}:
            repository = await self._repositories.get(repository_id)
            if repository is not None and repository.state not in (
                RepositoryState.BROKEN,
                RepositoryState.TRASHED,
            ):
                try:
                    await self._projection.project(repository)
                except FossilrepoError as error:
                    log.error("%s: an expired key stays: %s", repository.label, error)
                    continue
                self._dropped |= {k for k, place in ended.items() if place == repository_id}
            await asyncio.sleep(0)

    async def _key(self, repository: Repository, key_id: str) -> AccessKey:
        """By its identity or its login, of this repository only."""
        for key in await self._store.keys(repository.id):
            if key_id in (key.id, key.login):
                return key
        raise _no_key(key_id)


def _no_key(key_id: str) -> NotFound:
    return NotFound(
        f"there is no access key {key_id[:40]!r} here",
        hint="see `fossilrepo access-key list NAME`",
        field="id",
    )
