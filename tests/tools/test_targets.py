"""Places for replicas: the same calls on a folder and on a bucket, and what refusals say."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fossilrepo.config import Settings
from fossilrepo.errors import InvalidInput, Unavailable
from fossilrepo.tools import target_s3
from fossilrepo.tools.targets import Target, target_of
from tests.helpers import s3


def settings_for(data: Path, **backup: str) -> Settings:
    return Settings.model_validate({"data_dir": str(data), "backup": backup})


@pytest.fixture(params=["folder", "moto", "rclone"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    """An empty place of each kind."""
    if request.param == "folder":
        yield target_of(settings_for(tmp_path))
    elif request.param == "moto":
        with s3.moto() as server:
            server.make_bucket()
            yield target_of(settings_for(tmp_path, **server.section()), env=server.keys)
    else:
        with s3.rclone(tmp_path / "s3") as server:
            yield target_of(settings_for(tmp_path, **server.section()), env=server.keys)


# What every target does


async def test_objects_are_written_listed_read_and_deleted(target: Target) -> None:
    assert await target.list() == []
    assert await target.names() == []
    for key in ("a.fossil/0000/1.ltx", "a.fossil/0001/2.ltx", "a.fossilized", "manifest.json"):
        await target.put(key, key.encode())
    await target.put("manifest.json", b"{}")
    assert await target.get("manifest.json") == b"{}"
    assert await target.get("a.fossil/0000/1.ltx") == b"a.fossil/0000/1.ltx"
    assert await target.get("nothing") is None
    assert await target.names() == ["a.fossil", "a.fossilized", "manifest.json"]
    listed = await target.list("a.fossil/")
    assert [stored.key for stored in listed] == ["a.fossil/0000/1.ltx", "a.fossil/0001/2.ltx"]
    assert listed[0].size == len("a.fossil/0000/1.ltx")
    assert listed[0].modified.utcoffset() is not None
    assert await target.delete("a.fossil") == 2
    assert await target.delete("a.fossil") == 0
    assert await target.names() == ["a.fossilized", "manifest.json"]


async def test_a_probe_leaves_nothing(target: Target) -> None:
    await target.reachable()
    await target.probe()
    assert await target.list() == []


@pytest.mark.parametrize("prefix", ["", "/", "//"])
async def test_the_whole_is_never_deleted(target: Target, prefix: str) -> None:
    await target.put("a", b"1")
    with pytest.raises(InvalidInput):
        await target.delete(prefix)
    assert await target.get("a") == b"1"


async def test_a_long_list_comes_whole_and_goes_whole(tmp_path: Path) -> None:
    with s3.moto() as server:
        server.make_bucket()
        target = target_of(settings_for(tmp_path, **server.section()), env=server.keys)
        server.fill(f"{target.prefix}/a.fossil/", 1203)  # type: ignore[attr-defined]
        assert len(await target.list("a.fossil/")) == 1203
        assert await target.delete("a.fossil") == 1203
        assert await target.names() == []


# URLs


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("file", "file://DATA/backups"),
        ("file:///srv/a%20b/", "file:///srv/a%20b"),
        ("s3://b/p/q/", "s3://b/p/q"),
        ("s3://b", "s3://b"),
        (
            "s3://b/p?endpoint=http://127.0.0.1:9&region=r",
            "s3://b/p?endpoint=http://127.0.0.1:9&region=r",
        ),
    ],
)
def test_a_url_leads_to_the_same_place_again(url: str, shown: str, tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    target = target_of(settings, url)
    assert target.url == shown.replace("DATA", str(tmp_path))
    again = target_of(settings, target.url)
    assert (again.url, again.key) == (target.url, target.key)
    assert len(target.key) == 12


def test_another_place_has_another_key(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    urls = ["file", "s3://b/p", "s3://b/q", "s3://b/p?endpoint=http://h:1", "s3://c/p"]
    assert len({target_of(settings, url).key for url in urls}) == len(urls)


@pytest.mark.parametrize(
    "url", ["", "ftp://x/y", "s3://", "file://host/x", "s3://k:s@b/p", "s3://b/p?secret=1"]
)
def test_an_unknown_url_is_refused_without_its_parameters(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        target_of(settings_for(tmp_path), url)
    assert "secret" not in caught.value.message


def test_a_replica_in_the_data_folder_is_on_the_same_disk(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    assert target_of(settings).on_same_disk(settings.data)
    assert not target_of(settings, "s3://b/p").on_same_disk(settings.data)
    assert not target_of(settings, "file:///proc/elsewhere").on_same_disk(settings.data)


# Credentials


def test_renewed_credentials_count_without_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("[default]\naws_access_key_id=a\naws_secret_access_key=b\n")
    target = target_of(settings_for(tmp_path, url="s3://b/p", credentials_file=str(file)))
    before = target.credentials_stamp()
    assert "AWS_SESSION_TOKEN" not in target.environment()
    file.write_text(
        "[default]\naws_access_key_id=a\naws_secret_access_key=c\naws_session_token=t\n"
    )
    assert target.credentials_stamp() != before
    assert target.environment()["AWS_SECRET_ACCESS_KEY"] == "c"
    assert target.environment()["AWS_SESSION_TOKEN"] == "t"


# Refusals


async def refusal(target: Target) -> Unavailable:
    """Both ways to ask raise the same kind; what `probe` said."""
    with pytest.raises(Unavailable) as cheap:
        await target.reachable()
    with pytest.raises(Unavailable) as caught:
        await target.probe()
    for error in (cheap.value, caught.value):
        assert target.url in error.message
        assert error.hint
        assert not {*s3.KEYS.values(), *s3.WRONG_KEYS.values()} & set(error.message.split())
    return caught.value


async def test_refusals_of_a_server_say_what_to_do(tmp_path: Path) -> None:
    with s3.rclone(tmp_path / "s3") as server:
        settings = settings_for(tmp_path, **server.section())
        assert "keys" in (await refusal(target_of(settings, env=s3.WRONG_KEYS))).hint
        missing = target_of(settings_for(tmp_path, **server.section("other")), env=server.keys)
        assert "bucket" in (await refusal(missing)).hint
        server.stop()
        away = await refusal(target_of(settings, env=server.keys))
        assert "backup.endpoint" in away.hint
        server.restart(AWS_SECRET_ACCESS_KEY="secret2")
        assert "keys" in (await refusal(target_of(settings, env=s3.KEYS))).hint
        await target_of(settings, env=server.keys).probe()


async def test_a_server_out_of_order_is_quoted(tmp_path: Path) -> None:
    async with s3.failing() as server:
        target = target_of(settings_for(tmp_path, **server.section()), env=server.keys)
        assert "out of order" in (await refusal(target)).message


async def test_a_silent_server_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_s3, "PATIENCE", 0.2)
    monkeypatch.setattr(target_s3, "_CALL", 1.0)
    async with s3.silent() as server:
        target = target_of(settings_for(tmp_path, **server.section()), env=server.keys)
        assert "answer within" in (await refusal(target)).message


async def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    target = target_of(settings_for(tmp_path), f"file://{tmp_path}/taken/below")
    assert "Not a directory" in (await refusal(target)).message


async def test_a_full_disk_is_said_and_nothing_half_written(tmp_path: Path) -> None:
    """The limit on the size of a file stands in for a disk: the kernel refuses both writes."""
    target = target_of(settings_for(tmp_path))
    await target.put("a", b"1")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(Unavailable):
            await target.put("a", bytes(2 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert await target.get("a") == b"1"
    assert os.listdir(tmp_path / "backups") == ["a"]


@pytest.mark.parametrize("key", ["../x", "/etc/x", "a/../../x", "", "a\0b"])
async def test_a_key_leads_nowhere_else(key: str, tmp_path: Path) -> None:
    target = target_of(settings_for(tmp_path / "data"))
    with pytest.raises(InvalidInput):
        await target.put(key, b"1")
    with pytest.raises(InvalidInput):
        await target.get(key)


async def test_links_in_the_replica_are_removed_and_not_followed(tmp_path: Path) -> None:
    target = target_of(settings_for(tmp_path / "data"))
    await target.put("a.fossil/x", b"1")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (tmp_path / "data/backups/a.fossil/link").symlink_to(outside)
    assert await target.delete("a.fossil") == 1
    assert (outside / "kept").read_text() == "kept"
