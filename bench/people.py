"""Measure people: rights written into every repository, signing in, and the audit page.

    .venv/bin/python bench/people.py              everything, some minutes
    .venv/bin/python bench/people.py projection   one part: projection, signin, audit

Needs nothing but a set-up checkout and Fossil. Prints a Markdown table for docs/benchmarks.md.
Loads are bounded, everything is on loopback and ends by itself.
"""

from __future__ import annotations

import asyncio
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

sys.path.insert(0, str(Path(__file__).parents[1]))

from fossilrepo.config import Settings
from fossilrepo.core import open_core
from fossilrepo.models import Actor, Repository, RepositoryState, Trust, Visibility, new_id, now
from fossilrepo.rights import MemberRole, Role
from fossilrepo.services import Services
from tests.helpers.site import PASSWORD, Browser, roomy, served

Rows = list[tuple[str, str]]
HOST = Actor.command_line()
USERS, REPOSITORIES = 200, 500
AT_ONCE, ROUNDS = 20, 5
ENTRIES, ASKED = 10_000, 40


def _loud(name: str, error: BaseException) -> None:
    raise SystemExit(f"{name}: {error}")


async def projection(where: Path) -> Rows:
    """200 members of the organization that owns 500 repositories, written into all of them."""
    settings = roomy(Settings(data_dir=str(where / "data")))
    async with open_core(settings, _loud) as core:
        services = core.services
        await _people(services)
        made = await services.repos.create(HOST, "r0", visibility=Visibility.PRIVATE)
        source = core.shelf.file(made.id)
        store = core.folder._store  # rows as `create` would make them, without 500 times Fossil
        for number in range(1, REPOSITORIES):
            row = Repository(
                id=new_id(),
                name=f"r{number}",
                title="",
                description="",
                org="main",
                visibility=Visibility.PRIVATE,
                state=RepositoryState.ACTIVE,
                trust=Trust.OWN,
                created_at=now(),
                created_by="bench",
                project_code=made.project_code,
            )
            await asyncio.to_thread(shutil.copyfile, source, core.shelf.file(row.id))
            await store.add(row)
        took: dict[str, float] = {}
        for what, role in (("first", Role.WRITE), ("another role", Role.READ)):
            began = time.perf_counter()
            await services.organizations.configure(HOST, "main", default_role=role)
            took[what] = time.perf_counter() - began
        began = time.perf_counter()
        await core.folder._projection.project_all()
        took["nothing differs"] = time.perf_counter() - began
        files = [core.shelf.file(row.id) for row in await store.all()]
        took["plain"] = await asyncio.to_thread(_plain, files)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        (f"{USERS} users into {REPOSITORIES} repositories, new, seconds", f"{took['first']:.1f}"),
        ("the same, another role for all, seconds", f"{took['another role']:.1f}"),
        ("the same, when nothing differs, seconds", f"{took['nothing differs']:.1f}"),
        (
            "plain SQLite: the same rows, one transaction each, seconds",
            f"{took['plain']:.1f} (ratio {took['another role'] / took['plain']:.2f})",
        ),
        ("memory of the process at its peak, MiB", f"{peak:.0f}"),
    ]


async def _people(services: Services) -> None:
    for number in range(USERS):
        login = f"user{number:03}"
        await services.accounts.create_user(HOST, login)
        await services.organizations.set_member(HOST, "main", login, MemberRole.MEMBER)


def _plain(files: list[Path]) -> float:
    """Every user's row of every file changed and written, four files at a time as we do."""
    turns = iter(files)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                path = next(turns, None)
            if path is None:
                return
            with closing(sqlite3.connect(path, timeout=10)) as db, db:
                db.executemany(
                    "UPDATE user SET cap = ?, mtime = ? WHERE login = ?",
                    [("ghi", int(time.time()), f"user{n:03}") for n in range(USERS)],
                )

    began = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


