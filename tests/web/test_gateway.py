"""The gateway before a real Fossil, with real clients and over raw sockets."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fossilrepo.config import Limits, Server, Settings
from fossilrepo.web.hosts import NOT_FOUND_TARGET
from tests.helpers import gateway_parts as parts
from tests.helpers.gateway_parts import EVIL, Served, soon
from tests.helpers.gateway_process import gateway


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with parts.repositories(tmp_path_factory.mktemp("gateway"), NOT_FOUND_TARGET) as served:
        yield served


@pytest.fixture
async def site(served: Served) -> AsyncIterator[parts.Site]:
    async with gateway(served) as (site, _):
        yield site


async def test_a_host_serves_its_repository_and_nothing_else(site: parts.Site) -> None:
    host = site.host("demo")
    page = await site.ask("GET", "/demo/timeline", host=host)
    assert page.status == 200
    assert b"add evil.html" in page.body
    assert f'<base href="http://{host}/demo/timeline"'.encode() in page.body
    index = await site.ask("GET", "/demo", host=host)
    assert (index.status, index.one("location")) == (302, f"http://{host}/demo/index")
    outside = await site.ask("GET", "/other/timeline?n=1", host=host)
    assert (outside.status, outside.one("location")) == (302, "/demo/other/timeline?n=1")
    followed = await site.ask("GET", "/demo/other/timeline?n=1", host=host)
    assert followed.status == 404


@pytest.mark.parametrize(
    "target",
    ["//evil.com", "/\\evil.com", "///evil.com/%2e%2e", "/%2fevil.com", "/http://evil.com"],
)
async def test_no_target_redirects_off_the_host(site: parts.Site, target: str) -> None:
    answer = await site.ask("GET", target, host=site.host("demo"))
    assert answer.status == 302
    assert answer.one("location").startswith("/demo/")


@pytest.mark.parametrize(
    "target",
    ["/demo/../other/timeline", "/demo/%2e%2e/other/timeline", "/demo%2f..%2fother/", "/demo/."],
)
async def test_no_target_reaches_another_repository(site: parts.Site, target: str) -> None:
    answer = await site.ask("POST", target, host=site.host("demo"), body=b"x")
    assert answer.status in (400, 404), answer.body
    assert b"other.fossil" not in answer.body


async def test_unknown_vanished_and_malformed_names_get_one_page(site: parts.Site) -> None:
    asked = [site.host("unknown"), site.host("stale"), site.host("a_b"), "evil.com"]
    pages = [await site.ask("GET", "/stale/timeline", host=host) for host in asked]
    assert {page.status for page in pages} == {404}
    assert len({page.body for page in pages}) == 1
    assert b"Repository List" not in pages[0].body


@pytest.mark.parametrize(
    "host",
    [
        b"DEMO.localhost",
        b"a_b.localhost",
        b"_x.localhost",
        b"demo.localhost.",
        b"a.b.localhost",
        b"",
        b".localhost",
        b"demo.localhost:x",
        b"evil.com",
        b"demo.localhost@evil.com",
        b"\xff.localhost",
    ],
)
async def test_a_bad_host_is_refused_on_the_wire(site: parts.Site, host: bytes) -> None:
    for path in (b"/", b"/demo/timeline", b"/evil.com"):
        got = parts.Answer(await site.raw(b"GET %s HTTP/1.0\r\nHost: %s\r\n\r\n" % (path, host)))
        assert got.status in (400, 404), (path, host, got.status)
        assert not got.all("location")


async def test_no_host_and_two_hosts_are_refused(site: parts.Site) -> None:
    two = b"GET /demo/timeline HTTP/1.1\r\nHost: demo.localhost\r\nHost: other.localhost\r\n\r\n"
    for request in (b"GET /demo/timeline HTTP/1.0\r\n\r\n", two.replace(b"1.1", b"1.0")):
        assert parts.Answer(await site.raw(request)).status in (400, 404)


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 4\r\nContent-Length: 40\r\n\r\nabcd",
        b"Content-Length: +4\r\n\r\nabcd",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_a_doubtful_length_is_refused(
    site: parts.Site, served: Served, framing: bytes
) -> None:
    head = b"POST /demo/xfer HTTP/1.1\r\nHost: demo.localhost\r\nConnection: close\r\n"
    smuggled = b"GET /demo/timeline HTTP/1.1\r\nHost: demo.localhost\r\n\r\n"
    received = await site.raw(head + framing + smuggled)
    assert parts.Answer(received).status in (400, 411)
    assert received.count(b"HTTP/1.") == 1


async def test_a_body_of_unknown_length_is_refused(site: parts.Site) -> None:
    head = b"POST /demo/xfer HTTP/1.1\r\nHost: demo.localhost\r\nConnection: close\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"
    assert parts.Answer(await site.raw(head + chunked)).status == 411


async def test_maintenance_is_503_and_says_when_to_come_back(site: parts.Site) -> None:
    answer = await site.ask("GET", "/moving/timeline", host=site.host("moving"))
    assert (answer.status, answer.one("retry-after")) == (503, "30")


async def test_our_own_paths_are_answered_by_us(site: parts.Site) -> None:
    answer = await site.ask("GET", "/.fossilrepo/session", host=site.host("demo"))
    assert answer.body == b"ours for demo: /.fossilrepo/session"
    hidden = await site.ask("GET", NOT_FOUND_TARGET, host=site.host("demo"))
    assert hidden.status == 404


@pytest.mark.parametrize(
    "spelling",
    ["doc/trunk/evil.html", "doc/%74runk/evil.html", "raw/x?ci=trunk&filename=evil.html"],
)
async def test_a_page_from_a_repository_has_no_powers(site: parts.Site, spelling: str) -> None:
    page = await site.ask("GET", f"/demo/{spelling}", host=site.host("demo"))
    assert (page.status, page.body) == (200, EVIL)
    policies = page.all("content-security-policy")
    assert "sandbox allow-scripts allow-popups allow-forms" in policies
    assert any("default-src" in policy for policy in policies)
    assert page.one("x-content-type-options") == "nosniff"


async def test_an_application_page_keeps_its_powers(site: parts.Site) -> None:
    page = await site.ask("GET", "/demo/timeline", host=site.host("demo"))
    assert not any("sandbox" in policy for policy in page.all("content-security-policy"))


async def test_sign_in_gives_fossils_cookie_and_the_next_page_knows_it(site: parts.Site) -> None:
    host, form = site.host("demo"), "Content-Type: application/x-www-form-urlencoded\r\n"
    body = f"u=admin&p={parts.PASSWORD}&in=Login".encode()
    signed = await site.ask("POST", "/demo/login", host=host, body=body, headers=form)
    assert signed.status == 302
    assert signed.one("location").startswith(f"http://{host}/demo/")
    cookie = signed.one("set-cookie").split(";")[0]
    ours = f"Cookie: fossilrepo=secret; {cookie}; __Host-fossilrepo=secret\r\n"
    page = await site.ask("GET", "/demo/timeline", host=host, headers=ours)
    assert b"/demo/logout" in page.body or b">Logout<" in page.body


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[Served, list[bytes]]]:
    """An upstream that keeps the heads it gets."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(
            b"HTTP/1.0 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"
            b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok"
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Served(Path("/"), server.sockets[0].getsockname()[1], 0), heads
    finally:
        server.close()


