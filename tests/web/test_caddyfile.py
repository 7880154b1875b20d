"""The mapping of hosts and paths, the same before Fossil in Caddy and in the gateway."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from fossilrepo.web.hosts import NOT_FOUND_TARGET
from tests.helpers import gateway_parts as parts
from tests.helpers.fronts import front
from tests.helpers.gateway_parts import EVIL, Served


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with parts.repositories(tmp_path_factory.mktemp("caddyfile"), NOT_FOUND_TARGET) as served:
        yield served


@pytest.fixture(scope="module", params=["gateway", "caddy"])
def site(
    request: pytest.FixtureRequest, served: Served, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[parts.Site]:
    base = tmp_path_factory.mktemp(request.param)
    with front(request.param, served, base) as site:
        yield site


@pytest.mark.parametrize(
    ("target", "to"),
    [
        ("/", "/demo/"),
        ("/timeline?n=5&y=ci", "/demo/timeline?n=5&y=ci"),
        ("//evil.com", "/demo//evil.com"),
        ("/other/timeline", "/demo/other/timeline"),
        ("/DEMO/timeline", "/demo/DEMO/timeline"),
        ("/%64emo/timeline", "/demo/%64emo/timeline"),
        ("/demox", "/demo/demox"),
        ("/a%2Fb%20c?d=%2F", "/demo/a%2Fb%20c?d=%2F"),
    ],
)
async def test_a_path_without_the_name_is_led_into_the_repository(
    site: parts.Site, target: str, to: str
) -> None:
    answer = await site.ask("GET", target, host=site.host("demo"))
    assert (answer.status, answer.one("location")) == (302, to)


async def test_pages_come_with_the_public_address(site: parts.Site) -> None:
    host, scheme = site.host("demo"), "https" if site.tls else "http"
    page = await site.ask("GET", "/demo/timeline?n=3", host=host)
    assert page.status == 200
    assert f'<base href="{scheme}://{host}/demo/timeline"'.encode() in page.body
    index = await site.ask("GET", "/demo", host=host)
    assert index.one("location") == f"{scheme}://{host}/demo/index"


async def test_the_cookie_is_secure_where_the_public_url_is(site: parts.Site) -> None:
    body = f"u=admin&p={parts.PASSWORD}&in=Login".encode()
    form = "Content-Type: application/x-www-form-urlencoded\r\n"
    answer = await site.ask("POST", "/demo/login", host=site.host("demo"), body=body, headers=form)
    cookie = answer.one("set-cookie")
    assert answer.status == 302
    assert "Path=/demo" in cookie
    assert ("secure" in cookie.lower()) == site.tls


async def test_a_post_without_the_name_reaches_only_this_repository(site: parts.Site) -> None:
    sync = "Content-Type: application/x-fossil-debug\r\n"
    host = site.host("demo")
    body = b"clone 3 1\n"
    root = await site.ask("POST", "/", host=host, body=body, headers=sync)
    assert (root.status, root.one("content-type")) == (200, "application/x-fossil-uncompressed")
    assert b"push " in root.body
    code = root.body.split(b"push ", 1)[1].split(b"\n")[0]
    foreign = await site.ask("POST", "/other/xfer", host=host, body=body, headers=sync)
    assert b"push " + code in foreign.body
    other = await site.ask("POST", "/", host=site.host("other"), body=body, headers=sync)
    assert code not in other.body


@pytest.mark.parametrize(
    "host",
    [
        "DEMO.localhost",
        "a_b.localhost",
        "_x.localhost",
        "demo.localhost.",
        "a.b.localhost",
        ".localhost",
        "evil.com",
        "demo.localhost:x",
        "-a.localhost",
        "",
    ],
)
async def test_bad_hosts_get_nothing(site: parts.Site, host: str) -> None:
    suffix = f":{site.port}" if host and ":" not in host else ""
    for path in ("/", "/demo/timeline", "/evil.com"):
        request = f"GET {path} HTTP/1.1\r\nHost: {host}{suffix}\r\nConnection: close\r\n\r\n"
        answer = parts.Answer(await site.raw(request.encode()))
        assert answer.status in (400, 404, 421), (path, answer.status)
        assert not answer.all("location")
        assert b"demo.fossil" not in answer.body
        assert b"Repository List" not in answer.body


@pytest.mark.parametrize("name", ["stale", "unknown"])
async def test_what_is_not_served_is_404(site: parts.Site, name: str) -> None:
    for path in (f"/{name}", f"/{name}/timeline", NOT_FOUND_TARGET):
        answer = await site.ask("GET", path, host=site.host(name))
        assert answer.status == 404
        assert not answer.all("location")


async def test_our_own_paths_go_to_the_site(site: parts.Site) -> None:
    for method, path in (("GET", "open?to=/demo"), ("POST", "session"), ("GET", "session")):
        answer = await site.ask(method, f"/.fossilrepo/{path}", host=site.host("demo"))
        assert answer.body == f"ours for demo: /.fossilrepo/{path.partition('?')[0]}".encode()


@pytest.mark.parametrize(
    ("target", "to"),
    [
        ("/demo/login", ""),
        ("/demo/login?g=timeline%3fn%3D5", "?to=%2Fdemo%2Ftimeline%3Fn%3D5"),
        ("/demo/login?g=https://evil.com", "?to=%2Fdemo%2Fhttps%3A%2F%2Fevil.com"),
        ("/demo/login?g=//evil.com", "?to=%2Fdemo"),
        ("/demo/%6Cogin/x", ""),
        ("/demo//login", ""),
    ],
)
async def test_signing_in_begins_on_the_site(site: parts.Site, target: str, to: str) -> None:
    answer = await site.ask("GET", target, host=site.host("demo"))
    assert (answer.status, answer.one("location")) == (302, f"/.fossilrepo/open{to}")


@pytest.mark.parametrize("target", ["/demo/login?native", "/demo/login?anon=1&g=timeline"])
async def test_native_users_and_anonymous_reach_fossils_page(site: parts.Site, target: str) -> None:
    answer = await site.ask("GET", target, host=site.host("demo"))
    assert answer.status == 200
    assert b'name="p"' in answer.body


@pytest.fixture(params=["gateway", "caddy"])
async def heard(
    request: pytest.FixtureRequest, served: Served, tmp_path: Path
) -> AsyncIterator[tuple[parts.Site, list[bytes]]]:
    """The mapping before something that keeps the head of every request instead of Fossil."""
    heads: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):  # a look whether the port is open
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nOK")
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1", 0) as server:
        listening = Served(served.folder, server.sockets[0].getsockname()[1], served.pid)
        with ExitStack() as stack:
            started = front(request.param, listening, tmp_path)
            yield await asyncio.to_thread(stack.enter_context, started), heads


COOKIES = (
    "a=1; fossilrepo=apex-secret; fossil-abc=kept; __Host-fossilrepo=apex-secret; b=2",
    "__Host-fossilrepo-open=apex-secret; fossilrepo-open=apex-secret; fossilrepo-seen=apex-secret",
    "fossilrepo=apex-secret",
    "fossil-abc=kept;fossilrepo=apex-secret;  fossilrepo=apex-secret",
)


async def test_fossil_never_sees_the_sites_cookies(
    heard: tuple[parts.Site, list[bytes]],
) -> None:
    site, heads = heard
    for cookies in COOKIES:
        lines = f"Cookie: {cookies}\r\n"
        for method, target in (("GET", "/demo/timeline"), ("POST", "/demo/wikiedit")):
            answer = await site.ask(method, target, host=site.host("demo"), headers=lines)
            assert answer.status == 200
    if not site.tls:  # the path form on the site itself, where the browser has the session
        lines = f"Cookie: {COOKIES[0]}\r\nContent-Type: application/x-fossil\r\n"
        await site.ask("POST", "/demo", host=f"localhost:{site.port}", headers=lines, body=b"x")
    assert len(heads) == 2 * len(COOKIES) + (not site.tls)
    assert not [head for head in heads if b"apex-secret" in head]
    assert b"fossil-abc=kept" in heads[0]


@pytest.mark.parametrize(
    "page", ["doc/trunk/evil.html", "doc/%74runk/evil.html", "raw/x?ci=trunk&filename=evil.html"]
)
async def test_raw_pages_have_no_powers(site: parts.Site, page: str) -> None:
    answer = await site.ask("GET", f"/demo/{page}", host=site.host("demo"))
    assert answer.body == EVIL
    policies = answer.all("content-security-policy")
    assert any(policy.startswith("sandbox ") for policy in policies), policies
    assert any("default-src" in policy for policy in policies), policies
    assert answer.one("x-content-type-options") == "nosniff"
    plain = await site.ask("GET", "/demo/timeline", host=site.host("demo"))
    assert not any("sandbox" in policy for policy in plain.all("content-security-policy"))


async def test_a_body_of_unknown_length_is_refused(site: parts.Site) -> None:
    head = f"POST /demo/xfer HTTP/1.1\r\nHost: {site.host('demo')}\r\nConnection: close\r\n"
    chunked = "Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"
    assert parts.Answer(await site.raw((head + chunked).encode())).status == 411


async def test_a_body_past_the_limit_is_refused(site: parts.Site) -> None:
    head = f"POST /demo/xfer HTTP/1.1\r\nHost: {site.host('demo')}\r\nConnection: close\r\n"
    head += "Content-Type: application/x-fossil\r\nContent-Length: 4000000\r\n\r\n"
    answer = parts.Answer(await site.raw(head.encode() + b"x" * 4_000_000))
    assert answer.status == 413


async def test_the_real_client_clones_pushes_and_pulls_by_the_hosts_name(
    served: Served, tmp_path: Path
) -> None:
    """A small proxy resolves the names and adds the TLS, as `fossil` 2.21 cannot through one."""
    with front("caddy", served, tmp_path) as site:
        async with parts.NamedHosts(site.port, tls=True) as proxy:
            await asyncio.to_thread(_clone_push_pull, site, proxy.port, tmp_path)


def _clone_push_pull(site: parts.Site, proxy: int, tmp_path: Path) -> None:
    fossil = parts.Fossil(tmp_path / "home")
    url = f"http://admin:{parts.PASSWORD}@{site.host('other')}"
    through = ["--proxy", f"http://127.0.0.1:{proxy}"]
    for name in ("a", "b"):
        fossil.run("clone", *through, "--admin-user", "admin", "--once", url, f"{name}.fossil")
    fossil.run("open", "--nosync", "a.fossil", "--workdir", "work")
    fossil.run("settings", "autosync", "off", cwd=fossil.home / "work")
    fossil.commit(fossil.home / "work", "caddy.bin", os.urandom(700_000))
    wrong = url.replace(parts.PASSWORD, "wrong")
    refused = fossil.run("push", *through, "--once", wrong, "-R", "a.fossil", ok=False)
    assert "login failed" in refused
    fossil.run("push", *through, "--once", url, "-R", "a.fossil")
    fossil.run("pull", *through, "--once", url, "-R", "b.fossil")
    assert "add caddy.bin" in fossil.run("timeline", "-R", "b.fossil")


async def test_a_flag_file_sends_posts_to_the_judging_gateway(
    served: Served, tmp_path: Path
) -> None:
    with front("caddy", served, tmp_path) as site:
        (tmp_path / "flags").mkdir()
        (tmp_path / "flags/read-only").touch()
        answer = await site.ask("POST", "/demo/wikiedit", host=site.host("demo"), body=b"x")
        assert "fossilrepo" in answer.all("server")
