"""Locks between processes and between tasks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fossilrepo.errors import Conflict, Unavailable
from fossilrepo.runtime.locks import FileLocks, acquire_single

_HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its input ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-S", "-I", "-c", _HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


@pytest.fixture
def locks(tmp_path: Path) -> FileLocks:
    return FileLocks(tmp_path / "locks")


async def test_one_task_at_a_time_in_the_order_of_asking(locks: FileLocks) -> None:
    order: list[str] = []
    inside = 0

    async def work(name: str) -> None:
        nonlocal inside
        async with locks.hold("key"):
            inside += 1
            assert inside == 1
            order.append(name)
            await asyncio.sleep(0.01)
            inside -= 1

    names = [str(number) for number in range(8)]
    await asyncio.gather(*map(work, names))
    assert order == names


async def test_two_keys_do_not_wait_for_each_other(locks: FileLocks) -> None:
    async with locks.hold("one"), locks.hold("two", timeout=0.1):
        pass


async def test_two_objects_on_one_folder_exclude_each_other(
    locks: FileLocks, tmp_path: Path
) -> None:
    other = FileLocks(tmp_path / "locks")
    async with locks.hold("key"):
        with pytest.raises(Unavailable):
            async with other.hold("key", timeout=0.1):
                pass
    async with other.hold("key", timeout=0.1):
        pass


async def test_another_process_is_waited_for_without_blocking(
    locks: FileLocks, tmp_path: Path
) -> None:
    with held_elsewhere(tmp_path / "locks" / "key.lock") as holder:
        ticks = 0

        async def wanted() -> None:
            async with locks.hold("key", timeout=10):
                pass

        waiting = asyncio.create_task(wanted())
        for _ in range(20):
            await asyncio.sleep(0.01)
            ticks += 1
        assert ticks == 20 and not waiting.done()
        assert holder.stdin is not None
        holder.stdin.close()
        await asyncio.wait_for(waiting, 5)


async def test_another_process_waits_for_us(locks: FileLocks, tmp_path: Path) -> None:
    path = tmp_path / "locks" / "key.lock"
    command = ["flock", "--nonblock", str(path), "true"]
    async with locks.hold("key"):
        assert subprocess.run(command, check=False, timeout=5).returncode == 1
    assert subprocess.run(command, check=False, timeout=5).returncode == 0


async def test_waiting_too_long_says_what_is_busy_and_what_to_do(
    locks: FileLocks, tmp_path: Path
) -> None:
    with held_elsewhere(tmp_path / "locks" / "key.lock"):
        started = time.monotonic()
        with pytest.raises(Unavailable, match="the repository demo is busy") as caught:
            async with locks.hold("key", timeout=0.3, busy="the repository demo"):
                pass
        assert 0.3 <= time.monotonic() - started < 1
        assert caught.value.status == 503 and caught.value.hint


async def test_a_killed_holder_leaves_no_lock(locks: FileLocks, tmp_path: Path) -> None:
    with held_elsewhere(tmp_path / "locks" / "key.lock") as holder:
        holder.kill()
        holder.wait()
        async with locks.hold("key", timeout=1):
            pass


async def test_our_children_do_not_hold_our_locks(locks: FileLocks) -> None:
    async with locks.hold("key"):
        child = subprocess.Popen(["sleep", "20"], close_fds=False)
    try:
        async with locks.hold("key", timeout=0.2):
            pass
    finally:
        child.kill()
        child.wait()


async def test_an_error_or_a_cancellation_inside_or_waiting_lets_go(locks: FileLocks) -> None:
    with pytest.raises(RuntimeError):
        async with locks.hold("key"):
            raise RuntimeError

    async def stay() -> None:
        async with locks.hold("key"):
            await asyncio.sleep(100)

    holder, waiter = asyncio.create_task(stay()), asyncio.create_task(stay())
    await asyncio.sleep(0.05)
    for task in (waiter, holder):
        task.cancel()
        await asyncio.wait({task})
    async with locks.hold("key", timeout=0.1):
        pass
    assert not locks._queues


@pytest.mark.parametrize("key", ["", ".", "../x", "a/b", ".hidden", "x" * 200, "a\n"])
async def test_a_key_is_a_plain_name(locks: FileLocks, tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        async with locks.hold(key):
            pass
    assert list(tmp_path.iterdir()) == []


async def test_a_second_one_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from fossilrepo.runtime.locks import acquire_single;"
        "held = acquire_single(pathlib.Path(sys.argv[1])); print('held', flush=True);"
        "sys.stdin.read()"
    )
    path = tmp_path / "run" / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as first:
        assert first.stdout is not None and first.stdout.readline() == b"held\n"
        with pytest.raises(Conflict, match=rf"demo is already running \(pid {first.pid}\)"):
            acquire_single(path, what="demo")
        first.kill()
        first.wait()
        with acquire_single(path) as single:
            assert int(path.read_text()) != first.pid
            with pytest.raises(Conflict):
                acquire_single(path)
            single.close()
            acquire_single(path).close()


async def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        acquire_single(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()


async def test_waiting_costs_little(locks: FileLocks, tmp_path: Path) -> None:
    with held_elsewhere(tmp_path / "locks" / "key.lock"):
        before = time.process_time()
        with pytest.raises(Unavailable):
            async with locks.hold("key", timeout=0.5):
                pass
        assert time.process_time() - before < 0.2
