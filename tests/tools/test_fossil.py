from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fossilrepo.errors import Damaged, InvalidInput, ToolFailed
from fossilrepo.tools import fossil_db, fossil_users, fossil_write, jail
from fossilrepo.tools.fossil_users import Account, Plan
from tests.helpers import jailed
from tests.helpers.jailed import Place


async def test_a_new_repository_lets_nobody_in(place: Place) -> None:
    path = place.scratch / "new.fossil"
    await place.fossil.init(path, "The title", "What it is for")
    users = jailed.rows(path, "SELECT login, pw, cap FROM user ORDER BY login")
    assert [row[0] for row in users if row[2] and row[0] not in fossil_users.PSEUDO_USERS] == []
    assert ("fossilrepo", None, "") in users
    facts = fossil_db.read_facts(path)
    assert facts.project_name == "The title"
    assert len(facts.project_code) == 40 and facts.checkins == 1 and facts.head
    assert facts.last_change and abs(datetime.now(UTC) - facts.last_change) < timedelta(minutes=2)
    settings = dict(jailed.rows(path, "SELECT name, CAST(value AS TEXT) FROM config"))
    assert settings.items() >= fossil_write.SETTINGS.items()
    if place.identity is not None:
        assert path.stat().st_uid == place.identity.uid
    assert not any((place.data / "homes").iterdir())


async def test_our_password_hash_is_fossils(place: Place, fossil_template: Path) -> None:
    path = place.new("demo", fossil_template)
    code, said = await jailed.client(place, "user", "new", "bob", "Bob", "sesame", "-R", str(path))
    assert code == 0, said
    [(stored,)] = jailed.rows(path, "SELECT pw FROM user WHERE login = 'bob'")
    project = fossil_db.read_facts(path).project_code
    assert stored == fossil_users.password_hash(project, "bob", "sesame")


async def test_a_projected_person_pushes_and_a_wrong_password_is_refused(
    place: Place, fossil_template: Path
) -> None:
    path = place.new("demo", fossil_template)
    plan = Plan({"ann": Account("right", "bgio", "Ann")}, {"nobody": "", "anonymous": ""})
    done = await asyncio.to_thread(fossil_users.project, path, plan)
    assert "ann" in done.changed and not done.collisions
    walls = await jail.probe(place.repos, place.identity)
    async with jailed.server(place, walls) as url:
        with_password = url.replace("//", "//ann:{}@") + "/demo"
        code, said = await jailed.client(
            place, "clone", with_password.format("wrong"), "a.fossil", "--no-open"
        )
        assert code != 0 and not (place.data / "client/a.fossil").exists(), said
        code, said = await jailed.client(
            place,
            "clone",
            with_password.format("right"),
            "b.fossil",
            "--once",
            "--no-open",
            "-A",
            "ann",
        )
        assert code == 0, said
        for argv in (
            ("open", "b.fossil", "--nosync", "--workdir", "b"),
            ("push", "--once", with_password.format("right"), "-R", "b.fossil"),
        ):
            code, said = await jailed.client(place, *argv, user="ann")
            assert code == 0, said
        text = place.data / "client/b/new.txt"
        text.write_text("content")
        for argv in (
            ("add", "new.txt", "--chdir", str(text.parent)),
            ("commit", "-m", "A change", "--user", "ann", "--nosign", "--chdir", str(text.parent)),
            ("push", "--once", with_password.format("right"), "-R", "b.fossil"),
        ):
            code, said = await jailed.client(place, *argv, user="ann")
            assert code == 0, said
    [newest, _] = fossil_db.recent_checkins(path, 10)
    assert (newest.comment, newest.user, newest.pushed_by) == ("A change", "ann", "ann")
    assert newest.branch == "trunk" and newest.hash == fossil_db.read_facts(path).head


def test_projecting_the_same_plan_again_writes_nothing(place: Place, fossil_template: Path) -> None:
    path = place.new("demo", fossil_template)
    plan = Plan({"ann": Account("right", "ei")}, {"nobody": "gjorz", "anonymous": "hmnc"})
    fossil_users.project(path, plan)
    before = path.read_bytes()
    assert fossil_users.project(path, plan).changed == ()
    assert path.read_bytes() == before


def test_who_is_missing_from_the_plan_has_no_way_in(place: Place, fossil_template: Path) -> None:
    path = place.new("demo", fossil_template)
    fossil_users.project(path, Plan({"ann": Account("right", "ei")}))
    jailed.sql(path, "UPDATE user SET cookie='c', cexpire=1e9 WHERE login='ann'")
    fossil_users.project(path, Plan())
    assert jailed.rows(path, "SELECT pw, cap, cookie, cexpire FROM user WHERE login='ann'") == [
        (None, "", None, None)
    ]
    assert fossil_users.project(path, Plan()).changed == ()


