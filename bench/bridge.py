"""Measure the bridge: exports and pushes beside the plain tools, from push to mirrored, at rest.

    .venv/bin/python bench/bridge.py            everything, some minutes
    .venv/bin/python bench/bridge.py export     one part: export, latency, rest

Needs nothing but a set-up checkout, Fossil and Git. Prints a Markdown table for
docs/benchmarks.md. Loads are bounded, everything is on loopback and ends by itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.host import Rows, _cpu, _pss, folder, quantiles
from fossilrepo.tools import git_export
from fossilrepo.tools.fossil import Limits
from tests.helpers.git_servers import TOKEN, USER, HttpGit, bare, git, http_git
from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until_sync

CHECKINS = 5000
REST_SECONDS = 30.0


def imported(where: Path) -> Path:
    """A repository with CHECKINS check-ins, 50 MB of content, as Fossil's own import makes it."""
    file = where / "large.fossil"
    if not file.exists():
        script = Path(__file__).with_name("history.py")
        stream = where / "stream"
        with stream.open("wb") as out:
            words = [sys.executable, str(script), "--checkins", str(CHECKINS), "--megabytes", "50"]
            subprocess.run(words, stdout=out, check=True)
        source = where / "source.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "trunk", str(source)], check=True)
        inside = ["git", "-C", str(source)]
        with stream.open("rb") as given:
            subprocess.run([*inside, "fast-import", "--quiet"], stdin=given, check=True)
        with stream.open("wb") as out:
            subprocess.run([*inside, "fast-export", "--all"], stdout=out, check=True)
        with stream.open("rb") as given:
            fossil(where, "import", "--git", str(file), stdin=given)
        stream.unlink()
    return file


def fossil(where: Path, *words: str, stdin: object = None) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(where), "USER": "bench"}
    subprocess.run(
        ["fossil", *words], cwd=where, env=env, stdin=stdin, check=True, capture_output=True
    )


def timed(work: object) -> float:
    began = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - began


def export(where: Path) -> Rows:
    """From nothing and after one more check-in, with the push to an empty repository."""
    file = imported(where)
    ours: dict[str, list[float]] = {"new": [], "push": [], "more": []}
    theirs: dict[str, list[float]] = {"new": [], "push": [], "more": []}
    for number in range(3):
        here, there = where / f"ours{number}", where / f"theirs{number}"

        def run_ours(folder: Path = here) -> None:
            asyncio.run(git_export.export(file, folder, identity=None, limits=Limits()))

        def run_theirs(folder: Path = there) -> None:
            fossil(where, "git", "export", str(folder), "-R", str(file), "--mainbranch", "main")

        for times, run, place in (
            (ours, run_ours, git_export.git_dir(here)),
            (theirs, run_theirs, there),
        ):
            times["new"].append(timed(run))
            target = bare(where, f"target-{place.name}-{id(times)}-{number}.git")
            push = partial(git, place, "push", "-q", str(target), "refs/heads/*", "refs/tags/*")
            times["push"].append(timed(push))
        one_more(where, file, number)
        for times, run in ((ours, run_ours), (theirs, run_theirs)):
            times["more"].append(timed(run))
    rows = []
    for key, what in (
        ("new", f"export of {CHECKINS:,} check-ins from nothing"),
        ("push", "push of it to an empty repository on the same disk"),
        ("more", "export after one more check-in"),
    ):
        ratio = min(ours[key]) / min(theirs[key])
        rows.append((f"{what}, s", quantiles(ours[key], 1, 2)))
        told = f"{quantiles(theirs[key], 1, 2)} (ratio {ratio:.2f})"
        rows.append(("the same by `fossil git export` and `git push`, s", told))
    return rows


def one_more(where: Path, file: Path, number: int) -> None:
    checkout = where / "checkout"
    if not checkout.exists():
        checkout.mkdir()
        fossil(checkout, "open", "--nosync", str(file))
    (checkout / f"more{number}.txt").write_text("x" * (number + 1))
    fossil(checkout, "add", f"more{number}.txt")
    fossil(
        checkout, "commit", "-m", f"one more {number}", "--no-warnings", "--nosync", "--allow-fork"
    )


@contextmanager
def git_server(where: Path) -> Iterator[HttpGit]:
    """In a thread of its own."""
    started, found, ends = threading.Event(), [], []

    async def serve() -> None:
        async with http_git(where) as one:
            ends.append((asyncio.get_running_loop(), asyncio.Event()))
            found.append(one)
            started.set()
            await ends[0][1].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait(10)
    try:
        yield found[0]
    finally:
        ends[0][0].call_soon_threadsafe(ends[0][1].set)
        thread.join(10)