async def test_only_harmless_headers_reach_fossil_and_hop_by_hop_ones_end_here() -> None:
    async with echo() as (upstream, heads), gateway(upstream) as (site, _):
        sent = (
            "HTTPS: on\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n"
            "Forwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nProxy: evil\r\nRemote-User: admin\r\n"
            "REMOTE_USER: admin\r\nX-Fossil-Transport: SSH\r\nTE: trailers\r\nUpgrade: x\r\n"
            "Cookie: fossilrepo=s; fossil-1=k; __Host-fossilrepo=s\r\nAccept-Encoding: gzip\r\n"
            "If-None-Match: x\r\nConnection: if-none-match\r\n"
        )
        answer = await site.ask("GET", "/demo/a%2Fb?c=%20", host="demo.localhost:1", headers=sent)
    lines = heads[0].decode().split("\r\n")
    assert lines[0] == "GET /demo/a%2Fb?c=%20 HTTP/1.0"
    assert sorted(line for line in lines[1:] if line) == [
        "Accept-Encoding: gzip",
        "Cookie: fossil-1=k",
        f"Host: {site.host('demo')}",
        "X-Forwarded-For: 198.51.100.7",
    ]
    assert answer.all("set-cookie") == ["a=1", "b=2"]
    assert not answer.all("x-hop")
    assert not answer.all("keep-alive")


async def test_an_untrusted_peer_cannot_name_another_client_and_https_comes_from_us() -> None:
    server = Server(
        trusted_proxies=["192.0.2.0/24"], public_url="https://example.org", domain="example.org"
    )
    async with (
        echo() as (upstream, heads),
        gateway(upstream, settings=Settings(server=server)) as (site, _),
    ):
        forged = "X-Forwarded-For: 198.51.100.7\r\n"
        await site.ask("GET", "/demo/", host="demo.example.org", headers=forged)
    assert b"X-Forwarded-For: 127.0.0.1\r\n" in heads[0]
    assert b"\r\nHTTPS: on\r\n" in heads[0]
    assert b"\r\nHost: demo.example.org\r\n" in heads[0]


