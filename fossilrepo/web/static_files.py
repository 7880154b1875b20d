"""Style sheet, scripts and icon, held in memory with a content hash in their addresses.

Owns `/static/HASH/PATH`: an address never changes its content, so browsers may
keep it for ever. Files are read and compressed once, at start; nothing that is
not in the folder can be asked for.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from fossilrepo.errors import NotFound
from fossilrepo.web.visit import Form, Route, Visit, Who

_FOR_EVER = "public, max-age=31536000, immutable"
_TEXT = (".css", ".js", ".svg", ".txt")


@dataclass(frozen=True, slots=True)
class _File:
    url: str
    content: bytes
    compressed: bytes | None
    content_type: str


class StaticFiles:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._by_path = {
            path.relative_to(folder).as_posix(): _read(path, path.relative_to(folder).as_posix())
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self._by_url = {file.url: file for file in self._by_path.values()}
        self.route = Route("GET", "/static/{rest:.+}", Who.PUBLIC, self._answer, Form.TEXT)

    def url(self, path: str) -> str:
        """The address of a file, for templates; KeyError when there is none."""
        return self._by_path[path].url

    async def _answer(self, visit: Visit) -> web.StreamResponse:
        file = self._by_url.get(visit.request.path)
        if file is None:
            raise NotFound("there is no such file")
        headers = {"Cache-Control": _FOR_EVER, "Vary": "Accept-Encoding"}
        body = file.content
        if file.compressed and "gzip" in visit.request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"], body = "gzip", file.compressed
        return web.Response(body=body, content_type=file.content_type, headers=headers)


def _read(path: Path, name: str) -> _File:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:12]
    compressed = gzip.compress(content, 9, mtime=0) if path.suffix in _TEXT else None
    content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return _File(f"/static/{digest}/{name}", content, compressed, content_type)
