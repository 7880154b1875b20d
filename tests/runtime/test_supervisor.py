"""Children that are slow, silent, crashing, deaf or noisy, under the real supervisor."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from fossilrepo.errors import ConfigError, NotFound, Unavailable
from fossilrepo.runtime.process import Command
from fossilrepo.runtime.supervisor import ChildSpec, ChildStatus, Pace, State, Supervisor
from tests.helpers.poll import until
from tests.helpers.runtime import Bad, answers, free_port

QUICK = Pace(first=0.1, longest=0.4, good=60)
Make = Callable[..., Supervisor]


@pytest.fixture
async def make(bad: Bad, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes supervisors, and stops them after the test."""
    made: list[Supervisor] = []

    def supervisor(*specs: ChildSpec, pace: Pace = QUICK) -> Supervisor:
        made.append(Supervisor(specs, state_file=tmp_path / "children.json", pace=pace))
        return made[-1]

    yield supervisor
    for each in made:
        await each.stop()


async def test_a_child_is_running_only_once_it_answers(bad: Bad, make: Make) -> None:
    port = free_port()
    spec = bad.spec("--delay", 0.5, "--port", port, ready=lambda: answers(port))
    supervisor = make(spec)
    assert supervisor.child("bad").state is State.STOPPED
    starting = asyncio.create_task(supervisor.start())
    await until(bad.alive)
    status = supervisor.child("bad")
    assert status.state is State.STARTING and not status.ready
    await starting
    status = supervisor.child("bad")
    assert (status.state, status.ready, status.restarts) == (State.RUNNING, True, 0)
    assert {status.pid} == bad.alive()
    assert abs(status.since - time.time()) < 5 and status.last_error == ""
    await supervisor.stop()
    status = supervisor.child("bad")
    assert (status.state, status.pid, status.ready) == (State.STOPPED, None, False)
    assert not bad.alive()


async def test_an_exit_before_being_ready_is_told_at_once_and_retried(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec("--exit", 3, "--say", "no such database", ready=_never))
    await supervisor.start()
    status = supervisor.child("bad")
    assert status.state is State.BACKOFF
    assert status.last_error.startswith("exited with status 3 after 0.")
    assert status.last_error.endswith(" s: no such database")
    await until(lambda: supervisor.child("bad").restarts >= 2)
    assert set(status.log) == {"no such database"}


async def test_a_child_that_never_answers_is_ended_and_retried(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec("--say", "waiting", ready=_never, ready_timeout=0.5))
    await supervisor.start()
    status = supervisor.child("bad")
    assert status.state is State.BACKOFF
    assert status.last_error == "did not answer within 0.5 s: waiting"
    await until(lambda: len(bad.noted()) == 2)
    assert len(bad.alive()) == 1


async def test_a_probe_that_raises_or_hangs_means_not_ready(bad: Bad, make: Make) -> None:
    calls = 0

    async def ready() -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("not yet")
        await asyncio.sleep(100)
        return True

    supervisor = make(bad.spec(ready=ready, ready_timeout=0.5))
    await supervisor.start()
    assert calls == 2
    assert "did not answer within 0.5 s" in supervisor.child("bad").last_error


async def test_a_child_that_dies_later_is_started_again(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec("--leave-after", 0.3, "--status", 5))
    await supervisor.start()
    first = supervisor.child("bad").pid
    await supervisor.wait("bad", State.BACKOFF, seconds=5)
    assert supervisor.child("bad").last_error.startswith("exited with status 5 after ")
    status = await supervisor.wait("bad", State.RUNNING, seconds=5)
    assert status.restarts == 1 and status.pid != first


async def test_a_killed_child_says_by_which_signal(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec())
    await supervisor.start()
    [pid] = bad.alive()
    os.kill(pid, signal.SIGKILL)
    status = await supervisor.wait("bad", State.BACKOFF, seconds=5)
    assert status.last_error.startswith("ended by SIGKILL after ")
    await supervisor.wait("bad", State.RUNNING, seconds=5)


