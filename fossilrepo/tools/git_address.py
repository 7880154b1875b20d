"""Addresses of Git remotes as people write them, and what of them git and ssh may see.

Owns their check: https, http, ssh, and folders of this server (`folder:NAME.git`) by a name alone;
nothing that could be an option, no password.
Where they lead is checked when they are connected to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from fossilrepo.errors import InvalidInput

_SHORT = re.compile(
    r"(?P<user>[\w.-]+)@(?P<host>[\w.-]+|\[[0-9A-Fa-f:.]+\]):(?P<path>.+)", re.ASCII
)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]{0,99}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|[0-9A-Fa-f:.]+", re.ASCII)
_FOLDER = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_-]*/)?[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
_SCHEMES = ("https", "http", "ssh")
_HINT = "for example https://example.org/owner/name.git or git@example.org:owner/name.git"
_PORTS = {"https": 443, "http": 80, "ssh": 22}


@dataclass(frozen=True, slots=True)
class GitAddress:
    """One remote; `url` is what git is given, without any credentials but ssh's user."""

    url: str
    scheme: str
    host: str
    port: int
    user: str
    path: str

    @property
    def is_ssh(self) -> bool:
        return self.scheme == "ssh"

    @property
    def is_folder(self) -> bool:
        """Below the folder that holds mirrors on this server; `path` is its name there."""
        return self.scheme == "folder"


def parse(text: str) -> GitAddress:
    """The address, tidied; InvalidInput says what is wrong with it."""
    if len(text) > 1000 or not text.isprintable() or any(c in text for c in " \\\"'`"):
        raise _wrong("the address has blanks, quotes or control characters in it")
    if text.startswith("folder:"):
        return _folder(text, text.removeprefix("folder:"))
    if "://" not in text:
        return _short(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _wrong("the address cannot be read") from None
    if parts.scheme not in _SCHEMES:
        raise _wrong(f"addresses of mirrors begin with https:// or ssh://, not {text[:20]!r}")
    if parts.password is not None or (parts.username and ":" in parts.username):
        raise InvalidInput(
            "a password or token may not stand in the address",
            hint="give it apart: on its own line of the form, or with --token-stdin",
            field="url",
        )
    if parts.query or parts.fragment:
        raise _wrong("the address has a query in it")
    host, user = parts.hostname or "", parts.username or ""
    _check(host, user, parts.path.lstrip("/"), port)
    if parts.scheme == "ssh" and not user:
        raise _wrong("an ssh address needs a user")
    shown = f"[{host}]" if ":" in host else host
    at = f"{user}@" if parts.scheme == "ssh" else ""
    ending = f":{port}" if port and port != _PORTS[parts.scheme] else ""
    path = quote(parts.path, safe="/%~+@:,=!$&()*;-._")
    return GitAddress(
        f"{parts.scheme}://{at}{shown}{ending}{path}",
        parts.scheme,
        host,
        port or _PORTS[parts.scheme],
        user,
        parts.path.strip("/"),
    )


def _folder(text: str, name: str) -> GitAddress:
    if not _FOLDER.fullmatch(name) or ".." in name or len(name) > 200:
        raise _wrong(
            "a folder of this server has a name alone, as folder:NAME.git or folder:OWNER/NAME.git"
        )
    return GitAddress(text, "folder", "", 0, "", name)


def _short(text: str) -> GitAddress:
    """ssh's own form, USER@HOST:PATH."""
    found = _SHORT.fullmatch(text)
    if found is None:
        raise _wrong("this is no address of a Git server")
    host = found["host"].strip("[]")
    _check(host, found["user"], found["path"].lstrip("/"), None)
    return GitAddress(text, "ssh", host, 22, found["user"], found["path"].strip("/"))


def _check(host: str, user: str, path: str, port: int | None) -> None:
    if not _HOST.fullmatch(host) or port == 0:
        raise _wrong("the address must name a host")
    if user and not _USER.fullmatch(user):
        raise _wrong("the user in the address is not acceptable")
    if not path.strip("/") or path.startswith("-"):
        raise _wrong("the address must name a repository on the server")
    if any(part in (".", "..") for part in path.split("/")):
        raise _wrong("the address has . or .. in its path")


def _wrong(why: str) -> InvalidInput:
    return InvalidInput(why, hint=_HINT, field="url")
