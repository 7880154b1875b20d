"""The site over the real services, and a browser in small in front of it.

Owns `served` (services, gateway and site on a port of the kernel, without the
Fossil child) and `Browser`, which keeps cookies and sends what a browser sends:
the Origin, and the token that stood in the form.
"""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from fossilrepo.config import Limits, Settings
from fossilrepo.core import open_services
from fossilrepo.models import Actor, HostState
from fossilrepo.services import Services
from fossilrepo.web import opening
from fossilrepo.web.app import make_app
from fossilrepo.web.gateway import Gateway
from fossilrepo.web.gateway_stream import Upstream
from fossilrepo.web.middleware import public_url

PASSWORD = "correct horse battery"
ADMIN = Actor("ada", is_admin=True, address="127.0.0.1")


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")


@dataclass
class Browser:
    """`host` is what stands in the Host header."""

    session: aiohttp.ClientSession
    port: int
    host: str
    cookies: dict[str, str] = field(default_factory=dict)
    set_cookies: list[str] = field(default_factory=list)
    csrf: str = ""

    @property
    def origin(self) -> str:
        return f"http://{self.host}"

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **body: Any
    ) -> Answer:
        sent = {"Host": self.host, **(headers or {})}
        if self.cookies and "Cookie" not in sent:
            sent["Cookie"] = "; ".join(f"{key}={value}" for key, value in self.cookies.items())
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.request(
            method, url, headers=sent, allow_redirects=False, **body
        ) as response:
            content = await response.read()
            self.set_cookies = response.headers.getall("Set-Cookie", [])
            self._keep_cookies()
            text = content.decode(errors="replace")
            self._keep_token(text)
            return Answer(response.status, text, response.headers.copy(), content)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return await self.ask("GET", path, headers)

    async def post(
        self,
        path: str,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """A form of one of our pages, sent."""
        data = {"csrf": self.csrf, **(fields or {})}
        return await self.ask("POST", path, {"Origin": self.origin, **(headers or {})}, data=data)

    async def sign_in(self, login: str, password: str = PASSWORD) -> Browser:
        done = await self.post("/login", {"login": login, "password": password})
        assert done.status == 303, done.text
        await self.get("/account")
        assert self.csrf
        return self

    def _keep_cookies(self) -> None:
        for header in self.set_cookies:
            for key, morsel in SimpleCookie(header).items():
                self.cookies[key] = morsel.value
                if morsel["max-age"] == "0":
                    del self.cookies[key]

    def _keep_token(self, text: str) -> None:
        found = re.search(r'name="csrf" value="([^"]+)"', text)
        self.csrf = found[1] if found else self.csrf


@dataclass(frozen=True)
class Peopled:
    """A data folder where `ada` is administrator and signed in: hashing passwords is slow."""

    data: Path
    cookie: str
    csrf: str


_peopled: list[Peopled] = []  # made when first asked for, once per worker


async def _template() -> Peopled:
    if not _peopled:
        folder = tempfile.mkdtemp(prefix="peopled-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        settings = roomy(Settings(data_dir=f"{folder}/data"))
        async with open_services(settings) as services:
            accounts = services.accounts
            await accounts.create_user(ADMIN, "ada", is_admin=True, password=PASSWORD)
            made = await accounts.sign_in("ada", PASSWORD, address="127.0.0.1", agent="a test")
        _peopled.append(Peopled(settings.data, made.token, made.session.csrf))
    return _peopled[0]


@dataclass(frozen=True)
class Site:
    services: Services
    app: web.Application
    session: aiohttp.ClientSession
    port: int
    peopled: Peopled | None

    def browser(self, host: str = "") -> Browser:
        return Browser(self.session, self.port, host or f"localhost:{self.port}")

    async def person(self, login: str, *, is_admin: bool = False) -> None:
        """Somebody more; `ada` is there already, unless the site is empty."""
        if login == "ada" and self.peopled:
            return
        await self.services.accounts.create_user(ADMIN, login, is_admin=is_admin, password=PASSWORD)

    async def admin(self) -> Browser:
        """A browser where the administrator `ada` is signed in."""
        assert self.peopled, "nobody is there: sign in by hand"
        browser = self.browser()
        browser.cookies["fossilrepo"] = self.peopled.cookie
        browser.csrf = self.peopled.csrf
        return browser


def roomy(settings: Settings, **changes: Any) -> Settings:
    """The settings for any machine, however full its disk is."""
    return settings.model_copy(
        update={"limits": Limits.model_validate({"free_disk": "0%"}), **changes}
    )


@asynccontextmanager
async def served(
    settings: Settings,
    *,
    empty: bool = False,
    beside: Sequence[tuple[str, str, Any]] = (),
    fossil: Callable[[], Upstream | None] = lambda: None,
) -> AsyncIterator[Site]:
    """The site with the administrator `ada`, or `empty` as on the first day.

    `beside` are routes (method, path, handler) that go past the site's own table; `fossil`
    tells where a `fossil server` on the served names answers.
    """
    peopled = None if empty else await _template()
    if peopled:
        shutil.copytree(peopled.data, settings.data)
    async with open_services(settings) as services:

        def lookup(name: str) -> HostState:
            known = (settings.served / f"{name}.fossil").is_symlink()
            return HostState.SERVED if known else HostState.UNKNOWN

        gateway = Gateway(
            settings=settings,
            public=lambda: public_url(services),
            lookup=lookup,
            upstream=fossil,
            ours=opening.answer,
            key_used=services.access_keys.used,
            former=services.repos.former.present,
        )
        app = make_app(services, gateway)
        for method, path, handler in beside:
            app.router.add_route(method, path, handler)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port = int(runner.addresses[0][1])
            services.links.bind(port)
            jar = aiohttp.DummyCookieJar()
            async with aiohttp.ClientSession(cookie_jar=jar, auto_decompress=True) as session:
                yield Site(services, app, session, port, peopled)
        finally:
            await runner.cleanup()
