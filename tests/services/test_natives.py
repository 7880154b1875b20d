"""Users that repositories brought along: they work, are shown, and become people of ours."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fossilrepo.errors import Conflict, Forbidden, NotFound
from fossilrepo.models import JobState, Visibility
from fossilrepo.rights import Role
from fossilrepo.services.natives import nearest_role
from tests.helpers import hostile, opened
from tests.helpers.inside import HERE, Client, caps, granted, live, person
from tests.helpers.opened import Front
from tests.helpers.poll import until


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    async with opened.running() as front:
        yield front


@pytest.fixture
def brought(fossil_template: Path, tmp_path: Path) -> Path:
    """A file with users of its own: nat and joe may write, boss is its owner."""
    file = tmp_path / "brought.fossil"
    shutil.copy(fossil_template, file)
    for words in (
        ("new", "nat", "Nat", "pw-of-nat"),
        ("new", "joe", "Joe", "pw-of-joe"),
        ("new", "boss", "The Boss", "pw-of-boss"),
        ("capabilities", "nat", "ghijo"),
        ("capabilities", "joe", "ghijo"),
        ("capabilities", "boss", "s"),
    ):
        subprocess.run(
            ["fossil", "user", *words, "-R", file],
            check=True,
            capture_output=True,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), "USER": "x"},
        )
    return file


async def import_(front: Front, name: str, file: Path) -> None:
    services = front.services
    job = await services.imports.file(HERE, name, file, visibility=Visibility.PRIVATE)

    async def ended() -> bool:
        return (await services.jobs.get(job.id)).state is JobState.DONE

    await until(ended, what="the import")


async def test_natives_work_as_before_ours_beside_them_and_names_that_collide_are_kept(
    front: Front, brought: Path, tmp_path: Path
) -> None:
    await import_(front, "demo", brought)
    nat = Client(front, tmp_path, "nat", "pw-of-nat")
    assert await nat.can_push("demo")
    ada = await person(front, tmp_path, "ada")
    assert await ada.can_push("demo")

    joe = await person(front, tmp_path, "joe")
    services = front.services
    await granted(front, Role.READ, "joe")
    native = Client(front, tmp_path / "native", "joe", "pw-of-joe")
    assert await native.can_clone("demo") and not await joe.can_clone("demo")
    shown = {one.login: one for one in await services.natives.list(HERE, "demo")}
    assert shown["joe"].collides and shown["joe"].has_password and not shown["nat"].collides
    assert shown["boss"].original == "s" and not set("as") & set(shown["boss"].capabilities)
    assert "ada" not in shown and "nobody" not in shown

    assert await services.natives.adopt(HERE, "demo", "joe", "joe") == 1
    assert await joe.can_clone("demo") and not await native.can_clone("demo")
    assert not await joe.can_push("demo"), "the native's right to write is not inherited"
    shown = {one.login: one for one in await services.natives.list(HERE, "demo")}
    assert shown["joe"].adopted_by == "joe" and shown["joe"].role is Role.WRITE
    assert not shown["joe"].collides


async def test_a_native_of_another_login_is_closed_when_adopted(
    front: Front, brought: Path, tmp_path: Path
) -> None:
    await import_(front, "demo", brought)
    services = front.services
    joe = await person(front, tmp_path, "joey")
    nat = Client(front, tmp_path, "nat", "pw-of-nat")
    assert await nat.can_clone("demo")
    await services.natives.adopt(HERE, "demo", "nat", "joey")
    assert caps(front, "demo")["nat"] == ""
    assert not await nat.can_clone("demo") and not await joe.can_clone("demo")
    (entry,) = [e for e in await services.audit.recent() if e.action == "native.adopt"]
    assert entry.detail == {"native": "nat", "person": "joey", "before": "ghijo"}
    with pytest.raises(Conflict):
        await services.natives.adopt(HERE, "demo", "nat", "joey")
    # Archiving and back does not open it again.
    await services.repos.archive(HERE, "demo")
    await services.repos.unarchive(HERE, "demo")
    assert caps(front, "demo")["nat"] == ""


async def test_one_login_is_adopted_in_all_repositories_at_once(front: Front) -> None:
    services = front.services
    await services.accounts.create_user(HERE, "joe", name="Joe Doe", email="joe@example.org")
    for number in range(3):
        await services.repos.create(HERE, f"r{number}")
        for login, info in (("Joe", ""), ("jd", "Joe Doe <joe@example.org>"), ("x", "")):
            values = f"('{login}', 'secret', 'ei', '{info}')"
            hostile.change(
                live(front, f"r{number}"), f"INSERT INTO user(login, pw, cap, info) VALUES {values}"
            )
    all_three = ("r0", "r1", "r2")
    assert await services.natives.everywhere(HERE) == [
        ("Joe", all_three, "joe"),
        ("jd", all_three, "joe"),
        ("x", all_three, None),
    ]
    assert await services.natives.adopt(HERE, None, "jd", "joe") == 3
    assert [login for login, *_ in await services.natives.everywhere(HERE)] == ["Joe", "x"]
    assert {caps(front, name)["jd"] for name in all_three} == {""}


async def test_only_those_who_run_a_repository_see_and_adopt_its_natives(front: Front) -> None:
    services = front.services
    await services.repos.create(HERE, "demo", visibility=Visibility.PRIVATE)
    await services.repos.create(HERE, "hidden", visibility=Visibility.PRIVATE)
    hostile.change(live(front, "demo"), "INSERT INTO user(login, pw, cap) VALUES ('nat', 'x', 'i')")
    natives = services.natives
    writer = await granted(front, Role.WRITE, "the-writer")
    boss = await granted(front, Role.ADMIN, "the-boss")
    with pytest.raises(Forbidden):
        await natives.list(writer, "demo")
    with pytest.raises(Forbidden):
        await natives.adopt(writer, "demo", "nat", "the-writer")
    with pytest.raises(Forbidden):
        await natives.everywhere(boss)
    with pytest.raises(Forbidden):
        await natives.adopt(boss, None, "nat", "the-boss")
    with pytest.raises(NotFound):
        await natives.list(boss, "hidden")
    for native, login in (("nobody", "the-boss"), ("nat", "nobody-here"), ("ada", "the-boss")):
        with pytest.raises(NotFound):
            await natives.adopt(boss, "demo", native, login)
    assert await natives.adopt(boss, "demo", "nat", "the-writer") == 1


def test_the_nearest_role_says_what_somebody_could_do() -> None:
    roles = [nearest_role(letters) for letters in ("s", "ai", "ei", "gjor", "", "k", "v")]
    assert roles == [Role.ADMIN, Role.ADMIN, Role.WRITE, Role.READ, None, Role.WRITE, Role.WRITE]
