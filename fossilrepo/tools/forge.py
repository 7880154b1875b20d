"""The APIs of Git servers: what they have in common.

Owns the values, the choice of the right one, and one request with its errors. Each API is in a
module of its own. Tokens stand in a header only; no error repeats one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from fossilrepo.bridge import ForgeKind
from fossilrepo.errors import Conflict, FossilrepoError, InvalidInput, NotFound, ToolFailed
from fossilrepo.errors import Unavailable as _Unavailable
from fossilrepo.tools import checked_http, git_address
from fossilrepo.tools.git_address import GitAddress

__all__ = ["Forge", "ForgeKind", "RateLimited", "forge_of", "kind_of", "path_of"]
LONGEST_WAIT = 6 * 3600.0  # seconds
MOST_PAGES = 200
_HOSTS = {
    "github.com": ForgeKind.GITHUB,
    "gitlab.com": ForgeKind.GITLAB,
    "codeberg.org": ForgeKind.GITEA,
    "gitea.com": ForgeKind.GITEA,
}


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What a token may; None where the API does not say."""

    login: str
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    can_push: bool | None = None
    can_create: bool | None = None
    can_write_issues: bool | None = None


@dataclass(frozen=True, slots=True)
class RemoteRepository:
    path: str
    https_url: str
    ssh_url: str
    web_url: str
    default_branch: str
    private: bool
    can_push: bool | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class RemoteIssue:
    number: int
    title: str
    body: str
    closed: bool
    url: str = ""


@dataclass(frozen=True, slots=True)
class RemoteComment:
    id: str
    body: str


class RateLimited(_Unavailable):
    """The server asks for a pause; `retry_after` in seconds."""

    def __init__(self, host: str, retry_after: float) -> None:
        wait = min(max(retry_after, 1.0), LONGEST_WAIT)
        super().__init__(
            f"{host} allows no more requests for now", hint=f"it is tried again in {wait:.0f} s"
        )
        self.retry_after = wait


class Forge(Protocol):
    """`path` is `owner/name`."""

    kind: ForgeKind

    async def token(self) -> TokenFacts: ...
    async def repository(self, path: str) -> RemoteRepository | None: ...
    async def owned_by(self, owner: str) -> list[RemoteRepository]: ...
    async def create(
        self, path: str, *, private: bool, description: str, default_branch: str
    ) -> RemoteRepository: ...
    async def describe(
        self, path: str, *, description: str, homepage: str = "", default_branch: str = ""
    ) -> None: ...
    async def add_deploy_key(self, path: str, *, title: str, public_key: str) -> None: ...
    async def issues(self, path: str, *, marker: str) -> list[RemoteIssue]: ...
    async def create_issue(
        self, path: str, *, title: str, body: str, labels: Sequence[str] = ()
    ) -> RemoteIssue: ...
    async def update_issue(
        self,
        path: str,
        number: int,
        *,
        title: str | None = None,
        body: str | None = None,
        closed: bool | None = None,
    ) -> None: ...
    async def comments(self, path: str, number: int) -> list[RemoteComment]: ...
    async def add_comment(self, path: str, number: int, body: str) -> RemoteComment: ...
    async def update_comment(self, path: str, number: int, comment_id: str, body: str) -> None: ...


def forge_of(kind: ForgeKind, api_url: str, token: str, networks: Sequence[str]) -> Forge:
    """The API of such a server; InvalidInput for a server without one that we know."""
    from fossilrepo.tools.forge_gitea import Gitea
    from fossilrepo.tools.forge_github import GitHub
    from fossilrepo.tools.forge_gitlab import GitLab

    if kind is ForgeKind.GITHUB:
        return GitHub(api_url, token, networks)
    if kind is ForgeKind.GITLAB:
        return GitLab(api_url, token, networks)
    if kind is ForgeKind.GITEA:
        return Gitea(api_url, token, networks)
    raise InvalidInput("this server has no API that is known here", field="kind")


def kind_of(address: GitAddress, wanted: ForgeKind | None) -> ForgeKind:
    """What serves it: as somebody said, else as its host is known."""
    if address.is_folder and wanted not in (None, ForgeKind.GIT):
        raise InvalidInput("a folder of this server has no API", field="kind")
    return wanted or _HOSTS.get(address.host.lower(), ForgeKind.GIT)


def path_of(url: str, kind: ForgeKind) -> str:
    """`owner/name` (on GitLab groups within groups too) out of an address."""
    path = git_address.parse(url).path.removesuffix(".git")
    parts = [part for part in path.split("/") if part]
    if len(parts) < 2 or (kind is not ForgeKind.GITLAB and len(parts) != 2):
        raise InvalidInput(
            f"{path!r} is not OWNER/NAME", hint="write the address of a repository", field="url"
        )
    return "/".join(parts)


