"""Repositories below the apex (`server.routing = "path"`): the same through Caddy and gateway."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fossilrepo.web.hosts import NOT_FOUND_TARGET
from tests.helpers import gateway_parts as parts
from tests.helpers.fronts import front
from tests.helpers.gateway_parts import EVIL, Served


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with parts.repositories(tmp_path_factory.mktemp("paths"), NOT_FOUND_TARGET) as served:
        yield served


@pytest.fixture(scope="module", params=["gateway", "caddy"])
def site(
    request: pytest.FixtureRequest, served: Served, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[parts.Site]:
    base = tmp_path_factory.mktemp(request.param)
    with front(request.param, served, base, routing="path") as site:
        yield site


def apex(site: parts.Site) -> str:
    return f"{site.domain}:{site.port}"


async def test_pages_are_below_the_apex_and_say_so(site: parts.Site) -> None:
    scheme = "https" if site.tls else "http"
    page = await site.ask("GET", "/demo/timeline?n=3", host=apex(site))
    assert page.status == 200
    assert f'<base href="{scheme}://{apex(site)}/demo/timeline"'.encode() in page.body
    index = await site.ask("GET", "/demo", host=apex(site))
    assert index.one("location") == f"{scheme}://{apex(site)}/demo/index"


@pytest.mark.parametrize("target", ["/", "/repos/demo", "/unknown/timeline", "/demo.x"])
async def test_everything_else_is_the_sites(site: parts.Site, target: str) -> None:
    answer = await site.ask("GET", target, host=apex(site))
    assert (answer.status, answer.body) == (200, b"apex")


@pytest.mark.parametrize(
    "target",
    [
        "//demo/timeline",
        "/demo/../other/timeline",
        "/demo/%2e%2e/other/timeline",
        "/demo/..%2fother",
    ],
)
async def test_no_other_spelling_leads_to_another_repository(site: parts.Site, target: str) -> None:
    answer = await site.ask("GET", target, host=apex(site))
    assert b"/other/" not in answer.body
    assert not [to for to in answer.all("location") if "/other" in to]


async def test_every_page_is_tied_to_its_repository(site: parts.Site) -> None:
    url = f"{'https' if site.tls else 'http'}://{apex(site)}/demo/"
    page = await site.ask("GET", "/demo/timeline", host=apex(site))
    policies = page.all("content-security-policy")
    assert any("'nonce-" in policy for policy in policies), "Fossil's own stays"
    tied = [policy for policy in policies if f"connect-src {url};" in policy]
    assert tied and f"form-action {url};" in tied[0] and f"script-src {url} " in tied[0]
    raw = await site.ask("GET", "/demo/doc/trunk/evil.html", host=apex(site))
    assert raw.body == EVIL
    assert any(one.startswith("sandbox ") for one in raw.all("content-security-policy"))
    assert raw.one("x-content-type-options") == "nosniff"


async def test_signing_in_begins_below_the_repository(site: parts.Site) -> None:
    answer = await site.ask("GET", "/demo/login?g=timeline", host=apex(site))
    to = "/demo/.fossilrepo/open?to=%2Fdemo%2Ftimeline"
    assert (answer.status, answer.one("location")) == (302, to)
    for method, path in (("GET", "open"), ("POST", "session")):
        answer = await site.ask(method, f"/demo/.fossilrepo/{path}", host=apex(site))
        assert answer.body == f"ours for demo: /.fossilrepo/{path}".encode()
    native = await site.ask("GET", "/demo/login?native", host=apex(site))
    assert native.status == 200 and b'name="p"' in native.body


async def test_fossils_cookie_is_for_one_repository(site: parts.Site) -> None:
    body = f"u=admin&p={parts.PASSWORD}&in=Login".encode()
    form = "Content-Type: application/x-www-form-urlencoded\r\n"
    answer = await site.ask("POST", "/demo/login", host=apex(site), body=body, headers=form)
    cookie = answer.one("set-cookie")
    assert answer.status == 302 and "Path=/demo" in cookie
    assert ("secure" in cookie.lower()) == site.tls


async def test_hosts_lead_to_paths(served: Served, tmp_path: Path) -> None:
    """As addresses from before the setting was changed; with Caddy a certificate is needed too."""
    with front("gateway", served, tmp_path, routing="path") as site:
        port = site.port
        for target, to in (
            ("/", "/demo/"),
            ("/demo", "/demo/"),
            ("/timeline?n=3", "/demo/timeline?n=3"),
            ("/demo/info/abc?x=%2F", "/demo/info/abc?x=%2F"),
            ("/demox", "/demo/demox"),
            ("//evil.com", "/demo//evil.com"),
        ):
            answer = await site.ask("GET", target, host=site.host("demo"))
            location = f"http://localhost:{port}{to}"
            assert (answer.status, answer.one("location")) == (302, location), target


async def test_the_real_client_clones_pushes_and_pulls(served: Served, tmp_path: Path) -> None:
    with front("gateway", served, tmp_path, routing="path") as site:
        await asyncio.to_thread(_clone_push_pull, site.port, tmp_path)


def _clone_push_pull(port: int, tmp_path: Path) -> None:
    fossil = parts.Fossil(tmp_path / "home")
    url = f"http://admin:{parts.PASSWORD}@localhost:{port}/other"
    for name in ("a", "b"):
        fossil.run("clone", "--admin-user", "admin", "--once", url, f"{name}.fossil")
    fossil.run("open", "--nosync", "a.fossil", "--workdir", "work")
    fossil.run("settings", "autosync", "off", cwd=fossil.home / "work")
    fossil.commit(fossil.home / "work", "below.bin", os.urandom(300_000))
    fossil.run("push", "--once", url, "-R", "a.fossil")
    fossil.run("pull", "--once", url, "-R", "b.fossil")
    assert "add below.bin" in fossil.run("timeline", "-R", "b.fossil")
