"""Litestream, the real program: configured, asked, understood, and restored from."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fossilrepo.config import Settings
from fossilrepo.errors import FossilrepoError, NotFound, Unavailable
from fossilrepo.tools import litestream
from fossilrepo.tools.litestream import Control, Lines, Ltx, NotKnown, NotRunning, SyncFailed
from fossilrepo.tools.targets import target_of
from tests.helpers import s3
from tests.helpers.poll import until
from tests.helpers.replicated import NAME, Replicated, replicated, rows_of

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
PARTS = timedelta(milliseconds=1)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Replicated]:
    with replicated(tmp_path / "data") as one:
        yield one


@pytest.fixture(params=["folder", "bucket"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Replicated]:
    """Litestream to a folder, and to a bucket."""
    if request.param == "folder":
        with replicated(tmp_path / "data") as one:
            yield one
        return
    with s3.moto() as server:
        server.make_bucket()
        with replicated(tmp_path / "data", server.section(), server.keys) as one:
            yield one


async def apart(one: Replicated) -> None:
    """One more transaction on the replica, and a millisecond that is surely later."""
    await one.push()
    await asyncio.sleep(0.005)


async def times(one: Replicated) -> list[datetime]:
    """When each transaction was written, to the millisecond."""
    found = []
    for file in await litestream.ltx(one.target, NAME):
        if file.level != 0:
            continue
        at = file.at
        if not one.target.is_local:
            key = f"{NAME}/0000/{file.min_txid:016x}-{file.max_txid:016x}.ltx"
            at = datetime.fromisoformat((await one.target.head(key))["litestream-timestamp"])  # type: ignore[attr-defined]
        found.append(at)
    return found


# Restoring


async def test_a_moment_is_restored_to_the_last_transaction_before_it(
    either: Replicated, tmp_path: Path
) -> None:
    await either.up()
    for _ in range(4):
        await apart(either)
    at = await times(either)
    assert len(at) == 4
    wanted = {
        at[0]: 1,
        at[1] - PARTS: 1,
        at[1]: 2,
        at[2] + PARTS: 3,
        at[3] + timedelta(hours=1): 4,
    }
    for number, (moment, txid) in enumerate(wanted.items()):
        output = tmp_path / f"{number}.fossil"
        restored = await litestream.restore(either.target, NAME, output, at=moment)
        assert (restored.txid, rows_of(output)) == (txid, txid), moment
    with pytest.raises(NotFound, match="or before"):
        await litestream.restore(either.target, NAME, tmp_path / "x", at=at[0] - PARTS)
    assert not (tmp_path / "x").exists()


async def test_newest_is_restored_as_one_file_in_rollback_mode(
    either: Replicated, tmp_path: Path
) -> None:
    await either.up()
    await either.push()
    folder = tmp_path / "out"
    folder.mkdir()
    output = folder / "a name with % and ü.fossil"
    restored = await litestream.restore(either.target, NAME, output, check="full")
    assert restored.txid == (await either.sync()).replicated_txid
    assert output.read_bytes()[18:20] == b"\1\1"
    assert rows_of(output) == 1
    assert os.listdir(folder) == [output.name]
    restored = await litestream.restore(either.target, NAME, folder / "second", txid=1)
    assert restored.txid == 1


async def test_nothing_is_restored_of_what_was_never_replicated(
    either: Replicated, tmp_path: Path
) -> None:
    await either.up()
    assert await litestream.ltx(either.target, "other.fossil") == []
    for options in ({}, {"at": MOMENT}, {"txid": 7}):
        with pytest.raises(NotFound):
            await litestream.restore(either.target, "other.fossil", tmp_path / "x", **options)  # type: ignore[arg-type]
    assert not list(tmp_path.glob("x*"))


async def test_a_damaged_replica_leaves_no_file_behind(local: Replicated, tmp_path: Path) -> None:
    await local.up()
    await local.push()
    await local.push()
    local.down()
    first = next((tmp_path / "data/backups" / NAME / "ltx/0").glob("0000000000000001-*"))
    content = bytearray(first.read_bytes())
    content[200:260] = bytes(60)
    first.write_bytes(content)
    with pytest.raises(FossilrepoError) as caught:
        await litestream.restore(local.target, NAME, tmp_path / "x", check="full")
    assert caught.value.message
    assert not list(tmp_path.glob("x*"))


async def test_what_is_no_file_of_litestream_is_not_counted_on(local: Replicated) -> None:
    await local.up()
    await local.push()
    await local.push()
    local.down()
    before = await litestream.ltx(local.target, NAME)
    for file, damage in zip(
        sorted((local.settings.data / "backups" / NAME / "ltx" / "0").iterdir()),
        (b"torn" * 40, b"LTX1" + b"\xff" * 60),
        strict=False,
    ):
        file.write_bytes(damage)
    left = await litestream.ltx(local.target, NAME)
    assert len(left) == len(before) - 2


async def test_a_copied_replica_tells_the_same_times(local: Replicated, tmp_path: Path) -> None:
    """The times of files change when a folder is copied; those in the files do not."""
    await local.up()
    for _ in range(3):
        await apart(local)
    at = await times(local)
    local.down()
    for path in (tmp_path / "data/backups" / NAME).rglob("*.ltx"):
        os.utime(path, (MOMENT.timestamp(), MOMENT.timestamp()))
    assert await times(local) == at
    restored = await litestream.restore(local.target, NAME, tmp_path / "x", at=at[1])
    assert restored.txid == 2


def entry(level: int, first: int, last: int, seconds: float) -> Ltx:
    return Ltx(level, first, last, 1, MOMENT + timedelta(seconds=seconds))


def test_only_what_follows_without_a_gap_can_be_restored() -> None:
    files = [entry(0, 4, 4, 4), entry(0, 5, 5, 5), entry(9, 1, 7, 7), entry(1, 6, 9, 9)]
    assert list(litestream.reachable(files)) == [7, 9]
    assert list(litestream.reachable([*files, entry(0, 11, 11, 11)])) == [7, 9]
    assert litestream.reachable([entry(0, 4, 4, 4), entry(0, 6, 6, 6)]) == {}


def test_a_clock_that_went_backwards_gives_nothing_later_than_the_moment() -> None:
    files = [entry(0, 1, 1, 10), entry(0, 2, 2, 20), entry(0, 3, 3, 12), entry(0, 4, 4, 25)]
    found = litestream.reachable(files)
    fitting = [txid for txid, at in found.items() if at <= MOMENT + timedelta(seconds=15)]
    assert fitting == [1]


# Losses that are got over, and those that are told


async def test_a_lost_state_folder_is_told_and_mended_by_a_restart(
    local: Replicated, tmp_path: Path
) -> None:
    await local.up()
    await local.push()
    await local.push()
    local.lose_state()
    local.write()
    with pytest.raises(SyncFailed) as caught:
        await local.sync()
    assert litestream.lost_state(caught.value.message)
    assert "gone" in litestream.explain(caught.value.message)[0]
    local.down()
    await local.up()
    await local.push()
    restored = await litestream.restore(local.target, NAME, tmp_path / "new", check="full")
    assert restored.txid == (await local.sync()).replicated_txid
    assert rows_of(tmp_path / "new") == 4
    await litestream.restore(local.target, NAME, tmp_path / "old", txid=2)
    assert rows_of(tmp_path / "old") == 2


async def test_tables_that_were_dropped_are_told_and_made_again(local: Replicated) -> None:
    await local.up()
    await local.push()
    with closing(sqlite3.connect(local.file)) as connection, connection:
        connection.execute("DROP TABLE _litestream_seq")
        connection.execute("DROP TABLE _litestream_lock")
    assert litestream.lost_tables(
        "checkpoint: SQL logic error: no such table: _litestream_lock (1)"
    )
    assert not litestream.lost_tables("no such table: blob")
    with pytest.raises(Unavailable):
        await asyncio.to_thread(litestream.put_tables, local.file.with_name("nope.fossil"))
    assert not local.file.with_name("nope.fossil").exists()
    assert await asyncio.to_thread(litestream.put_tables, local.file)
    assert not await asyncio.to_thread(litestream.put_tables, local.file)
    await local.control.reopen(local.file)
    answer = await local.push()
    assert answer.txid == answer.replicated_txid


# The socket


async def test_sync_tells_what_is_on_the_replica(local: Replicated) -> None:
    await local.up()
    local.write(3)
    answer = await local.sync()
    assert answer.txid == answer.replicated_txid >= 1
    files = await litestream.ltx(local.target, NAME)
    assert max(file.max_txid for file in files) == answer.replicated_txid
    info = await local.control.info()
    assert info["pid"] == local.process.pid  # type: ignore[union-attr]


async def test_an_unknown_database_is_not_known(local: Replicated) -> None:
    await local.up()
    with pytest.raises(NotKnown):
        await local.sync(local.settings.store / "nope.fossil")


async def test_a_litestream_that_hangs_is_told_from_one_that_is_away(local: Replicated) -> None:
    with pytest.raises(NotRunning) as away:
        await local.control.info()
    await local.up()
    assert local.process is not None
    local.process.send_signal(signal.SIGSTOP)
    with pytest.raises(NotRunning) as hangs:
        await local.control.sync(local.file, timeout=0.2)
    local.process.send_signal(signal.SIGCONT)
    assert (away.value.kind, hangs.value.kind) == ("away", "hangs")
    await local.push()


async def test_a_socket_is_reached_by_a_path_of_any_length(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    descriptor = os.open(folder, os.O_PATH)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.0 200 OK\r\n\r\n{"pid": 7}')
        writer.close()

    server = await asyncio.start_unix_server(answer, f"/proc/self/fd/{descriptor}/s")
    async with server:
        assert await Control(folder / "s").info() == {"pid": 7}
    os.close(descriptor)


# Refusals of the S3 server


async def test_wrong_keys_and_a_missing_bucket_are_explained(tmp_path: Path) -> None:
    with s3.rclone(tmp_path / "s3") as server:
        with replicated(tmp_path / "one", server.section(), s3.WRONG_KEYS) as one:
            await one.up()
            with pytest.raises(SyncFailed) as caught:
                await one.push()
            assert "keys" in litestream.explain(caught.value.message)[0]
            assert s3.WRONG_KEYS["AWS_SECRET_ACCESS_KEY"] not in one.log.read_text()
        with replicated(tmp_path / "two", server.section("other"), server.keys) as two:
            await two.up()
            with pytest.raises(SyncFailed) as caught:
                await two.push()
            assert "bucket" in litestream.explain(caught.value.message)[0]


async def test_an_outage_is_told_and_got_over(tmp_path: Path) -> None:
    with (
        s3.rclone(tmp_path / "s3") as server,
        replicated(tmp_path / "data", server.section(), server.keys) as one,
    ):
        await one.up()
        await one.push()
        server.stop()
        one.write()
        with pytest.raises((SyncFailed, NotRunning)) as caught:
            await one.control.sync(one.file, timeout=1)
        assert all(litestream.explain(caught.value.message))
        with pytest.raises(Unavailable, match="does not answer"):
            await litestream.restore(one.target, NAME, tmp_path / "x")
        server.start()

        async def caught_up() -> bool:
            try:
                answer = await one.control.sync(one.file, timeout=2)
            except (SyncFailed, NotRunning):
                return False
            return answer.txid == answer.replicated_txid

        await until(caught_up, timeout=30, what="the replica to catch up")


# Configuration and words


def test_configuration_is_private_and_has_no_secret(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {"data_dir": str(tmp_path), "backup": {"url": "s3://b/p", "endpoint": "http://x:1"}}
    )
    target = target_of(settings, env={**s3.KEYS, "AWS_CA_BUNDLE": "/ca.pem"})
    text = litestream.configuration(
        settings, target, port=1, socket=tmp_path / "s", state_dir=tmp_path / "state"
    )
    path = tmp_path / "litestream.yml"
    litestream.write_configuration(path, text)
    before = path.stat()
    litestream.write_configuration(path, text)
    assert path.stat().st_ino == before.st_ino
    assert before.st_mode & 0o777 == 0o600
    litestream.write_configuration(path, text.replace("5m", "6m"))
    assert path.stat().st_ino != before.st_ino
    command = litestream.server_command(settings, target, path)
    assert "secret1" not in text + " ".join(command.argv)
    assert command.env["AWS_SECRET_ACCESS_KEY"] == "secret1"
    assert "AWS_CA_BUNDLE" not in command.env
    assert command.env["SSL_CERT_FILE"] == "/ca.pem"
    assert set(command.env) <= {
        "PATH", "LANG", "TZ", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "SSL_CERT_FILE",
    }  # fmt: skip


def test_control_database_is_replicated_only_where_it_is_a_file(tmp_path: Path) -> None:
    for url, count in (("sqlite", 2), ("postgresql://u:p@h/d", 1)):
        settings = Settings.model_validate({"data_dir": str(tmp_path), "database": {"url": url}})
        text = litestream.configuration(
            settings, target_of(settings), port=1, socket=tmp_path / "s", state_dir=tmp_path
        )
        assert len(json.loads(text)["dbs"]) == count
        assert json.loads(text)["snapshot"]["retention"] == "604800s"


def test_lines_name_the_repository_and_never_raise() -> None:
    said: list[tuple[str | None, int, str]] = []
    lines = Lines(lambda *what: said.append(what))
    lines.feed('{"level":"ERROR","msg":"sync error","db":"abcd.fossil","error":"no space left"}')
    lines.feed('{"level":"INFO","msg":"hello","system":"store"}')
    for nonsense in ("", "x" * 9999, "[1]", '{"level": 7, "db": 8}', "[" * 5000, "\0\ufffd"):
        lines.feed(nonsense)
    assert said[0] == ("abcd", logging.ERROR, "sync error: no space left")
    assert said[1] == (None, logging.INFO, "hello")
    assert lines.last["abcd"][0] == "sync error: no space left"
    assert max(len(text) for _, _, text in said) <= 300