def api_url_of(kind: ForgeKind, url: str) -> str:
    """Where the API of the server of this remote is, as these servers have it."""
    address = git_address.parse(url)
    scheme = "http" if address.scheme == "http" else "https"
    host = f"[{address.host}]" if ":" in address.host else address.host
    default = {"http": 80, "https": 443, "ssh": address.port}[address.scheme]
    base = f"{scheme}://{host}" + (f":{address.port}" if address.port != default else "")
    if kind is ForgeKind.GITHUB:
        return "https://api.github.com" if address.host == "github.com" else f"{base}/api/v3"
    return f"{base}/api/v4" if kind is ForgeKind.GITLAB else f"{base}/api/v1"


def checked_api_url(url: str) -> str:
    """The address of an API as somebody typed it; InvalidInput when it is none."""
    return checked_http.check_address(url.rstrip("/"), "api_url")


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    value: Any
    headers: Mapping[str, str]


class Api:
    """One API with one token: `ask` is a request, with what is common to all of its errors."""

    def __init__(
        self, base: str, token: str, networks: Sequence[str], headers: Mapping[str, str]
    ) -> None:
        self.base = base.rstrip("/")
        self.host = urlsplit(base).netloc
        self._token = token
        self._networks = networks
        self._headers = headers

    async def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        may_fail: tuple[int, ...] = (),
    ) -> Reply:
        """The reply when it is a success or one of `may_fail`; an error in words otherwise."""
        headers = {"Accept": "application/json", **self._headers}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        answer = await checked_http.request(
            method, f"{self.base}{path}", networks=self._networks, headers=headers, body=content
        )
        try:
            value = json.loads(answer.body) if answer.body else None
        except ValueError:
            value = None
        if answer.status < 300 or answer.status in may_fail:
            if answer.status < 300 and answer.status != 204 and value is None and answer.body:
                raise ToolFailed(
                    f"{self.host} gave no JSON", hint="is the address of the API right?"
                )
            return Reply(answer.status, value, answer.headers)
        raise self._error(answer.status, value, answer.headers)

    async def pages(self, path: str) -> list[Any]:
        """Every entry of a list, by its pages; nothing leads to another host."""
        found: list[Any] = []
        joint = "&" if "?" in path else "?"
        for page in range(1, MOST_PAGES + 1):
            reply = await self.ask("GET", f"{path}{joint}per_page=100&limit=50&page={page}")
            if not isinstance(reply.value, list) or not reply.value:
                break
            found += reply.value
            if 'rel="next"' not in reply.headers.get("link", ""):
                break
        return found

    def _error(self, status: int, value: Any, headers: Mapping[str, str]) -> FossilrepoError:
        said = self._words(value)
        if status == 429 or (
            status == 403
            and ("retry-after" in headers or headers.get("x-ratelimit-remaining") == "0")
        ):
            return RateLimited(self.host, _wait(headers))
        if status == 401:
            return ToolFailed(
                f"{self.host}: the token is not valid or has expired",
                hint="make another one there and set it",
            )
        if status == 403:
            return ToolFailed(
                f"{self.host}: the token may not do this{said}",
                hint="give it the rights that a mirror needs: see docs/mirrors.md",
            )
        if status == 404:
            return NotFound(f"{self.host}: it is not there, or the token may not see it{said}")
        if status in (400, 409, 422):
            return Conflict(f"{self.host} refused it{said}")
        if 300 <= status < 400:
            return ToolFailed(
                f"{self.host} sends us on to another address", hint="write that address"
            )
        return _Unavailable(f"{self.host} answered with {status}{said}")

    def _words(self, value: Any) -> str:
        """What the server said, on one line, without the token should it repeat it."""
        if not isinstance(value, Mapping):
            return ""
        said = value.get("message") or value.get("error") or ""
        details = value.get("errors")
        if isinstance(details, list):
            said = f"{said} {' '.join(_detail(one) for one in details[:3])}"
        text = " ".join(str(said).split())[:300]
        if self._token:
            text = text.replace(self._token, "…")
        return f": {text}" if text.strip() else ""


def _detail(one: Any) -> str:
    return (
        str(one.get("message") or one.get("code") or "") if isinstance(one, Mapping) else str(one)
    )


def _wait(headers: Mapping[str, str]) -> float:
    """Seconds, by whichever header the server uses."""
    for name in ("retry-after", "ratelimit-reset", "x-ratelimit-reset"):
        text = headers.get(name, "")
        if text.isascii() and text.isdigit():
            number = float(text)
            return number - time.time() if number > 1e9 else number
    return 60.0


def segment(text: str) -> str:
    return quote(text, safe="")


def moment(text: object) -> datetime | None:
    """A time as these APIs write it: RFC 3339, a day, or GitHub's `2026-01-01 00:00:00 UTC`."""
    if not isinstance(text, str) or not text:
        return None
    tidy = text.strip().removesuffix(" UTC").replace("Z", "+00:00")
    try:
        found = datetime.fromisoformat(tidy)
    except ValueError:
        try:
            found = datetime.strptime(tidy, "%Y-%m-%d %H:%M:%S %z")
        except ValueError:
            return None
    from datetime import UTC

    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
