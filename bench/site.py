"""Measure the site: pages with 10, 100 and 1,000 repositories, insights, open overviews.

    .venv/bin/python bench/site.py            everything, some minutes
    .venv/bin/python bench/site.py pages      one part: pages, insights, open

Needs the tests' environment and Fossil. Prints a Markdown table for docs/benchmarks.md. Loads
are bounded, everything is on loopback and ends by itself. The site runs in this process, and so
does the client that asks it: its time is in what is shown.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.bridge import imported
from bench.host import Rows, _pss, folder, quantiles
from fossilrepo.config import Settings
from fossilrepo.db.insights import InsightStore
from fossilrepo.insight import Entry, Known, Read, Readme, Tickets
from fossilrepo.models import Actor, Repository, RepositoryState, Trust, Visibility, new_id, now
from fossilrepo.tools import fossil_insights
from tests.helpers.checkins import Committer
from tests.helpers.site import Site, roomy, served

HOST = Actor.command_line()
ASKED = 200
PAGES = {
    "overview": "/",
    "list of repositories": "/repos",
    "repository": "/repos/r1",
    "insights": "/repos/r1/insights",
    "search": "/search?q=harbor",
    "activity": "/activity",
}
_WORDS = "mend add turn wick lamp harbor tide table moon wave north parser cache index".split()


async def pages(where: Path) -> Rows:
    """Medians and 99th percentiles; every repository has 20 to 1,000 events."""
    rows: Rows = []
    for count in (10, 100, 1000):
        data = where / f"pages-{count}"
        async with served(roomy(Settings(data_dir=str(data)))) as site:
            events = await _fill(site, count)
            browser = await site.admin()
            for name, path in PAGES.items():
                await browser.get(path)  # the first one reads the template
                samples = []
                for _ in range(ASKED):
                    began = time.perf_counter()
                    answer = await browser.get(path)
                    samples.append(time.perf_counter() - began)
                    assert answer.status == 200, (path, answer.status)
                size = len(answer.content) / 1024
                what = f"{name}, {count:,} repositories, {events:,} events"
                median, late = statistics.median(samples), statistics.quantiles(samples, n=100)[98]
                rows.append((what, f"{_ms(median)} / {_ms(late)}, {size:.0f} KiB"))
            used = f"{_pss([os.getpid()]):.1f} MiB"
            rows.append((f"memory after that, {count:,} repositories", used))
    return rows


async def _fill(site: Site, count: int) -> int:
    """Rows as reading real files would leave them; `r1` has a file too."""
    chance, events = random.Random(count), 0
    store = site.services.insights._store
    await site.services.repos.create(HOST, "r1", title="The first")
    for number in range(2, count + 1):
        row = Repository(
            id=new_id(),
            name=f"r{number}",
            title=f"Repository {number}",
            description="Tides of a harbor",
            org="main",
            visibility=Visibility.PUBLIC,
            state=RepositoryState.ACTIVE,
            trust=Trust.OWN,
            created_at=now(),
            created_by="bench",
            last_change=now(),
            checkins=10,
            size_bytes=chance.randint(200_000, 50_000_000),
        )
        await site.services.repos._store.add(row)
        events += await _keep(store, row, chance)
    first = await site.services.repos.get(HOST, "r1")
    return events + await _keep(store, first, chance)


async def _keep(store: InsightStore, row: Repository, chance: random.Random) -> int:
    size = int(min(1000, 20 + chance.paretovariate(1.1) * 30))
    entries = tuple(
        Entry(
            hash=f"{chance.getrandbits(160):040x}",
            kind="ci" if chance.random() < 0.85 else chance.choice("wt"),
            at=now() - timedelta(hours=chance.expovariate(1 / 2000)),
            user=f"user{chance.randint(1, 5)}",
            text=" ".join(chance.choice(_WORDS) for _ in range(8)),
            branch="trunk",
        )
        for _ in range(size)
    )
    read = Read(
        known=Known(1, dict(Counter(one.kind for one in entries)), ""),
        whole=True,
        entries=entries,
        head="0" * 40,
        open_branches=frozenset({"trunk"}),
        contacts={},
        tickets=Tickets(),
        languages={".c": (10, 10_000)},
        biggest=(),
        pushes={},
        wiki_pages=0,
        readme=Readme("README.md", "# Tides\n\n" + "Some words. " * 200),
    )
    await store.keep(row.id, read, seen=row.seen, size=row.size_bytes, at=now(), seconds=0.0)
    return size


async def insights(where: Path) -> Rows:
    """A repository with 5,000 check-ins, from nothing and after one more."""
    file = await asyncio.to_thread(imported, where)
    rows: Rows = []
    async with served(roomy(Settings(data_dir=str(where / "large")))) as site:
        job = await site.services.imports.file(HOST, "large", file)
        await site.services.jobs.wait(job.id)
        row = await site.services.repos.get(HOST, "large")
        path = site.services.settings.store / f"{row.id}.fossil"
        began = time.perf_counter()
        read = await asyncio.to_thread(fossil_insights.read, path)
        rows.append(
            (f"insights: {len(read.entries):,} events read", _ms(time.perf_counter() - began))
        )
        began = time.perf_counter()
        await site.services.insights.refresh(row)
        rows.append(("insights: read and kept, from nothing", _ms(time.perf_counter() - began)))
        committer = await asyncio.to_thread(Committer, path, where / "checkout", "ada")
        samples = []
        for number in range(10):
            await asyncio.to_thread(committer.commit, f"one more {number}")
            began = time.perf_counter()
            await site.services.insights.refresh(row)
            samples.append(time.perf_counter() - began)
        rows.append(("insights: read and kept, after one check-in", quantiles(samples)))
    return rows


async def open_overviews(where: Path, count: int = 200) -> Rows:
    """200 open overviews: what they cost while nothing happens, and when all hear of a change."""
    async with served(roomy(Settings(data_dir=str(where / "open")))) as site:
        await _fill(site, 10)
        browser = await site.admin()
        await browser.get("/")
        before = _pss([os.getpid()])
        url = f"http://127.0.0.1:{site.port}/events"
        headers = {"Host": browser.host, "Cookie": f"fossilrepo={browser.cookies['fossilrepo']}"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            streams = [await session.get(url, headers=headers) for _ in range(count)]
            await asyncio.sleep(1)
            after = _pss([os.getpid()])
            began = time.perf_counter()
            site.services.insights.pulse.beat()
            await asyncio.gather(*(stream.content.readuntil(b"changed\n") for stream in streams))
            heard = time.perf_counter() - began
            for stream in streams:
                stream.close()
    return [
        (f"{count} open overviews, memory of both ends", f"{after - before:.1f} MiB more"),
        (f"{count} open overviews, until all heard of a change", _ms(heard)),
    ]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


async def main(wanted: list[str]) -> None:
    parts = {"pages": pages, "insights": insights, "open": open_overviews}
    with folder() as where:
        for name in wanted or parts:
            for what, value in await parts[name](where):
                print(f"| {what} | {value} |", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
