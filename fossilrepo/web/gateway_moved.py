"""Requests to a name that a repository had before: sent on to the one that it has now.

Owns the form of these answers, for browsers and for Fossil's client. The client follows a
302 (tried with 2.21) and then remembers where it was sent, without the login that it had;
so the login stands in the address that it is sent to. With 301 it would lose it at once.
"""

from __future__ import annotations

import re

from aiohttp import web

from fossilrepo.web import gateway_pages as pages
from fossilrepo.web import gateway_xfer as xfer
from fossilrepo.web.gateway_stream import ClientGone, RequestBody, SlowClient, TimeLimits
from fossilrepo.web.hosts import OURS, PublicUrl

_LOGIN = re.compile(rb"login ([A-Za-z0-9][A-Za-z0-9._-]{0,63}) ")


async def answer(
    request: web.Request, public: PublicUrl, old: str, new: str, *, most: int, path_form: bool
) -> web.Response:
    """A redirect to the same page of the present host; `most` bytes of a body are taken."""
    if xfer.is_sync(request.headers.get("Content-Type", "")) and request.method == "POST":
        login = await _login(request, most)
        # The path form is for those who cannot use names: they stay at the address they came by.
        host = f"{request.headers['Host']}/{new}" if path_form else f"{public.authority(new)}/"
        return pages.redirect(f"{public.scheme}://{login}{host}")
    target = request.raw_path
    if path_form and not public.by_path:
        return pages.redirect(f"{public.url(new)}/")
    if not target.startswith("/") or not target.isascii():
        return pages.answer(request, 400, "This address cannot be read.")
    inside = target.removeprefix(f"/{old}") if path_form else target
    if inside.partition("?")[0].startswith(OURS):  # tickets are for one host only
        return pages.not_found(request)
    return pages.redirect(present(target, public, old, new))


def present(target: str, public: PublicUrl, old: str, new: str) -> str:
    """The address of the same page now; `target` is as it was asked for, with or without `/old`."""
    rest = target
    for end in ("/", "?", ""):
        if target.startswith(f"/{old}{end}") and (end or target == f"/{old}"):
            rest = target.removeprefix(f"/{old}") or "/"
    below = "" if public.by_path or rest == target or rest == "/" else f"/{new}"
    return f"{public.url(new)}{below}{rest}"


async def _login(request: web.Request, most: int) -> str:
    """`LOGIN@` when the message is signed by one; the whole body is read, as the client waits."""
    if "Transfer-Encoding" in request.headers or (request.content_length or 0) > most:
        return ""
    body = RequestBody(request, TimeLimits())
    try:
        await body.read_ahead()
        async for _piece in body.pieces():
            pass
    except (ClientGone, SlowClient):
        return ""
    found = _LOGIN.match(xfer.opening(body.start, request.headers["Content-Type"]) or b"")
    return f"{found[1].decode()}@" if found else ""
