from __future__ import annotations

import pytest

from fossilrepo.web.addresses import Proxies, share_key
from fossilrepo.web.hosts import (
    Action,
    HostKind,
    PublicUrl,
    is_raw_page,
    map_target,
    parse_host,
    path_form,
)

LAX = PublicUrl.of("", domain="localhost", listening_port=8000)
STRICT = PublicUrl.of("https://example.org", domain="example.org", listening_port=8000)
PORT = PublicUrl.of("http://git.lan:8080", domain="git.lan", listening_port=9)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:8000", "10.1.2.3", "[::1]:8000", "[::1]"]
)
def test_the_domain_addresses_and_localhost_are_the_apex(host: str) -> None:
    assert parse_host([host], LAX).kind is HostKind.APEX
    assert parse_host(["example.org"], STRICT).kind is HostKind.APEX


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("demo.localhost", LAX),
        ("demo.localhost:8000", LAX),
        ("demo.localhost:9999", LAX),
        ("demo.example.org", STRICT),
        ("demo.example.org:443", STRICT),
        ("demo.git.lan:8080", PORT),
    ],
)
def test_one_lower_case_label_is_a_repository(host: str, public: PublicUrl) -> None:
    parsed = parse_host([host], public)
    assert (parsed.kind, parsed.name) == (HostKind.REPOSITORY, "demo")


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [""],
        ["demo.localhost", "demo.localhost"],
        ["DEMO.localhost"],
        ["demo.LOCALHOST"],
        ["a_b.localhost"],
        ["_x.localhost"],
        ["-a.localhost"],
        ["a-.localhost"],
        ["a" * 64 + ".localhost"],
        ["demo.localhost."],
        ["demo..localhost"],
        [".localhost"],
        ["a.b.localhost"],
        ["demo.localhost:"],
        ["demo.localhost:x"],
        ["demo.localhost:8000:1"],
        ["demo.localhost:123456"],
        ["demo.localhost.evil.com"],
        ["evil.com"],
        ["demolocalhost"],
        ["::1"],
        ["[demo].localhost"],
        ["demo.localhost/x"],
        ["demo.localhost\u212a"],
        ["demo@localhost"],
        ["127.1"],
        ["0x7f000001"],
        ["\u0661.localhost"],
    ],
)
def test_every_other_host_is_refused(hosts: list[str]) -> None:
    assert parse_host(hosts, LAX).kind is HostKind.REFUSED


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("demo.example.org:80", STRICT),
        ("demo.example.org:8000", STRICT),
        ("example.org:8000", STRICT),
        ("demo.git.lan", PORT),
        ("demo.git.lan:80", PORT),
    ],
)
def test_a_foreign_port_is_refused_when_the_public_url_is_set(host: str, public: PublicUrl) -> None:
    assert parse_host([host], public).kind is HostKind.REFUSED


def test_the_canonical_host_has_a_port_only_when_it_is_not_the_default() -> None:
    assert STRICT.url("demo") == "https://demo.example.org"
    assert PORT.url("demo") == "http://demo.git.lan:8080"
    assert LAX.url() == "http://localhost:8000"


@pytest.mark.parametrize(
    ("method", "target", "action", "to"),
    [
        ("GET", "/", Action.REDIRECT, "/demo/"),
        ("GET", "/timeline?n=5&y=ci", Action.REDIRECT, "/demo/timeline?n=5&y=ci"),
        ("HEAD", "/x", Action.REDIRECT, "/demo/x"),
        ("GET", "//evil.com", Action.REDIRECT, "/demo//evil.com"),
        ("GET", "/\\evil.com", Action.REDIRECT, "/demo/\\evil.com"),
        ("GET", "/other/timeline", Action.REDIRECT, "/demo/other/timeline"),
        ("GET", "/demox/y", Action.REDIRECT, "/demo/demox/y"),
        ("GET", "/%64emo/y", Action.REDIRECT, "/demo/%64emo/y"),
        ("GET", "/DEMO/y", Action.REDIRECT, "/demo/DEMO/y"),
        ("GET", "/demo", Action.PASS, "/demo"),
        ("GET", "/demo?x=/other", Action.PASS, "/demo?x=/other"),
        ("GET", "/demo/doc/a%20b//c/..?q=%2F", Action.PASS, "/demo/doc/a%20b//c/..?q=%2F"),
        ("POST", "/", Action.PASS, "/demo/"),
        ("POST", "/other/xfer", Action.PASS, "/demo/other/xfer"),
        ("PUT", "/x", Action.PASS, "/demo/x"),
        ("GET", "/.fossilrepo/session", Action.OURS, "/.fossilrepo/session"),
        ("POST", "/.fossilrepo", Action.OURS, "/.fossilrepo"),
        ("GET", "/.fossilrepox", Action.REDIRECT, "/demo/.fossilrepox"),
        ("GET", "http://evil.com/", Action.REFUSE, ""),
        ("OPTIONS", "*", Action.REFUSE, ""),
        ("GET", "evil.com:80", Action.REFUSE, ""),
        ("GET", "/caf\u00e9", Action.REFUSE, ""),
    ],
)
def test_paths_lead_only_into_the_repository(
    method: str, target: str, action: Action, to: str
) -> None:
    route = map_target(method, target, "demo")
    assert (route.action, route.target) == (action, to)


@pytest.mark.parametrize(
    "target",
    ["/demo/doc/trunk/x.html", "/demo/%64oc/x", "/demo//doc/x", "/demo/raw?name=1", "/demo/uv/x"],
)
def test_raw_pages_are_known_in_every_spelling(target: str) -> None:
    assert is_raw_page(target)


def test_application_pages_are_not_raw() -> None:
    assert not any(map(is_raw_page, ["/demo", "/demo/", "/demo/timeline", "/demo/wiki?name=doc"]))


def test_the_path_form_is_exactly_the_name_or_its_xfer() -> None:
    assert path_form("/demo") == path_form("/demo/xfer") == "demo"
    refused = ["/", "/demo/", "/demo/timeline", "/Demo", "/a.b", "/.served", "demo", "/demo/xfer/"]
    assert [path_form(path) for path in refused] == [None] * len(refused)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["1.1.1.1", "198.51.100.1, 127.0.0.1"], "198.51.100.1"),
        ("127.0.0.1", ["1.1.1.1, evil"], "127.0.0.1"),
        ("::ffff:127.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("127.0.0.1", ["127.0.0.1"], "127.0.0.1"),
    ],
)
def test_only_trusted_peers_say_who_the_client_is(
    peer: str, forwarded: list[str], client: str
) -> None:
    assert Proxies(["127.0.0.0/8", "::1/128"]).client(peer, forwarded) == client


def test_one_ipv6_network_counts_as_one_client() -> None:
    assert share_key("2001:db8::1") == share_key("2001:db8::ffff") != share_key("2001:db8:1::1")
    assert share_key("192.0.2.1") != share_key("192.0.2.2")
