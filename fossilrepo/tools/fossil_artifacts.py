"""Fossil's own formats: stored content, deltas, and the manifests of check-ins.

Owns their reading from an open repository (see `fossil_db.reading`): www/delta_format.wiki and
www/fileformat.wiki of Fossil say what they are. Everything in them may be a stranger's. Uses
the standard library only and blocks.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime

CACHED = 64 << 20  # bytes of content kept, for what is stored as differences from it
LARGEST = 1 << 30  # bytes of one artifact
_DIGITS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
_VALUE = {digit: value for value, digit in enumerate(_DIGITS)}
_COMMAND = re.compile(rb"([0-9A-Za-z_~]+)(?:@([0-9A-Za-z_~]+),|([:;]))")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_MEANT = {b"s": b" ", b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f", b"0": b"\0"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_JULIAN_EPOCH = 210866760000000  # milliseconds before 1970
_DATE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?")


class NotReadable(Exception):
    """An artifact that is not there, not whole, or not what it should be."""


def apply_delta(source: bytes, delta: bytes) -> bytes:
    """The content that `delta` makes of `source`; NotReadable when it is none for it."""
    newline = delta.find(b"\n")
    if newline < 0:
        raise NotReadable("a delta without a size")
    size, at, pieces = _number(delta[:newline]), newline + 1, []
    while True:
        match = _COMMAND.match(delta, at)
        if match is None:
            raise NotReadable("a delta with an unknown command")
        length, at = _number(match[1]), match.end()
        if match[2] is not None:
            offset = _number(match[2])
            if offset + length > len(source):
                raise NotReadable("a delta that copies past the end")
            pieces.append(source[offset : offset + length])
        elif match[3] == b":":
            pieces.append(delta[at : at + length])
            at += length
        else:
            break
    content = b"".join(pieces)
    if len(content) != size:
        raise NotReadable("a delta that does not give what it says")
    return content


def _number(digits: bytes) -> int:
    value = 0
    for digit in digits:
        if digit not in _VALUE or value > LARGEST:
            raise NotReadable("a delta with a wrong number")
        value = value * 64 + _VALUE[digit]
    return value


class Artifacts:
    """The content of artifacts by rid, through one connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._size = 0

    def content(self, rid: int, uuid: str | None = None) -> bytes:
        """Checked against its hash when that is given. NotReadable when it is not there."""
        chain: list[int] = []
        current: int | None = rid
        content: bytes | None = None
        while current is not None:
            content = self._kept.get(current)
            if content is not None:
                self._kept.move_to_end(current)
                break
            chain.append(current)
            if len(chain) > 1_000_000:
                raise NotReadable("a chain of deltas without an end")
            current = self._source(current)
        for one in reversed(chain):
            stored = self._stored(one)
            content = stored if content is None else apply_delta(content, stored)
            self._keep(one, content)
        assert content is not None  # noqa: S101 - the chain has at least one or was kept
        if uuid is not None and not _is_hash_of(uuid, content):
            raise NotReadable("its content is not what its hash says")
        return content

    def _source(self, rid: int) -> int | None:
        row = self._db.execute("SELECT srcid FROM delta WHERE rid = ?", (rid,)).fetchone()
        return int(row[0]) if row else None

    def _stored(self, rid: int) -> bytes:
        row = self._db.execute("SELECT size, content FROM blob WHERE rid = ?", (rid,)).fetchone()
        if row is None or row[1] is None or int(row[0]) < 0:
            raise NotReadable("it has not arrived")
        unpacker = zlib.decompressobj()
        try:
            data = unpacker.decompress(bytes(row[1])[4:], LARGEST)
        except zlib.error:
            raise NotReadable("its stored form is not whole") from None
        if unpacker.unconsumed_tail:
            raise NotReadable("it is larger than can be handled")
        return data

    def _keep(self, rid: int, content: bytes) -> None:
        self._kept[rid] = content
        self._size += len(content)
        while self._size > CACHED and len(self._kept) > 1:
            self._size -= len(self._kept.popitem(last=False)[1])


def _is_hash_of(uuid: str, content: bytes) -> bool:
    digest = hashlib.sha1 if len(uuid) == 40 else hashlib.sha3_256
    return digest(content).hexdigest() == uuid


@dataclass(frozen=True, slots=True)
class Manifest:
    """A check-in as it was made. `files`: name to (hash, permissions); names as Fossil has them.

    Permissions are `x`, `l` (a symbolic link) or empty. A delta manifest names its `baseline`,
    and a file without a hash is one that the baseline has and the check-in has not.
    """

    user: bytes
    comment: bytes
    at: datetime
    parents: tuple[str, ...]
    baseline: str | None
    files: dict[bytes, tuple[str, str]]


def parse_manifest(content: bytes) -> Manifest:
    """NotReadable for what is no manifest of a check-in."""
    user, comment, at = b"", b"", None
    parents: tuple[str, ...] = ()
    baseline: str | None = None
    files: dict[bytes, tuple[str, str]] = {}
    for line in _cards(content):
        card, rest = line[:1], line[2:]
        if card == b"F":
            name, _, more = rest.partition(b" ")
            parts = more.split(b" ")
            perm = parts[1].decode("latin-1") if len(parts) > 1 else ""
            files[plain(name)] = (parts[0].decode("latin-1"), perm)
        elif card == b"P":
            parents = tuple(rest.decode("latin-1").split())
        elif card == b"U":
            user = plain(rest)
        elif card == b"C":
            comment = plain(rest)
        elif card == b"D":
            at = _time(rest)
        elif card == b"B":
            baseline = rest.decode("latin-1").strip()
    if at is None:
        raise NotReadable("it is no manifest of a check-in")
    return Manifest(user, comment, at, parents, baseline, files)


def _cards(content: bytes) -> list[bytes]:
    """Its lines, without the armor of a signature."""
    if content.startswith(b"-----BEGIN PGP SIGNED MESSAGE-----"):
        _, _, content = content.partition(b"\n\n")
        content, _, _ = content.partition(b"\n-----BEGIN PGP SIGNATURE-----")
        return [line.removeprefix(b"- ") for line in content.split(b"\n")]
    return content.split(b"\n")


def plain(text: bytes) -> bytes:
    """A word of a card without its escapes."""
    if b"\\" not in text:
        return text
    return _ESCAPED.sub(lambda match: _MEANT.get(match[1], match[1]), text)


def _time(text: bytes) -> datetime:
    if not _DATE.fullmatch(text):
        raise NotReadable("it has no date")
    try:
        return datetime.fromisoformat(text.decode()[:26]).replace(tzinfo=UTC)
    except ValueError:
        raise NotReadable("it has no date") from None


def seconds_of(date: bytes) -> int:
    """The Unix time of a D card, as Fossil's own export computes it; see `git_seconds`."""
    return git_seconds(_time(date))


def git_seconds(at: datetime) -> int:
    """Rounded as Fossil does (export.c of 2.21), so that commits are the same as its own."""
    milliseconds = round((at - _EPOCH).total_seconds() * 1000)
    julian = (milliseconds + _JULIAN_EPOCH) / 86400000.0
    return int((julian - 2440587.5) * 86400.0)
