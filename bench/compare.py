"""Side by side in one run: fossilrepo, and what one would put together by hand.

    .venv/bin/python bench/compare.py

By hand is a plain `fossil server` on the folder, a Litestream of its own with its defaults, and
`fossil git export` as a cron job would run it. The same repository (5,000 check-ins), the same
machine, one after the other; everything on loopback, bounded, and ended. Needs the tests'
environment. A ratio below 1 means that fossilrepo is quicker or smaller.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.bridge import imported
from bench.host import _pages, _pss, folder
from bench.soak import LOOPBACK, git_server
from tests.helpers.git_servers import TOKEN, USER, bare, git
from tests.helpers.host import Checkout, Host, below
from tests.helpers.poll import until_sync
from tests.helpers.s3 import _free_port

RUNS = 5
NAME, LOGIN, PASSWORD = "large", "ada", "plain-password"
Figures = dict[str, float]


def median(measure: Callable[[], float], runs: int = RUNS) -> float:
    return statistics.median(measure() for _ in range(runs))


def took(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def newest(replica: Path) -> int:
    """When something was last written to the replica of the repository, in nanoseconds."""
    return max((path.stat().st_mtime_ns for path in replica.rglob("*.ltx")), default=0)


def measured(
    url: str, where: Path, replica: Path, remote: Path, mirror: Callable[[], None]
) -> Figures:
    """What a client sees of either; `mirror` makes the remote follow, or waits until it does."""
    figures: Figures = {}
    clones = iter(range(100))

    def clone() -> object:
        return Checkout(where / f"clone{next(clones)}", LOGIN).fossil(
            "clone", "--no-open", url, str(where / f"c{next(clones)}.fossil")
        )

    figures["clone of 5,000 check-ins, s"] = median(lambda: took(clone))
    work = Checkout.cloned(url, where / "work", LOGIN)
    replicas, mirrors = [], []
    for number in range(RUNS):
        made = work.commit("file.txt", f"{number}\n", f"number {number}")
        time.sleep(3)  # what came before is on the replica
        before = newest(replica)
        began = time.perf_counter()
        work.push()
        until_sync(lambda before=before: newest(replica) > before, timeout=60, what="the replica")
        replicas.append(time.perf_counter() - began)
        mirror()
        until_sync(
            lambda made=made: made in git(remote, "log", "-1", "--format=%B", "--all"),
            timeout=60,
            what="the mirror",
        )
        mirrors.append(time.perf_counter() - began)
    figures["from a push to the replica, s"] = statistics.median(replicas)
    figures["from a push to the mirror, s"] = statistics.median(mirrors)
    return figures


def ours(where: Path, file: Path) -> Figures:
    where.mkdir(mode=0o711)
    with git_server(where / "git") as server:
        port = _free_port()
        settings = {
            "FOSSILREPO_SERVER__LISTEN": f"127.0.0.1:{port}",
            "FOSSILREPO_SYNC__ALLOWED_NETWORKS": LOOPBACK,
        }
        host = Host(where / "data", settings).start()
        host.admin(LOGIN)
        host.call("repo", "import", NAME, "--file", str(file), "--visibility", "public")
        host.call("backup", "verify")
        host.stop()
        figures: Figures = {}
        began = time.perf_counter()
        host.launch()
        until_sync(lambda: _answers(port, f"/{NAME}/timeline", NAME), timeout=30, every=0.005)
        figures["start to the first page, s"] = time.perf_counter() - began
        try:
            time.sleep(10)
            figures["memory of all processes at idle, MiB"] = _pss(host.pids())
            named = f"{NAME}.localhost:{host.port}"
            pages = _pages(host.port, f"/{NAME}/timeline", named)
            figures["timeline page, ms"] = statistics.median(pages) * 1000
            remote = bare(server.folder, "ours.git")
            words = ("mirror", "add", NAME, server.url("ours.git"), "--user", USER, "--token-stdin")
            host.call(*words, stdin=TOKEN + "\n")
            until_sync(lambda: host.json("mirror", "list")[0]["state"] == "in-sync", timeout=120)
            identity = host.json("repo", "show", NAME)["id"]
            url = host.url(NAME, LOGIN, host.fossil_password(LOGIN, NAME))
            replica = host.data / "backups" / f"{identity}.fossil"
            figures |= measured(url, where, replica, remote, lambda: None)
        finally:
            host.stop()
    return figures


def _answers(port: int, path: str, name: str) -> bool:
    try:
        return bool(_pages(port, path, f"{name}.localhost:{port}", count=1))
    except (OSError, AssertionError):
        return False


@contextmanager
def running(*argv: str, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(argv, env=env, stdout=quiet, stderr=quiet)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def by_hand(where: Path, file: Path) -> Figures:
    where.mkdir()
    repos, replica = where / "repos", where / "replica"
    repos.mkdir()
    target = repos / f"{NAME}.fossil"
    shutil.copy(file, target)
    env = {"PATH": os.environ["PATH"], "HOME": str(where), "USER": LOGIN}

    def fossil(*words: str) -> None:
        subprocess.run(["fossil", *words], check=True, capture_output=True, env=env)

    fossil("user", "new", LOGIN, "", PASSWORD, "-R", str(target), "--user", "fossilrepo")
    fossil("user", "capabilities", LOGIN, "v", "-R", str(target))
    fossil("user", "capabilities", "nobody", "ghjorz", "-R", str(target))
    config = where / "litestream.yml"
    entry = {"path": str(target), "replica": {"type": "file", "path": str(replica)}}
    config.write_text(json.dumps({"dbs": [entry]}))
    litestream = str(Path(sysconfig.get_path("scripts"), "litestream"))
    port, figures = _free_port(), Figures()
    began = time.perf_counter()
    with (
        running("fossil", "server", "--port", f"127.0.0.1:{port}", str(repos), env=env) as server,
        running(litestream, "replicate", "-config", str(config), env=env) as shipping,
        git_server(where / "git") as remotes,
    ):
        until_sync(lambda: _answers(port, f"/{NAME}/timeline", "x"), timeout=30, every=0.005)
        figures["start to the first page, s"] = time.perf_counter() - began
        time.sleep(10)
        pids = [pid for one in (server, shipping) for pid in below(one.pid)]
        figures["memory of all processes at idle, MiB"] = _pss(pids)
        pages = _pages(port, f"/{NAME}/timeline", "localhost")
        figures["timeline page, ms"] = statistics.median(pages) * 1000
        remote = bare(remotes.folder, "hand.git")
        address = remotes.url("hand.git").replace("://", f"://{USER}:{TOKEN}@")

        def export() -> None:
            fossil("git", "export", str(where / "mirror"), "-R", str(target), "--autopush", address)

        export()
        url = f"http://{LOGIN}:{PASSWORD}@127.0.0.1:{port}/{NAME}"
        figures |= measured(url, where, replica, remote, export)
    return figures


def main() -> None:
    with folder() as where:
        file = imported(where)
        hand, mine = by_hand(where / "hand", file), ours(where / "ours", file)
    print("| what | by hand | fossilrepo | ratio |\n| --- | --- | --- | --- |")
    for what, figure in hand.items():
        print(f"| {what} | {figure:.2f} | {mine[what]:.2f} | {mine[what] / figure:.2f} |")


if __name__ == "__main__":
    main()
