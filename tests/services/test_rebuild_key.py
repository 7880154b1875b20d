"""What follows from a lost key: what it sealed is renewed or dropped, and told."""

from __future__ import annotations

import time
from pathlib import Path

import pyotp

from fossilrepo.config import Settings
from fossilrepo.core import open_services
from fossilrepo.db.access import AccessStore
from fossilrepo.db.engine import Database
from fossilrepo.db.factors import FactorStore
from fossilrepo.db.mirrors import MirrorStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.db.upstreams import UpstreamStore
from fossilrepo.db.webhooks import WebhookStore
from fossilrepo.models import Actor
from fossilrepo.rights import Role
from fossilrepo.services import rebuild_key
from fossilrepo.services.keys import Keys
from tests.helpers.site import roomy

SITE = Actor("ada", is_admin=True)
GOOD = "four random words here"


async def renewed(settings: Settings, keys: Keys) -> tuple[tuple[str, ...], list[str]]:
    """With these keys: whose secret is new, and what else is told."""
    database = Database(settings)
    try:
        people = PeopleStore(database)
        logins = await rebuild_key.renew(people, keys)
        told = await rebuild_key.renew_others(
            people, FactorStore(database), AccessStore(database), keys
        )
    finally:
        await database.close()
    return logins, told


async def test_a_lost_key_ends_second_factors_and_renews_access_keys_and_says_so(
    settings: Settings, tmp_path: Path
) -> None:
    settings = roomy(settings)
    async with open_services(settings) as services:
        for login in ("ada", "bob"):
            await services.accounts.create_user(SITE, login, is_admin=True, password=GOOD)
        user = await services.accounts.user("bob")
        secret = services.second_factor.offer(user).secret
        code = pyotp.TOTP(secret).at(int(time.time()))
        codes = await services.second_factor.confirm(user, secret, code)
        repository = await services.repos.create(SITE, "one")
        key, before = await services.access_keys.create(SITE, "one", Role.READ)

    kept, told = await renewed(settings, Keys(settings.key_file))
    assert (kept, told) == ((), []), "with the right key nothing changes"

    settings.key_file.rename(tmp_path / "lost.key")
    logins, told = await renewed(settings, Keys(settings.key_file))
    assert logins == ("ada", "bob")
    factors, access_keys = told
    assert "second factors are off" in factors and "bob" in factors and "ada" not in factors
    assert key.login in access_keys and "access-key" in access_keys

    async with open_services(settings) as services:
        signed_in = await services.accounts.sign_in("bob", GOOD, address="", agent="")
        assert signed_in.session.user.has_totp is False
        user = await services.accounts.user("bob")
        assert not await services.second_factor.verify(user, codes[0])
        assert await services.accounts.sync_password("bob", repository)
        assert await services.access_keys.reveal(SITE, "one", key.id) != before


async def test_a_lost_key_lets_what_goes_out_rest_and_says_so(
    settings: Settings, tmp_path: Path
) -> None:
    settings = roomy(settings)
    async with open_services(settings) as services:
        await services.repos.create(SITE, "one")
        url = "https://git.example.org/a/one"
        await services.mirrors.add(SITE, "one", url, token="a-token")
        await services.mirrors.add(SITE, "one", "git@git.example.org:a/one.git")
        await services.mirrors.add(SITE, "one", "https://git.example.org/a/open")
        await services.webhooks.add(SITE, "one", "https://ci.example.org/hook")
    settings.key_file.rename(tmp_path / "lost.key")
    database = Database(settings)
    try:
        stores = (MirrorStore(database), UpstreamStore(database), WebhookStore(database))
        [told] = await rebuild_key.pause_bridge(*stores, Keys(settings.key_file))
        assert told.startswith("3 mirrors")
        assert await rebuild_key.pause_bridge(*stores, Keys(settings.key_file)) == []
        standing = [one.standing for one in await stores[0].list()]
    finally:
        await database.close()
    assert [one.state for one in standing] == ["paused", "paused", "new"]
    assert "set it again" in standing[0].paused_why
