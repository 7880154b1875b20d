"""Signing in to Fossil for a person who has proven on the site who they are.

Owns the form that Fossil's login page would send, and which of the cookies in the answer
the browser is given. The password goes to Fossil on loopback and nowhere else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlencode

from fossilrepo.web.gateway_headers import for_this_host, request_head
from fossilrepo.web.gateway_stream import Exchange

_FORM = (b"Content-Type", b"application/x-www-form-urlencoded")


@dataclass(frozen=True, slots=True)
class SignIn:
    """`host` is the Host header of the repository, `client` the browser's address."""

    name: str
    login: str
    password: str = field(repr=False)
    host: str
    client: str
    https: bool


class _Form:
    def __init__(self, content: bytes) -> None:
        self.content = content

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self.content


async def sign_in(fossil: Exchange, asked: SignIn) -> tuple[str, ...]:
    """The Set-Cookie lines for the browser; none when Fossil does not take the password.

    Without `remember` Fossil's cookie ends with the browser.
    """
    fields = {"u": asked.login, "p": asked.password, "in": "Login"}
    form = _Form(urlencode(fields).encode("ascii"))
    head = request_head(
        "POST",
        f"/{asked.name}/login",
        [_FORM],
        host=asked.host,
        client=asked.client,
        https=asked.https,
        length=len(form.content),
    )
    await fossil.send(head, form)
    got = await fossil.head()
    if got.status not in (302, 303):
        return ()
    cookies = (for_this_host(value) for value in got.headers.getall("Set-Cookie", []))
    return tuple(cookie for cookie in cookies if cookie)
