"""Talking to Git servers: real ones over HTTP with a password and over ssh."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from fossilrepo.errors import FossilrepoError, InvalidInput, ToolFailed, Unavailable
from fossilrepo.tools import git_address, ssh_keys
from fossilrepo.tools.fossil import Limits
from fossilrepo.tools.git_remote import Credentials, Remote, Update, opened
from tests.helpers.git_servers import (
    TOKEN,
    USER,
    HttpGit,
    SshGit,
    bare,
    git,
    http_git,
    refs,
    ssh_git,
)
from tests.helpers.runtime import free_port

LOOPBACK = ("127.0.0.0/8",)
OURS = Credentials(user=USER, token=TOKEN)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A repository with two commits on main and a tag."""
    path = tmp_path / "work"
    subprocess.run(["git", "init", "-q", "-b", "main", str(path)], check=True)
    for number in (1, 2):
        (path / "file").write_text("x" * number)
        git(path, "add", ".")
        git(path, "-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", f"c{number}")
    git(path, "tag", "v1")
    return path


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[HttpGit]:
    async with http_git(tmp_path / "served") as server:
        yield server


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[SshGit]:
    with ssh_git(tmp_path / "sshd", free_port()) as server:
        yield server


def remote(
    url: str, credentials: Credentials, tmp_path: Path, networks: tuple[str, ...] = LOOPBACK
):
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    return opened(
        git_address.parse(url),
        credentials,
        networks=networks,
        scratch=scratch,
        folders=tmp_path / "folders",
        identity=None,
        limits=Limits(seconds=60),
    )


async def push_all(place: Remote, work: Path) -> dict[str, str]:
    wanted = refs(work)
    return await place.push(work / ".git", [Update(r, "", h) for r, h in wanted.items()])


async def test_branches_and_tags_arrive_and_are_read_back(
    server: HttpGit, work: Path, tmp_path: Path
) -> None:
    async with remote(server.url(), OURS, tmp_path) as place:
        assert (await place.refs()).refs == {}
        assert await push_all(place, work) == {}
        found = await place.refs()
    assert found.refs == refs(work) == refs(server.folder / "project.git")
    assert found.head == "refs/heads/main"
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_a_folder_of_this_server_is_made_by_the_first_push(
    work: Path, tmp_path: Path
) -> None:
    async with remote("folder:acme/project.git", Credentials(), tmp_path, ()) as place:
        assert (await place.refs()).refs == {}
        assert not (tmp_path / "folders").exists()
        assert await push_all(place, work) == {}
        assert (await place.refs()).refs == refs(work)
        head = git(work, "rev-parse", "main")
        before = git(work, "rev-parse", "main~1")
        stale = await place.push(work / ".git", [Update("refs/heads/main", before, before)])
        assert "stale" in stale["refs/heads/main"]
        assert [c.subject for c in (await place.commits([head]))[head]] == ["c2", "c1"]
    assert refs(tmp_path / "folders/acme/project.git") == refs(work)


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "a/../b", "/etc", "a/b/c", "-x", ".git", "a b", "a\nb", "x/..", "é"]
)
def test_a_folder_has_a_plain_name(name: str) -> None:
    with pytest.raises(InvalidInput):
        git_address.parse(f"folder:{name}")


async def test_what_is_not_as_expected_is_refused_and_the_rest_goes(
    server: HttpGit, work: Path, tmp_path: Path
) -> None:
    head, before = git(work, "rev-parse", "main"), git(work, "rev-parse", "main~1")
    async with remote(server.url(), OURS, tmp_path) as place:
        await push_all(place, work)
        wrong = Update("refs/heads/main", before, before)
        right = Update("refs/heads/new", "", before)
        gone = Update("refs/tags/v1", head, "")
        refused = await place.push(work / ".git", [wrong, right, gone])
        found = (await place.refs()).refs
    assert list(refused) == ["refs/heads/main"] and "stale" in refused["refs/heads/main"]
    assert found == {"refs/heads/main": head, "refs/heads/new": before}


async def test_a_hook_that_refuses_one_branch_is_quoted(
    server: HttpGit, work: Path, tmp_path: Path
) -> None:
    hook = server.folder / "project.git" / "hooks" / "update"
    hook.write_text('#!/bin/sh\n[ "$1" != refs/heads/no ] || { echo never >&2; exit 1; }\n')
    hook.chmod(0o755)
    git(work, "branch", "no")
    async with remote(server.url(), OURS, tmp_path) as place:
        refused = await push_all(place, work)
        assert "hook declined" in refused["refs/heads/no"]
        assert set((await place.refs()).refs) == {"refs/heads/main", "refs/tags/v1"}


async def test_a_dry_run_changes_nothing(server: HttpGit, work: Path, tmp_path: Path) -> None:
    async with remote(server.url(), OURS, tmp_path) as place:
        update = Update("refs/heads/main", "", git(work, "rev-parse", "main"))
        assert await place.push(work / ".git", [update], dry_run=True) == {}
        assert (await place.refs()).refs == {}


async def test_a_wrong_token_is_told_without_it(server: HttpGit, tmp_path: Path) -> None:
    wrong = Credentials(user=USER, token="not-this-one")
    async with remote(server.url(), wrong, tmp_path) as place:
        with pytest.raises(ToolFailed, match="does not accept the token") as caught:
            await place.refs()
    assert "not-this-one" not in str(caught.value) + caught.value.hint


async def test_a_server_that_is_away_is_unavailable(tmp_path: Path) -> None:
    async with remote(f"http://127.0.0.1:{free_port()}/x.git", OURS, tmp_path) as place:
        with pytest.raises(Unavailable):
            await place.refs()


