"""Measure a whole host: start, memory, pages, clones, lists; the plain tool in the same run.

    .venv/bin/python bench/host.py            everything, a few minutes
    .venv/bin/python bench/host.py start      one part: start, memory, gateway, clone, lists, signin

Needs nothing but a set-up checkout and Fossil. Prints a Markdown table for docs/benchmarks.md.
Loads are bounded, everything is on loopback and ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import history
from tests.helpers.host import PASSWORD, Checkout, Host
from tests.helpers.poll import until_sync

Rows = list[tuple[str, str]]
RUNS = 5


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def quantiles(samples: list[float], unit: float = 1000, digits: int = 1) -> str:
    """min / median / max, in milliseconds unless told otherwise."""
    ordered = [value * unit for value in sorted(samples)]
    return " / ".join(
        f"{value:.{digits}f}" for value in (ordered[0], statistics.median(ordered), ordered[-1])
    )


def start(where: Path) -> Rows:
    """From the command to the first page that a browser gets, on a folder that was used before."""
    Host(where / "data").start().stop()
    samples = []
    for _ in range(RUNS):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        host = Host(where / "data", {"FOSSILREPO_SERVER__LISTEN": f"127.0.0.1:{port}"})
        began = time.perf_counter()
        host.launch()
        until_sync(lambda port=port: _page(port), timeout=20, every=0.005, what="a page")
        samples.append(time.perf_counter() - began)
        host.stop()
    return [("second start to the first page, ms (min / median / max)", quantiles(samples))]


def _page(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as peer:
        peer.sendall(b"GET /login HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        return b" 200 " in peer.recv(100)
    return False


def memory(where: Path) -> Rows:
    """Idle, a minute after the start; PSS of our process and of all; CPU seconds in a minute."""
    host = Host(where / "data").start()
    host.admin()
    for number in range(10):
        host.call("repo", "create", f"r{number}")
    time.sleep(5)
    assert host.process is not None
    before = _cpu(host.pids())
    time.sleep(60)
    used = _cpu(host.pids()) - before
    own, everything = _pss([host.process.pid]), _pss(host.pids())
    host.stop()
    return [
        ("idle memory of our own process, MiB PSS", f"{own:.1f}"),
        ("idle memory of all processes, MiB PSS", f"{everything:.1f}"),
        ("idle CPU of all processes, seconds in a minute", f"{used:.2f}"),
    ]


def _pss(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def _cpu(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def gateway(where: Path) -> Rows:
    """A small page of Fossil's, through us and straight from `fossil server`, in turn."""
    host = Host(where / "data").start()
    host.call("repo", "create", "demo")
    name = "demo"
    rows: Rows = []
    direct = _fossil_port(host)
    ours: list[float] = []
    plain: list[float] = []
    for _ in range(RUNS):
        ours += _pages(host.port, f"/{name}/timeline", f"{name}.localhost:{host.port}")
        plain += _pages(direct, f"/{name}/timeline", "localhost")
    rows.append(("timeline page through us, ms", quantiles(ours)))
    rows.append(("the same from `fossil server`", quantiles(plain)))
    rate = asyncio.run(_load(host.port, f"/{name}/timeline", f"{name}.localhost:{host.port}"))
    bare = asyncio.run(_load(direct, f"/{name}/timeline", "localhost"))
    rows.append(("timeline pages per second, 8 clients, through us", f"{rate:.0f}"))
    rows.append(("the same from `fossil server`", f"{bare:.0f} (ratio {rate / bare:.2f})"))
    host.stop()
    return rows


def _fossil_port(host: Host) -> int:
    """Where the supervised server listens: read off the processes' command lines."""
    for pid in host.pids():
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if arguments[0].endswith(b"fossil") and b"--port" in arguments:
            return int(arguments[arguments.index(b"--port") + 1].rpartition(b":")[2])
    raise AssertionError("no fossil server")


def _pages(port: int, path: str, host: str, count: int = 20) -> list[float]:
    samples = []
    for _ in range(count):
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port), 10) as peer:
            peer.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            answer = b""
            while part := peer.recv(65536):
                answer += part
        assert b" 200 " in answer[:20], answer[:200]
        samples.append(time.perf_counter() - began)
    return samples


async def _load(port: int, path: str, host: str, clients: int = 8, seconds: float = 5) -> float:
    """Requests per second of so many clients that ask one after the other."""
    done = 0
    until = time.perf_counter() + seconds

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal done
        while time.perf_counter() < until:
            url = f"http://127.0.0.1:{port}{path}"
            async with session.get(url, headers={"Host": host}, allow_redirects=False) as answer:
                await answer.read()
                assert answer.status == 200, answer.status
            done += 1

    async with aiohttp.ClientSession(auto_decompress=False) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return done / seconds


