"""Any moment back: what a restore to a moment holds, against pushes at known times."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fossilrepo.config import Backup, Settings
from fossilrepo.tools import litestream
from fossilrepo.tools.targets import target_of
from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until_sync
from tests.helpers.pushes import Push, Pusher, checkins, is_noticed

Fresh = Callable[..., Host]
Clone = Callable[..., Checkout]
REPOSITORIES = 4
PUSHES, SOME_PUSHES = 200, 80
MOMENTS, SOME_MOMENTS = 50, 20
WITHIN = 1.0  # seconds from the acknowledgement to the replica, as promised


def test_moments_hold_what_was_acknowledged_before_them_and_nothing_later(
    fresh: Fresh, clone: Clone, tmp_path: Path, full: bool
) -> None:
    """Fifty moments of two hundred pushes with `--long`."""
    pushes_made, moments = (PUSHES, MOMENTS) if full else (SOME_PUSHES, SOME_MOMENTS)
    replica = tmp_path / "replica"
    host = fresh(FOSSILREPO_BACKUP__URL=f"file://{replica}")
    host.admin()
    pushers = []
    for number in range(REPOSITORIES):
        host.call("repo", "create", f"r{number}")
        pushers.append(Pusher(f"r{number}", clone(f"r{number}", f"c{number}", on=host)))
    before_all = time.time()
    _together(pushers, pushes_made // REPOSITORIES)
    pushes = [push for pusher in pushers for push in pusher.done]
    assert len(pushes) == pushes_made
    ids = {row["name"]: row["id"] for row in host.json("repo", "list")}
    last = max(pushes, key=lambda push: push.acknowledged)
    until_sync(
        lambda: is_noticed(last) and _all_current(host),
        timeout=20,
        what="everything on the replica",
    )
    settings = Settings(data_dir=str(host.data), backup=Backup(url=f"file://{replica}"))
    rng = random.Random(20261124)
    times = [rng.uniform(before_all, pushes[-1].acknowledged + 1) for _ in range(moments)]

    async def restored(number: int, moment: float | None) -> tuple[str, set[str]]:
        name = f"r{number % REPOSITORIES}"
        out = tmp_path / f"out-{number}-{moment}.fossil"
        at = None if moment is None else datetime.fromtimestamp(moment, UTC)
        await litestream.restore(target_of(settings), f"{ids[name]}.fossil", out, at=at)
        return name, await asyncio.to_thread(checkins, out)

    async def all_of_them() -> list[tuple[str, set[str]]]:
        found = [await restored(number, moment) for number, moment in enumerate(times)]
        return [*found, *[await restored(number, None) for number in range(REPOSITORIES)]]

    found = asyncio.run(all_of_them())
    for moment, (name, held) in zip([*times, *[time.time()] * REPOSITORIES], found, strict=True):
        mine = [push for push in pushes if push.repository == name]
        _holds_exactly(held, mine, moment)


def _holds_exactly(held: set[str], pushes: list[Push], moment: float) -> None:
    ours = held & {push.checkin for push in pushes}
    must = {push.checkin for push in pushes if push.acknowledged <= moment - WITHIN}
    may = {push.checkin for push in pushes if push.began <= moment}
    assert must <= ours, f"{len(must - ours)} acknowledged check-ins are missing"
    assert ours <= may, f"{len(ours - may)} check-ins are later than the moment"
    # One after the other was pushed: what is there has no gap.
    ordered = [push.checkin for push in pushes]
    assert ours == set(ordered[: len(ours)])


def test_the_edges_of_time(fresh: Fresh, clone: Clone, tmp_path: Path) -> None:
    host = fresh()
    host.admin()
    before = datetime.now(UTC).isoformat(timespec="milliseconds")
    host.call("repo", "create", "edges")
    pusher = Pusher("edges", clone("edges", on=host))
    for _ in range(3):  # of pushes within one sync only the last state is a moment of its own
        _pushed_and_replicated(host, pusher)
    everything = {push.checkin for push in pusher.done}
    for number, when in enumerate(("now", "latest")):
        out = tmp_path / f"{number}.fossil"
        host.call("backup", "restore", "edges", "--at", when, "--to", str(out))
        assert everything <= checkins(out)
    out = tmp_path / "newest.fossil"
    host.call("backup", "restore", "edges", "--to", str(out))
    assert everything <= checkins(out)
    early = host.call(
        "backup", "restore", "edges", "--at", before, "--to", str(tmp_path / "no"), check=False
    )
    assert early.returncode != 0 and "hint:" in early.stderr
    assert not (tmp_path / "no").exists()
    out = tmp_path / "before.fossil"
    third = pusher.done[2].checkin
    host.call("backup", "restore", "edges", "--at", f"before {third[:12]}", "--to", str(out))
    assert checkins(out) & everything == everything - {third}


def test_a_moment_before_an_in_place_restore_and_one_after_it(
    fresh: Fresh, clone: Clone, tmp_path: Path
) -> None:
    host = fresh()
    host.admin()
    host.call("repo", "create", "twice")
    pusher = Pusher("twice", clone("twice", on=host))
    for _ in range(3):
        _pushed_and_replicated(host, pusher)
    first, _second, third = [push.checkin for push in pusher.done]
    live = (host.data / "repos" / "twice.fossil").resolve()
    full = checkins(live)
    until_sync(lambda: _all_current(host), what="everything on the replica")
    time_before = datetime.now(UTC).isoformat(timespec="milliseconds")
    host.call("backup", "restore", "twice", "--at", f"before {third[:12]}", "--in-place", "--yes")
    after = checkins(live)
    assert first in after and third not in after
    out = tmp_path / "before-the-restore.fossil"
    host.call("backup", "restore", "twice", "--at", time_before, "--to", str(out))
    assert checkins(out) == full
    out = tmp_path / "after-the-restore.fossil"
    host.call("backup", "restore", "twice", "--at", "now", "--to", str(out))
    assert checkins(out) == after
    host.call("backup", "undo", "twice", "--yes")
    assert checkins(live) == full


def _together(pushers: list[Pusher], count: int) -> None:
    threads = [threading.Thread(target=pusher.times, args=(count,)) for pusher in pushers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
        assert not thread.is_alive()


def _pushed_and_replicated(host: Host, pusher: Pusher) -> None:
    push = pusher.once()
    assert push
    until_sync(lambda: is_noticed(push) and _all_current(host), what="everything on the replica")


def _all_current(host: Host) -> bool:
    backup = host.status()["backup"]
    return backup["state"] == "current" and not backup["behind"]
