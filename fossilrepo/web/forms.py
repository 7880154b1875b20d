"""What people send: fields of forms, and files as they arrive.

Owns the reading of forms. A file is never held: it is handed on in pieces, after
the session's token, which must come before it, was found to be right.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

from aiohttp import BodyPartReader, web
from aiohttp.multipart import MultipartReader

from fossilrepo.errors import InvalidInput
from fossilrepo.models import Visibility
from fossilrepo.traces import CLIENT, span
from fossilrepo.web import auth
from fossilrepo.web.visit import Visit

_PIECE = 256 * 1024
_FIELD = 16 * 1024  # bytes of a text field beside a file
_FRAME = 16 * 1024  # of a request's length, at most, is not the file
_MOST_FIELDS = 20


class Fields(Mapping[str, str]):
    """The text fields of a form, each stripped of spaces around it; absent ones are empty."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = {key: value for key, value in fields.items() if isinstance(value, str)}

    def __getitem__(self, name: str) -> str:
        return self._fields.get(name, "").strip()

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def raw(self, name: str) -> str:
        """As it was sent: for passwords, where a space counts."""
        return self._fields.get(name, "")

    @property
    def visibility(self) -> Visibility:
        return visibility(self["visibility"])


async def fields(visit: Visit) -> Fields:
    with span(CLIENT):
        return Fields(await visit.request.post())


def visibility(value: str) -> Visibility:
    """Public when nothing is said; InvalidInput for a word that is none."""
    try:
        return Visibility(value or "public")
    except ValueError:
        raise InvalidInput(
            f"{value[:40]!r} is no visibility",
            hint="choose public, internal or private",
            field="visibility",
        ) from None


def new_password(form: Fields) -> str:
    """The password that was typed twice."""
    password = form.raw("password")
    if password != form.raw("again"):
        raise InvalidInput("the two passwords differ", hint="type both again", field="again")
    return password


def holder(form: Fields) -> dict[str, str | None]:
    """To whom a grant is: `to` is a login, or a team as `team:NAME`."""
    to = form["to"]
    if to.startswith("team:"):
        return {"user": None, "team": to.removeprefix("team:")}
    return {"user": to.lower(), "team": None}


def days(form: Fields) -> int | None:
    """A number of days; None when nothing was typed, InvalidInput when it is no number."""
    text = form["days"]
    if text and not (text.isascii() and text.isdigit() and len(text) < 6):
        raise InvalidInput("this is no number of days", field="days")
    return int(text) if text else None


def confirmed(form: Fields, name: str) -> None:
    """InvalidInput unless the name was typed to confirm."""
    if form["confirm"] != name:
        raise InvalidInput(
            f"this is not the name {name!r}", hint="type it exactly", field="confirm"
        )


@dataclass(frozen=True, slots=True)
class Upload:
    """The fields before the file, and the file; `length` is a little less than or equal to it."""

    fields: Fields
    chunks: AsyncIterator[bytes]
    length: int | None


async def upload(visit: Visit) -> Upload:
    """The fields of a multipart form up to its file. Forbidden without the session's token."""
    request = visit.request
    if not request.content_type.startswith("multipart/"):
        auth.require_token(visit.session, str((await request.post()).get(auth.CSRF_FIELD, "")))
        raise InvalidInput("no file was sent", hint="choose a file", field="file")
    reader = await request.multipart()
    found: dict[str, str] = {}
    part = await _next(reader)
    while part is not None and part.name != "file" and len(found) < _MOST_FIELDS:
        found[part.name or ""] = await _text(part)
        part = await _next(reader)
    auth.require_token(visit.session, found.get(auth.CSRF_FIELD, ""))
    if part is None or part.name != "file" or not part.filename:
        raise InvalidInput("no file was sent", hint="choose a file", field="file")
    length = request.content_length
    return Upload(Fields(found), _pieces(part), max(0, length - _FRAME) if length else None)


async def _next(reader: MultipartReader) -> BodyPartReader | None:
    try:
        with span(CLIENT):
            part = await reader.next()
    except ValueError as error:
        raise InvalidInput(f"the form cannot be read: {error}") from None
    if part is not None and not isinstance(part, BodyPartReader):
        raise InvalidInput("the form cannot be read: a form within a form")
    return part


async def _text(part: BodyPartReader) -> str:
    content = b""
    while piece := await _chunk(part):
        content += piece
        if len(content) > _FIELD:
            raise InvalidInput(f"the field {part.name} is too long", field=part.name or "")
    return content.decode("utf-8", "replace")


async def _pieces(part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await _chunk(part):
        yield piece


async def _chunk(part: BodyPartReader) -> bytes:
    with span(CLIENT):
        return await part.read_chunk(_PIECE)


async def body_pieces(request: web.Request) -> AsyncIterator[bytes]:
    """A request's body as it arrives."""
    while True:
        with span(CLIENT):
            piece = await request.content.readany()
        if not piece:
            return
        yield piece
