"""Those who are inside a repository, and reach for what its user table holds: with Fossil's own
client, through the gateway. Each attack is seen to work where nothing stops it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fossilrepo.errors import FossilrepoError
from fossilrepo.models import JobState, Visibility
from fossilrepo.rights import Role
from tests.helpers import hostile, opened
from tests.helpers.inside import HERE, Client, caps, create, granted, live, person
from tests.helpers.opened import Front
from tests.helpers.poll import until

PW = "SELECT login, pw FROM user WHERE pw NOTNULL AND pw <> ''"


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    async with opened.running() as front:
        await create(front, private=False)
        yield front


async def pulled_hashes(client: Client, name: str) -> dict[str, str]:
    """What cloning and `fossil configuration pull user` bring, of those that are there."""
    file = client.fossil.home / f"{name}-pull.fossil"
    file.unlink(missing_ok=True)
    url = client.url(name)
    said = await client.run("clone", "--once", "--no-open", "-A", "me", url, file)
    assert said.endswith("exit 0"), said
    words = ("configuration", "pull", "user", url, "--overwrite", "-R", file, "--user", "me")
    said = await client.run(*words)
    assert "Pull done" in said, said
    there = dict(hostile.rows(live(client.front, name), PW))
    return {login: pw for login, pw in hostile.rows(file, PW) if pw == there.get(login)}


async def signs_in(front: Front, name: str, login: str, pw: str) -> bool:
    """Whether a hash opens the repository by the sync protocol."""
    code = "SELECT value FROM config WHERE name = 'project-code'"
    ((project,),) = hostile.rows(live(front, name), code)
    way = await front.way(name=name)
    message = hostile.signed(login, pw, f"pull {'0' * 40} {project}\n")
    got = await way.ask("POST", f"/{name}", {"Content-Type": hostile.PLAIN_SYNC}, message)
    assert got.status == 200, got.body
    return b"login\\sfailed" not in got.body


async def fork(front: Front, folder: Path, *, of: str = "demo", name: str = "fork") -> None:
    """The same project once more, with its native users."""
    await front.services.repos.export(HERE, of, folder / "out.fossil", with_users=True)
    job = await front.services.imports.file(
        HERE, name, folder / "out.fossil", visibility=Visibility.PUBLIC
    )

    async def ended() -> bool:
        return (await front.services.jobs.get(job.id)).state is JobState.DONE

    await until(ended, what="the fork")


async def test_a_pull_of_users_gives_no_role_a_hash(front: Front, tmp_path: Path) -> None:
    file = live(front, "demo")
    hostile.change(file, "INSERT INTO user(login, pw, cap, mtime) VALUES ('boss', 'clear', 'a', 1)")
    boss = Client(front, tmp_path, "boss", "clear")
    assert await pulled_hashes(boss, "demo"), "with `a` the attack works: this test would tell"

    clients = [boss]
    for role in Role:
        await granted(front, role, f"a-{role}")
        clients.append(await person(front, tmp_path, f"a-{role}"))
    for role in (Role.READ, Role.WRITE):
        key, word = await front.services.access_keys.create(HERE, "demo", role)
        clients.append(Client(front, tmp_path, key.login, word))
    clients.append(await person(front, tmp_path, "ada"))
    assert not any(set("as") & set(held) for held in caps(front, "demo").values())
    for client in clients:
        assert await pulled_hashes(client, "demo") == {}, client.login


async def test_hashes_taken_in_a_fork_open_nothing_in_the_original(
    front: Front, tmp_path: Path
) -> None:
    await granted(front, Role.WRITE, "bob")
    await fork(front, tmp_path)
    await granted(front, Role.WRITE, "bob", "fork")
    mallory = await granted(front, Role.ADMIN, "mallory", "fork")
    with pytest.raises(FossilrepoError):
        await front.services.elevation.elevate(mallory, "fork")
    taker = await person(front, tmp_path, "mallory", "fork")
    assert await pulled_hashes(taker, "fork") == {}, "its administrator gets none"

    # Whoever runs the site can, for a quarter of an hour.
    await front.services.elevation.elevate(HERE, "fork", "ada")
    taken = await pulled_hashes(await person(front, tmp_path / "x", "ada", "fork"), "fork")
    assert {"ada", "bob", "mallory"} <= taken.keys()
    for login in ("ada", "bob"):
        assert await signs_in(front, "fork", login, taken[login])
        assert not await signs_in(front, "demo", login, taken[login])
        assert not await Client(front, tmp_path / "y", login, taken[login]).can_push("demo")


async def test_an_administrator_that_a_fork_brought_along_takes_nothing(
    front: Front, tmp_path: Path
) -> None:
    hostile.change(
        live(front, "demo"),
        "INSERT INTO user(login, pw, cap, mtime)"
        " VALUES ('boss', 'clear', 'as', 1), ('nat', 'x', 'i', 1)",
    )
    await fork(front, tmp_path)
    boss = Client(front, tmp_path, "boss", "clear")
    assert await boss.can_clone("fork") and await pulled_hashes(boss, "fork") == {}


async def test_nobody_becomes_one_of_fossils_own_users(front: Front) -> None:
    services = front.services
    await services.accounts.create_user(HERE, "bob")
    before = caps(front, "demo")
    for login in ("nobody", "anonymous", "reader", "developer", "fossilrepo", "key-abcdef"):
        with pytest.raises(FossilrepoError):
            await services.people.rename(HERE, "bob", login)
        with pytest.raises(FossilrepoError):
            await services.accounts.create_user(HERE, login)
        with pytest.raises(FossilrepoError):
            await services.natives.adopt(HERE, "demo", login, "bob")
    assert caps(front, "demo") == before


async def test_logins_that_are_no_text_or_no_utf8_break_nothing(front: Front) -> None:
    hostile.change(
        live(front, "demo"),
        "INSERT INTO user(login, pw, cap) VALUES (x'6d616c', 'x', 's'), (NULL, 'x', 's'),"
        " (CAST(x'ff41fe' AS TEXT), 'x', 's'), ('a' || char(0) || 'b', 'x', 's'), (7, 'x', 's'),"
        " ('plain', 'x', 's')",
    )
    await front.services.accounts.create_user(HERE, "bob", is_admin=True)  # writes into it
    rows = hostile.rows(live(front, "demo"), "SELECT hex(login), cap FROM user")
    assert not any(set("as") & set(cap or "") for _login, cap in rows), rows
    natives = await front.services.natives.list(HERE, "demo")
    assert [native.login for native in natives] == ["7", "plain"]
    assert len(await front.services.natives.everywhere(HERE)) == len(natives)
    for native in natives:
        assert await front.services.natives.adopt(HERE, "demo", native.login, "bob") == 1


@pytest.mark.parametrize(
    "value",
    [
        '{"a\\u0000b": ["i", ""]}',
        '{"\\ud800": ["i", ""]}',
        '{"nat": {"original": "\\ud800", "applied": "i"}}',
        "[1, {}]",
        "[" * 99999,
    ],
    ids=["a NUL", "half a pair", "half a pair within", "of other types", "deep"],
)
async def test_our_own_notes_in_the_file_may_be_anything(front: Front, value: str) -> None:
    for name in ("applied", "natives", "users"):
        hostile.change(
            live(front, "demo"),
            hostile.setting(f"fossilrepo-{name}", value),
            "UPDATE user SET cap = 'i' || char(0) || 's' WHERE login = 'nobody'",
            "REPLACE INTO user(login, pw, cap) VALUES ('nat' || char(10), 'x', 'i' || char(7))",
        )
        repository = await front.services.repos.get(HERE, "demo")
        projection = front.services.natives._projection
        await projection.project(repository)
        await projection.project(repository)
        assert set(caps(front, "demo")["nobody"]) == set("ghjorz2")
        for drift in await front.services.natives._store.drifts(repository.id):
            assert drift.login.isprintable() and drift.found.isprintable()