def host_in(where: Path) -> Host:
    settings = {"FOSSILREPO_SYNC__ALLOWED_NETWORKS": '["127.0.0.0/8"]'}
    return Host(where / "data", settings).start()


def latency(where: Path) -> Rows:
    """From the end of a push until the remote was read back and is equal, 20 pushes each."""
    rows: Rows = []
    served = where / "served"
    served.mkdir()
    host = host_in(where)
    host.admin("ada")
    try:
        with git_server(served) as server:
            host.call("repo", "create", "small")
            host.call("repo", "import", "large", "--file", str(imported(where)))
            for name in ("small", "large"):
                remote = bare(served, f"{name}.git")
                made = _added(host, name, server)
                until_sync(partial(_in_sync, host, made), timeout=120, what="the first run")
                password = host.fossil_password("ada", name)
                url = host.url(name, "ada", password)
                checkout = Checkout.cloned(url, where / f"co-{name}", "ada")
                samples = [_one_push(checkout, remote, number) for number in range(20)]
                count = "1" if name == "small" else f"{CHECKINS:,}"
                rows.append(
                    (f"push to mirrored, {count} check-ins before, s", quantiles(samples, 1, 2))
                )
    finally:
        host.stop()
    return rows


def _added(host: Host, name: str, server: HttpGit) -> str:
    done = host.call(
        "mirror", "add", name, server.url(f"{name}.git"), "--user", USER, "--token-stdin", "--json",
        stdin=TOKEN + "\n",
    )  # fmt: skip
    return str(json.loads(done.stdout)["id"])


def _in_sync(host: Host, mirror_id: str) -> bool:
    return bool(host.json("mirror", "show", mirror_id)["state"] == "in-sync")


def _one_push(checkout: Checkout, remote: Path, number: int) -> float:
    """What is asked for is the remote's own ref: asking the host would slow it down."""
    checkin = checkout.commit(f"bench{number}.txt", "x" * (number + 1), f"bench {number}")
    checkout.push()
    began = time.perf_counter()

    def is_there() -> bool:
        heads = git(remote, "log", "--branches", "-3", "--format=%B")
        return checkin in heads

    until_sync(is_there, timeout=60, every=0.02)
    return time.perf_counter() - began


def rest(where: Path) -> Rows:
    """200 mirrors with nothing to do, beside 200 repositories without."""
    served = where / "served"
    served.mkdir()
    host = host_in(where)
    try:
        for number in range(200):
            host.call("repo", "create", f"r{number}")
        assert host.process is not None
        pids = [host.process.pid]
        time.sleep(15)
        before = _used(pids)
        with git_server(served) as server:
            for number in range(200):
                bare(served, f"r{number}.git")
            url = server.url("{name}.git").replace("%7B", "{").replace("%7D", "}")
            host.call(
                "mirror", "rule", "add", "main", url, "--user", USER, "--token-stdin",
                stdin=TOKEN + "\n",
            )  # fmt: skip
            until_sync(partial(_all_in_sync, host), timeout=240, every=2.0, what="200 mirrors")
            first = max(one["last_seconds"] for one in host.json("mirror", "list"))
            time.sleep(10)
            after = _used(pids)
    finally:
        host.stop()
    return [
        ("our process at rest, 200 repositories, % of a core / MiB PSS", before),
        ("the same with 200 mirrors in sync", after),
        ("slowest first run of the 200, s", f"{first:.2f}"),
    ]


def _all_in_sync(host: Host) -> bool:
    found = host.json("mirror", "list")
    return len(found) == 200 and all(one["state"] == "in-sync" for one in found)


def _used(pids: list[int]) -> str:
    before = _cpu(pids)
    time.sleep(REST_SECONDS)
    share = (_cpu(pids) - before) / REST_SECONDS * 100
    return f"{share:.1f} / {_pss(pids):.1f}"


def main() -> None:
    parts = {"export": export, "latency": latency, "rest": rest}
    chosen = sys.argv[1:] or list(parts)
    print("| what | measured |\n| --- | --- |")
    for name in chosen:
        with folder() as where:
            for what, measured in parts[name](where):
                print(f"| {what} | {measured} |", flush=True)


if __name__ == "__main__":
    main()
