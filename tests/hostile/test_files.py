"""Files that are not what they seem: each is refused with the reason, and nothing of it runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

from tests.helpers import hostile
from tests.helpers.hostile import Target
from tests.helpers.poll import until_sync

BOMB = 192 * 2**20

# A7: objects that would run in whoever writes or reads, with the words of the refusal.
OBJECTS = {
    "trigger": (
        "CREATE TRIGGER steal AFTER INSERT ON user BEGIN INSERT INTO shun(uuid) VALUES (new.pw);"
        " UPDATE user SET cap='s' WHERE login='mallory'; END",
        "trigger steal",
    ),
    "config-trigger": (
        "CREATE TRIGGER keep BEFORE DELETE ON config BEGIN SELECT raise(IGNORE); END",
        "trigger keep",
    ),
    "view": ("CREATE VIEW peek AS SELECT * FROM user", "view peek"),
    "view-trigger": (
        "ALTER TABLE user RENAME TO people; CREATE VIEW user AS SELECT * FROM people;"
        "CREATE TRIGGER sly INSTEAD OF INSERT ON user BEGIN INSERT INTO shun(uuid)"
        " VALUES (new.pw); END",
        "no table user|table people|view user|trigger sly",
    ),
    "virtual": ("CREATE VIRTUAL TABLE vt USING fts5(x)", "virtual table vt"),
    "generated": ("ALTER TABLE user ADD COLUMN g AS (hex(pw))", "table user"),
    "index": ("CREATE INDEX ix ON user(hex(pw))", "index ix"),
    "table": ("CREATE TABLE leak(x)", "table leak"),
    "hidden-trigger": (
        "PRAGMA writable_schema=ON; INSERT INTO sqlite_master VALUES('trigger', 'odd', 'user', 0,"
        " 'CREATE TRIGGER odd AFTER INSERT ON user BEGIN DELETE FROM shun; END')",
        "trigger odd",
    ),
    "posing-trigger": (
        "CREATE TRIGGER sqlite AFTER UPDATE ON user BEGIN INSERT INTO shun(uuid)"
        " VALUES (new.pw); END",
        "trigger sqlite",
    ),
    "bad-schema": (
        "PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql='CREATE TABLE' WHERE name='shun'",
        "shun|malformed|damaged",
    ),
    "loop": (
        "PRAGMA writable_schema=ON; UPDATE sqlite_master SET rootpage=1 WHERE name='shun'",
        "damaged|malformed|cannot be read",
    ),
}


def script(path: Path, text: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(text)


def put(target: Target, name: str, source: Path) -> Path:
    placed = target.repos / f"{name}.fossil"
    incoming = target.repos / f".{name}.part"
    shutil.copy(source, incoming)
    os.rename(incoming, placed)
    return placed


def states(target: Target) -> dict[str, tuple[str, str]]:
    return {r["name"]: (r["state"], r["reason"] or "") for r in target.listed()}


def test_files_with_objects_that_run_are_refused_by_name(target: Target, crafted: Path) -> None:
    placed: dict[str, tuple[Path, str]] = {}
    for kind, (sql, _) in OBJECTS.items():
        source = crafted.with_name(f"{kind}.fossil")
        shutil.copy(crafted, source)
        script(source, sql)
        content = hashlib.sha256(source.read_bytes()).hexdigest()
        placed[kind] = (put(target, f"has-{kind}", source), content)
    names = {f"has-{kind}" for kind in OBJECTS}

    def judged() -> dict[str, tuple[str, str]] | None:
        seen = states(target)
        done = names <= seen.keys() and all(seen[name][0] != "waiting" for name in names)
        return seen if done else None

    seen = until_sync(judged, timeout=30, every=0.5, what="the judgement of every file")
    assert seen is not None
    for kind, (_, words) in OBJECTS.items():
        state, reason = seen[f"has-{kind}"]
        assert state == "broken", kind
        assert any(word in reason for word in words.split("|")), (kind, reason)
        assert target.page(f"has-{kind}", "/").status == 404
        path, content = placed[kind]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == content, "something wrote to it"
        assert not [*target.repos.glob(f"has-{kind}.fossil-*")]
        job = target.upload(f"up-{kind}", path.read_bytes())
        assert job["state"] == "failed" and job["error"], kind
        path.unlink()
    assert os.listdir(target.host.data / "tmp") == []


def test_a_trigger_written_behind_our_back_never_runs(target: Target) -> None:
    target.create("triggered")
    target.write("triggered", OBJECTS["trigger"][0], OBJECTS["config-trigger"][0])
    until_sync(lambda: target.state("triggered")[0] == "broken", every=0.3, what="the finding")
    assert "trigger" in target.state("triggered")[1]
    assert target.page("triggered", "/triggered/timeline").status == 404
    assert target.api("PATCH", "/repositories/triggered", {"title": "x"}).status >= 400
    assert target.rows("triggered", "SELECT count(*) FROM shun") == [(0,)]


def bad(template: bytes) -> dict[str, bytes]:
    huge_page = bytearray(template)
    huge_page[16:18] = (1).to_bytes(2, "big")  # 65,536 bytes a page
    many_pages = bytearray(template)
    many_pages[28:32] = (0x7FFFFFFF).to_bytes(4, "big")
    odd_page = bytearray(template)
    odd_page[16:18] = (4097).to_bytes(2, "big")
    return {
        "zero": b"",
        "text": b"#!/bin/sh\nid\n" * 1000,
        "header": template[:16],
        "short": template[:100],
        "half": template[: len(template) // 2],
        "less-one": template[:-1],
        "huge-page": bytes(huge_page),
        "many-pages": bytes(many_pages),
        "odd-page": bytes(odd_page),
        "zip": b"PK\x03\x04" + bytes(1000),
    }


def test_uploads_that_are_no_repository_fail_and_leave_nothing(
    target: Target, crafted: Path
) -> None:
    stored = sorted((target.repos / ".store").glob("*.fossil"))
    for kind, content in bad(crafted.read_bytes()).items():
        job = target.upload(f"bad-{kind}", content)
        assert job["state"] == "failed" and job["error"], kind
        assert "Traceback" not in job["error"] and str(target.host.data) not in job["error"]
        assert target.page(f"bad-{kind}", "/").status == 404
    assert sorted((target.repos / ".store").glob("*.fossil")) == stored
    assert os.listdir(target.host.data / "tmp") == []


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_bomb_does_not_take_the_host_with_it(target: Target, crafted: Path) -> None:
    """A few hundred kilobytes that unpack to much more, and sizes that lie."""
    small = zlib.compress(bytes(BOMB), 9)
    with closing(sqlite3.connect(crafted)) as db, db:
        for number, size in enumerate((BOMB, 0x7FFFFFF0)):
            db.execute(
                "INSERT INTO blob(rcvid, size, uuid, content) VALUES (1, ?, ?, ?)",
                (size, f"{number:040x}", size.to_bytes(4, "big") + small),
            )
    assert target.host.process is not None
    before = resident(target.host.process.pid)
    job = target.upload("bomb", crafted.read_bytes())
    assert job["state"] in ("done", "failed"), job
    assert resident(target.host.process.pid) - before < BOMB // 2
    assert target.ask("GET", "/healthz").status == 200
    target.create("after-bomb")
    assert target.page("after-bomb", "/after-bomb/timeline").status == 200


def test_things_that_are_no_files_of_their_own_are_not_taken_in(
    target: Target, crafted: Path
) -> None:
    target.create("linked")
    live, secret = target.file("linked"), target.host.data / "secret.key"
    kept = {path: (path.stat().st_uid, path.stat().st_mode, path.read_bytes())
            for path in (secret,)}  # fmt: skip
    repos = target.repos
    (repos / "soft.fossil").symlink_to("/etc/passwd")
    (repos / "soft-secret.fossil").symlink_to(secret)
    (repos / "soft-store.fossil").symlink_to(".store")
    (repos / "dangling.fossil").symlink_to("nowhere")
    (repos / "loop.fossil").symlink_to("loop.fossil")
    os.link(secret, repos / "hard-secret.fossil")
    os.link(live, repos / "hard-live.fossil")
    os.mkfifo(repos / "fifo.fossil")
    (repos / "folder.fossil").mkdir()
    Path(os.fsdecode(bytes(repos) + b"/\xff\xfe.fossil")).write_bytes(crafted.read_bytes())
    (repos / "new\nline.fossil").write_bytes(crafted.read_bytes())
    names = {"soft", "soft-secret", "soft-store", "dangling", "loop", "hard-secret", "hard-live",
             "fifo", "folder"}  # fmt: skip
    unspeakable = {"\\xff\\xfe", "new\nline"}
    try:

        def judged() -> bool:
            seen = states(target)
            return all(seen.get(name, ("",))[0] == "broken" for name in names | unspeakable)

        until_sync(judged, timeout=15, every=0.5, what="every one to be broken")
        for name in names:
            assert target.page(name, "/").status == 404
            assert target.page(name, f"/{name}/timeline").status == 404
        assert "root:" not in target.host.call("repo", "list", "--json").stdout
        for path, before in kept.items():
            status = path.stat()
            assert (status.st_uid, status.st_mode, path.read_bytes()) == before
        assert target.page("linked", "/linked/timeline").status == 200
        target.drop_in("after-odd", crafted)  # the watcher is alive
    finally:
        for path in repos.iterdir():
            if path.name.endswith(".fossil") and not (repos / ".served" / path.name).exists():
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def test_an_exported_file_carries_nobodys_secrets(target: Target, tmp_path: Path) -> None:
    target.create("leaving")
    password = target.host.fossil_password("ada", "leaving")
    assert target.sign_in("leaving", "ada", password).status == 302  # leaves a cookie
    signs = ["203.0.113.77", "a@mail.example", "f" * 40, "cookie-of-ada", "secret-of-captcha"]
    address, mail, code, cookie, captcha = signs
    target.write(
        "leaving",
        f"UPDATE user SET ipaddr = '{address}', info = '{mail}' WHERE login = 'ada'",
        f"INSERT INTO user(login, pw, cap, cookie) VALUES('native', '{code}', 'i', '{cookie}')",
        f"UPDATE rcvfrom SET ipaddr = '{address}'",
        "CREATE TABLE IF NOT EXISTS accesslog(uname TEXT, ipaddr TEXT, success, mtime)",
        f"INSERT INTO accesslog VALUES ('ada', '{address}', 1, 0)",
        hostile.setting("captcha-secret", captcha),
        hostile.setting("last-sync-pw", captcha),
    )
    [(pw,)] = target.rows("leaving", "SELECT pw FROM user WHERE login = 'ada'")
    answer = target.api("GET", "/repositories/leaving/export")
    assert answer.status == 200 and answer.content.startswith(b"SQLite format 3")
    for secret in (*signs, pw, password):
        assert secret.encode() not in answer.content, secret
    copy = tmp_path / "copy.fossil"
    copy.write_bytes(answer.content)
    people = hostile.rows(
        copy, "SELECT nullif(pw, ''), cookie, ipaddr FROM user WHERE login <> 'anonymous'"
    )
    assert set(people) == {(None, None, None)}
    assert not [n for (n,) in hostile.rows(copy, "SELECT name FROM config") if "fossilrepo" in n]
