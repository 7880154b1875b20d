"""How far one host goes: thousands of repositories, connections, gigabytes, check-ins.

    .venv/bin/python bench/limits.py                      everything: most of an hour
    .venv/bin/python bench/limits.py many connections     or large, long, small, standby

Needs the tests' environment (`./run test --collect-only` makes it) and 15 GB of disk. Everything is
on loopback, bounded, and ended. Prints Markdown tables for docs/benchmarks.md.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.bridge import fossil, imported
from bench.host import Rows, _cpu, _fossil_port, _page, _pages, _pss, folder, quantiles
from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until_sync

# Litestream has five files open for each repository; some machines do not let root have more.
MANY = min(5000, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 1000) // 5)
CONNECTIONS, LARGE, LONG = 1000, 19, 100_000
PIECE = 100 * 2**20  # bytes of each of the LARGE files
HOUR = 3600.0


class Told(list[tuple[str, str]]):
    """Rows that are told as they are found: a part may last long, and break at its end."""

    def append(self, row: tuple[str, str]) -> None:
        print(f"  {row[0]}: {row[1]}", file=sys.stderr, flush=True)
        super().append(row)


def took(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def current(host: Host, seconds: float = HOUR) -> None:
    until_sync(
        lambda: host.status()["backup"]["state"] == "current",
        timeout=seconds,
        every=1.0,
        what="everything on the replica",
    )


def programs(host: Host) -> str:
    """MiB PSS of our process, and of all."""
    assert host.process is not None
    return f"{_pss([host.process.pid]):.0f} / {_pss(host.pids()):.0f}"


def highest(host: Host) -> AbstractContextManager[list[float]]:
    """The highest memory of our own process meanwhile, MiB PSS."""
    assert host.process is not None
    pid = host.process.pid
    return most_of(lambda: _pss([pid]))


@contextmanager
def most_of(read: Callable[[], float]) -> Iterator[list[float]]:
    """The highest that it gave meanwhile, asked ten times a second."""
    found, over = [0.0], threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            found[0] = max(found[0], read())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def timeline(host: Host, name: str) -> str:
    return quantiles(_pages(host.port, f"/{name}/timeline", f"{name}.localhost:{host.port}"))


def cloned(host: Host, name: str, where: Path) -> tuple[Checkout, float]:
    """An open clone, and the seconds of the clone; however long that is."""
    work = Checkout(where / "work", "ada", host.url(name, "ada", host.fossil_password("ada", name)))
    seconds = took(lambda: fossil(where, "clone", "--no-open", work.url, str(work.file)))
    work.folder.mkdir()
    work.fossil("open", "--nosync", str(work.file))
    work.fossil("settings", "autosync", "off")
    return work, seconds


def push_to_replica(host: Host, name: str, work: Checkout) -> str:
    """From a push to its object in the folder, in seconds: min, median, max of 5."""
    identity = host.json("repo", "show", name)["id"]
    replica = host.data / "backups" / f"{identity}.fossil"
    samples = []
    for number in range(5):
        work.commit("file.txt", f"{number}\n")
        time.sleep(2)
        before = newest(replica)
        began = time.perf_counter()
        work.push()
        until_sync(lambda before=before: newest(replica) > before, timeout=120, what="the replica")  # type: ignore[misc]
        samples.append(time.perf_counter() - began)
    return quantiles(samples, unit=1, digits=2)


def newest(replica: Path) -> int:
    return max((path.stat().st_mtime_ns for path in replica.rglob("*.ltx")), default=0)


def many(where: Path) -> Rows:
    """Files dropped into the folder, as when somebody moves in."""
    template = where / "template.fossil"
    fossil(where, "init", str(template))
    host = Host(where / "data").start()
    host.admin()
    began = time.perf_counter()
    for number in range(MANY):
        shutil.copy(template, host.data / "repos" / f"r{number:04}.fossil")
    rows: Rows = Told([("repositories", f"{MANY:,}")])
    until_sync(
        lambda: host.status()["repositories"] == MANY, timeout=HOUR, every=2.0, what="adoption"
    )
    rows.append(("until all are adopted, seconds", f"{time.perf_counter() - began:.0f}"))
    current(host)
    rows.append(("until all are on the replica, seconds", f"{time.perf_counter() - began:.0f}"))
    objects = sum(1 for _ in (host.data / "backups").rglob("*.ltx"))
    rows.append(("objects written for that (with S3: requests)", f"{objects:,}"))
    rows.append(("memory of our process / of all, MiB PSS", programs(host)))
    rows.append(("open files of Litestream", f"{_open_files(host, 'litestream'):,}"))
    host.stop()
    again = took(lambda: host.start())
    rows.append(("start, until `status` says that it runs, seconds", f"{again:.1f}"))
    current(host)
    time.sleep(30)
    rows.append(("memory after it, our process / all, MiB PSS", programs(host)))
    before = _cpu(host.pids())
    time.sleep(60)
    rows.append(("CPU of all at rest, seconds in a minute", f"{_cpu(host.pids()) - before:.1f}"))
    made = took(lambda: host.call("repo", "create", "one-more"))
    rows.append(("one more created by the command line, seconds", f"{made:.2f}"))
    rows.append(("timeline page of one, ms", timeline(host, "r1000")))
    work, _ = cloned(host, "one-more", where)
    rows.append(
        ("push until it is on the replica, seconds", push_to_replica(host, "one-more", work))
    )
    listed = took(lambda: host.call("repo", "list", "--json"))
    rows.append(("`repo list --json`, seconds", f"{listed:.2f}"))
    host.stop()
    return rows


def _open_files(host: Host, program: str) -> int:
    pid = host.child(program)["pid"]
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def connections(where: Path) -> Rows:
    """Browsers that keep their connection, and strangers that say nothing."""
    host = Host(where / "data").start()
    host.admin()
    host.call("repo", "create", "demo", "--visibility", "public")
    assert host.process is not None
    rows: Rows = Told([("timeline page, ms", timeline(host, "demo"))])
    alone = _pss([host.process.pid])
    opened = []
    for _ in range(CONNECTIONS):
        peer = socket.create_connection(("127.0.0.1", host.port), 20)
        peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in peer.recv(4096)
        opened.append(peer)
    more = _pss([host.process.pid]) - alone
    rows.append((f"{CONNECTIONS:,} idle connections, MiB more", f"{more:.1f}"))
    rows.append(("timeline page beside them, ms", timeline(host, "demo")))
    for peer in opened:
        peer.close()
    silent = [socket.create_connection(("127.0.0.1", host.port), 20) for _ in range(CONNECTIONS)]
    rows.append((f"timeline page beside {CONNECTIONS:,} silent ones, ms", timeline(host, "demo")))
    began = time.perf_counter()
    for peer in silent:
        peer.settimeout(60)
        peer.recv(4096)  # it is told so, or cut off
        peer.close()
    rows.append(("until silent ones are cut off, seconds", f"{time.perf_counter() - began:.0f}"))
    assert _page(host.port)
    host.stop()
    return rows


def large(where: Path) -> Rows:
    """A repository of nearly 2 GB that cannot be compressed."""
    file = where / "large.fossil"
    inside = where / "co"
    inside.mkdir()
    fossil(where, "init", "--admin-user", "bench", str(file))
    fossil(inside, "open", "--nosync", str(file))
    for number in range(LARGE):
        with (inside / f"{number}.bin").open("wb") as out:
            for _ in range(PIECE >> 20):
                out.write(os.urandom(1 << 20))
    fossil(inside, "addremove")
    fossil(inside, "commit", "-m", "large", "--no-warnings")
    fossil(inside, "close", "--force")
    shutil.rmtree(inside)
    rows: Rows = Told([("the file, MiB", f"{file.stat().st_size >> 20:,}")])
    settings = {
        "FOSSILREPO_LIMITS__REPOSITORY": "8GiB",
        "FOSSILREPO_FOSSIL__MAX_REQUESTS": "8",
        "FOSSILREPO_SYNC__JOB_TIME": "1h",
    }
    host = Host(where / "data", settings).start()
    host.admin()
    with highest(host) as peak:
        brought = took(lambda: host.call("repo", "import", "large", "--file", str(file)))
    rows.append(("import of the file, seconds", f"{brought:.0f}"))
    replicated = took(lambda: current(host))
    rows.append(("then until it is on the replica, seconds", f"{replicated:.0f}"))
    rows.append(("highest memory of our process in it, MiB PSS", f"{peak[0]:.0f}"))
    url = host.url("large", "ada", host.fossil_password("ada", "large"))
    direct = url.replace(f":{host.port}", f":{_fossil_port(host)}")
    pair: dict[str, list[float]] = {"us": [], "fossil server": []}
    with highest(host) as peak:
        for kind, address in (("us", url), ("fossil server", direct)) * 3:
            target = where / "clone.fossil"
            words = ("clone", "--no-open", address, str(target))
            pair[kind].append(took(lambda words=words: fossil(where, *words)))  # type: ignore[misc]
            target.unlink()
    ratio = statistics.median(a / b for a, b in zip(*pair.values(), strict=True))
    rows.append(("clone through us, seconds", quantiles(pair["us"], unit=1, digits=0)))
    plain = quantiles(pair["fossil server"], unit=1, digits=0)
    rows.append(("clone from `fossil server`, seconds", f"{plain} (ratio {ratio:.2f})"))
    rows.append(("highest memory of our process in it, MiB PSS", f"{peak[0]:.0f}"))
    restored = where / "restored.fossil"
    back = took(lambda: host.call("backup", "restore", "large", "--to", str(restored)))
    rows.append(("restore to a file, with all checks, seconds", f"{back:.0f}"))
    restored.unlink()
    proven = took(lambda: host.call("backup", "verify", "large"))
    rows.append(("trial restore, seconds", f"{proven:.0f}"))
    host.stop()
    return rows


def long(where: Path) -> Rows:
    """A repository with as many check-ins as projects have after decades."""
    stream, source, file = where / "stream", where / "source.git", where / "long.fossil"
    script = Path(__file__).with_name("history.py")
    with stream.open("wb") as out:
        words = [sys.executable, str(script), "--checkins", str(LONG), "--megabytes", "200"]
        subprocess.run(words, stdout=out, check=True)
    subprocess.run(["git", "init", "-q", "--bare", "-b", "trunk", str(source)], check=True)
    with stream.open("rb") as given:
        subprocess.run(
            ["git", "-C", str(source), "fast-import", "--quiet"], stdin=given, check=True
        )
    with stream.open("wb") as out:
        subprocess.run(["git", "-C", str(source), "fast-export", "--all"], stdout=out, check=True)

    def imported() -> None:
        with stream.open("rb") as given:
            fossil(where, "import", "--git", str(file), stdin=given)

    plain = took(imported)
    stream.unlink()
    size = file.stat().st_size >> 20
    rows: Rows = Told([(f"`fossil import --git` of {LONG:,} check-ins, seconds", f"{plain:.0f}")])
    host = Host(where / "data", {"FOSSILREPO_LIMITS__REPOSITORY": "8GiB"}).start()
    host.admin()
    brought = took(lambda: host.call("repo", "import", "long", "--file", str(file)))
    rows.append((f"import of that file ({size:,} MiB), seconds", f"{brought:.0f}"))
    current(host)
    began = time.perf_counter()
    until_sync(
        lambda: host.json("repo", "insights", "long")["events"].get("check-in", 0) >= LONG,
        timeout=HOUR,
        every=1.0,
        what="the insights",
    )
    rows.append(("then until its insights are read, seconds", f"{time.perf_counter() - began:.0f}"))
    rows.append(("timeline page through us, ms", timeline(host, "long")))
    plain_pages = _pages(_fossil_port(host), "/long/timeline", "localhost")
    rows.append(("the same from `fossil server`, ms", quantiles(plain_pages)))
    work, clone = cloned(host, "long", where)
    rows.append(("clone through us, seconds", f"{clone:.0f}"))
    rows.append(("push until it is on the replica, seconds", push_to_replica(host, "long", work)))
    rows.append(("memory of our process / of all, MiB PSS", programs(host)))
    host.stop()
    return rows


def standby(where: Path) -> Rows:
    """A lost host: rebuilt from nothing, and from what a standby had already."""
    count, template = 200, imported(where)
    url = f"file://{where}/replica"
    host = Host(where / "first" / "data", {"FOSSILREPO_BACKUP__URL": url})
    seconds, thirds = Host(where / "second" / "data"), Host(where / "third" / "data")
    for one in (host, seconds, thirds):
        one.data.parent.mkdir()
        one.data.parent.chmod(0o711)
    host.start()
    host.admin()
    host.call("repo", "import", "large", "--file", str(template))
    small = where / "small.fossil"
    fossil(where, "init", str(small))
    for number in range(count - 1):
        shutil.copy(small, host.data / "repos" / f"r{number:03}.fossil")
    until_sync(lambda: host.status()["repositories"] == count, timeout=HOUR, what="adoption")
    current(host)
    key = ("--key-file", str(host.data / "secret.key"))
    rows: Rows = Told([("repositories, one of them with 5,000 check-ins", f"{count}")])
    followed = took(lambda: thirds.call("standby", "--from", url, *key, "--once"))
    rows.append(("first look of a standby, seconds", f"{followed:.1f}"))
    followed = took(lambda: thirds.call("standby", "--from", url, *key, "--once"))
    rows.append(("a look when nothing has changed, seconds", f"{followed:.1f}"))
    work, _ = cloned(host, "r001", where)
    work.commit("file.txt", "more\n")
    work.push()
    host.stop()
    rebuilt = took(lambda: seconds.call("backup", "rebuild", "--from", url, *key))
    promoted = took(lambda: thirds.call("standby", "--from", url, *key, "--promote"))
    rows.append(("rebuild from nothing, seconds", f"{rebuilt:.1f}"))
    ratio = promoted / rebuilt
    rows.append(("standby promoted, seconds", f"{promoted:.1f} (ratio {ratio:.2f})"))
    served = took(lambda: thirds.start())
    rows.append(("then until it serves, seconds", f"{served:.1f}"))
    thirds.stop()
    return rows


MEMORY = Path("/sys/fs/cgroup/memory/fossilrepo-bench")


def small(where: Path) -> Rows:
    """A machine of 1 GB: ten repositories, an import of 500 MB from Git, a clone, a restore.

    As root, where control groups of version 1 are: this process and all below it go into one.
    """
    MEMORY.mkdir(exist_ok=True)
    (MEMORY / "memory.limit_in_bytes").write_text("1G")
    (MEMORY / "cgroup.procs").write_text(str(os.getpid()))
    try:
        return _small(where)
    finally:
        (MEMORY.parent / "cgroup.procs").write_text(str(os.getpid()))


def _small(where: Path) -> Rows:
    stream, source = where / "stream", where / "source.git"
    script = Path(__file__).with_name("history.py")
    with stream.open("wb") as out:
        words = [sys.executable, str(script), "--checkins", "2000", "--megabytes", "500"]
        subprocess.run(words, stdout=out, check=True)
    subprocess.run(["git", "init", "-q", "--bare", "-b", "trunk", str(source)], check=True)
    with stream.open("rb") as given:
        subprocess.run(
            ["git", "-C", str(source), "fast-import", "--quiet"], stdin=given, check=True
        )
    stream.unlink()
    source.chmod(0o755)
    host = Host(where / "data").start()
    host.admin()
    for number in range(10):
        host.call("repo", "create", f"r{number}")
    with most_of(_held) as held:
        brought = took(lambda: host.call("repo", "import", "big", "--git", str(source)))
        current(host)
        work, clone = cloned(host, "big", where)
        out_file = where / "restored.fossil"
        back = took(lambda: host.call("backup", "restore", "big", "--to", str(out_file)))
    killed = int((MEMORY / "memory.oom_control").read_text().split("oom_kill ")[-1])
    assert work.head()
    size = host.json("repo", "show", "big")["size_bytes"] >> 20
    rows: Rows = [
        (f"import of 500 MB from Git ({size} MiB in Fossil), seconds", f"{brought:.0f}"),
        ("clone of it, seconds", f"{clone:.0f}"),
        ("restore of it, seconds", f"{back:.0f}"),
        ("highest memory of everything without the page cache, MiB", f"{held[0]:.0f}"),
        ("killed for want of memory", str(killed)),
    ]
    host.stop()
    return rows


def _held() -> float:
    """What the group holds and cannot give back, MiB."""
    stat = dict(line.split() for line in (MEMORY / "memory.stat").read_text().splitlines())
    return int(stat["total_rss"]) / 2**20


def main(wanted: list[str]) -> None:
    parts = {"many": many, "connections": connections, "large": large, "long": long}
    parts |= {"small": small, "standby": standby}
    print(f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}\n")
    for name in wanted or list(parts):
        with folder() as where:
            rows = parts[name](where)
        print(f"| {name} | measured |\n| --- | --- |")
        for what, value in rows:
            print(f"| {what} | {value} |")
        print(flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
