"""Every failure as an answer: a page, a piece of a page, JSON or a line of text.

The one place where an error becomes a response, and where an unexpected one is
logged, with the id of its request that the page shows too.
"""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from urllib.parse import quote

from aiohttp import web

from fossilrepo.errors import FossilrepoError, InvalidInput, NotFound, NotSignedIn, TooManyRequests
from fossilrepo.web import render
from fossilrepo.web.visit import NUMBER, Form, Visit

log = logging.getLogger(__name__)

_HTTP_WORDS = {
    404: "there is no page at this address",
    405: "this address does not answer to this method",
    413: "what was sent is too large",
}


def answer(visit: Visit, error: Exception) -> web.Response:
    """The response for an error of ours, of aiohttp, or one that nobody expected."""
    ours = as_ours(error)
    if ours is None:
        log.error("%s %s failed", visit.request.method, visit.request.path, exc_info=error)
        ours = FossilrepoError(
            "something went wrong that should not",
            hint="the log of the server has the details under the number of this request",
        )
    response = _as_form(visit, ours)
    if isinstance(ours, TooManyRequests):
        response.headers["Retry-After"] = str(math.ceil(ours.retry_after))
    if isinstance(error, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = ",".join(sorted(error.allowed_methods))
    return response


def as_ours(error: Exception) -> FossilrepoError | None:
    """The error as one of ours; None when nobody expected it."""
    if isinstance(error, FossilrepoError):
        return error
    if isinstance(error, web.HTTPException):
        ours = FossilrepoError(_HTTP_WORDS.get(error.status, error.reason.lower()))
        ours.status = error.status
        return ours
    if isinstance(error, web.RequestPayloadError | UnicodeDecodeError):
        return InvalidInput("the request cannot be read")
    return None


def _as_form(visit: Visit, error: FossilrepoError) -> web.Response:
    if visit.form is Form.JSON:
        response = web.json_response(error.as_dict(), status=error.status)
        if isinstance(error, NotSignedIn):
            response.headers["WWW-Authenticate"] = "Bearer"
        return response
    if visit.form is Form.TEXT:
        lines = [error.message, error.hint] if error.hint else [error.message]
        return web.Response(status=error.status, text="\n".join(lines) + "\n")
    if isinstance(error, NotSignedIn) and visit.user is None:
        return _to_sign_in(visit)
    template = "piece_error.html" if visit.is_htmx else "error.html"
    return render.page(
        visit,
        template,
        status=error.status,
        problem=error,
        phrase=_phrase(error.status),
        request_number=visit.request.get(NUMBER, ""),
    )


def _to_sign_in(visit: Visit) -> web.Response:
    """To the sign-in page, and back here after it when this was only a look at a page."""
    target = "/login"
    if visit.request.method in ("GET", "HEAD") and not visit.is_htmx:
        target += f"?next={quote(visit.request.path_qs, safe='/')}"
    if visit.is_htmx:
        return web.Response(status=401, headers={"HX-Redirect": target})
    return web.Response(status=303, headers={"Location": target})


def not_found() -> NotFound:
    return NotFound("there is no page at this address", hint="see the list of repositories")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
