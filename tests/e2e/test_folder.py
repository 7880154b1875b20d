"""What people do in the folder by hand, while the host runs."""

import fcntl
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until_sync


def listed(host: Host, name: str) -> dict[str, object] | None:
    return next((r for r in host.json("repo", "list") if r["name"] == name), None)


def state(host: Host, name: str) -> object:
    found = listed(host, name)
    return found and found["state"]


def fossil_init(path: Path) -> None:
    subprocess.run(
        ["fossil", "init", str(path)],
        check=True,
        capture_output=True,
        env={"PATH": os.environ["PATH"], "HOME": str(path.parent.parent.parent), "USER": "joe"},
    )


def test_a_repository_made_in_the_folder_is_served(host: Host, tmp_path: Path) -> None:
    fossil_init(host.data / "repos" / "made.fossil")
    until_sync(lambda: state(host, "made") == "active", what="adoption")
    assert (host.data / "repos" / "made.fossil").is_symlink()
    assert host.get("/made/timeline", host="made")[0] == 200
    assert Checkout.cloned(host.url("made"), tmp_path / "c", "eve").has("trunk")


def test_a_copied_file_is_served_and_its_setup_user_is_no_superuser(
    host: Host, fossil_template: Path
) -> None:
    shutil.copy(fossil_template, host.data / "repos" / "copied.fossil")
    until_sync(lambda: state(host, "copied") == "active", what="adoption")
    file = (host.data / "repos" / "copied.fossil").resolve()
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as db:
        capabilities = dict(db.execute("SELECT login, cap FROM user").fetchall())
    db.close()
    assert "setup" in capabilities
    assert all(not set("as") & set(c or "") for c in capabilities.values())


