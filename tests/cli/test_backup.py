"""`backup …` beside a running host and without one: how it stands, and any moment back.

One host with real Litestream, real pushes and a folder as replica serves the tests of
this module, each on a repository of its own.
"""

from __future__ import annotations

import http.client
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command import Command
from tests.helpers.forks import Forks
from tests.helpers.host import Checkout
from tests.helpers.poll import until_sync

STANDING = {
    "id", "name", "state", "lag_s", "lag_transactions", "since", "reason", "hint", "synced_at",
    "proven_at", "proven_seconds", "verify_error",
}  # fmt: skip
PROMISED = {
    "url", "place", "state", "lag_s", "behind", "repositories", "targets", "control_database",
}  # fmt: skip
LOCAL_ONLY = "copied on this disk only: protects from mistakes, not from losing the machine"


@dataclass(frozen=True)
class Backed:
    """The command beside a running host, which replicates into a folder."""

    command: Command

    def __call__(self, *arguments: str) -> Any:
        return self.command("backup", *arguments, "--json").json

    def pushed(self, name: str, *messages: str) -> list[str]:
        """A new repository with a check-in for each message, each pushed and replicated alone."""
        self.command("repo", "create", name)
        checkout = Checkout.cloned(
            self.address(name), self.command.folder / f"checkout-{name}", "ada"
        )
        hashes = []
        for number, message in enumerate(messages, 1):
            content = message * number  # another size: Fossil looks no further within a second
            hashes.append(checkout.commit("file.txt", content, message))
            checkout.push()
            self.command("backup", "verify", name)  # all of now is on the replica after that
        return hashes

    def address(self, name: str) -> str:
        """Where `ada` clones it, with the password."""
        url = self.command("repo", "show", name, "--json").json["path_clone_url"]
        password = self.command("user", "sync-password", "ada", name).out.strip()
        return str(url).replace("://", f"://ada:{password}@")

    def settle(self) -> None:
        """Wait until the host says that everything is replicated."""

        def state() -> bool:
            outcome = self.command.run("backup", "status", "--json")
            return bool(outcome.json["state"] == "current")

        until_sync(state, every=0.1, what="all replicated")

    def standing(self, name: str) -> dict[str, Any]:
        return next(r for r in self("status")["repositories"] if r["name"] == name)

    def checkins(self, name: str) -> int:
        return int(self.command("repo", "show", name, "--json").json["checkins"])

    def page(self, name: str, path: str) -> int:
        """The status of a page on a repository's host."""
        port = int(self.command("status", "--json").json["url"].rpartition(":")[2])
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("GET", path, headers={"Host": f"{name}.localhost:{port}"})
            return connection.getresponse().status

    def replica(self, name: str) -> Path:
        identity = self.command("repo", "show", name, "--json").json["id"]
        return self.command.data / "backups" / f"{identity}.fossil"


@pytest.fixture(scope="module")
def backed(
    forked: Forks, prepared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backed]:
    folder = tmp_path_factory.mktemp("backed") / "host"
    shutil.copytree(prepared, folder, symlinks=True)
    command = Command(folder, forked)
    command("user", "create", "ada", "--admin", "--password-stdin", given="correct horse battery\n")
    with command.serving():
        yield Backed(command)


@pytest.fixture(scope="module")
def past(backed: Backed) -> str:
    """The hash of the second of two check-ins, `one` and `two`, of the repository `past`."""
    return backed.pushed("past", "one", "two")[1]


