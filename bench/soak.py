"""A host under everything at once for some minutes, while its programs are killed at random.

    .venv/bin/python bench/soak.py [--minutes 20] [--repositories 50] [--seed 1]

Needs the tests' environment. Clones, pushes, browsing, creates, renames, deletes, restores and
mirrors run at once; fossil, litestream, git, the host itself and the S3 server die by a plan that
the seed decides. Ends by itself, and with 1 when anything that must hold does not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.host import _pss, folder
from tests.helpers import s3
from tests.helpers.git_servers import TOKEN, USER, HttpGit, bare, http_git
from tests.helpers.host import Host
from tests.helpers.soak import FAULTS, Plan, Soak

LOOPBACK = '["127.0.0.0/8"]'
MIRRORED = 3


@contextmanager
def git_server(where: Path) -> Iterator[HttpGit]:
    """In a thread with a loop of its own: the soak blocks."""
    where.mkdir()
    ready, found = threading.Event(), list[HttpGit]()
    end: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        async with http_git(where) as server:
            found.append(server)
            end.append((asyncio.get_running_loop(), asyncio.Event()))
            ready.set()
            await end[0][1].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(20), "the Git server does not start"
    try:
        yield found[0]
    finally:
        loop, event = end[0]
        loop.call_soon_threadsafe(event.set)
        thread.join(20)


@contextmanager
def ready(where: Path, plan: Plan, **more: str) -> Iterator[Soak]:
    """A host with S3 and Git beside it, filled; its port stays when it is started again."""
    (where / "s3").mkdir()
    with s3.rclone(where / "s3") as bucket, git_server(where / "git") as server:
        settings = {
            "FOSSILREPO_SERVER__LISTEN": f"127.0.0.1:{s3._free_port()}",
            "FOSSILREPO_BACKUP__URL": "s3://bucket/soak",
            "FOSSILREPO_BACKUP__ENDPOINT": bucket.endpoint,
            "FOSSILREPO_SYNC__ALLOWED_NETWORKS": LOOPBACK,
            **bucket.keys,
            **more,
        }
        host = Host(where / "data", settings, pace={"services.runs.FIRST_PAUSE": 0.5}).start()
        try:
            host.admin()
            soak = Soak(plan, host, bucket, where)
            soak.fill()
            for number in range(min(MIRRORED, plan.repositories)):
                name = f"repo-{number}"
                bare(server.folder, f"{name}.git")
                url = server.url(f"{name}.git")
                words = ("mirror", "add", name, url, "--user", USER, "--token-stdin")
                host.call(*words, stdin=TOKEN + "\n")
                soak.remotes[name] = url
            yield soak
        finally:
            host.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--repositories", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    plan = Plan(
        seconds=min(given.minutes, 60.0) * 60,
        repositories=given.repositories,
        faults=FAULTS,
        fault_every=10.0,
        seed=given.seed,
    )
    with folder() as where, ready(where, plan) as soak:
        before, memory = soak.used(), _pss([_pid(soak)])
        began = time.monotonic()
        soak.run()
        soak.check()
        after = soak.used()
        print(f"| minutes of load | {(plan.seconds) / 60:.1f} |")
        for what, count in sorted(soak.did.items()):
            print(f"| {what} | {count:,} |")
        print(f"| until all was checked, s | {time.monotonic() - began - plan.seconds:.0f} |")
        print(f"| open files before and after | {before[0]}, {after[0]} |")
        print(f"| processes before and after | {before[1]}, {after[1]} |")
        print(f"| memory before and after, MiB PSS | {memory:.0f}, {_pss([_pid(soak)]):.0f} |")
        for problem in soak.problems:
            print(f"PROBLEM: {problem}")
        return 1 if soak.problems else 0


def _pid(soak: Soak) -> int:
    assert soak.host.process is not None
    return soak.host.process.pid


if __name__ == "__main__":
    sys.exit(main())