async def test_clone_commit_push_and_pull_by_the_path_form(
    site: parts.Site, tmp_path: Path
) -> None:
    await asyncio.to_thread(_clone_push_pull, f"{site.url}/demo", tmp_path, [])


async def test_clone_commit_push_and_pull_on_the_repositorys_host(
    site: parts.Site, tmp_path: Path
) -> None:
    async with parts.NamedHosts(site.port) as proxy:
        through = ["--proxy", f"http://127.0.0.1:{proxy.port}"]
        await asyncio.to_thread(_clone_push_pull, f"http://{site.host('demo')}", tmp_path, through)


def _clone_push_pull(url: str, tmp_path: Path, through: list[str]) -> None:
    alice, bob = parts.Fossil(tmp_path / "alice"), parts.Fossil(tmp_path / "bob")
    with_password = url.replace("http://", f"http://admin:{parts.PASSWORD}@")
    for person in (alice, bob):
        person.run("clone", *through, "--admin-user", "admin", url, "demo.fossil")
        person.run("open", "--nosync", "demo.fossil", "--workdir", "work")
        person.run("settings", "autosync", "off", cwd=person.home / "work")
    content, name = os.urandom(1_500_000), f"{secrets.token_hex(4)}.bin"
    alice.commit(alice.home / "work", name, content)
    wrong = url.replace("http://", "http://admin:wrong@")
    refused = alice.run("push", *through, "--once", wrong, "-R", "demo.fossil", ok=False)
    assert "login failed" in refused
    alice.run("push", *through, "--once", with_password, "-R", "demo.fossil")
    bob.run("pull", *through, "--once", url, "-R", "demo.fossil")
    bob.run("update", cwd=bob.home / "work")
    assert (bob.home / "work" / name).read_bytes() == content
    alice.run("sync", *through, "--once", with_password, "-R", "demo.fossil")


async def test_the_apex_sends_browsers_to_the_host_and_takes_only_sync_messages(
    site: parts.Site,
) -> None:
    apex = f"localhost:{site.port}"
    browser = await site.ask("GET", "/demo", host=apex)
    assert (browser.status, browser.one("location")) == (302, f"http://{site.host('demo')}/")
    form = "Content-Type: application/x-www-form-urlencoded\r\n"
    assert (await site.ask("POST", "/demo", host=apex, body=b"a=1", headers=form)).status == 404
    unknown = await site.ask("GET", "/nothing-here", host=apex)
    assert unknown.status == 404


async def test_failed_sign_ins_are_slowed(site: parts.Site) -> None:
    host, form = site.host("other"), "Content-Type: application/x-www-form-urlencoded\r\n"
    wrong = b"u=admin&p=x&in=Login"  # Fossil takes a second for each
    failed = 0
    while failed < 10:
        tries = [
            site.ask("POST", "/other/login", host=host, body=wrong, headers=form)
            for _ in range(min(5, 10 - failed))
        ]
        statuses = [answer.status for answer in await asyncio.gather(*tries)]
        # Now and then Fossil answers 400: two sign-ins met at its database's lock.
        assert set(statuses) <= {400, 401} and 401 in statuses
        failed += statuses.count(401)
    body = f"u=admin&p={parts.PASSWORD}&in=Login".encode()
    slowed = await site.ask("POST", "/other/login", host=host, body=body, headers=form)
    assert slowed.status == 429
    assert 0 < int(slowed.one("retry-after")) <= 60
    assert (await site.ask("GET", "/other/timeline", host=host)).status == 200
    elsewhere = f"{form}X-Forwarded-For: 198.51.100.9\r\n"
    assert (
        await site.ask("POST", "/other/login", host=host, body=body, headers=elsewhere)
    ).status == 302


async def test_wrong_passwords_of_the_sync_protocol_are_slowed(
    site: parts.Site, tmp_path: Path
) -> None:
    fossil = parts.Fossil(tmp_path / "home")
    await asyncio.to_thread(fossil.run, "clone", f"{site.url}/other", "other.fossil")
    wrong = f"http://admin:wrong@127.0.0.1:{site.port}/other"

    def tries() -> list[str]:
        pull = ["pull", "--once", wrong, "-R", "other.fossil"]
        return [fossil.run(*pull, ok=False) for _ in range(11)]

    said = await asyncio.to_thread(tries)
    assert "login failed" in said[0]
    assert "429 Too many failed sign-ins" in said[-1]