def clone(where: Path) -> Rows:
    """Import of a generated history of 5,000 check-ins, then clones through us and directly."""
    host = Host(where / "data").start()
    host.admin()
    source = where / "git"
    subprocess.run(["git", "init", "-q", "--bare", str(source)], check=True)
    generator = [sys.executable, history.__file__, "--checkins", "5000", "--megabytes", "50"]
    made = subprocess.Popen(generator, stdout=subprocess.PIPE)
    subprocess.run(
        ["git", "-C", str(source), "fast-import", "--quiet"], stdin=made.stdout, check=True
    )
    began = time.perf_counter()
    host.call("repo", "import", "big", "--git", str(source))
    imported = time.perf_counter() - began
    shown = host.json("repo", "show", "big")
    direct = f"http://127.0.0.1:{_fossil_port(host)}/big"
    ours, plain = [], []
    for number in range(RUNS):
        ours.append(_clone(host.url("big"), where / f"ours-{number}"))
        plain.append(_clone(direct, where / f"plain-{number}"))
    ratio = statistics.median(a / b for a, b in zip(ours, plain, strict=True))
    host.stop()
    return [
        (f"import of {shown['checkins']} check-ins from Git, seconds", f"{imported:.1f}"),
        ("size of the repository, MiB", f"{shown['size_bytes'] / 2**20:.1f}"),
        ("clone through us, seconds", quantiles(ours, 1, 2)),
        ("clone from `fossil server`, seconds", quantiles(plain, 1, 2)),
        ("clone, ratio of the two, median of pairs", f"{ratio:.2f}"),
    ]


def _clone(url: str, target: Path) -> float:
    checkout = Checkout(target, "eve")
    began = time.perf_counter()
    checkout.fossil("clone", "--no-open", url, str(checkout.file))
    took = time.perf_counter() - began
    checkout.file.unlink()
    return took


def lists(where: Path) -> Rows:
    """The list page with 10, 100 and 1,000 repositories, signed in; start and memory at 1,000."""
    host = Host(where / "data").start()
    host.admin()
    rows: Rows = []
    host.call("repo", "create", "template")
    template = where / "template.fossil"
    host.call("repo", "export", "template", str(template))
    have = 1
    for count in (10, 100, 1000):
        while have < count:
            shutil.copy(template, host.data / "repos" / f"r{have:04}.fossil")
            have += 1
        began = time.perf_counter()
        until_sync(
            lambda count=count: host.status()["repositories"] == count,
            timeout=300,
            every=0.1,
            what=f"{count} repositories",
        )
        rows.append(
            (
                f"until {count} repositories are adopted, seconds",
                f"{time.perf_counter() - began:.1f}",
            )
        )
        samples = asyncio.run(_signed_in_pages(host.port, "/repos"))
        rows.append((f"list page with {count} repositories, ms", quantiles(samples)))
    began = time.perf_counter()
    shutil.copy(template, host.data / "repos" / "one-more.fossil")
    until_sync(lambda: host.get("/one-more/timeline", host="one-more")[0] == 200, what="one more")
    rows.append(
        ("one more dropped in until it is served, seconds", f"{time.perf_counter() - began:.2f}")
    )
    began = time.perf_counter()
    host.call("repo", "create", "made-now")
    rows.append(
        ("one more created by the command line, seconds", f"{time.perf_counter() - began:.2f}")
    )
    host.stop()
    began = time.perf_counter()
    host.start()
    rows.append(
        ("start to ready with 1,000 repositories, seconds", f"{time.perf_counter() - began:.2f}")
    )
    time.sleep(10)
    assert host.process is not None
    rows.append(("memory of our process with 1,000, MiB PSS", f"{_pss([host.process.pid]):.1f}"))
    host.stop()
    return rows


async def _signed_in_pages(port: int, path: str, count: int = 40) -> list[float]:
    origin = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        form = {"login": "ada", "password": PASSWORD}
        async with session.post(f"{origin}/login", data=form, headers={"Origin": origin}) as answer:
            assert answer.status == 200, await answer.text()
        samples = []
        for _ in range(count):
            began = time.perf_counter()
            async with session.get(origin + path, allow_redirects=False) as answer:
                await answer.read()
                assert answer.status == 200, answer.status
            samples.append(time.perf_counter() - began)
    return samples


def signin(where: Path) -> Rows:
    """The sign-in page, as many as our one process can give."""
    host = Host(where / "data").start()
    host.admin()
    rate = asyncio.run(_load(host.port, "/login", f"localhost:{host.port}", clients=4))
    host.stop()
    return [("sign-in pages per second, 4 clients", f"{rate:.0f}")]


PARTS: dict[str, Callable[[Path], Rows]] = {
    part.__name__: part for part in (start, memory, gateway, clone, lists, signin)
}


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    version = subprocess.run(["fossil", "version"], capture_output=True, text=True, check=True)
    fossil = version.stdout.split("[")[0].removeprefix("This is ").strip()
    kernel = platform.release().split("-")[0]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Linux {kernel}"
    print(f"{machine}, Python {platform.python_version()}, {fossil}\n")
    print("| what | measured |\n| --- | --- |")
    for name in wanted:
        with folder() as where:
            for what, value in PARTS[name](where):
                print(f"| {what} | {value} |", flush=True)


if __name__ == "__main__":
    main()
