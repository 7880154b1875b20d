"""`upgrade`: rebuilt for another Fossil while people push; nothing is lost, all can be undone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.e2e.test_faults import integrity
from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until_sync
from tests.helpers.pushes import Pusher, checkins

Fresh = Callable[..., Host]
Clone = Callable[..., Checkout]


def age(live: Path, schema: str) -> None:
    """As if a Fossil of long ago had derived the tables."""
    with closing(sqlite3.connect(live, timeout=10)) as db, db:
        db.execute("UPDATE config SET value = ? WHERE name = 'aux-schema'", (schema,))
        db.execute("UPDATE config SET value = '2.10 [x]' WHERE name = 'rebuilt'")


def doctor(host: Host) -> str:
    return host.call("doctor", "--json", check=False).stdout


def test_what_the_installed_fossil_cannot_open_is_rebuilt_and_served_again(fresh: Fresh) -> None:
    host = fresh()
    host.admin()
    for name in ("old", "older", "fine"):
        host.call("repo", "create", name, "--visibility", "public")
    age((host.data / "repos" / "old.fossil").resolve(), "2013-01-01")
    age((host.data / "repos" / "older.fossil").resolve(), "2010-01-01")
    assert "out-of-date" in host.get("/older/timeline", "older")[1]
    told = host.json("upgrade", "--check")
    must = {one["name"]: one["must"] for one in told["repositories"]}
    assert must == {"old": False, "older": True, "fine": False}
    assert '"must": true' not in host.call("upgrade", "old", "--check", "--json").stdout
    checks = {one["name"]: one for one in json.loads(doctor(host))}
    assert checks["schema of repositories"]["result"] == "fail"
    assert host.json("upgrade", "--yes")["rebuilt"] == ["older"]
    assert "initial empty check-in" in host.get("/older/timeline", "older")[1]
    assert host.json("upgrade", "--all", "--yes")["rebuilt"] == ["old"]
    rest = host.json("upgrade", "--check", "--all")["repositories"]
    assert not [one for one in rest if one["would_rebuild"]]
    assert "no repository 'nothing'" in host.call("upgrade", "nothing", check=False).stderr


def test_pushes_meanwhile_are_not_lost_and_the_replica_follows(
    fresh: Fresh, clone: Clone, tmp_path: Path
) -> None:
    host = fresh()
    host.admin()
    host.call("repo", "create", "busy")
    pushers = [Pusher("busy", clone("busy", f"c{number}", on=host)) for number in range(2)]
    pushers[0].times(2)
    live = (host.data / "repos" / "busy.fossil").resolve()
    for _ in range(2):
        for one in pushers:
            one.start()
        before = sum(len(one.done) for one in pushers)
        until_sync(lambda n=before: sum(len(p.done) for p in pushers) > n + 2, what="pushes")  # type: ignore[misc]
        assert host.json("upgrade", "busy", "--yes")["failed"] == {}
        for one in pushers:
            one.stop()
        assert {push.checkin for one in pushers for push in one.done} <= checkins(live)
        assert " 0 errors" in integrity(live)
    out = tmp_path / "back.fossil"
    host.call("backup", "restore", "busy", "--to", str(out))
    assert checkins(out) == checkins(live)
    all_of_them = checkins(live)
    host.call("backup", "undo", "busy", "--yes")
    assert checkins(live) <= all_of_them
    assert host.get("/busy/timeline", "busy")[0] in (200, 302)
