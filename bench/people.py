"""Measure people: what everybody may do written into every repository, and signing in.

    .venv/bin/python bench/people.py              everything, some minutes
    .venv/bin/python bench/people.py projection   one part: projection, signin

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
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

sys.path.insert(0, str(Path(__file__).parents[1]))

from fossilrepo.config import Settings
from fossilrepo.core import open_core
from fossilrepo.models import Actor, Repository, RepositoryState, Trust, Visibility, new_id, now
from fossilrepo.rights import MemberRole, Role
from fossilrepo.services import Services
from tests.helpers.site import PASSWORD, roomy, served

Rows = list[tuple[str, str]]
HOST = Actor.command_line()
USERS, REPOSITORIES = 200, 500
AT_ONCE, ROUNDS = 20, 5


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


PARTS: dict[str, Callable[[Path], Coroutine[Any, Any, Rows]]] = {
    "projection": projection,
    "signin": signin,
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