@pytest.mark.parametrize("code", [301, 302, 307])
async def test_a_redirect_is_not_followed(server: HttpGit, tmp_path: Path, code: int) -> None:
    seen: list[str] = []

    def behave(request: web.Request) -> web.StreamResponse | None:
        if request.path.startswith("/elsewhere"):
            seen.append(request.headers.get("Authorization", ""))
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        where = f"http://127.0.0.1:{server.port}/elsewhere{request.path_qs}"
        return web.Response(status=code, headers={"Location": where})

    server.behave = behave
    async with remote(server.url(), OURS, tmp_path) as place:
        with pytest.raises(FossilrepoError, match="sends us on"):
            await place.refs()
    assert seen == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "169.254.169.254"])
async def test_private_places_are_refused_unless_allowed(host: str, tmp_path: Path) -> None:
    for scheme in ("http", "https", "ssh"):
        user = "git@" if scheme == "ssh" else ""
        with pytest.raises(InvalidInput, match="private network"):
            async with remote(f"{scheme}://{user}{host}/x.git", OURS, tmp_path, ()):
                pass


async def test_plain_http_goes_to_allowed_networks_only(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="without TLS"):
        async with remote("http://9.9.9.9/x.git", OURS, tmp_path, ()):
            pass


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% /tmp/x",
        "file:///etc",
        "/etc/passwd",
        "../x",
        "git://example.org/x",
        "ftp://example.org/x",
        "-oProxyCommand=touch",
        "ssh://-oProxyCommand=x/y",
        "ssh://git@-oProxyCommand=x/y",
        "ssh://-x@example.org/y",
        "git@-x:y",
        "-x@example.org:y",
        "git@example.org:-x",
        "git@example.org:../x",
        "https://example.org/../x",
        "https://example.org/",
        "https:///x",
        "https://user:token@example.org/x",
        "https://example.org/x?y=1",
        "https://exa mple.org/x",
        "https://example.org/x\n--upload-pack=y",
        "https://example.org:0/x",
        "https://example.org/'x'",
        "ssh://example.org/x",
    ],
)
def test_addresses_that_could_be_something_else_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        git_address.parse(url)
    assert caught.value.field == "url" and caught.value.hint
    assert "token@" not in str(caught.value)


def test_addresses_are_tidied() -> None:
    assert (
        git_address.parse("https://me@example.org:443/a/b.git").url == "https://example.org/a/b.git"
    )
    short = git_address.parse("git@example.org:a/b.git")
    assert (short.scheme, short.host, short.user, short.path) == (
        "ssh", "example.org", "git", "a/b.git",
    )  # fmt: skip
    assert git_address.parse("ssh://git@example.org:2222/a").port == 2222


# Over ssh


async def test_ssh_pushes_with_its_own_key_and_learns_the_servers(
    ssh: SshGit, work: Path, tmp_path: Path
) -> None:
    target = bare(tmp_path)
    private, public = ssh_keys.new_pair("mirror")
    credentials = Credentials(private_key=private)
    async with remote(ssh.url(target), credentials, tmp_path) as place:
        with pytest.raises(ToolFailed, match="does not accept the mirror's key"):
            await place.refs()
    ssh.allow(public)
    async with remote(ssh.url(target), credentials, tmp_path) as place:
        await place.refs()
        assert place.host_key == ssh.host_key()
        assert await push_all(place, work) == {}
    assert refs(target) == refs(work)
    told = subprocess.run(
        ["ssh-keygen", "-lf", str(ssh.folder / "host.pub")], capture_output=True, text=True
    )
    assert ssh_keys.fingerprint(ssh.host_key()) == told.stdout.split()[1]


async def test_another_host_key_than_the_pinned_is_refused(
    ssh: SshGit, work: Path, tmp_path: Path
) -> None:
    target = bare(tmp_path)
    private, public = ssh_keys.new_pair("mirror")
    ssh.allow(public)
    _, other = ssh_keys.new_pair("")
    pinned = Credentials(private_key=private, host_key=" ".join(other.split()[:2]))
    async with remote(ssh.url(target), pinned, tmp_path) as place:
        with pytest.raises(ToolFailed, match="key is not the one that was seen first"):
            await place.refs()


# What a server has that we have not


async def test_commits_of_the_server_can_be_looked_at(
    server: HttpGit, work: Path, tmp_path: Path
) -> None:
    target = server.folder / "project.git"
    git(work, "push", "-q", str(target), "main")
    head = git(work, "rev-parse", "main")
    async with remote(server.url(), OURS, tmp_path) as place:
        found = await place.commits([head, "0" * 40])
    assert [one.subject for one in found[head]] == ["c2", "c1"]
    assert "0" * 40 not in found


# Secrets


async def test_the_token_is_in_no_argument_and_no_environment(
    server: HttpGit, work: Path, tmp_path: Path
) -> None:
    server.hang = asyncio.Event()
    async with remote(server.url(), OURS, tmp_path) as place:
        looking = asyncio.ensure_future(place.refs())
        while not server.requests:
            await asyncio.sleep(0.01)
        found = _everything_about_programs()
        server.hang.set()
        await looking
    assert any(b"git-remote-http" in text for text in found)  # it looked at the right programs
    assert not any(TOKEN.encode() in text for text in found)


def _everything_about_programs() -> list[bytes]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            try:
                found.append(Path(f"/proc/{pid}/{name}").read_bytes())
            except OSError:
                continue
    return found
