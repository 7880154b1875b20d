"""The key of a rebuilt host: the one that was given, the one that lies there, or a new one.

Owns the judgement whether a key fits the control database, and what follows when it
does not: the person's secret is replaced. A key is never overwritten: what lay in its
place is kept beside it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fossilrepo.config import Settings
from fossilrepo.db.access import AccessStore
from fossilrepo.db.factors import FactorStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.errors import FossilrepoError, InvalidInput
from fossilrepo.services.keys import Keys
from fossilrepo.services.rebuild_ground import write_private
from fossilrepo.services.rebuild_report import KeyUse


def choose(settings: Settings, given: Path | None, secrets: Sequence[bytes]) -> KeyUse:
    """Which key it will be; InvalidInput when the given one is none, or not of this database.

    Blocks; writes nothing.
    """
    if given is not None:
        if not given.is_file():
            raise InvalidInput(f"there is no file {given}", field="key-file")
        if secrets and not any(_opens(Keys(given), secret) for secret in secrets):
            raise InvalidInput(
                f"{given} is not the key that the control database was made with",
                hint="find the right one, or leave --key-file out: people's Fossil passwords "
                "are new then",
                field="key-file",
            )
        Keys(given)  # refuses what is no key at all
        return KeyUse.GIVEN
    own = settings.key_file
    if own.is_file() and any(_opens(Keys(own), secret) for secret in secrets):
        return KeyUse.KEPT
    return KeyUse.NEW


def install(settings: Settings, given: Path | None) -> Keys:
    """Put the given key into its place, if there is one; the keys that are in use now. Blocks."""
    own = settings.key_file
    if given is not None:
        content = given.read_bytes()
        if not own.exists() or own.read_bytes().strip() != content.strip():
            if own.exists():
                os.replace(own, own.with_name(own.name + ".before"))
            write_private(own, content.strip() + b"\n")
    return Keys(own)


async def renew(people: PeopleStore, keys: Keys) -> tuple[str, ...]:
    """New secrets for those whose own the key does not open; their logins."""
    secrets = await people.sync_secrets()
    renewed = []
    for user in await people.users():
        if not _opens(keys, secrets[user.id]):
            await people.update_user(user.login, sync_secret=keys.new_sync_secret())
            renewed.append(user.login)
    return tuple(renewed)


async def renew_others(
    people: PeopleStore, factors: FactorStore, access: AccessStore, keys: Keys
) -> list[str]:
    """What else the key does not open, in words: second factors end, access keys are new."""
    said = []
    sealed = await factors.secrets()
    dropped = []
    for user in await people.users():
        if user.id in sealed and not _opens(keys, sealed[user.id]):
            await factors.end(user.id)
            dropped.append(user.login)
    if dropped:
        said.append(
            f"second factors are off, because their key is lost: {', '.join(dropped)}; "
            "they can be set up again on the account page"
        )
    renewed = []
    for found in (await access.inside()).keys.values():
        for key, secret in found:
            if not _opens(keys, secret):
                await access.renew_key(key.id, keys.new_sync_secret())
                renewed.append(key.login)
    if renewed:
        said.append(
            f"access keys have new passwords: {', '.join(sorted(renewed))}: "
            "`fossilrepo access-key password NAME ID` shows them"
        )
    return said


def _opens(keys: Keys, secret: bytes) -> bool:
    try:
        keys.sync_password(secret, "")
    except FossilrepoError:
        return False
    return True