def checkins_in(file: Path) -> set[str]:
    """The messages of the check-ins in a repository's file, without the first, empty one."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        found = db.execute("SELECT coalesce(ecomment, comment) FROM event WHERE type = 'ci'")
        return {comment for (comment,) in found} - {"initial empty check-in"}


# How it stands


def test_status_without_a_host_claims_nothing_of_now(command: Command) -> None:
    found = command("backup", "status", "--json").json
    assert found.keys() >= PROMISED
    (demo,) = found["repositories"]
    assert demo.keys() == STANDING
    assert (demo["name"], demo["state"], demo["lag_s"]) == ("demo", "unknown", None)
    told = command("backup", "status").out
    assert "fossilrepo is not running" in told and "1 repository" in told
    assert "everything" not in told and LOCAL_ONLY in told


def test_status_beside_a_host_says_what_it_measured(backed: Backed) -> None:
    backed.settle()
    found = backed("status")
    assert found.keys() >= PROMISED and (found["behind"], found["lag_s"]) == ([], 0.0)
    assert found["place"] == "this disk"
    assert found["url"] == f"file://{backed.command.data / 'backups'}"
    demo = backed.standing("demo")
    assert demo.keys() == STANDING
    assert (demo["state"], demo["lag_s"], demo["lag_transactions"]) == ("current", 0.0, 0)
    assert found["control_database"]["state"] == "current"
    told = backed.command("backup", "status").out
    assert "everything of" in told and LOCAL_ONLY in told


def test_the_places_of_replicas_are_listed_and_the_one_in_use_stays(backed: Backed) -> None:
    (target,) = backed("targets")
    assert target["url"] == f"file://{backed.command.data / 'backups'}"
    assert "in use" in backed.command("backup", "targets").out
    said = backed.command.refused(1, "backup", "let-go", str(target["id"]), "--yes")
    assert "in use" in said and (backed.command.data / "backups").exists()
    assert "no target 99" in backed.command.refused(1, "backup", "let-go", "99", "--yes")


def test_forecast_and_orphans_are_told(backed: Backed) -> None:
    found = backed("forecast")
    assert found["total_bytes"] > 0 and found["replica_count"] >= 1
    assert "demo" in backed.command("backup", "forecast").out
    assert backed("orphans") == []
    stranger = backed.command.data / "backups" / "aaaaaaaaaaaa.fossil" / "ltx" / "0"
    stranger.mkdir(parents=True)
    (stranger / f"{1:016x}-{1:016x}.ltx").write_bytes(b"x" * 10)
    try:
        assert [orphan["name"] for orphan in backed("orphans")] == ["aaaaaaaaaaaa.fossil"]
    finally:
        shutil.rmtree(stranger.parents[1])


# Trial restores


def test_verify_proves_and_history_remembers(backed: Backed) -> None:
    backed.pushed("proven", "one")
    (run,) = backed("verify", "proven")
    assert (run["name"], run["ok"], run["checkins"]) == ("proven", True, 2)
    assert run["id"] in {entry["id"] for entry in backed("history", "proven")}
    told = backed.command("backup", "history", "--limit", "1").out
    assert "whole" in told and len(told.splitlines()) == 2
    assert "no repository" in backed.command.refused(1, "backup", "verify", "nobody")


def test_a_replica_that_does_not_come_back_ends_verify_and_status_with_1(backed: Backed) -> None:
    backed.pushed("torn", "one")
    for file in backed.replica("torn").rglob("*.ltx"):
        content = file.read_bytes()  # the header stays: without any, it would be copied anew
        file.write_bytes(content[:100] + b"torn" * ((len(content) - 100) // 4))
    outcome = backed.command.run("backup", "verify", "torn", "demo", "--json")
    assert outcome.code == 1 and "torn" in outcome.err and outcome.err.count("error: ") == 1
    assert {run["name"]: run["ok"] for run in outcome.json} == {"torn": False, "demo": True}
    until_sync(lambda: is_torn(backed), every=0.1, what="the host to know of the trial")
    identity = backed.command("repo", "delete", "torn", "--yes", "--json").json["id"]
    backed.command("repo", "trash", "purge", identity, "--yes")
    until_sync(lambda: not failing(backed), every=0.1, what="the host to know that it is gone")


def is_torn(backed: Backed) -> bool:
    """Status ends with 1, and says it of this one; under load others may be late beside it."""
    rows = [line for line in failing(backed).splitlines() if line.startswith("torn ")]
    return any("its trial restore failed" in row for row in rows)


def failing(backed: Backed) -> str:
    """What status says while it ends with 1."""
    outcome = backed.command.run("backup", "status")
    return outcome.out if outcome.code == 1 else ""


# What there is, and back


def test_points_name_the_pushes_and_what_is_restored_is_the_content_of_then(
    backed: Backed, past: str, tmp_path: Path
) -> None:
    found = backed("points", "past")
    assert found["knows_pushes"] and found["undo"] is None
    newest = found["points"][0]
    (push,) = [x for p in found["points"] for x in p["pushes"] if x["comment"] == "two"]
    assert push["checkin"].startswith(past) and push["login"] == "ada"
    told = backed.command("backup", "points", "past").out
    assert newest["at"] in told and f"ada: {past[:10]} two" in told
    assert len(backed("points", "past", "--limit", "1")["points"]) == 1
    for number, (at, held) in enumerate(
        [
            (f"before {past[:12]}", {"one"}),
            (push["before"], {"one"}),
            (newest["at"], {"one", "two"}),
            ("", {"one", "two"}),
        ]
    ):
        file = tmp_path / f"{number}.fossil"
        when = ["--at", at] if at else []
        restored = backed("restore", "past", *when, "--to", str(file))
        assert restored["size_bytes"] == file.stat().st_size
        assert checkins_in(file) == held, at
    again = backed.command.refused(1, "backup", "restore", "past", "--to", str(file))
    assert "exists already" in again


def test_a_moment_comes_back_as_a_new_repository_beside_the_present(
    backed: Backed, past: str
) -> None:
    made = backed("restore", "past", "--at", f"before {past}", "--as", "past-then")
    assert (made["name"], made["checkins"]) == ("past-then", 2)
    assert backed.checkins("past") == 3
    taken = ("backup", "restore", "past", "--as", "past-then")
    assert "past-then" in backed.command.refused(1, *taken)


def test_in_place_shows_what_would_change_asks_and_can_be_undone(backed: Backed, past: str) -> None:
    at = ("past", "--at", f"before {past}")
    compared = backed("compare", *at)
    assert [c["comment"] for c in compared["gone"]] == ["two"] and compared["back"] == []
    assert "two" in backed.command("backup", "compare", *at).out
    unasked = backed.command.run("backup", "restore", *at, "--in-place")
    assert unasked.code == 2 and "two" in unasked.err and "--yes" in unasked.err
    assert backed.checkins("past") == 3
    answered = backed.command.at_terminal("backup", "restore", *at, "--in-place", typed=["n"])
    assert answered.code == 2 and backed.checkins("past") == 3
    after = backed("restore", *at, "--in-place", "--yes")
    assert after["checkins"] == 2 and after["difference"]["checkins_then"] == 2
    assert backed("points", "past")["undo"]["by"] == "command line"
    assert "backup undo past" in backed.command("backup", "points", "past").out
    assert backed("undo", "past", "--yes")["checkins"] == 3


def test_what_was_purged_comes_back_by_its_identity(backed: Backed, tmp_path: Path) -> None:
    backed.pushed("gone", "one")
    identity = backed.command("repo", "delete", "gone", "--yes", "--json").json["id"]
    assert {"id": identity, "state": "trashed"}.items() <= deleted(backed, identity).items()
    backed.command("repo", "trash", "purge", identity, "--yes")
    found = deleted(backed, identity)
    assert (found["name"], found["state"]) == ("gone", "purged") and found["until"]
    assert identity in backed.command("backup", "deleted").out
    file = tmp_path / "gone.fossil"
    backed("restore", identity, "--to", str(file))
    assert checkins_in(file) == {"one"}
    assert backed("restore", identity, "--as", "gone")["checkins"] == 2
    assert "is deleted" in backed.command.refused(
        1, "backup", "restore", identity, "--in-place", "--yes"
    )


def deleted(backed: Backed, identity: str) -> dict[str, Any]:
    return next(gone for gone in backed("deleted") if gone["id"] == identity)


def test_a_preview_is_for_administrators_until_it_is_closed(
    backed: Backed, past: str, tmp_path: Path
) -> None:
    opened = backed("preview", "past", "--at", f"before {past}")
    assert opened["name"].startswith("past--")

    def page() -> int:
        return backed.page(opened["name"], f"/{opened['name']}/timeline")

    assert page() == 302  # who is not signed in is asked to
    clone = Checkout.cloned(
        backed.address("past").replace("/past", f"/{opened['name']}"), tmp_path / "preview", "ada"
    )
    assert checkins_in(clone.file) == {"one"}
    assert [p["name"] for p in backed("previews")] == [opened["name"]]
    assert opened["url"] in backed.command("backup", "previews").out
    backed("preview-close", opened["name"])
    assert backed("previews") == [] and page() == 404
    assert opened["name"] in backed.command.refused(1, "backup", "preview-close", opened["name"])


def test_the_control_database_comes_back_as_a_file(backed: Backed, tmp_path: Path) -> None:
    file = tmp_path / "control.db"
    outcome = backed.command("backup", "restore", "--control", "--to", str(file))
    assert "stop fossilrepo" in outcome.err and file.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT login FROM users").fetchall() == [("ada",)]


def test_a_drill_brings_everything_back_beside_the_host(backed: Backed, tmp_path: Path) -> None:
    backed.settle()
    report = backed("drill", "--into", str(tmp_path / "drill"))
    assert report["ok"] and "demo" in {one["name"] for one in report["repositories"]}
    assert not (tmp_path / "drill").exists()


# Calls that cannot be meant


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("restore", "demo"), "--as NEW, --in-place and --to FILE"),
        (("restore", "demo", "--in-place", "--to", "x"), "more than one"),
        (("restore", "demo", "--as", "x", "--to", "x"), "more than one"),
        (("restore", "demo", "--as", "x", "--in-place"), "more than one"),
        (("restore",), "no repository was named"),
        (("restore", "--to", "x"), "no repository was named"),
        (("restore", "--control"), "--to FILE"),
        (("restore", "--control", "--in-place"), "only be restored to a file"),
        (("restore", "demo", "--control", "--to", "x"), "leave one of them out"),
        (("restore", "demo", "--as", "Not_A_Name"), "cannot be a repository name"),
        (("restore", "demo", "--at", "whenever", "--to", "x"), "is no moment"),
        (("restore", "demo", "--at", "2999-01-01", "--to", "x"), "in the future"),
        (("compare", "demo", "--at", "whenever"), "is no moment"),
        (("preview", "demo", "--at", "whenever"), "is no moment"),
        (("undo", "demo"), "--yes"),
        (("points",), "NAME"),
        (("rebuild",), "--from"),
        (("let-go", "first", "--yes"), "ID"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_call_ends_with_2_before_anything_is_made(
    fresh: Command, arguments: tuple[str, ...], said: str
) -> None:
    assert said in fresh.refused(2, "backup", *arguments)
    assert not fresh.data.exists() and not (fresh.folder / "x").exists()


def test_what_is_not_there_is_said_in_words(command: Command, tmp_path: Path) -> None:
    out = str(tmp_path / "x")
    for arguments in (
        ("points", "nobody"),
        ("restore", "nobody", "--to", out),
        ("restore", "aaaaaaaaaaaa", "--to", out),
        ("preview-close", "demo--aaaaaa"),
        ("undo", "demo", "--yes"),
    ):
        assert "\nhint: " in command.refused(1, "backup", *arguments)
    assert command("backup", "deleted", "--json").json == []
    assert command("backup", "previews", "--json").json == []