def test_native_superusers_lose_it_and_archiving_can_be_undone(
    place: Place, fossil_template: Path
) -> None:
    path = place.new("demo", fossil_template)
    jailed.sql(
        path,
        "INSERT INTO user(login, pw, cap) VALUES('joe', 'clear', 'as'), ('kim', 'clear', 'eik');"
        "UPDATE user SET cap = 'sei' WHERE login = 'developer'",
    )
    project = fossil_db.read_facts(path).project_code
    done = fossil_users.project(path, Plan())
    caps = _caps(path)
    assert not set(caps["joe"]) & set("asDpuv") and {"i", "q", "l"} <= set(caps["joe"])
    assert caps["kim"] == "eik" and caps["developer"] == "ei"
    assert {(native.login, native.original) for native in done.natives} >= {
        ("joe", "as"),
        ("kim", "eik"),
    }
    [(stored,)] = jailed.rows(path, "SELECT pw FROM user WHERE login = 'joe'")
    assert stored == fossil_users.password_hash(project, "joe", "clear")

    fossil_users.project(path, Plan(archived=True))
    archived = _caps(path)
    assert archived["kim"] == "jo" and set(archived["joe"]) <= set("2ghjorxz")
    assert not any(set(caps) & set("aisk") for caps in archived.values())
    fossil_users.project(path, Plan())
    assert _caps(path) == caps
    fossil_users.project(path, Plan(native_admins=frozenset({"joe"})))
    assert _caps(path)["joe"] == "as"


def test_a_native_user_is_not_taken_over_until_adopted(place: Place, fossil_template: Path) -> None:
    path = place.new("demo", fossil_template)
    jailed.sql(
        path,
        "INSERT INTO user(login, pw, cap) VALUES('joe', 'x', 'ei'), ('old', NULL, '')",
    )
    people = {"joe": Account("ours", "i"), "old": Account("ours", "i")}
    done = fossil_users.project(path, Plan(people))
    assert done.collisions == ("joe",) and _caps(path)["joe"] == "ei"
    assert _caps(path)["old"] == "i", "a name that nobody can sign in with is free"
    done = fossil_users.project(path, Plan(people, adopted=frozenset({"joe"})))
    assert done.collisions == () and _caps(path)["joe"] == "i"


@pytest.mark.parametrize(
    "plan",
    [
        Plan({"eve": Account("x", "ia")}),
        Plan({"eve": Account("x", "s")}),
        Plan({"nobody": Account("x", "i")}),
        Plan(pseudo={"nobody": "s"}),
        Plan(pseudo={"eve": "i"}),
    ],
)
def test_no_plan_hands_out_superusers_by_mistake(
    place: Place, fossil_template: Path, plan: Plan
) -> None:
    path = place.new("demo", fossil_template)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"eve|nobody"):
        fossil_users.project(path, plan)
    assert path.read_bytes() == before


def test_who_it_is_stays_in_the_file(place: Place, fossil_template: Path) -> None:
    path = place.new("demo", fossil_template)
    assert fossil_write.read_identity(path) is None
    ours = fossil_write.StoredIdentity("abcdefghijkl", "demo", "Title é", "Text\nlong", "private")
    assert fossil_write.write_identity(path, ours)
    assert not fossil_write.write_identity(path, ours)
    assert fossil_write.read_identity(path) == ours
    assert fossil_db.read_facts(path).project_name == "Title é"


def test_a_trigger_stops_every_write_of_ours(place: Place, fossil_template: Path) -> None:
    path = place.new("demo", fossil_template)
    jailed.sql(
        path,
        "CREATE TRIGGER sly AFTER INSERT ON user BEGIN UPDATE user SET cap='s'; END;",
    )
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match="sly"):
        fossil_users.project(path, Plan({"ann": Account("x", "i")}))
    assert path.read_bytes() == before


def test_a_view_in_place_of_a_table_is_not_read(place: Place, fossil_template: Path) -> None:
    path = place.new("demo", fossil_template)
    jailed.sql(
        path,
        "ALTER TABLE config RENAME TO real; CREATE VIEW config AS SELECT name, value FROM real;",
    )
    with pytest.raises(Damaged, match=r"prohibited|not authorized"):
        fossil_db.read_facts(path)


