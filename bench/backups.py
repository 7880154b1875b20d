"""Measure the backups: lag, cost of Litestream, restores beside `cp`, verification, rebuild.

    .venv/bin/python bench/backups.py            everything, some fifteen minutes
    .venv/bin/python bench/backups.py lag        one part: lag, cost, restore, verify, rebuild

Needs a set-up checkout with the tests' packages. Prints a Markdown table for docs/benchmarks.md.
Everything is on loopback, replicas are folders, loads are bounded and end by themselves.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.host import Rows, _cpu, _pss, folder, quantiles
from tests.helpers.host import Checkout, Host, below
from tests.helpers.poll import until_sync
from tests.helpers.pushes import Pusher

PUSHES = 100
IDLE = 30  # seconds
SIZES = (1, 50, 200)  # MB
RUNS = 3


def lag(where: Path) -> Rows:
    """From the end of the client's push to the object in the replica's folder."""
    rows: Rows = []
    for count in (10, 500):
        host = _with_repositories(where / f"lag-{count}", count)
        identity = host.json("repo", "show", "r0")["id"]
        url = host.url("r0", "ada", host.fossil_password("ada", "r0"))
        pusher = Pusher("r0", Checkout.cloned(url, where / f"client-{count}", "ada"))
        objects = host.data / "backups" / f"{identity}.fossil" / "ltx" / "0"
        pusher.once()
        samples = [_lag(pusher, objects) for _ in range(PUSHES)]
        rows.append((f"push acknowledged to object, {count} repositories, ms", quantiles(samples)))
        host.stop()
    return rows


def _lag(pusher: Pusher, objects: Path) -> float:
    """Seconds, 0 when the object was there before the client had ended.

    A push may be several transactions, the last of which counts: no new object for 0.3 s.
    """
    push = pusher.once()
    assert push is not None
    newest, seen = 0.0, time.time()
    while time.time() - seen < 0.3 or newest < push.began:
        found = max(map(_time, os.scandir(objects)), default=0.0)
        if found > newest:
            newest, seen = found, time.time()
        if time.time() - push.acknowledged > 10:
            raise AssertionError("no object within 10 s")
        time.sleep(0.002)
    return max(0.0, newest - push.acknowledged)


def _time(entry: os.DirEntry[str]) -> float:
    try:
        return 0.0 if entry.name.endswith(".tmp") else entry.stat().st_mtime
    except FileNotFoundError:  # compacted away meanwhile
        return 0.0


def cost(where: Path) -> Iterator[tuple[str, str]]:
    """What Litestream and all of us cost when nothing happens."""
    for count in (10, 100, 500, 1000):
        host = _with_repositories(where / f"cost-{count}", count)
        time.sleep(10)
        child = host.child("litestream")["pid"]
        everything = host.pids()
        before = _cpu(below(child)), _cpu(everything)
        time.sleep(IDLE)
        after = _cpu(below(child)), _cpu(everything)
        used = [100 * (then - first) / IDLE for first, then in zip(before, after, strict=True)]
        memory = _pss(below(child))
        handles = len(os.listdir(f"/proc/{child}/fd"))
        yield f"Litestream at {count} repositories, MiB PSS", f"{memory:.0f}"
        yield f"Litestream at {count} repositories, idle, % of a core", f"{used[0]:.1f}"
        yield f"all processes at {count} repositories, idle, % of a core", f"{used[1]:.1f}"
        yield f"open handles of Litestream at {count} repositories", str(handles)
        yield f"all processes at {count} repositories, MiB PSS", f"{_pss(everything):.0f}"
        host.stop()


def restore(where: Path) -> Rows:
    """One file out of the replica's folder, beside `cp` of the same size."""
    host = Host(where / "restore").start()
    host.admin()
    rows: Rows = []
    for size in SIZES:
        name = f"s{size}"
        host.call("repo", "create", name)
        url = host.url(name, "ada", host.fossil_password("ada", name))
        checkout = Checkout.cloned(url, where / f"client-{name}", "ada")
        checkout.commit("big.bin", os.urandom(size * 10**6))
        checkout.push()
        until_sync(lambda: _current(host), timeout=60, what="everything on the replica")
        live = (host.data / "repos" / f"{name}.fossil").resolve()
        plain, ours, command = [], [], []
        for number in range(RUNS):
            copy, out = where / f"copy-{name}-{number}", where / f"out-{name}-{number}.fossil"
            began = time.perf_counter()
            shutil.copyfile(live, copy)
            os.sync()
            plain.append(time.perf_counter() - began)
            began = time.perf_counter()
            done = host.call("backup", "restore", name, "--to", str(out))
            command.append(time.perf_counter() - began)
            assert out.exists(), done.stderr
            ours.append(_plain_restore(host, name, where / f"plain-{name}-{number}"))
        rows += [
            (f"cp of {size} MB and sync, seconds", quantiles(plain, 1, 2)),
            (f"restore of {size} MB from a folder by Litestream, seconds", quantiles(ours, 1, 2)),
            (f"`backup restore --to` of {size} MB, checked, seconds", quantiles(command, 1, 2)),
        ]
    host.stop()
    return rows