async def test_pauses_double_to_their_limit_with_jitter() -> None:
    pace = Pace(first=0.5, longest=30)
    for failures, top in ((1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (1000, 30.0)):
        pauses = {pace.pause(failures) for _ in range(50)}
        assert len(pauses) > 1
        assert all(0.75 * top <= pause <= top for pause in pauses)


async def test_pauses_grow_while_a_child_keeps_failing(bad: Bad, make: Make) -> None:
    starts = await _starts(bad, make, Pace(first=0.2, longest=0.8, good=60), 4)
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    # Each gap is the pause, and the little time in which the child was there.
    assert gaps[0] >= 0.15 and gaps[1] >= 0.3 and gaps[2] >= 0.6


async def test_a_time_of_good_running_begins_the_count_anew(bad: Bad, make: Make) -> None:
    starts = await _starts(bad, make, Pace(first=0.05, longest=100, good=0.1), 7)
    # Without that the sixth pause alone would be 1.2 s or more.
    assert starts[-1] - starts[-2] < 1.1


async def _starts(bad: Bad, make: Make, pace: Pace, count: int) -> list[float]:
    """When a child that always leaves after 0.15 s was started."""
    spec = bad.spec("--leave-after", 0.15)
    starts: list[float] = []

    async def command() -> Command:
        starts.append(time.monotonic())
        return await spec.command()

    supervisor = make(ChildSpec("bad", command, spec.ready), pace=pace)
    await supervisor.start()
    await until(lambda: len(starts) >= count, timeout=20)
    return starts


async def test_a_child_that_ignores_term_is_killed_after_its_grace(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec("--ignore-term", stop_grace=0.3))
    await supervisor.start()
    started = time.monotonic()
    stopping = asyncio.create_task(supervisor.stop())
    await supervisor.wait("bad", State.STOPPING, seconds=1)
    await stopping
    assert 0.3 <= time.monotonic() - started < 2
    assert len(bad.noted()) == 1 and not bad.alive()


async def test_a_grandchild_that_ignores_term_goes_too(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec("--grandchild", "group", stop_grace=0.3))
    await supervisor.start()
    assert len(bad.alive()) == 2
    await supervisor.stop()
    assert not bad.alive()


async def test_what_a_crashed_child_left_is_ended_before_the_next_start(
    bad: Bad, make: Make
) -> None:
    supervisor = make(bad.spec("--grandchild", "group", stop_grace=0.3))
    await supervisor.start()
    leader = supervisor.child("bad").pid
    assert leader is not None
    before = bad.alive()
    os.kill(leader, signal.SIGKILL)
    await supervisor.wait("bad", State.BACKOFF, seconds=2)
    await supervisor.wait("bad", State.RUNNING, seconds=5)
    assert len(before) == 2 and not before & bad.alive()


async def test_who_left_the_group_is_ended_at_stop(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec("--grandchild", "session"))
    await supervisor.start()
    assert len(bad.alive()) == 2
    await supervisor.stop()
    assert not bad.alive()


async def test_stopping_does_not_touch_what_is_not_ours(bad: Bad, make: Make) -> None:
    stranger = await asyncio.create_subprocess_exec("sleep", "20", start_new_session=True)
    supervisor = make(bad.spec())
    await supervisor.start()
    await supervisor.stop()
    assert stranger.returncode is None
    stranger.terminate()
    assert await stranger.wait() == -signal.SIGTERM


async def test_a_flood_of_output_is_bounded_and_holds_nobody_up(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec("--flood", "lines"), bad.spec("--flood", "endless", name="long"))
    await supervisor.start()
    await until(lambda: len(supervisor.child("bad").log) == 200)
    worst = 0.0
    for _ in range(50):
        started = time.monotonic()
        await asyncio.sleep(0.01)
        worst = max(worst, time.monotonic() - started)
    assert worst < 0.5
    assert set(supervisor.child("bad").log) == {"a line of some length"}
    assert supervisor.child("long").log == ()
    started = time.monotonic()
    await supervisor.stop()
    assert time.monotonic() - started < 3
    assert all(len(line) <= 4097 for line in supervisor.child("long").log)


async def test_every_line_is_told_and_a_failing_listener_changes_nothing(
    bad: Bad, make: Make
) -> None:
    told: list[str] = []

    def on_line(line: str) -> None:
        told.append(line)
        raise RuntimeError("no thank you")

    supervisor = make(bad.spec("--say", "one", "--say", "two", on_line=on_line))
    await supervisor.start()
    await until(lambda: told == ["one", "two"])
    assert supervisor.child("bad").log == ("one", "two")
    assert supervisor.child("bad").state is State.RUNNING


async def test_one_that_fails_disturbs_no_other(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec("--exit", 1, name="broken", ready=_never), bad.spec(name="good"))
    await supervisor.start()
    good = supervisor.child("good")
    assert good.state is State.RUNNING
    await until(lambda: supervisor.child("broken").restarts >= 2)
    assert supervisor.child("good") == good


async def test_who_is_not_needed_is_not_waited_for(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec("--delay", 20, needed=False, ready_timeout=30))
    async with asyncio.timeout(2):
        await supervisor.start()
    assert supervisor.child("bad").state is State.STARTING


async def test_a_missing_program_is_tried_again_and_named(bad: Bad, make: Make) -> None:
    async def command() -> Command:
        return Command(("no-such-program",), env={"PATH": "/usr/bin"})

    supervisor = make(ChildSpec("bad", command, _never))
    await supervisor.start()
    status = supervisor.child("bad")
    assert (status.state, status.last_error) == (State.BACKOFF, "no-such-program is not installed")


@pytest.mark.parametrize("error", [ConfigError("the port is a word"), KeyError("oops")])
async def test_what_a_retry_cannot_mend_has_failed_until_a_restart(
    bad: Bad, make: Make, error: Exception
) -> None:
    spec = bad.spec()
    mended = False

    async def command() -> Command:
        if not mended:
            raise error
        return await spec.command()

    supervisor = make(ChildSpec("bad", command, spec.ready))
    await supervisor.start()
    status = supervisor.child("bad")
    assert status.state is State.FAILED
    assert "the port is a word" in status.last_error or "KeyError" in status.last_error
    mended = True
    assert (await supervisor.restart("bad")).state is State.RUNNING


async def test_a_restart_gives_a_new_process_without_a_pause(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec(), pace=Pace(first=60, longest=60))
    await supervisor.start()
    first = supervisor.child("bad").pid
    status = await supervisor.restart("bad")
    assert status.state is State.RUNNING and status.pid != first and status.restarts == 1
    assert {status.pid} == bad.alive()
    await asyncio.gather(supervisor.restart("bad"), supervisor.restart("bad"))
    assert supervisor.child("bad").state is State.RUNNING and len(bad.alive()) == 1


async def test_a_restart_ends_a_pause(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec("--leave-after", 0.2), pace=Pace(first=60, longest=60))
    await supervisor.start()
    await supervisor.wait("bad", State.BACKOFF, seconds=5)
    assert (await supervisor.restart("bad")).state is State.RUNNING


async def test_stopping_while_it_starts_or_waits_leaves_nothing(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec("--delay", 20, ready_timeout=30), pace=Pace(first=60, longest=60))
    starting = asyncio.create_task(supervisor.start())
    await until(bad.alive)
    await supervisor.stop()
    await starting
    assert supervisor.child("bad").state is State.STOPPED and not bad.alive()
    again = make(bad.spec("--exit", 1, ready=_never), pace=Pace(first=60, longest=60))
    await again.start()
    await again.stop()
    assert again.child("bad").state is State.STOPPED


async def test_stopping_twice_and_before_a_start_is_harmless(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec())
    await supervisor.stop()
    await supervisor.start()
    await asyncio.gather(supervisor.stop(), supervisor.stop())
    await supervisor.start()
    assert supervisor.child("bad").state is State.RUNNING


async def test_a_cancelled_stop_still_ends_the_child(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec("--ignore-term", stop_grace=0.5))
    await supervisor.start()
    stopping = asyncio.create_task(supervisor.stop())
    await supervisor.wait("bad", State.STOPPING, seconds=1)
    stopping.cancel()
    with suppress(asyncio.CancelledError):
        await stopping
    await supervisor.wait("bad", State.STOPPED, seconds=3)
    assert not bad.alive()


async def test_changes_are_told_as_they_happen(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec("--leave-after", 0.3))
    seen: list[str] = []

    async def listen() -> None:
        async for statuses in supervisor.changes():
            seen.append(str(statuses[0].state))

    listening = asyncio.create_task(listen())
    await supervisor.start()
    await until(lambda: seen.count("running") >= 2)
    listening.cancel()
    with suppress(asyncio.CancelledError):
        await listening
    assert seen[:6] == ["stopped", "starting", "running", "backoff", "starting", "running"]


async def test_waiting_for_a_state_ends_in_words(bad: Bad, make: Make) -> None:
    supervisor = make(bad.spec())
    await supervisor.start()
    with pytest.raises(Unavailable, match=r"bad is still running after 0\.1 s"):
        await supervisor.wait("bad", State.FAILED, seconds=0.1)
    with pytest.raises(NotFound):
        supervisor.child("other")
    with pytest.raises(ValueError, match="one name"):
        make(bad.spec(), bad.spec())


async def test_children_stop_in_the_order_given(bad: Bad, make: Make) -> None:
    supervisor = make(*(bad.spec(name=name) for name in ("first", "second")))
    await supervisor.start()
    stopped: list[str] = []

    async def listen() -> None:
        async for statuses in supervisor.changes():
            stopped.extend(
                each.name
                for each in statuses
                if each.state is State.STOPPED and each.name not in stopped
            )

    listening = asyncio.create_task(listen())
    await supervisor.stop()
    await until(lambda: len(stopped) == 2)
    listening.cancel()
    await asyncio.wait({listening})
    assert stopped == ["first", "second"]


def test_a_status_is_plain_data() -> None:
    fields = set(ChildStatus.__dataclass_fields__)
    assert fields >= {"name", "state", "pid", "restarts", "last_error", "since", "ready", "log"}


async def _never() -> bool:
    return False
