"""The APIs of Git servers, against fakes of their documented forms; and HTTP that is checked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web

from fossilrepo.bridge import ForgeKind
from fossilrepo.errors import Conflict, FossilrepoError, InvalidInput, ToolFailed, Unavailable
from fossilrepo.tools import checked_http, forge, git_address
from fossilrepo.tools.forge import Forge, RateLimited, forge_of
from tests.helpers.forges import TOKEN, Fake, forge_server

LOOPBACK = ["127.0.0.0/8"]
KINDS = ["github", "gitlab", "gitea"]


@pytest.fixture(params=KINDS)
async def fake(request: pytest.FixtureRequest) -> AsyncIterator[Fake]:
    async with forge_server(request.param) as one:
        yield one


def api(fake: Fake, token: str = TOKEN) -> Forge:
    return forge_of(ForgeKind(fake.kind), fake.url, token, LOOPBACK)


async def test_a_repository_is_made_described_and_found(fake: Fake) -> None:
    one = api(fake)
    assert await one.repository("acme/demo") is None
    made = await one.create("acme/demo", private=True, description="d", default_branch="main")
    assert made.path == "acme/demo" and made.private and made.can_push
    await one.describe(
        "acme/demo", description="Mirror", homepage="https://x", default_branch="trunk"
    )
    found = await one.repository("acme/demo")
    assert found is not None and found.default_branch == "trunk"
    with pytest.raises(Conflict):
        await one.create("acme/demo", private=True, description="d", default_branch="main")


async def test_an_issue_lives_and_all_pages_are_read(fake: Fake) -> None:
    one = api(fake)
    await one.create("acme/demo", private=True, description="", default_branch="main")
    made = [
        await one.create_issue("acme/demo", title=f"t{number}", body=f"<!-- m --> {number}")
        for number in range(5)
    ]
    await one.create_issue("acme/demo", title="other", body="no mark")
    await one.update_issue("acme/demo", made[0].number, title="new", closed=True)
    found = {issue.number: issue for issue in await one.issues("acme/demo", marker="<!-- m -->")}
    assert set(found) == {issue.number for issue in made}
    assert found[made[0].number].closed and found[made[0].number].title == "new"
    for number in range(3):
        await one.add_comment("acme/demo", made[1].number, f"c{number}")
    comments = await one.comments("acme/demo", made[1].number)
    await one.update_comment("acme/demo", made[1].number, comments[0].id, "changed")
    bodies = [comment.body for comment in await one.comments("acme/demo", made[1].number)]
    assert bodies == ["changed", "c1", "c2"]


async def test_a_token_that_is_not_valid_is_told_without_it(fake: Fake) -> None:
    with pytest.raises(ToolFailed, match="not valid") as caught:
        await api(fake, "wrong-token").token()
    assert "wrong-token" not in str(caught.value)


async def test_limits_of_the_server_are_obeyed(fake: Fake) -> None:
    fake.limit_after = 0
    with pytest.raises(RateLimited) as caught:
        await api(fake).create("acme/x", private=True, description="", default_branch="main")
    assert caught.value.retry_after == 90


async def test_what_a_token_may_and_when_it_ends() -> None:
    async with forge_server("github") as fake:
        fake.expires = "2027-03-01 10:00:00 UTC"
        facts = await api(fake).token()
        assert facts.login == "acme" and facts.can_push
        assert facts.expires_at == datetime(2027, 3, 1, 10, tzinfo=UTC)
        fake.scopes = "gist"
        assert (await api(fake).token()).can_push is False
        fake.scopes = None  # a fine-grained one does not say
        assert (await api(fake).token()).can_push is None
    async with forge_server("gitlab") as fake:
        fake.scopes, fake.expires = "read_api", "2027-03-01"
        facts = await api(fake).token()
        assert facts.can_push is False and facts.expires_at == datetime(2027, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("url", "kind", "path", "base"),
    [
        ("https://github.com/a/b.git", "github", "a/b", "https://api.github.com"),
        ("git@github.com:a/b.git", "github", "a/b", "https://api.github.com"),
        ("https://gitlab.com/a/g/b", "gitlab", "a/g/b", "https://gitlab.com/api/v4"),
        ("https://codeberg.org/a/b", "gitea", "a/b", "https://codeberg.org/api/v1"),
        ("https://git.example.org:8443/a/b", "git", "a/b", ""),
    ],
)
def test_servers_are_found_out_by_their_address(url: str, kind: str, path: str, base: str) -> None:
    assert forge.kind_of(git_address.parse(url), None) == kind
    assert forge.path_of(url, ForgeKind(kind)) == path
    if base:
        assert forge.api_url_of(ForgeKind(kind), url) == base


def test_enterprise_servers_have_their_api_beside_them() -> None:
    assert forge.api_url_of(ForgeKind.GITHUB, "https://git.corp:8443/a/b") == (
        "https://git.corp:8443/api/v3"
    )
    assert (
        forge.api_url_of(ForgeKind.GITLAB, "ssh://git@git.corp:22/a/b") == "https://git.corp/api/v4"
    )
    for url in ("https://github.com/a", "https://github.com/a/b/c"):
        with pytest.raises(InvalidInput):
            forge.path_of(url, ForgeKind.GITHUB)


# HTTP that is checked


@pytest.fixture
async def server() -> AsyncIterator[tuple[int, list[str]]]:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.path_qs)
        if request.path == "/redirect":
            raise web.HTTPFound("/elsewhere")
        if request.path == "/large":
            return web.Response(body=b"x" * (3 << 20))
        return web.Response(text="hello", headers={"Set-Cookie": "a=b"})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1], seen
    await runner.cleanup()


async def test_redirects_are_answers_and_bodies_are_bounded(server: tuple[int, list[str]]) -> None:
    port, seen = server
    base = f"http://127.0.0.1:{port}"
    answer = await checked_http.request("GET", f"{base}/redirect", networks=LOOPBACK)
    assert answer.status == 302 and seen == ["/redirect"]
    answer = await checked_http.request("GET", f"{base}/large", networks=LOOPBACK)
    assert answer.cut and len(answer.body) == checked_http.LARGEST


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0"]
)
async def test_no_way_of_writing_this_machine_is_let_through(
    server: tuple[int, list[str]], host: str
) -> None:
    port, seen = server
    with pytest.raises(FossilrepoError):
        await checked_http.request("GET", f"http://{host}:{port}/", networks=[])
    assert seen == []


async def test_http_without_tls_goes_to_allowed_networks_only() -> None:
    with pytest.raises(InvalidInput, match="without TLS"):
        await checked_http.request("GET", "http://9.9.9.9/", networks=LOOPBACK)


async def test_errors_name_no_more_than_the_host() -> None:
    with pytest.raises(Unavailable) as caught:
        await checked_http.request("GET", "http://127.0.0.1:1/secret?token=x", networks=LOOPBACK)
    assert "secret" not in str(caught.value) and "token" not in str(caught.value)
