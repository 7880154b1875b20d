"""The site with a real Fossil behind it, with Caddy in front when asked, and the way in.

Owns `running`, and `Way`, which takes the steps that a browser takes from the site into a
repository's own pages: each step's answer is there to be looked at, and to be bent.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from fossilrepo.config import Server, Settings
from fossilrepo.runtime.launch import launch
from fossilrepo.services import Services
from fossilrepo.tools import jail
from fossilrepo.tools.identity import service_identity
from fossilrepo.web.gateway_stream import Upstream
from fossilrepo.web.hosts import NOT_FOUND_TARGET
from tests.helpers import gateway_parts as parts
from tests.helpers import jailed
from tests.helpers.fronts import caddy as caddy_before
from tests.helpers.poll import until
from tests.helpers.site import Site, roomy, served


@dataclass(frozen=True)
class Front:
    """What people connect to: the site's own port, or Caddy's."""

    site: Site
    door: parts.Site
    apex: str
    data: Path

    @property
    def services(self) -> Services:
        return self.site.services

    def origin(self, name: str = "") -> str:
        scheme = "https" if self.door.tls else "http"
        return f"{scheme}://{name}{'.' if name else ''}{self.apex}"

    async def way(self, login: str = "ada", name: str = "demo") -> Way:
        """A browser where the person is signed in on the site, and nowhere else."""
        way = Way(self, login, name)
        user = await self.services.accounts.user(login)
        made = await self.services.accounts.session_for(user, address="127.0.0.1", agent="a test")
        key = "__Host-fossilrepo" if self.door.tls else "fossilrepo"
        way.cookies[self.apex] = {key: made.token}
        way.csrf = made.session.csrf
        return way


@dataclass
class Way:
    """A browser: cookies by host. `fields` are those of the form with the ticket."""

    front: Front
    login: str
    name: str
    cookies: dict[str, dict[str, str]] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)  # of Set-Cookie, in the last answer
    csrf: str = ""

    @property
    def host(self) -> str:
        return f"{self.name}.{self.front.apex}"

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> parts.Answer:
        """At this address, or this path of the repository's host."""
        host = urlsplit(url).netloc or self.host
        target = url if url.startswith("/") else url.split(host, 1)[1] or "/"
        jar = self.cookies.setdefault(host, {})
        sent = dict(headers or {})
        if jar and "Cookie" not in sent:
            sent["Cookie"] = "; ".join(f"{key}={value}" for key, value in jar.items())
        lines = "".join(f"{key}: {value}\r\n" for key, value in sent.items())
        answer = await self.front.door.ask(method, target, host=host, body=body, headers=lines)
        self.lines = answer.all("set-cookie")
        for line in self.lines:
            for key, morsel in SimpleCookie(line).items():
                jar[key] = morsel.value
                if morsel["max-age"] == "0":
                    del jar[key]
        return answer

    async def begin(self, path: str = "/.fossilrepo/open") -> parts.Answer:
        """The nonce; the answer leads to the site."""
        return await self.ask("GET", path)

    async def ticket(self, begun: parts.Answer) -> parts.Answer:
        """The site's page with the ticket."""
        page = await self.ask("GET", begun.one("location"))
        self.fields = dict(re.findall(r'name="(ticket|to)" value="([^"]*)"', page.body.decode()))
        return page

    async def end(self, fields: Mapping[str, str] | None = None, **headers: str) -> parts.Answer:
        """The form is sent to the repository's host."""
        form = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": self.front.origin(),
            **headers,
        }
        body = urlencode(self.fields if fields is None else fields).encode()
        return await self.ask("POST", "/.fossilrepo/session", form, body)

    async def open(self, path: str = "/.fossilrepo/open") -> parts.Answer:
        """All of it."""
        await self.ticket(await self.begin(path))
        return await self.end()

    async def is_signed_in(self) -> bool:
        """Whether Fossil itself takes this browser for the person."""
        page = await self.ask("GET", f"/{self.name}/timeline")
        return f">{self.login}</a>".encode() in page.body


def wanted(answer: parts.Answer) -> dict[str, str]:
    """The query of the address that an answer leads to."""
    return dict(parse_qsl(urlsplit(answer.one("location")).query))


@asynccontextmanager
async def running(*, caddy: bool = False, domain: str = "localhost") -> AsyncIterator[Front]:
    """The site with `ada`, Fossil, and the gateway or Caddy (for `localhost`) in front."""
    base = Path(tempfile.mkdtemp(prefix="opened-"))
    base.chmod(0o711)  # Fossil's account passes through it
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        outside, fossil = parts.free_port(), jailed.free_port()
        settings = roomy(
            Settings(
                data_dir=str(base / "data"),
                server=Server(
                    listen="127.0.0.1:0",
                    domain=domain,
                    public_url=f"https://localhost:{outside}" if caddy else "",
                ),
            )
        )
        site = await stack.enter_async_context(
            served(settings, fossil=lambda: Upstream("127.0.0.1", fossil))
        )
        await _start_fossil(settings, fossil, stack)
        if caddy:
            before = caddy_before(base, outside, site.port, fossil)
            await asyncio.to_thread(stack.enter_context, before)
        door = parts.Site(outside if caddy else site.port, domain, tls=caddy)
        yield Front(site, door, f"{domain}:{door.port}", settings.data)


async def _start_fossil(settings: Settings, port: int, stack: AsyncExitStack) -> None:
    identity = await asyncio.to_thread(service_identity, settings.data)
    walls = await jail.probe(settings.repos, identity)
    command = jail.server_command(walls, settings.repos, port, NOT_FOUND_TARGET)
    child = await launch(command, lambda _fd, _data: None)
    stack.push_async_callback(child.end)
    await until(lambda: jailed.listens(port), what="fossil server")