def test_files_that_are_no_repository_are_listed_with_the_reason_and_not_served(
    host: Host, fossil_template: Path
) -> None:
    repos = host.data / "repos"
    (repos / "empty.fossil").touch()
    (repos / "random.fossil").write_bytes(os.urandom(5000))
    (repos / "leak.fossil").symlink_to("/etc/passwd")
    os.link("/etc/hostname", repos / "hard.fossil") if _same_disk(repos) else None
    shutil.copy(fossil_template, repos / "Not A Name.fossil")
    broken = fossil_template.read_bytes()
    (repos / "torn.fossil").write_bytes(broken[: len(broken) // 2])
    sqlite3.connect(repos / "other.fossil").executescript("CREATE TABLE t(x)").connection.close()
    for name in ("empty", "random", "leak", "Not A Name", "torn", "other"):
        until_sync(lambda n=name: state(host, n) == "broken", what=name)  # type: ignore[misc]
        entry = listed(host, name)
        assert entry is not None and entry["reason"]
        if " " not in name:
            assert host.get("/", host=name)[0] == 404
            assert host.get(f"/{name}/timeline", host=name)[0] == 404
    assert host.call("repo", "list").stdout.count("/etc/passwd") == 1
    for file in repos.glob("*.fossil"):
        if not file.is_symlink() or file.name == "leak.fossil":
            file.unlink()
    until_sync(lambda: state(host, "torn") is None, what="forgetting what is gone")


def _same_disk(folder: Path) -> bool:
    return folder.stat().st_dev == Path("/etc/hostname").stat().st_dev


def test_a_file_that_is_held_open_waits_and_is_adopted_later(
    host: Host, fossil_template: Path
) -> None:
    path = host.data / "repos" / "held.fossil"
    with path.open("wb") as file:
        content = fossil_template.read_bytes()
        file.write(content[:100_000])
        file.flush()
        until_sync(lambda: state(host, "held") in ("waiting", "broken"), what="waiting")
        assert state(host, "held") == "waiting"
        assert host.get("/", host="held")[0] == 404
        file.write(content[100_000:])
    until_sync(lambda: state(host, "held") == "active", what="adoption after the writer ended")
    assert host.get("/held/timeline", host="held")[0] == 200


def test_a_file_in_a_transaction_of_another_program_waits(
    host: Host, fossil_template: Path
) -> None:
    source = host.data.parent / "busy.fossil"
    shutil.copy(fossil_template, source)
    db = sqlite3.connect(source, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO config(name, value, mtime) VALUES ('project-name', 'Late', 0)")
    os.rename(source, host.data / "repos" / "busy.fossil")
    until_sync(lambda: state(host, "busy") == "waiting", what="waiting")
    db.execute("ROLLBACK")
    db.close()
    until_sync(lambda: state(host, "busy") == "active", what="adoption")


def test_a_link_renamed_by_hand_renames_the_repository(host: Host) -> None:
    host.call("repo", "create", "before")
    identity = host.json("repo", "show", "before")["id"]
    repos = host.data / "repos"
    os.rename(repos / "before.fossil", repos / "after.fossil")
    until_sync(lambda: state(host, "after") == "active", what="the new name")
    assert host.json("repo", "show", "after")["id"] == identity
    assert host.get("/after/timeline", host="after")[0] == 200
    assert host.get("/before/timeline", host="before")[0] == 302, "the old name leads to the new"


def test_a_link_removed_by_hand_is_in_the_trash_and_comes_back(host: Host) -> None:
    host.call("repo", "create", "gone")
    identity = host.json("repo", "show", "gone")["id"]
    link = host.data / "repos" / "gone.fossil"

    def is_gone() -> bool:
        link.unlink(missing_ok=True)  # a scan that began before may have put it back
        return state(host, "gone") is None

    until_sync(is_gone, what="the trash")
    assert host.get("/gone/timeline", host="gone")[0] == 404
    host.call("repo", "trash", "restore", identity)
    assert host.get("/gone/timeline", host="gone")[0] == 200


def test_a_second_link_is_told_and_not_served(host: Host) -> None:
    host.call("repo", "create", "single")
    repos = host.data / "repos"
    os.symlink(os.readlink(repos / "single.fossil"), repos / "double.fossil")
    until_sync(lambda: state(host, "double") == "broken", what="the second link")
    assert host.get("/double/timeline", host="double")[0] == 404
    assert state(host, "single") == "active"
    (repos / "double.fossil").unlink()


def test_a_file_copied_over_a_link_does_not_replace_what_is_served(
    host: Host, clone: Callable[..., Checkout], fossil_template: Path
) -> None:
    host.call("repo", "create", "kept")
    first = clone("kept")
    made = first.commit("a.txt", "a\n")
    first.push()
    link = host.data / "repos" / "kept.fossil"
    copy = host.data.parent / "copy.fossil"
    host.call("repo", "export", "kept", str(copy))
    os.replace(copy, link)  # as rsync does
    until_sync(link.is_symlink, what="the link to come back")
    assert any(p.name.startswith("kept-") for p in (host.data / "incoming").iterdir())
    assert clone("kept", "again").has(made)

    other = host.data.parent / "other.fossil"
    shutil.copy(fossil_template, other)
    os.replace(other, link)
    until_sync(lambda: state(host, "kept") == "broken" or _conflict(host), what="the conflict")
    assert clone("kept", "third").has(made)
    link.unlink()


def _conflict(host: Host) -> bool:
    entries = [r for r in host.json("repo", "list") if r["name"] == "kept"]
    return any(r["state"] == "broken" for r in entries)


def test_another_project_written_through_a_link_is_told_and_not_served(
    host: Host, fossil_template: Path
) -> None:
    host.call("repo", "create", "through")
    shutil.copy(fossil_template, host.data / "repos" / "through.fossil")  # into the live file
    until_sync(lambda: state(host, "through") == "broken", what="noticing")
    assert "another project" in str(listed(host, "through"))
    assert host.get("/through/timeline", host="through")[0] == 404


def test_a_file_that_goes_bad_is_not_served_and_disturbs_nobody(host: Host) -> None:
    host.call("repo", "create", "rotten")
    host.call("repo", "create", "healthy")
    file = (host.data / "repos" / "rotten.fossil").resolve()
    with file.open("r+b") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.write(b"\0" * 4096)
    for side in ("-wal", "-shm"):
        file.with_name(file.name + side).unlink(missing_ok=True)
    until_sync(lambda: state(host, "rotten") == "broken", what="noticing")
    assert host.get("/rotten/timeline", host="rotten")[0] == 404
    assert host.get("/healthy/timeline", host="healthy")[0] == 200


def test_what_happened_while_the_host_was_off_is_noticed(
    fresh: Callable[..., Host], fossil_template: Path
) -> None:
    host = fresh()
    for name in ("one", "two", "three"):
        host.call("repo", "create", name)
    assert host.stop() == 0
    repos = host.data / "repos"
    os.rename(repos / "one.fossil", repos / "uno.fossil")
    (repos / "two.fossil").unlink()
    shutil.copy(fossil_template, repos / "four.fossil")
    (host.data / "tmp" / "left-over.fossil").write_bytes(b"x")
    host.start()
    until_sync(lambda: state(host, "four") == "active", what="adoption")
    assert state(host, "uno") == "active" and state(host, "one") is None
    assert state(host, "two") is None and state(host, "three") == "active"
    assert [t["name"] for t in host.json("repo", "trash", "list")] == ["two"]
    assert list((host.data / "tmp").glob("left-over*")) == []