def test_disarming_gives_back_what_was_there(place: Place, fossil_template: Path) -> None:
    path = place.new("demo", fossil_template)
    bad = {"hooks": "[]", "tcl": "1", "th1-setup": "puts x", "peer-repo-12": "/x", "editor": "vi"}
    for name, value in bad.items():
        jailed.sql(path, f"INSERT INTO config VALUES('{name}', '{value}', 0)")
    jailed.sql(path, "INSERT INTO config VALUES('ticket-table', 'keep', 0)")
    assert fossil_write.dangerous(path) == bad
    assert fossil_write.disarm(path) == bad
    assert fossil_write.dangerous(path) == {}
    names = {str(name) for (name,) in jailed.rows(path, "SELECT name FROM config")}
    assert not names & bad.keys() and "ticket-table" in names and "project-code" in names


def test_a_file_that_leaves_carries_nobodys_secrets(place: Place, fossil_template: Path) -> None:
    path = place.new("demo", fossil_template)
    fossil_users.project(path, Plan({"ann": Account("right", "ei", "ann@example.org")}))
    jailed.sql(
        path,
        "UPDATE user SET cookie='LEAKCOOKIE', ipaddr='LEAKIP' WHERE login='ann';"
        "INSERT INTO config VALUES('last-sync-pw', 'LEAKPW', 0);"
        "UPDATE rcvfrom SET ipaddr='LEAKADDRESS'",
    )
    copy = place.scratch / "out.fossil"
    fossil_db.consistent_copy(path, copy)
    fossil_write.scrub(copy)
    project = fossil_db.read_facts(path).project_code
    text = "\n".join(_dump(copy))
    for secret in ("LEAK", fossil_users.password_hash(project, "ann", "right"), "example.org"):
        assert secret not in text
        assert secret.encode() not in copy.read_bytes(), "deleted, but still in a free page"


@pytest.mark.skipif(os.geteuid() != 0, reason="about files that root writes")
def test_what_root_writes_stays_the_accounts(place: Place, fossil_template: Path) -> None:
    path = place.new("demo", fossil_template)
    jailed.sql(path, "PRAGMA journal_mode=WAL")
    assert place.identity is not None
    with fossil_db.writing(path, ("config",)) as db:
        fossil_write.put_config(db, {"x": "y"})
        files = list(path.parent.glob(f"{path.name}*"))
        assert len(files) == 3
        assert {file.stat().st_uid for file in files} == {place.identity.uid}
    jailed.sql(path, "PRAGMA journal_mode=DELETE")
    with fossil_db.writing(path, ("config",)) as db:
        fossil_write.put_config(db, {"x": "z"})
        journal = path.with_name(f"{path.name}-journal")
        assert journal.stat().st_uid == place.identity.uid


async def test_a_damaged_artifact_fails_the_integrity_check(
    place: Place, fossil_template: Path
) -> None:
    path = place.new("demo", fossil_template)
    await place.fossil.test_integrity(path)
    await place.fossil.rebuild(path)
    jailed.sql(path, "UPDATE blob SET content = x'0000000501020304' WHERE rid = 1")
    with pytest.raises(ToolFailed, match="integrity"):
        await place.fossil.test_integrity(path)


async def test_a_clone_needs_its_password_and_never_shows_it(
    place: Place, fossil_template: Path
) -> None:
    path = place.new("demo", fossil_template)
    fossil_users.project(
        path, Plan({"ann": Account("s3same", "gjorz")}, {"nobody": "", "anonymous": ""})
    )
    walls = await jail.probe(place.repos, place.identity)
    lines: list[str] = []
    async with jailed.server(place, walls) as url:
        target = place.scratch / "clone.fossil"
        address = url.replace("//", "//ann:{}@") + "/demo"
        with pytest.raises(ToolFailed) as refused:
            await place.fossil.clone(address.format("wr0ng"), target, on_line=lines.append)
        assert "wr0ng" not in str(refused.value) and not target.exists()
        await place.fossil.clone(address.format("s3same"), target, on_line=lines.append)
    assert fossil_db.read_facts(target).checkins == 1
    assert lines and "s3same" not in "".join(lines)
    assert jailed.rows(target, "SELECT 1 FROM config WHERE name GLOB 'last-sync*'") == []


async def test_fossil_is_new_enough(place: Place) -> None:
    assert tuple(map(int, (await place.fossil.version()).split("."))) >= (2, 21)


def _caps(path: Path) -> dict[str, str]:
    return {str(login): str(cap) for login, cap in jailed.rows(path, "SELECT login, cap FROM user")}


def _dump(path: Path) -> list[str]:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())
