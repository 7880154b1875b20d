"""The second factor: codes of an authenticator, and recovery codes for when it is lost.

Owns TOTP (RFC 6238, six digits, steps of 30 seconds, one step of tolerance). The secret is
kept encrypted, recovery codes as SHA-256; a code and a step of time are good once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import secrets
import time
from dataclasses import dataclass

import pyotp
import segno

from fossilrepo.db.factors import FactorStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.errors import Conflict, Forbidden, InvalidInput, NotFound
from fossilrepo.models import Actor, User
from fossilrepo.services.audit import Audit
from fossilrepo.services.keys import Keys
from fossilrepo.services.links import Links

STEP = 30  # seconds
CODES = 10
_TOLERANCE = (0, -1, 1)  # steps: clocks differ


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator is given, before it is proven. `svg` is the QR code of `uri`."""

    secret: str
    uri: str
    svg: str


class SecondFactor:
    def __init__(
        self, store: FactorStore, people: PeopleStore, keys: Keys, links: Links, audit: Audit
    ) -> None:
        self._store = store
        self._people = people
        self._keys = keys
        self._links = links
        self._audit = audit

    # Switching on and off

    def offer(self, user: User, secret: str = "") -> Enrolment:
        """A fresh secret (or the one that is being tried), as text, address and QR code.

        Nothing is kept of it until `confirm`.
        """
        secret = secret or pyotp.random_base32()
        issuer = f"fossilrepo {self._links.domain}"
        uri = pyotp.TOTP(secret).provisioning_uri(name=user.login, issuer_name=issuer)
        out = io.BytesIO()
        segno.make(uri, error="m").save(
            out, kind="svg", scale=5, border=2, xmldecl=False, svgns=True, nl=False
        )
        return Enrolment(secret, uri, out.getvalue().decode())

    async def confirm(self, user: User, secret: str, code: str, address: str = "") -> list[str]:
        """Switch it on: the code proves that the authenticator has the secret.

        The recovery codes are given this once.
        """
        if user.has_totp:
            raise _on_already()
        if not is_secret(secret):
            raise InvalidInput("this is no secret of ours", hint="begin again")
        step = _step_of(secret, code)
        if step is None:
            raise InvalidInput(
                "this code is wrong",
                hint="type the six digits that it shows now; its clock must be right",
                field="code",
            )
        codes = _new_codes()
        sealed = self._keys.encrypt(secret.encode())
        if not await self._store.begin(user.id, sealed, step, map(_digest, codes)):
            raise _on_already()
        actor = Actor(user.login, user.is_admin, address, user_id=user.id)
        await self._audit.record(actor, "person.second-factor-on", user.login)
        return codes

    async def disable(self, user: User, address: str = "") -> None:
        """By the person, whose password was asked for."""
        actor = Actor(user.login, user.is_admin, address, user_id=user.id)
        await self._end(actor, user)

    async def reset(self, actor: Actor, login: str) -> None:
        """By an administrator, for who lost authenticator and codes."""
        if not actor.is_admin:
            raise Forbidden("only an administrator of the site may do this")
        user = await self._people.user(login)
        if user is None:
            raise NotFound(f"there is no person with the login {login[:40]!r}")
        await self._end(actor, user)

    async def _end(self, actor: Actor, user: User) -> None:
        if not await self._store.end(user.id):
            raise Conflict(f"{user.login} has no second factor")
        await self._audit.record(actor, "person.second-factor-off", user.login)

    async def new_codes(self, user: User, address: str = "") -> list[str]:
        """Fresh recovery codes; the earlier ones end."""
        if not user.has_totp:
            raise Conflict("there is no second factor", hint="switch it on first")
        codes = _new_codes()
        await self._store.replace_codes(user.id, map(_digest, codes))
        actor = Actor(user.login, user.is_admin, address, user_id=user.id)
        await self._audit.record(actor, "person.recovery-codes", user.login)
        return codes

    async def codes_left(self, user: User) -> int:
        return await self._store.codes_left(user.id)

    # Signing in

    async def verify(self, user: User, code: str) -> bool:
        """Whether it is the authenticator's code now, or a recovery code; it is used up then."""
        text = code.strip().replace(" ", "").replace("-", "").lower()
        sealed = await self._store.secret(user.id)
        if sealed is None or not 6 <= len(text) <= 20:
            return False
        if text.isascii() and text.isdigit() and len(text) == 6:
            step = _step_of(self._keys.decrypt(sealed).decode(), text)
            return step is not None and await self._store.use_step(user.id, step)
        if not await self._store.use_code(user.id, _digest(text)):
            return False
        left = await self._store.codes_left(user.id)
        actor = Actor(user.login, user_id=user.id)
        await self._audit.record(actor, "person.recovery-code-used", user.login, left=left)
        return True


def _on_already() -> Conflict:
    return Conflict("a second factor is on already", hint="switch it off first")


def is_secret(secret: str) -> bool:
    """Whether this can be the secret of an authenticator."""
    try:
        return len(base64.b32decode(secret)) >= 16
    except ValueError:
        return False


def _step_of(secret: str, code: str) -> int | None:
    """The step of time that the code belongs to, near enough to now."""
    totp, current = pyotp.TOTP(secret), int(time.time()) // STEP
    text = code.strip().replace(" ", "").encode()
    for offset in _TOLERANCE:
        if hmac.compare_digest(totp.generate_otp(current + offset).encode(), text):
            return current + offset
    return None


def _new_codes() -> list[str]:
    """Ten, each with 50 bits of chance: xxxxx-xxxxx."""
    found = []
    for _ in range(CODES):
        text = base64.b32encode(secrets.token_bytes(10)).decode().lower()[:10]
        found.append(f"{text[:5]}-{text[5:]}")
    return found


def _digest(code: str) -> str:
    return hashlib.sha256(code.replace("-", "").encode()).hexdigest()
