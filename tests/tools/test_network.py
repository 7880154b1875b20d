from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fossilrepo.errors import InvalidInput, ToolFailed
from fossilrepo.tools import addresses, fossil_db, git, jail
from fossilrepo.tools.checked_proxy import CheckedProxy
from fossilrepo.tools.fossil import Limits
from fossilrepo.tools.relay import Relay
from tests.helpers import jailed, webserver
from tests.helpers.jailed import Place

HERE = ["127.0.0.1/32"]
LIMITS = Limits(seconds=30)


@pytest.mark.parametrize(
    "address",
    """127.0.0.1 127.9.9.9 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0
    224.0.0.1 255.255.255.255 ::1 :: fe80::1 fd00::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1
    fe80::1%eth0 localhost 2130706433""".split(),
)
def test_private_addresses_are_refused(address: str) -> None:
    assert not addresses.is_allowed(address, [])


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "8.8.8.8"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert addresses.is_allowed(address, [])


def test_a_network_of_the_configuration_is_allowed_and_no_more() -> None:
    assert addresses.is_allowed("127.0.0.1", HERE)
    assert addresses.is_allowed("::ffff:127.0.0.1", HERE)
    assert not addresses.is_allowed("127.0.0.2", HERE)


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c id",
        "file:///etc",
        "ssh://host/x",
        "https://-oProxyCommand=id/x",
        "https:///x",
        "https://host:0/x",
        "https://host:99999/x",
        "https://host/x\nname",
        "https://host/\tx",
        "https://host/a b",
        "--upload-pack=id",
        "https://host/" + "x" * 3000,
    ],
)
def test_what_is_no_plain_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        git.check_url(url)
    assert refused.value.field == "url"


def test_credentials_are_written_so_that_they_cannot_change_the_address() -> None:
    made = git.with_credentials("https://host/x", "me@home", "p:/?#@ w")
    assert made == "https://me%40home:p%3A%2F%3F%23%40%20w@host/x"
    assert git.with_credentials("https://old:pw@host/x", "new", "") == "https://new@host/x"


# Git


@pytest.fixture
def repository(place: Place) -> Path:
    """A bare Git repository with two commits, served as plain files."""
    work, bare = place.data / "work", place.data / "site" / "demo.git"
    bare.parent.mkdir()
    environment = {**jail.environment(), "HOME": str(place.data)}
    settings = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    for number, argv in enumerate(
        (
            ("init", "-q", "-b", "trunk", str(work)),
            ("-C", str(work), *settings, "commit", "-q", "--allow-empty", "-m", "first"),
            ("-C", str(work), *settings, "commit", "-q", "--allow-empty", "-m", "second"),
            ("clone", "-q", "--bare", str(work), str(bare)),
            ("-C", str(bare), "update-server-info"),
        )
    ):
        if number:
            (work / "file").write_text(f"content {number}")
            subprocess.run(["git", "-C", str(work), "add", "file"], env=environment, check=True)
        subprocess.run(["git", *argv], env=environment, check=True, capture_output=True)
    return bare


@pytest.fixture
def site(repository: Path) -> Iterator[webserver.Server]:
    with webserver.serving(repository.parent) as server:
        yield server


async def fetch(place: Place, url: str, token: str = "", networks: list[str] = HERE) -> Path:
    folder = place.scratch / "job"
    await git.fetch_mirror(
        url, folder, token=token, networks=networks, limits=LIMITS, identity=place.identity
    )
    return folder


async def test_a_git_history_becomes_a_repository(place: Place, site: webserver.Server) -> None:
    folder = await fetch(place, f"{site.url}/demo.git")
    path = place.scratch / "made.fossil"
    command = git.fast_export(folder, place.identity)
    await place.fossil.import_git(command, path, limits=LIMITS)
    checkins = fossil_db.recent_checkins(path, 10)
    assert [one.comment for one in checkins] == ["second", "first"]
    assert jailed.rows(path, "SELECT login FROM user WHERE cap GLOB '*[as]*'") == []
    await place.fossil.test_integrity(path)


