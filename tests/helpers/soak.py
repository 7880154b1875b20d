"""A host under everything at once: people, clients, mirrors, restores, and deaths by a seeded plan.

Owns the loads, the faults and what must hold at the end: every file is whole, every check-in that
was acknowledged is there, every replica restores to the same content, every mirror is in sync or
says why not, and nothing is left over. Blocking; the loads are threads.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from fossilrepo.runtime import proc
from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until_sync
from tests.helpers.s3 import Rclone

FAULTS = ("fossil", "litestream", "git", "host", "s3")  # and caddy, database, where there are any
LOGIN = "ada"


@dataclass
class Plan:
    """How much of everything; seconds."""

    seconds: float
    repositories: int
    writers: int = 3
    faults: tuple[str, ...] = FAULTS
    fault_every: float = 6.0
    seed: int = 1


@dataclass
class Soak:
    """`acknowledged` is by identity: names change hands.

    `https` is Caddy's port, 0 without it; `cluster` the folder of the PostgreSQL server, if any.
    """

    plan: Plan
    host: Host
    s3: Rclone
    folder: Path
    https: int = 0
    cluster: Path | None = None
    remotes: dict[str, str] = field(default_factory=dict)  # name to the URL of its mirror
    acknowledged: dict[str, set[str]] = field(default_factory=dict)
    did: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _names: list[str] = field(default_factory=list)

    # Life

    def run(self) -> None:
        """Load and faults for the planned time, then quiet."""
        chance = random.Random(self.plan.seed)
        loads: list[Callable[[random.Random], None]] = [self._writer] * self.plan.writers
        loads += [self._reader, self._manager, self._restorer]
        threads = [
            threading.Thread(target=self._load, args=(load, random.Random(chance.random())))
            for load in loads
        ]
        threads.append(threading.Thread(target=self._faults, args=(chance,)))
        for thread in threads:
            thread.start()
        time.sleep(self.plan.seconds)
        self._stop.set()
        for thread in threads:
            thread.join(timeout=180)
            assert not thread.is_alive(), "a load did not end"

    def _load(self, work: Callable[[random.Random], None], chance: random.Random) -> None:
        while not self._stop.is_set():
            try:
                work(chance)
            except (AssertionError, OSError, subprocess.SubprocessError, ValueError):
                self.did["not done: somebody was killed"] += 1
                time.sleep(0.3)

    # Loads

    def _pick(self, chance: random.Random) -> str:
        with self._lock:
            return chance.choice(self._names)

    def _writer(self, chance: random.Random) -> None:
        """Clones, commits some times, pushes each; what was acknowledged is written down."""
        name = self._pick(chance)
        shown = self.host.json("repo", "show", name)
        work = Checkout.cloned(
            self._url(name, chance),
            self.folder / "work" / f"{name}-{chance.getrandbits(40):x}",
            LOGIN,
        )
        try:
            for number in range(chance.randint(1, 4)):
                if self._stop.is_set():
                    return
                made = work.commit(f"f{chance.getrandbits(30):x}", f"{number}\n" * 200, "soak")
                done = work.push(check=False)
                if done.returncode == 0 and "Round-trips" in done.stdout + done.stderr:
                    with self._lock:
                        self.acknowledged.setdefault(shown["id"], set()).add(made)
                    self.did["pushes acknowledged"] += 1
                else:
                    self.did["pushes refused or cut"] += 1
        finally:
            shutil.rmtree(work.folder, ignore_errors=True)
            work.file.unlink(missing_ok=True)

    def _url(self, name: str, chance: random.Random) -> str:
        """Half of them through Caddy, where there is one."""
        password = self.host.fossil_password(LOGIN, name)
        if self.https and chance.random() < 0.5:
            self._trust()
            return f"https://{LOGIN}:{password}@localhost:{self.https}/{name}"
        return self.host.url(name, LOGIN, password)

    def _trust(self) -> None:
        """Fossil's client takes certificates of Caddy's own authority."""
        home = self.folder / "work"
        home.mkdir(exist_ok=True)
        root = self.host.data / "caddy/caddy/pki/authorities/local/root.crt"
        with self._lock:
            if not (home / ".fossil").exists():
                Checkout(home / "none", LOGIN).fossil(
                    "settings", "--global", "ssl-ca-location", str(root)
                )

    def _reader(self, chance: random.Random) -> None:
        for path in ("/timeline?n=20", "/dir", "/reports", "/brlist"):
            name = self._pick(chance)
            if self.https:
                status = self._through_caddy(f"/{name}{path}", name)
            else:
                status, _ = self.host.get(f"/{name}{path}", name)
            self.did[f"pages with {status // 100}xx"] += 1
        time.sleep(0.05)

    def _through_caddy(self, path: str, name: str) -> int:
        context = ssl._create_unverified_context()  # noqa: S323 - its authority may be a new one
        host = f"{name}.localhost"
        with (
            socket.create_connection(("127.0.0.1", self.https), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            head = f"GET {path} HTTP/1.1\r\nHost: {host}:{self.https}\r\nConnection: close\r\n\r\n"
            secure.sendall(head.encode())
            answer = b"".join(iter(lambda: secure.recv(65536), b""))
        if not answer:
            raise OSError("Caddy was killed meanwhile")
        return int(answer.split(maxsplit=2)[1])

    def _manager(self, chance: random.Random) -> None:
        """Makes, renames, deletes and brings back."""
        time.sleep(0.5)
        does = chance.random()
        if does < 0.4:
            name = f"new-{chance.getrandbits(30):x}"
            self.host.call("repo", "create", name, "--visibility", "public")
            with self._lock:
                self._names.append(name)
            self.did["repositories made"] += 1
            return
        with self._lock:
            movable = [name for name in self._names if name not in self.remotes]
            name = chance.choice(movable)
            self._names.remove(name)
        try:
            if does < 0.7:
                new = f"ren-{chance.getrandbits(30):x}"
                self.host.call("repo", "rename", name, new)
                name = new
                self.did["renames"] += 1
            else:
                identity = self.host.json("repo", "show", name)["id"]
                self.host.call("repo", "delete", name, "--yes")
                self.host.call("repo", "trash", "restore", identity)
                self.did["deleted and brought back"] += 1
        finally:
            with self._lock:
                self._names.append(name)

    def _restorer(self, chance: random.Random) -> None:
        time.sleep(1)
        name = self._pick(chance)
        target = self.folder / f"restored-{chance.getrandbits(40):x}.fossil"
        done = self.host.call("backup", "restore", name, "--to", str(target), check=False)
        if done.returncode == 0:
            if not _is_whole(target):
                self.problems.append(f"a restored file of {name} is not whole")
            self.did["restores"] += 1
        target.unlink(missing_ok=True)

    # Faults

    def _faults(self, chance: random.Random) -> None:
        while not self._stop.wait(chance.uniform(0.5, 1.5) * self.plan.fault_every):
            fault = chance.choice(self.plan.faults)
            self.did[f"killed: {fault}"] += 1
            if fault == "s3":
                self.s3.stop()
                self._stop.wait(chance.uniform(1, 4))
                self.s3.start()
            elif fault == "host":
                self.host.kill()
                self.host.launch()
                with suppress(AssertionError):
                    until_sync(self.host._is_up, timeout=30, what="the host to come back")
            elif fault == "database":
                self._kill_a_connection(chance)
            else:
                self._kill(fault.encode())

    def _kill_a_connection(self, chance: random.Random) -> None:
        """PostgreSQL ends all of them then, and recovers as from a crash."""
        assert self.cluster is not None
        postmaster = int((self.cluster / "data/postmaster.pid").read_text().splitlines()[0])
        with suppress(IndexError, OSError):
            proc.signal_process(chance.choice(list(proc.descendants(postmaster))), signal.SIGKILL)

    def _kill(self, program: bytes) -> None:
        assert self.host.process is not None
        for process in proc.descendants(self.host.process.pid):
            with suppress(OSError):
                line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
                if program in os.path.basename(line.split(b"\0")[0]):
                    proc.signal_process(process, signal.SIGKILL)
                    return

    # Before and after

    def fill(self) -> None:
        for number in range(self.plan.repositories):
            name = f"repo-{number}"
            self.host.call("repo", "create", name, "--visibility", "public")
            self._names.append(name)

    def used(self) -> tuple[int, int]:
        """Open files of our process, and processes below it."""
        assert self.host.process is not None
        return (
            len(os.listdir(f"/proc/{self.host.process.pid}/fd")),
            len(self.host.pids()),
        )

    def check(self) -> None:
        """What must hold once nothing is done any more; all that does not is in `problems`."""
        until_sync(self.host._is_up, timeout=60, what="the host after the storm")
        until_sync(self._is_current, timeout=120, what="every replica to be current")
        until_sync(self._mirrors_tell, timeout=120, what="every mirror in sync, or why not")
        for one in self.host.json("repo", "trash", "list"):  # somebody was killed in between
            self.host.call("repo", "trash", "restore", one["id"])
        until_sync(self._is_current, timeout=120, what="every replica to be current again")
        rows = {row["id"]: row["name"] for row in self.host.json("repo", "list")}
        for identity, wanted in self.acknowledged.items():
            if identity not in rows:
                self.problems.append(f"{identity} with {len(wanted)} check-ins is gone")
        for identity, name in rows.items():
            self._check_one(name, self.acknowledged.get(identity, set()))
        verified = self.host.call("backup", "verify", "--json", check=False)
        for one in json.loads(verified.stdout):
            if not one["ok"]:
                self.problems.append(f"the replica of {one['name']}: {one['detail']}")
        self.did["replicas restored and compared"] += 1
        try:  # a mirror that runs just now has its own
            until_sync(lambda: not self._temporary(), timeout=60, what="no temporary file")
        except AssertionError:
            self.problems.append(f"temporary files are left: {self._temporary()[:5]}")

    def _temporary(self) -> list[str]:
        return [path.name for path in (self.host.data / "tmp").iterdir()]

    def _check_one(self, name: str, wanted: set[str]) -> None:
        file = self.folder / f"check-{name}.fossil"
        self.host.call("repo", "export", name, str(file))
        if not _is_whole(file):
            self.problems.append(f"{name} is not whole")
        with closing(sqlite3.connect(file)) as db:
            rows = db.execute("SELECT uuid FROM blob JOIN event ON objid = rid WHERE type = 'ci'")
            present = {uuid[:40] for (uuid,) in rows}  # as `fossil info` says them
        missing = wanted - present
        if missing:
            self.problems.append(f"{name} lost {len(missing)} acknowledged check-ins")
        self.did["acknowledged check-ins found"] += len(wanted & present)
        file.unlink()

    def _is_current(self) -> bool:
        told = self.host.call("backup", "status", "--json", check=False)  # 1 while one fails
        return bool(json.loads(told.stdout)["state"] == "current")

    def _mirrors_tell(self) -> bool:
        for one in self.host.json("mirror", "list"):
            settled = one["state"] == "in-sync" and not one["lag_checkins"]
            if not settled and not (one["state"] == "failing" and one["last_error"]):
                return False
        return True


def _is_whole(file: Path) -> bool:
    done = subprocess.run(
        ["fossil", "test-integrity", "-R", str(file)], capture_output=True, text=True
    )
    return done.returncode == 0
