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
from fossilrepo.db.mirrors import MirrorStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.db.upstreams import UpstreamStore
from fossilrepo.db.webhooks import WebhookStore
from fossilrepo.errors import FossilrepoError, InvalidInput
from fossilrepo.models import now
from fossilrepo.services.keys import Keys
from fossilrepo.services.rebuild_ground import write_private
from fossilrepo.services.rebuild_report import KeyUse

LOST = "its secret was lost with secret.key: set it again, then resume"


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


async def pause_bridge(
    mirrors: MirrorStore, upstreams: UpstreamStore, webhooks: WebhookStore, keys: Keys
) -> list[str]:
    """What goes out with secrets that the key does not open rests until it has them again."""
    paused = {"state": "paused", "paused_at": now(), "paused_why": LOST, "wanted_at": None}
    count = 0
    for rule in await mirrors.rules():
        token = await mirrors.rule_token(rule.id)
        if token is not None and not _opens(keys, token):
            await mirrors.update_rule(rule.id, token=None, last_error=LOST)
    for mirror in await mirrors.list():
        secrets = await mirrors.secrets(mirror.id)
        lost = [one for one in secrets if one is not None and not _opens(keys, one)]
        without = mirror.rule_id is not None and not any(secrets)
        if lost or without:
            await mirrors.update(mirror.id, token=None, private_key=None, **paused)
            count += 1
    for upstream in await upstreams.list():
        password = await upstreams.password(upstream.id)
        if password is not None and not _opens(keys, password):
            await upstreams.update(upstream.id, password=None, **paused)
            count += 1
    for webhook in await webhooks.all():
        sealed = await webhooks.secrets(webhook.id)
        if sealed is not None and not all(_opens(keys, one) for one in sealed):
            await webhooks.remove(webhook.id)
            count += 1
    if not count:
        return []
    return [
        f"{count} mirrors, upstreams and webhooks have lost their tokens and passwords: they rest "
        "until they are set again (`fossilrepo mirror list`); webhooks have to be added anew"
    ]


def _opens(keys: Keys, secret: bytes) -> bool:
    try:
        keys.sync_password(secret, "")
    except FossilrepoError:
        return False
    return True
