"""The gateway's own answers: small, self-contained, and readable in a Fossil client.

Owns their words. `fossil` shows a person nothing of a failed answer but its
status line ("server says: 503 ..."), so for it the reason stands there too. A
name that is unknown, in the trash or malformed gets one and the same page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from http import HTTPStatus

from aiohttp import web

from fossilrepo.web.gateway_xfer import is_sync

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root{{color-scheme:light dark}}body{{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;\
margin:15vh auto;padding:0 1rem}}h1{{font-size:1.4rem}}</style></head>
<body><main><h1>{title}</h1><p>{text}</p>{links}</main></body></html>
"""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def answer(
    request: web.Request,
    status: int,
    text: str,
    *,
    retry_after: float | None = None,
    links: Sequence[tuple[str, str]] = (),
) -> web.Response:
    """A page for browsers, one line for Fossil's client; `text` is plain sentences.

    `links` are addresses with their words, for browsers.
    """
    headers = dict(_HEADERS)
    if retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
    phrase = _phrase(status)
    if is_fossil_client(request):
        line = " ".join(text.split())
        shown = line.encode("ascii", "replace").decode("ascii")[:200]
        return web.Response(status=status, reason=shown, text=line + "\n", headers=headers)
    anchors = "".join(f'<p><a href="{escape(to)}">{escape(words)}</a></p>' for to, words in links)
    page = _PAGE.format(title=escape(phrase), text=escape(text), links=anchors)
    return web.Response(
        status=status, reason=phrase, text=page, headers=headers, content_type="text/html"
    )


def is_fossil_client(request: web.Request) -> bool:
    if is_sync(request.headers.get("Content-Type", "")):
        return True
    return request.headers.get("User-Agent", "").startswith("Fossil/")


def not_found(request: web.Request) -> web.Response:
    return answer(request, 404, "There is no repository or page at this address.")


def needs_more_rights(request: web.Request, opening: str, name: str) -> web.Response:
    """For who has a cookie of Fossil's: sending them to sign in could go round in circles."""
    text = "This page needs more rights than you have in this repository, or you were signed out."
    links = ((opening, "Sign in again"), (f"/{name}", "Front page of the repository"))
    return answer(request, 403, text, links=links)


def maintenance(request: web.Request) -> web.Response:
    text = "This repository is under maintenance; try again in a minute."
    return answer(request, 503, text, retry_after=30)


def redirect(location: str) -> web.Response:
    return web.Response(status=302, headers={"Location": location, "Cache-Control": "no-cache"})


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
