"""In-place restores while people push and clone: nobody sees a mix, no push is lost."""

import threading
from collections.abc import Callable
from pathlib import Path

from tests.e2e.test_faults import integrity
from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until_sync
from tests.helpers.pushes import Pusher, checkins

Fresh = Callable[..., Host]
Clone = Callable[..., Checkout]
RESTORES = 4


def test_pushes_and_clones_during_in_place_restores_see_one_state_and_lose_nothing(
    fresh: Fresh, clone: Clone, tmp_path: Path
) -> None:
    host = fresh()
    host.admin()
    host.call("repo", "create", "busy")
    pushers = [Pusher("busy", clone("busy", f"c{number}", on=host)) for number in range(2)]
    pushers[0].times(2)
    live = (host.data / "repos" / "busy.fossil").resolve()
    cloner = Cloner(host.url("busy", "ada", host.fossil_password("ada", "busy")), tmp_path)
    for number in range(RESTORES):
        for one in (*pushers, cloner):
            one.start()
        acknowledged = sum(len(pusher.done) for pusher in pushers)
        until_sync(
            lambda n=acknowledged: sum(len(p.done) for p in pushers) > n + 2,  # type: ignore[misc]
            timeout=30,
            what="pushes on their way",
        )
        middle = pushers[0].done[len(pushers[0].done) // 2].checkin
        host.call(
            "backup", "restore", "busy", "--at", f"before {middle[:16]}", "--in-place", "--yes"
        )
        for one in (*pushers, cloner):
            one.stop()
        after = checkins(live)
        kept = _undo_copies(host)
        acked = {push.checkin for pusher in pushers for push in pusher.done}
        assert acked <= after | kept, "an acknowledged push is in neither state"
        assert " 0 errors" in integrity(live)
        if number == RESTORES - 1:
            host.call("backup", "undo", "busy", "--yes")
            assert checkins(live) == kept
    assert cloner.clones, "no clone ended well meanwhile"
    for file in cloner.clones:
        assert " 0 errors" in integrity(file)


def _undo_copies(host: Host) -> set[str]:
    """What the newest undo copy holds."""
    newest = max((host.data / "undo").glob("*.fossil"), key=lambda path: path.stat().st_mtime_ns)
    return checkins(newest)


class Cloner:
    """Clones again and again; what ended well is kept."""

    def __init__(self, url: str, folder: Path) -> None:
        self.clones: list[Path] = []
        self._url = url
        self._folder = folder
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._go_on, name="cloner")
        self._thread.start()

    def _go_on(self) -> None:
        while not self._stop.is_set():
            target = self._folder / f"clone-{len(self.clones)}.fossil"
            target.unlink(missing_ok=True)
            client = Checkout(self._folder / "nowhere", "ada", self._url)
            done = client.fossil("clone", "--no-open", self._url, str(target), check=False)
            if done.returncode == 0 and target.exists():
                self.clones.append(target)

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(60)
            assert not self._thread.is_alive()
