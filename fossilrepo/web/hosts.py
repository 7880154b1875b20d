"""Which host and which path a request means. Pure: no network, no files, no aiohttp.

Owns the reading of the Host header (apex, repository or refused), the public
URL that people see, and the mapping of a repository host's paths to Fossil's,
whose first segment is the repository's name. The Caddyfile is the same mapping
a second time, and the same tests run against both. Must not decode or rewrite
a path that Fossil will see: it passes on as the client wrote it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
OURS = "/.fossilrepo"
# Where `fossil server --notfound` sends what it does not serve; never shown to anyone.
NOT_FOUND_TARGET = f"{OURS}/not-found"
# Pages whose content a repository's writers decide: served without their origin's powers.
RAW_PAGES = (
    *("doc", "raw", "secureraw", "uv", "attachdownload", "attachview", "artifact", "file"),
    *("logo", "background"),
)
LONGEST_PATH = 300
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]\s]+)(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class HostKind(StrEnum):
    APEX = "apex"
    REPOSITORY = "repository"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Host:
    kind: HostKind
    name: str = ""


_APEX = Host(HostKind.APEX)
_REFUSED = Host(HostKind.REFUSED)


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """Scheme, domain and port as people see them; `strict` when configured, not derived.

    `by_path`: repositories are at `DOMAIN/NAME`, not at `NAME.DOMAIN`.
    """

    scheme: str
    domain: str
    port: int
    strict: bool = False
    by_path: bool = False

    @classmethod
    def of(
        cls, configured: str, *, domain: str, listening_port: int, by_path: bool = False
    ) -> PublicUrl:
        """From `server.public_url`, or where it is empty from the port that is listened on."""
        if not configured:
            return cls("http", domain, listening_port, by_path=by_path)
        url = urlsplit(configured)
        port = url.port or _DEFAULT_PORTS[url.scheme]
        return cls(url.scheme, domain, port, strict=True, by_path=by_path)

    def authority(self, name: str = "") -> str:
        """The Host header in its one form: with the port unless it is the scheme's own."""
        host = f"{name}.{self.domain}" if name and not self.by_path else self.domain
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def url(self, name: str = "") -> str:
        """The address of a repository, or of the apex, without a slash at the end."""
        below = f"/{name}" if name and self.by_path else ""
        return f"{self.scheme}://{self.authority(name)}{below}"

    def accepts_port(self, port: int | None) -> bool:
        if not self.strict:
            return True
        return (_DEFAULT_PORTS[self.scheme] if port is None else port) == self.port


def parse_host(values: Sequence[str], public: PublicUrl) -> Host:
    """What the Host headers of a request (all of them) mean.

    The apex is the domain, an IP address or `localhost`; a repository is exactly
    one lower-case label in front of the domain. Anything else is refused, so that
    no second spelling of a host reaches Fossil, which stores each one it sees.
    """
    match = _AUTHORITY.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        return _REFUSED
    host, port = match[1], int(match[2]) if match[2] else None
    if host == "localhost" or _is_address(host):
        return _APEX
    if not public.accepts_port(port):
        return _REFUSED
    if host == public.domain:
        return _APEX
    name, dot, domain = host.partition(".")
    if dot and domain == public.domain and LABEL.fullmatch(name):
        return Host(HostKind.REPOSITORY, name)
    return _REFUSED


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return (":" in host) == host.startswith("[")


class Action(StrEnum):
    PASS = "pass"  # noqa: S105
    REDIRECT = "redirect"
    SIGN_IN = "sign in"
    OURS = "ours"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Route:
    action: Action
    target: str = ""


def map_target(method: str, target: str, name: str, *, below: bool = False) -> Route:
    """What a repository's host does with a raw request target (path and query).

    `below`: not on its host, but on the apex below `/NAME`, where ours is `/NAME/.fossilrepo`.
    Every target that reaches Fossil, and every redirect, begins with `/NAME/` or
    is `/NAME`: another repository's name in front is only a page of this one,
    and `//elsewhere` cannot lead off the host.
    """
    if not target.startswith("/") or not target.isascii():
        return Route(Action.REFUSE)
    base = f"/{name}" if below else ""
    ours = target.removeprefix(base).partition("?")[0]
    if ours == OURS or ours.startswith(f"{OURS}/"):
        return Route(Action.OURS, target.removeprefix(base))
    path = target.partition("?")[0]
    if path == f"/{name}" or path.startswith(f"/{name}/"):
        if method in ("GET", "HEAD") and page_of(target) == "login":
            return _sign_in(target, name, base)
        return Route(Action.PASS, target)
    prefixed = f"/{name}{target}"
    return Route(Action.REDIRECT if method in ("GET", "HEAD") else Action.PASS, prefixed)


def _sign_in(target: str, name: str, base: str) -> Route:
    """Signing in begins on the site: nobody types a password into a page of a repository.

    But for `?native`, who is no person of the site, and `?anon...`, Fossil's captcha.
    `g` is what the person wanted, as Fossil writes it: beginning behind `/NAME/`.
    """
    query = dict(parse_qsl(target.partition("?")[2], keep_blank_values=True))
    if any(key == "native" or key.startswith("anon") for key in query):
        return Route(Action.PASS, target)
    wanted = query.get("g", "")
    if not wanted.startswith("/"):
        wanted = f"/{name}/{wanted}" if wanted else ""
    return Route(Action.SIGN_IN, opening(path_inside(wanted, name) if wanted else "", base))


def opening(to: str = "", base: str = "") -> str:
    """The address on a repository's host where signing in begins; afterwards on to `to`.

    `base` is `/NAME` where repositories are below the apex.
    """
    return f"{base}{OURS}/open" + (f"?{urlencode({'to': to})}" if to else "")


def path_inside(wanted: str, name: str) -> str:
    """What was asked for when it is a path of this repository, else its front page.

    It becomes a Location: no other host, in whatever spelling, and no second header.
    """
    front = f"/{name}"
    if not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted:
        return front
    if any(character < " " or character == "\x7f" for character in wanted):
        return front
    path = quote(wanted, safe="/?&=%:;,@+$!*'()~-._[]|")
    is_loop = path.startswith((OURS, "/login")) or page_of(path) in ("login", OURS[1:])
    if is_loop or len(path) > LONGEST_PATH:
        return front
    is_inside = re.match(re.escape(front) + r"(?:[/?]|$)", path) is not None
    return path if is_inside else front + path


def is_raw_page(target: str) -> bool:
    """Whether Fossil may answer a `/NAME/...` target with a writer's own bytes.

    Looks at the path decoded and with doubled slashes as one, so that no other
    spelling of a page escapes.
    """
    segments = [part for part in unquote(target.partition("?")[0]).split("/") if part]
    return len(segments) > 1 and segments[1].lower().startswith(RAW_PAGES)


def page_of(target: str) -> str:
    """The Fossil page that a `/NAME/PAGE...` target asks for; empty for `/NAME`."""
    segments = [part for part in unquote(target.partition("?")[0]).split("/") if part]
    return segments[1] if len(segments) > 1 else ""


def first_segment(target: str) -> str | None:
    """NAME of the apex's `/NAME...`; None for what is no name."""
    name = re.split(r"[/?]", target[1:], maxsplit=1)[0]
    return name if target.startswith("/") and LABEL.fullmatch(name) else None


def path_form(path: str) -> str | None:
    """NAME of the apex's `/NAME` or `/NAME/xfer`, which Fossil's client posts to; else None."""
    name, slash, rest = path.removeprefix("/").partition("/")
    if not path.startswith("/") or (slash and rest != "xfer") or not LABEL.fullmatch(name):
        return None
    return name
