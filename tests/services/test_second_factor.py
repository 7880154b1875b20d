"""The second factor: switched on with proof, asked for at sign-in, good once, and lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pyotp
import pytest

from fossilrepo.config import Settings
from fossilrepo.core import open_services
from fossilrepo.errors import Conflict, Forbidden, InvalidInput, NotSignedIn, TooManyRequests
from fossilrepo.models import Actor
from fossilrepo.services import Services
from fossilrepo.services.accounts import SecondFactorNeeded, SignedIn
from fossilrepo.services.second_factor import CODES
from tests.helpers.site import roomy

SITE = Actor("ada", is_admin=True)
GOOD = "four random words here"
FROM = {"address": "192.0.2.1", "agent": "test"}


class Place:
    def __init__(self, services: Services) -> None:
        self.services = services
        self.secret = ""

    async def switched_on(self) -> list[str]:
        """bob has a second factor; his recovery codes."""
        accounts, factor = self.services.accounts, self.services.second_factor
        user = await accounts.create_user(SITE, "bob", password=GOOD)
        self.secret = factor.offer(user).secret
        return await factor.confirm(user, self.secret, self.code(-1))

    def code(self, offset: int = 0) -> str:
        """What the authenticator shows, `offset` steps from now."""
        return pyotp.TOTP(self.secret).at(int(time.time()) + 30 * offset)

    async def token(self) -> str:
        with pytest.raises(SecondFactorNeeded) as needed:
            await self.services.accounts.sign_in("bob", GOOD, **FROM)
        return needed.value.token

    async def second(self, code: str, token: str = "") -> SignedIn:
        token = token or await self.token()
        return await self.services.accounts.second(token, code, **FROM)


@pytest.fixture
async def place(settings: Settings) -> AsyncIterator[Place]:
    async with open_services(roomy(settings)) as services:
        yield Place(services)


async def test_signing_in_asks_for_a_code_that_is_good_once(place: Place) -> None:
    await place.switched_on()
    token, code = await place.token(), place.code()
    signed_in = await place.second(code, token)
    assert signed_in.session.user.login == "bob"
    assert await place.services.accounts.session(signed_in.token) is not None
    with pytest.raises(NotSignedIn):  # the way from the password is used up
        await place.second(place.code(1), token)
    with pytest.raises(InvalidInput, match="used before"):
        await place.second(code)
    with pytest.raises(NotSignedIn):
        await place.second(place.code(1), "x" * 43)


async def test_a_wrong_code_signs_nobody_in_and_guessing_is_slowed(place: Place) -> None:
    await place.switched_on()
    token = await place.token()
    wrong = "000000" if place.code() != "000000" else "000001"
    for _ in range(5):
        with pytest.raises(InvalidInput):
            await place.second(wrong, token)
    with pytest.raises(TooManyRequests):
        await place.second(place.code(), token)
    with pytest.raises(TooManyRequests):  # and the right password does not begin anew
        await place.services.accounts.sign_in("bob", GOOD, **FROM)


async def test_recovery_codes_sign_in_once_each_and_are_replaced(place: Place) -> None:
    codes = await place.switched_on()
    factor = place.services.second_factor
    assert len(set(codes)) == CODES
    await place.second(codes[0].upper())
    with pytest.raises(InvalidInput):
        await place.second(codes[0])
    user = await place.services.accounts.user("bob")
    assert user.has_totp and await factor.codes_left(user) == CODES - 1
    fresh = await factor.new_codes(user)
    with pytest.raises(InvalidInput):
        await place.second(codes[1])
    await place.second(fresh[1])


async def test_it_is_switched_on_only_with_proof(place: Place, settings: Settings) -> None:
    accounts, factor = place.services.accounts, place.services.second_factor
    user = await accounts.create_user(SITE, "bob", password=GOOD)
    offer = factor.offer(user)
    assert offer.secret in offer.uri and offer.svg.startswith("<svg") and "bob" in offer.uri
    for secret, code in ((offer.secret, "12345"), ("AAAA", "000000"), ("no base 32!", "000000")):
        with pytest.raises(InvalidInput):
            await factor.confirm(user, secret, code)
    await accounts.sign_in("bob", GOOD, **FROM)  # as before
    place.secret = offer.secret
    codes = await factor.confirm(user, offer.secret, place.code())
    with pytest.raises(Conflict):
        await factor.confirm(await accounts.user("bob"), offer.secret, place.code(1))
    await factor.reset(SITE, "bob")
    both = await asyncio.gather(
        *(factor.confirm(user, offer.secret, place.code(1)) for _ in range(2)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, Conflict) for one in both) == 1, "the codes of one are good"
    kept = b"".join(path.read_bytes() for path in Path(settings.data).glob("fossilrepo.db*"))
    assert offer.secret.encode() not in kept and codes[0].replace("-", "").encode() not in kept


async def test_an_administrator_switches_it_off_and_nobody_else(place: Place) -> None:
    codes = await place.switched_on()
    factor = place.services.second_factor
    user = await place.services.accounts.user("bob")
    with pytest.raises(Forbidden):
        await factor.reset(Actor("eve", user_id=99), "bob")
    await factor.reset(SITE, "bob")
    await place.services.accounts.sign_in("bob", GOOD, **FROM)
    assert not await factor.verify(user, codes[0])
    with pytest.raises(Conflict):
        await factor.reset(SITE, "bob")
    told = [e.action for e in await place.services.audit.recent(subject="bob")]
    assert "person.second-factor-off" in told and "person.second-factor-on" in told


async def test_tokens_and_new_passwords_leave_it_alone(place: Place) -> None:
    await place.switched_on()
    _, token = await place.services.api_tokens.create(SITE, "bob")
    assert await place.services.api_tokens.bearer(token) is not None
    await place.services.accounts.set_password(SITE, "bob", GOOD + " too")
    with pytest.raises(SecondFactorNeeded):
        await place.services.accounts.sign_in("bob", GOOD + " too", **FROM)