async def test_a_token_is_given_to_git_and_kept_nowhere(
    place: Place, site: webserver.Server
) -> None:
    site.password = "ann:s3cret"
    address = site.url.replace("//", "//ann@") + "/demo.git"
    with pytest.raises(ToolFailed) as refused:
        await fetch(place, address, token="wr0ng")
    assert "wr0ng" not in str(refused.value)
    subprocess.run(["rm", "-r", str(place.scratch / "job")], check=True)
    folder = await fetch(place, address, token="s3cret")
    for file in folder.rglob("*"):
        assert file.is_dir() or b"s3cret" not in file.read_bytes(), file


async def test_git_does_not_reach_private_addresses(place: Place, site: webserver.Server) -> None:
    with pytest.raises(InvalidInput, match=r"private network \(127\.0\.0\.1\)"):
        await fetch(place, f"{site.url}/demo.git", networks=[])
    assert site.asked == []


async def test_git_does_not_follow_a_redirect_to_a_private_address(
    place: Place, site: webserver.Server, repository: Path
) -> None:
    with webserver.serving(repository.parent, "127.0.0.2") as inside:
        site.redirect = inside.url
        with pytest.raises(InvalidInput, match=r"private network \(127\.0\.0\.2\)"):
            await fetch(place, f"{site.url}/demo.git")
        assert site.asked and inside.asked == []


async def test_a_job_that_fails_says_what_git_said(place: Place, site: webserver.Server) -> None:
    with pytest.raises(ToolFailed, match="not found"):
        await fetch(place, f"{site.url}/nothing.git")


async def test_the_proxy_is_open_to_its_job_alone(site: webserver.Server) -> None:
    async with CheckedProxy(HERE) as proxy:
        port = int(proxy.url.rpartition(":")[2])
        for given in ("", "Proxy-Authorization: Basic am9iOnd3dw==\r\n"):
            answer = await _ask(port, f"GET {site.url}/ HTTP/1.1\r\n{given}\r\n")
            assert answer.startswith("HTTP/1.1 407"), answer
        assert site.asked == []
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", port)


# Fossil


async def test_a_clone_through_the_relay(place: Place, fossil_template: Path) -> None:
    place.new("demo", fossil_template)
    walls = await jail.probe(place.repos, place.identity)
    target = place.scratch / "clone.fossil"
    async with jailed.server(place, walls) as url, Relay(f"{url}/demo", HERE) as relay:
        await place.fossil.clone(relay.url, target, limits=LIMITS)
        assert relay.refusal == ""
        port = int(relay.url.removeprefix("http://").partition("/")[0].rpartition(":")[2])
        assert (await _ask(port, "GET /demo/timeline HTTP/1.1\r\n\r\n")).startswith("HTTP/1.1 404")
    assert fossil_db.read_facts(target).checkins == 1


async def test_a_fossil_at_a_private_address_is_not_reached(place: Place, tmp_path: Path) -> None:
    with webserver.serving(tmp_path) as inside:
        async with Relay(f"{inside.url}/demo", []) as relay:
            with pytest.raises(ToolFailed):
                await place.fossil.clone(relay.url, place.scratch / "c.fossil", limits=LIMITS)
            assert "private network" in relay.refusal
        assert inside.asked == []
    assert not (place.scratch / "c.fossil").exists()


async def test_a_fossil_does_not_follow_a_redirect(place: Place, tmp_path: Path) -> None:
    with webserver.serving(tmp_path) as outside, webserver.serving(tmp_path) as inside:
        outside.redirect = inside.url
        async with Relay(f"{outside.url}/demo", HERE) as relay:
            with pytest.raises(ToolFailed):
                await place.fossil.clone(relay.url, place.scratch / "c.fossil", limits=LIMITS)
            assert inside.url in relay.refusal
        assert outside.asked and inside.asked == []


async def test_a_name_that_leads_partly_inside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answers(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", (address, 80)) for address in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answers)
    with pytest.raises(InvalidInput, match=r"10\.0\.0\.1"):
        await addresses.resolve("both.example.org", 80, [])
    assert await addresses.resolve("both.example.org", 80, ["10.0.0.0/8"]) == "8.8.8.8"


async def _ask(port: int, text: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return answer.decode()
