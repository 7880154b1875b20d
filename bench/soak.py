r"""A host under everything at once for some minutes, while its programs are killed at random.

    .venv/bin/python bench/soak.py [--minutes 20] [--repositories 50] [--seed 1] \
        [--caddy] [--postgresql]

Needs the tests' environment. Clones, pushes, browsing, creates, renames, deletes, restores and
mirrors run at once; fossil, litestream, git, the host itself and the S3 server die by a plan that
the seed decides; with the options Caddy and the database too. Ends by itself, and with 1 when
anything that must hold does not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.host import _pss, folder
from tests.helpers import postgres, s3
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
def database() -> Iterator[tuple[Path, str]]:
    """A PostgreSQL server of its own: its folder, and the address of an empty database."""
    with postgres.cluster() as url:
        folder = Path(parse_qs(urlsplit(url).query)["host"][0])
        asyncio.run(postgres._execute(url, "CREATE DATABASE soak"))
        yield folder, postgres.url(folder, "soak")


@contextmanager
def ready(
    where: Path, plan: Plan, *, caddy: bool = False, cluster: Path | None = None, **more: str
) -> Iterator[Soak]:
    """A host with S3 and Git beside it, filled; its port stays when it is started again."""
    (where / "s3").mkdir()
    https = s3._free_port() if caddy else 0
    if caddy:
        more |= {
            "FOSSILREPO_CADDY__ENABLED": "true",
            "FOSSILREPO_CADDY__HTTPS_PORT": str(https),
            "FOSSILREPO_CADDY__HTTP_PORT": str(s3._free_port()),
            "FOSSILREPO_CADDY__BIND": "127.0.0.1",
        }
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
            soak = Soak(plan, host, bucket, where, https, cluster)
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
    parser.add_argument("--caddy", action="store_true")
    parser.add_argument("--postgresql", action="store_true")
    given = parser.parse_args()
    extra = (given.caddy, "caddy"), (given.postgresql, "database")
    plan = Plan(
        seconds=min(given.minutes, 60.0) * 60,
        repositories=given.repositories,
        faults=(*FAULTS, *(name for asked, name in extra if asked)),
        fault_every=10.0,
        seed=given.seed,
    )
    with ExitStack() as stack:
        where, cluster, settings = stack.enter_context(folder()), None, {}
        if given.postgresql:
            cluster, url = stack.enter_context(database())
            settings["FOSSILREPO_DATABASE__URL"] = url
        soak = stack.enter_context(
            ready(where, plan, caddy=given.caddy, cluster=cluster, **settings)
        )
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