async def signin(where: Path) -> Rows:
    """Twenty people sign in at once, over HTTP, as often as there are rounds."""
    async with served(roomy(Settings(data_dir=str(where / "data")))) as site:
        for number in range(AT_ONCE):
            await site.person(f"user{number:02}")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        samples: list[float] = []

        async def one(number: int) -> None:
            browser = site.browser()
            began = time.perf_counter()
            await browser.sign_in(f"user{number:02}", PASSWORD)
            samples.append(time.perf_counter() - began)

        alone: list[float] = []
        for number in range(ROUNDS):
            await one(number)
            alone.append(samples.pop())
        for _ in range(ROUNDS):
            await asyncio.gather(*(one(number) for number in range(AT_ONCE)))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    hasher = PasswordHasher()
    hashed = hasher.hash(PASSWORD)
    began = time.perf_counter()
    for _ in range(ROUNDS):
        hasher.verify(hashed, PASSWORD)
    verify = (time.perf_counter() - began) / ROUNDS
    ordered, middle = sorted(samples), statistics.median(alone)
    return [
        ("argon2 verify alone, ms", f"{verify * 1000:.0f}"),
        (
            "one person signs in, page after it included, ms",
            f"{middle * 1000:.0f} (ratio {middle / verify:.1f})",
        ),
        (
            f"{AT_ONCE} at once, ms (min / median / max)",
            f"{ordered[0] * 1000:.0f} / {statistics.median(ordered) * 1000:.0f} / "
            f"{ordered[-1] * 1000:.0f}",
        ),
        ("more memory at the peak of it, MiB", f"{after - before:.0f}"),
    ]


async def audit(where: Path) -> Rows:
    """Pages of a long audit log, each asked for in turn with the page that costs least."""
    settings = roomy(Settings(data_dir=str(where / "data")))
    async with served(settings) as site:
        at = int(time.time())
        rows = [
            (
                datetime.fromtimestamp(at - ENTRIES + number, UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
                f"user{number % 200:03}",
                "192.0.2.1",
                ("repository.configure", "grant", "person.configure")[number % 3],
                f"r{number % 500}",
                '{"before": {"title": "a"}, "after": {"title": "b"}}',
            )
            for number in range(ENTRIES)
        ]
        with closing(sqlite3.connect(settings.database_file, timeout=10)) as db, db:
            db.executemany(
                "INSERT INTO audit (at, actor, address, action, subject, detail) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )
        browser = await site.admin()
        pages = {
            "the newest page": "/audit",
            "a page in the middle": f"/audit?before={ENTRIES // 2}",
            "words that stand nowhere": "/audit?q=nothing+here",
            "one person, one action": "/audit?actor=user001&action=person.",
            "since a day": "/audit?since=2001-01-01",
            "one repository": "/audit?repository=r7",
        }
        least: list[float] = []
        took: dict[str, list[float]] = {name: [] for name in pages}
        for _ in range(ASKED):
            least.append(await _asked(browser, "/healthz"))
            for name, path in pages.items():
                took[name].append(await _asked(browser, path))
        exports = [await _asked(browser, "/audit/export?format=csv") for _ in range(ROUNDS)]
    plain = statistics.median(least)
    return [
        ("`/healthz`, ms (median / worst)", f"{plain * 1000:.1f} / {max(least) * 1000:.1f}"),
        *(
            (
                f"audit log of {ENTRIES:,}: {name}, ms (median / worst)",
                f"{statistics.median(samples) * 1000:.1f} / {max(samples) * 1000:.1f} "
                f"(ratio {statistics.median(samples) / plain:.1f})",
            )
            for name, samples in took.items()
        ),
        (
            f"export of {ENTRIES:,} entries as CSV, ms (median / worst)",
            f"{statistics.median(exports) * 1000:.0f} / {max(exports) * 1000:.0f}",
        ),
    ]


async def _asked(browser: Browser, path: str) -> float:
    began = time.perf_counter()
    answer = await browser.get(path)
    took = time.perf_counter() - began
    assert answer.status == 200, (path, answer.status)
    return took


PARTS: dict[str, Callable[[Path], Coroutine[Any, Any, Rows]]] = {
    "projection": projection,
    "signin": signin,
    "audit": audit,
}


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    version = subprocess.run(["fossil", "version"], capture_output=True, text=True, check=True)
    print(f"{version.stdout.split()[4]}, SQLite {sqlite3.sqlite_version}")
    print("| what | measured |\n| --- | --- |")
    for part in wanted:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            for what, measured in asyncio.run(PARTS[part](Path(folder))):
                print(f"| {what} | {measured} |", flush=True)


if __name__ == "__main__":
    main()