def _plain_restore(host: Host, name: str, out: Path) -> float:
    import asyncio

    from fossilrepo.config import Settings
    from fossilrepo.tools import litestream
    from fossilrepo.tools.targets import target_of

    identity = host.json("repo", "show", name)["id"]
    target = target_of(Settings(data_dir=str(host.data)))
    began = time.perf_counter()
    asyncio.run(litestream.restore(target, f"{identity}.fossil", out))
    return time.perf_counter() - began


def verify(where: Path) -> Rows:
    """Trial restores with all their checks."""
    host = _with_repositories(where / "verify", 50)
    began = time.perf_counter()
    host.call("backup", "verify")
    seconds = time.perf_counter() - began
    host.stop()
    return [
        ("verification of 50 small repositories, repositories per second", f"{51 / seconds:.1f}")
    ]


def rebuild(where: Path) -> Rows:
    """A blank machine from the replica."""
    host = _with_repositories(where / "rebuild", 200)
    host.stop()
    new = Host(where / "rebuilt")
    key = str(host.data / "secret.key")
    source = f"file://{host.data / 'backups'}"
    began = time.perf_counter()
    done = new.call("backup", "rebuild", "--from", source, "--key-file", key, "--json")
    seconds = time.perf_counter() - began
    assert len(json.loads(done.stdout)["repositories"]) == 200
    return [("rebuild of 200 small repositories from a folder, seconds", f"{seconds:.1f}")]


def _with_repositories(data: Path, count: int) -> Host:
    """A host with this many repositories, all of them on the replica."""
    host = Host(data).start()
    host.admin()
    host.call("repo", "create", "r0")
    template = data.with_name(f"{data.name}-template.fossil")
    host.call("repo", "export", "r0", str(template))
    host.stop()
    host.start()
    for number in range(1, count):
        shutil.copy(template, host.data / "repos" / f".r{number}")
        (host.data / "repos" / f".r{number}").rename(host.data / "repos" / f"r{number}.fossil")
    until_sync(
        lambda: host.status()["repositories"] == count, timeout=300, every=1, what="adoption"
    )
    until_sync(lambda: _current(host), timeout=200, every=1, what="everything on the replica")
    return host


def _current(host: Host) -> bool:
    backup = host.status()["backup"]
    return backup["state"] == "current" and not backup["behind"]


PARTS = {"lag": lag, "cost": cost, "restore": restore, "verify": verify, "rebuild": rebuild}


def main() -> None:
    chosen = sys.argv[1:] or list(PARTS)
    print("| what | measured |\n| --- | --- |")
    for part in chosen:
        with folder() as where:
            for what, figure in PARTS[part](where):
                print(f"| {what} | {figure} |", flush=True)


if __name__ == "__main__":
    main()
