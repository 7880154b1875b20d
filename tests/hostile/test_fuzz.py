"""Whatever comes in: a clear answer or a refusal, never a crash, never another host or header.

Random text over everything that reads what others wrote: hosts, targets, headers, sync messages,
addresses, lists, manifests, and the words of the programs that we run.
"""

from __future__ import annotations

import json
from contextlib import suppress
from urllib.parse import urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st

from fossilrepo.errors import FossilrepoError
from fossilrepo.models import check_name
from fossilrepo.services.moving_in import MovingIn, name_from
from fossilrepo.tools import caddy, fossil_skin, fossil_words, git_address, litestream_words
from fossilrepo.tools.git_words import rejections
from fossilrepo.web import gateway_costly, gateway_headers, gateway_xfer
from fossilrepo.web.hosts import (
    Action,
    HostKind,
    PublicUrl,
    first_segment,
    is_raw_page,
    map_target,
    page_of,
    parse_host,
    path_form,
    path_inside,
)

PUBLIC = PublicUrl.of("https://code.example.org", domain="code.example.org", listening_port=80)
PIECES = st.sampled_from(
    [
        *("/", "//", "/demo", "/demo/", "\\", "..", "%2e%2e", "%2F", "?", "#", "&n=", "timeline"),
        *("login", "/.fossilrepo", "@", "evil.com", ":", "[::1]", "²", "\r\n", "\0", "é", " "),
        *("code.example.org", "demo.code.example.org", ":443", ":99999", "xn--", "-", "_", "A"),
    ]
)
MIXED = st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=8).map("".join)
NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
many = settings(max_examples=400, deadline=None)


@many
@given(st.lists(MIXED, max_size=3))
def test_a_host_is_ours_or_refused(values: list[str]) -> None:
    host = parse_host(values, PUBLIC)
    if host.kind is HostKind.REPOSITORY:
        assert len(values) == 1
        given_host = values[0].lower().removesuffix(":443")
        assert given_host == f"{host.name}.code.example.org"


@many
@given(st.sampled_from(["GET", "HEAD", "POST", "PUT"]), MIXED, NAMES)
def test_what_reaches_fossil_stays_in_its_repository(method: str, target: str, name: str) -> None:
    route = map_target(method, target, name)
    if route.action in (Action.PASS, Action.REDIRECT):
        assert route.target == f"/{name}" or route.target.startswith((f"/{name}/", f"/{name}?"))
        assert route.target.isascii()
    if route.action is Action.SIGN_IN:
        assert route.target.startswith("/.fossilrepo/open")
    gateway_costly.is_costly(target)
    is_raw_page(target)
    page_of(target)
    path_form(target)
    gateway_costly.robots_txt(name)


@many
@given(st.sampled_from(["GET", "HEAD", "POST", "PUT"]), MIXED)
def test_below_the_apex_a_target_stays_in_the_repository_that_it_names(
    method: str, target: str
) -> None:
    name = first_segment(target)
    if name is None:
        return
    route = map_target(method, target, name, below=True)
    if route.action in (Action.PASS, Action.REDIRECT):
        assert route.target == f"/{name}" or route.target.startswith((f"/{name}/", f"/{name}?"))
    if route.action is Action.SIGN_IN:
        assert route.target.startswith(f"/{name}/.fossilrepo/open")
    if route.action is Action.OURS:
        assert route.target.startswith("/.fossilrepo")


@many
@given(MIXED, NAMES)
def test_where_a_sign_in_leads_is_this_repository(wanted: str, name: str) -> None:
    path = path_inside(wanted, name)
    assert path == f"/{name}" or path.startswith((f"/{name}/", f"/{name}?"))
    assert not set(path) & set("\r\n\0\\ ")
    assert urlsplit(path).netloc == ""


HEADER = st.tuples(
    st.one_of(
        st.sampled_from([b"Cookie", b"X-Forwarded-For", b"HTTPS", b"Connection", b"Host", b"Te"]),
        st.binary(max_size=12),
    ),
    st.binary(max_size=40),
)


@many
@given(st.lists(HEADER, max_size=6))
def test_the_head_for_fossil_has_no_header_of_the_visitors_making(
    received: list[tuple[bytes, bytes]],
) -> None:
    clean = [(k, v) for k, v in received if not set(k + v) & set(b"\r\n\0")]  # aiohttp refuses them
    head = gateway_headers.request_head(
        "GET", "/demo/x", clean, host="demo.host", client="192.0.2.1", https=False, length=0
    )
    lines = head.split(b"\r\n")
    assert lines[0] == b"GET /demo/x HTTP/1.0" and head.endswith(b"\r\n\r\n")
    names = [line.split(b":", 1)[0].lower() for line in lines[1:] if line]
    assert names.count(b"host") == 1 and names.count(b"x-forwarded-for") == 1
    assert b"https" not in names
    assert b"__host-fossilrepo" not in head.lower()


@many
@given(st.one_of(st.binary(max_size=200), MIXED.map(lambda text: b"HTTP/1.0 200 " + text.encode())))
def test_an_answer_that_is_none_is_refused(head: bytes) -> None:
    with suppress(FossilrepoError, ValueError):
        got = gateway_headers.parse_response_head(head)
        assert 200 <= got.status < 600
        _ = got.length
        gateway_headers.take_powers(got.headers)


@many
@given(st.binary(max_size=300), st.sampled_from(["application/x-fossil", "text/html", ""]))
def test_sync_messages_of_any_form_are_read(message: bytes, kind: str) -> None:
    cards = gateway_xfer.opening(message, kind)
    gateway_xfer.writes(cards)
    gateway_xfer.signs_in(cards)
    gateway_xfer.login_of(cards)
    gateway_xfer.refused_login(cards)


@many
@given(MIXED)
def test_addresses_that_people_type_are_read_or_refused(text: str) -> None:
    with suppress(FossilrepoError):
        found = git_address.parse(text)
        assert found.host and not set(found.host) & set(" \r\n\0/@")
        assert not found.path.startswith("-") and not found.host.startswith("-")
    name = name_from(text)
    assert name == "" or (name[0] != "-" and name[-1] != "-" and len(name) <= 63)
    with suppress(FossilrepoError):
        assert check_name(text) == text


@many
@given(st.lists(MIXED, max_size=4).map("\n".join))
async def test_lists_are_read_or_refused(text: str) -> None:
    with suppress(FossilrepoError):
        for one in await MovingIn(None, None, None).in_list(text):  # type: ignore[arg-type]
            assert one.source.startswith(("http://", "https://"))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["level", "msg", "error", "db", "path"]), inner, max_size=4
        ),
    ),
    max_leaves=6,
)


@many
@given(st.one_of(MIXED, JSON.map(json.dumps)))
def test_the_words_of_programs_never_break_us(line: str) -> None:
    said: list[str] = []
    litestream_words.Lines(lambda _id, _level, words: said.append(words)).feed(line)
    litestream_words.explain(line)
    litestream_words.lost_tables(line)
    litestream_words.lost_state(line)
    caddy.listener(caddy.logging.getLogger("fuzz"))(line)
    rejections(line)
    for kind in ("ci", "w", "t", "e", "g", "f", ""):
        fossil_words.plain_text(kind, line)


@many
@given(MIXED, MIXED)
def test_a_skin_that_was_touched_is_never_taken_for_ours(css: str, change: str) -> None:
    rows = fossil_skin.Skin(css, css).rows()
    assert all(map(fossil_skin._is_ours, rows.values()))
    for text in rows.values():
        if change:
            assert not fossil_skin._is_ours(text + change)
            assert not fossil_skin._is_ours(change + text)