async def test_read_only_lets_clones_through_and_tells_a_push_why(
    served: Served, tmp_path: Path
) -> None:
    fossil = parts.Fossil(tmp_path / "home")
    async with gateway(served, reason="the disk is almost full") as (site, _):
        url = f"http://admin:{parts.PASSWORD}@127.0.0.1:{site.port}/demo"
        await asyncio.to_thread(fossil.run, "clone", "--once", url, "demo.fossil")
        await asyncio.to_thread(fossil.run, "pull", "--once", url, "-R", "demo.fossil")
        said = await asyncio.to_thread(
            fossil.run, "push", "--once", url, "-R", "demo.fossil", ok=False
        )
        assert "503 Read-only for now, nothing was changed: the disk is almost full" in said
        page = await site.ask("POST", "/demo/wikiedit", host=site.host("demo"), body=b"name=x")
        assert (page.status, page.one("content-type")) == (503, "text/html; charset=utf-8")


async def test_a_push_past_the_limit_is_refused_with_the_reason(
    served: Served, tmp_path: Path
) -> None:
    fossil = parts.Fossil(tmp_path / "home")
    settings = Settings(limits=Limits.model_validate({"push": "1MiB"}))
    async with gateway(served, settings=settings) as (site, _):
        url = f"http://admin:{parts.PASSWORD}@127.0.0.1:{site.port}/other"

        def push() -> str:
            fossil.run("clone", "--admin-user", "admin", "--once", url, "other.fossil")
            fossil.run("open", "--nosync", "other.fossil", "--workdir", "work")
            fossil.run("settings", "autosync", "off", cwd=fossil.home / "work")
            fossil.commit(fossil.home / "work", "large.bin", os.urandom(3_000_000))
            return fossil.run("push", "--once", url, "-R", "other.fossil", ok=False)

        said = await asyncio.to_thread(push)
        assert "413 This push is larger than the 1 MiB" in said


async def test_fossil_away_is_said_to_people_and_to_the_client(tmp_path: Path) -> None:
    fossil = parts.Fossil(tmp_path / "home")
    nobody = Served(tmp_path, parts.free_port(), 0)
    for upstream in (nobody, None):
        async with gateway(upstream) as (site, _):
            page = await site.ask("GET", "/demo/timeline", host=site.host("demo"))
            assert (page.status, page.one("retry-after")) == (502, "5")
            said = await asyncio.to_thread(
                fossil.run, "clone", f"{site.url}/demo", "demo.fossil", ok=False
            )
            assert "502 The repository server does not answer" in said


async def test_new_spellings_of_a_host_write_nothing_into_the_repository(
    site: parts.Site, served: Served
) -> None:
    for port in range(1, 6):
        await site.ask("GET", "/other/timeline", host=f"other.localhost:{port}")
    with sqlite3.connect(f"file:{served.folder}/other.fossil?mode=ro", uri=True) as database:
        rows = database.execute("SELECT name FROM config WHERE name GLOB 'baseurl:*'").fetchall()
    database.close()
    assert all(re.search(r":[1-5](/|$)", name) is None for (name,) in rows), rows


async def test_sixty_megabytes_pass_without_being_held(served: Served, tmp_path: Path) -> None:
    port, log = parts.free_port(), tmp_path / "log"
    argv = [
        sys.executable,
        "-m",
        "tests.helpers.gateway_process",
        str(port),
        str(served.port),
        "{}",
    ]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(parts.ROOT)}
    with parts.program(argv, env, log) as child:
        await soon(lambda: parts.answers(port), 20)
        before = _peak(child.pid)
        await asyncio.to_thread(_push_and_pull_large, f"127.0.0.1:{port}/other", tmp_path)
        growth = _peak(child.pid) - before
    assert growth < 30 * 1024, f"{growth} KiB: {log.read_text()}"


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match
    return int(match[1])


def _push_and_pull_large(address: str, tmp_path: Path) -> None:
    alice, bob = parts.Fossil(tmp_path / "alice"), parts.Fossil(tmp_path / "bob")
    url = f"http://admin:{parts.PASSWORD}@{address}"
    for person in (alice, bob):
        person.run("clone", "--admin-user", "admin", "--once", url, "r.fossil")
    alice.run("open", "--nosync", "r.fossil", "--workdir", "work")
    alice.run("settings", "autosync", "off", cwd=alice.home / "work")
    content = os.urandom(60_000_000)
    alice.commit(alice.home / "work", "large.bin", content)
    alice.run("push", "--once", url, "-R", "r.fossil")
    bob.run("pull", "--once", url, "-R", "r.fossil")
    bob.run("open", "--nosync", "r.fossil", "--workdir", "work")
    assert (bob.home / "work" / "large.bin").read_bytes() == content
