"""Programs run to their end: results, bounds, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from fossilrepo.errors import ToolFailed
from fossilrepo.runtime import proc
from fossilrepo.runtime.process import Command, Finished, pipe, run
from tests.helpers.poll import until
from tests.helpers.runtime import Bad

PATH = {"PATH": "/usr/bin:/bin"}


def sh(script: str, *arguments: str) -> Command:
    return Command(("sh", "-c", script, "sh", *arguments), env=PATH)


def python(script: str, **limits: int) -> Command:
    return Command((sys.executable, "-S", "-I", "-c", script), env=PATH, **limits)  # type: ignore[arg-type]


async def test_status_and_both_outputs_are_given_back() -> None:
    done = await run(sh("echo out; echo err >&2; exit 3"), timeout=10)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", "err\n")
    assert done.program == "sh" and not done.truncated and 0 < done.seconds < 10


async def test_input_is_what_was_given_and_nothing_by_default(tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(b"from a file")
    assert (await run(sh("cat"), timeout=10)).stdout == b""
    assert (await run(sh("cat"), timeout=10, stdin_file=file)).stdout == b"from a file"
    big = os.urandom(300_000)
    assert (await run(sh("cat"), timeout=10, stdin=big)).stdout == big


async def test_a_program_that_does_not_read_its_input_is_no_error() -> None:
    assert (await run(sh("exit 0"), timeout=10, stdin=bytes(1 << 20))).returncode == 0


async def test_lines_are_told_while_the_program_runs(tmp_path: Path) -> None:
    told: list[str] = []

    def on_line(line: str) -> None:
        told.append(line)
        (tmp_path / line).touch()

    script = 'printf "50%%\\r"; until [ -e "$1/50%" ]; do sleep 0.02; done; printf last >&2'
    done = await run(sh(script, str(tmp_path)), timeout=10, on_line=on_line)
    assert done.returncode == 0
    assert told == ["50%", "last"]


async def test_the_environment_is_the_one_given_and_the_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PRIVATE_KEY", "secret")
    done = await run(Command(("env",), env={**PATH, "A": "b"}), timeout=10)
    assert set(done.stdout.decode().split()) == {
        "PATH=/usr/bin:/bin",
        "A=b",
        f"{proc.MARK}={proc.TOKEN}",
    }


async def test_each_program_has_a_session_of_its_own(tmp_path: Path) -> None:
    done = await run(
        Command(("sh", "-c", "cut -d' ' -f1,5,6 /proc/$$/stat; pwd"), PATH, cwd=tmp_path),
        timeout=10,
    )
    numbers, folder = done.stdout.decode().splitlines()
    assert len(set(numbers.split())) == 1
    assert folder == str(tmp_path)


async def test_a_limit_of_time_ends_the_group_and_names_the_program_only(bad: Bad) -> None:
    command = bad.command("--grandchild", "group", "--ignore-term", "--say", "private")
    started = time.monotonic()
    with pytest.raises(ToolFailed) as caught:
        await run(command, timeout=0.5)
    assert time.monotonic() - started < 5
    assert len(bad.noted()) == 2 and not bad.alive()
    assert "did not finish within 0.5 s" in caught.value.message
    assert str(bad.pids) not in caught.value.message


async def test_cancelling_ends_the_group(bad: Bad) -> None:
    task = asyncio.create_task(run(bad.command(), timeout=30))
    await until(bad.alive)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not bad.alive()


async def test_cancelling_twice_ends_the_group_at_once(bad: Bad) -> None:
    task = asyncio.create_task(run(bad.command("--ignore-term"), timeout=30))
    await until(bad.alive)
    task.cancel()
    await asyncio.sleep(0.1)
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 1 and not bad.alive()


async def test_what_a_program_leaves_in_its_group_is_ended(bad: Bad) -> None:
    done = await run(bad.command("--grandchild", "group", "--exit", 0), timeout=20)
    assert done.returncode == 0
    assert len(bad.noted()) == 2 and not bad.alive()


async def test_what_the_listener_raises_ends_the_program(bad: Bad) -> None:
    def on_line(line: str) -> None:
        raise RuntimeError(f"cannot take {line}")

    with pytest.raises(RuntimeError, match="cannot take this"):
        await run(bad.command("--say", "this"), timeout=30, on_line=on_line)
    assert not bad.alive()


async def test_a_missing_program_is_named_with_a_hint() -> None:
    with pytest.raises(ToolFailed, match="no-such-program is not installed") as caught:
        await run(Command(("no-such-program", "private"), env=PATH), timeout=5)
    assert "install no-such-program" in caught.value.hint


async def test_a_missing_folder_is_an_error_of_the_tool(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match="cannot be started"):
        await run(Command(("true",), env=PATH, cwd=tmp_path / "gone"), timeout=5)


async def test_output_past_the_bound_is_cut_and_said_so() -> None:
    script = (
        "import sys; sys.stdout.write('a' * 200000 + 'b'); sys.stderr.write('c' * 200000 + 'd')"
    )
    done = await run(python(script), timeout=20, max_output=1000)
    assert done.truncated and done.returncode == 0
    assert done.stdout == b"a" * 1000
    assert done.stderr == "c" * 999 + "d"


async def test_memory_and_file_size_are_limited(tmp_path: Path) -> None:
    eats = await run(python("bytearray(1 << 30)", max_memory=512 << 20), timeout=20)
    assert eats.returncode == 1 and "MemoryError" in eats.stderr
    fills = f"open({str(tmp_path / 'f')!r}, 'wb', 0).write(bytes(1 << 20))"
    assert (await run(python(fills, max_file_size=1000), timeout=20)).returncode in (0, 1, -25)
    assert (tmp_path / "f").stat().st_size == 1000


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_root_drops_to_another_user_without_groups() -> None:
    command = Command(("sh", "-c", "id -u; id -g; id -G"), env=PATH, user=65534, group=65534)
    done = await run(command, timeout=10)
    assert done.stdout.split() == [b"65534"] * 3, done.stderr


async def test_a_pipe_gives_the_second_programs_output() -> None:
    told: list[str] = []
    source = sh("head -c 3000000 /dev/zero; echo from the first >&2")
    done = await pipe(
        source, sh("wc -c; echo from the second >&2"), timeout=20, on_line=told.append
    )
    assert done.returncode == 0 and done.stdout.split() == [b"3000000"]
    assert set(told) == {"from the first", "from the second", "3000000"}


async def test_a_pipe_fails_when_the_first_fails_though_the_second_is_content() -> None:
    done = await pipe(sh("echo half; echo broken >&2; exit 7"), sh("cat"), timeout=10)
    assert (done.returncode, done.program, done.stderr) == (7, "sh", "broken\n")
    assert done.stdout == b"half\n"


async def test_a_pipe_blames_the_second_when_it_ends_first() -> None:
    second = Command(("env", "sh", "-c", "echo full >&2; exit 9"), env=PATH)
    done = await pipe(sh("yes"), second, timeout=10)
    assert (done.returncode, done.program) == (9, "env")
    assert done.stderr.startswith("full\n")


async def test_a_pipe_that_takes_too_long_is_ended_on_both_sides(bad: Bad) -> None:
    with pytest.raises(ToolFailed, match=r"python\S* \| python\S* did not finish within 0.6 s"):
        await pipe(bad.command(), bad.command(), timeout=0.6)
    assert len(bad.noted()) == 2 and not bad.alive()


async def test_a_pipe_without_its_second_program_ends_the_first(bad: Bad) -> None:
    with pytest.raises(ToolFailed, match="no-such-program is not installed"):
        await pipe(bad.command(), Command(("no-such-program",), env=PATH), timeout=10)
    assert not bad.alive()


async def test_many_programs_at_once_leave_no_file_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    results: list[Finished] = await asyncio.gather(
        *(run(sh("echo $1", str(n)), timeout=30) for n in range(20))
    )
    assert [done.stdout.strip() for done in results] == [b"%d" % n for n in range(20)]
    assert len(os.listdir("/proc/self/fd")) == before
