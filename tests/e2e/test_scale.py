"""Many repositories and many clients at once; the numbers for a thousand are in bench/."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until_sync

Clone = Callable[..., Checkout]


def test_twenty_clients_clone_and_five_push_at_once_without_an_error(
    host: Host, clone: Clone, tmp_path: Path
) -> None:
    host.call("repo", "create", "busy")
    first = clone("busy")
    for number in range(10):
        first.commit(f"file-{number}.txt", f"{number}\n" * 1000)
    first.push()
    pushers = [clone("busy", f"pusher-{n}") for n in range(5)]
    made = [p.commit(f"by-{n}.txt", f"{n}\n") for n, p in enumerate(pushers)]
    url, failures = host.url("busy"), []

    def read(number: int) -> None:
        reader = Checkout(tmp_path / f"reader-{number}", "eve")
        done = reader.fossil("clone", "--no-open", url, str(reader.file), check=False)
        if done.returncode != 0 or done.stderr.strip():
            failures.append(f"clone {number}: {done.stdout}{done.stderr}")

    def push(number: int) -> None:
        done = pushers[number].push(check=False)
        if done.returncode != 0 or done.stderr.strip():
            failures.append(f"push {number}: {done.stdout}{done.stderr}")

    workers = [threading.Thread(target=read, args=(n,)) for n in range(20)]
    workers += [threading.Thread(target=push, args=(n,)) for n in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(100)
    assert failures == []
    last = clone("busy", "last")
    assert all(last.has(checkin) for checkin in made)


def test_many_files_are_adopted_and_the_next_is_served_at_once(
    fresh: Callable[..., Host], fossil_template: Path, full: bool
) -> None:
    """A hundred with `--long`."""
    count = 100 if full else 40
    host = fresh()
    for number in range(count):
        shutil.copy(fossil_template, host.data / "repos" / f"r{number:03}.fossil")
    until_sync(lambda: host.status()["repositories"] == count, timeout=60, what="adoption of all")
    assert all(r["state"] == "active" for r in host.json("repo", "list"))
    shutil.copy(fossil_template, host.data / "repos" / "next.fossil")
    until_sync(
        lambda: host.get("/next/timeline", host="next")[0] == 200, timeout=5, what="the next one"
    )
    assert host.stop() == 0
    host.start()
    assert host.status()["repositories"] == count + 1
