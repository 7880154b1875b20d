"""Moving in with everything, and leaving with everything: nothing is lost on the way."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fossilrepo.bridge import ForgeKind
from fossilrepo.config import Settings
from fossilrepo.core import open_services
from fossilrepo.errors import Conflict, Forbidden, InvalidInput, NotFound
from fossilrepo.models import Actor, Visibility
from fossilrepo.services.moving_in import name_from
from tests.helpers.forges import TOKEN, forge_server
from tests.helpers.git_servers import bare, git
from tests.helpers.lab import Yard, yard

HERE = Actor.command_line()


@pytest.fixture
async def here(settings: Settings, tmp_path: Path) -> AsyncIterator[Yard]:
    async with yard(settings, tmp_path) as one:
        yield one


async def filled(here: Yard) -> None:
    repos = here.services.repos
    await here.services.organizations.create(HERE, "acme")
    await repos.create(HERE, "tools", title="Small tools", org="main")
    await repos.create(HERE, "notes", description="What we know", visibility=Visibility.PRIVATE)
    await repos.create(HERE, "vault", org="acme", visibility=Visibility.INTERNAL)
    await repos.archive(HERE, "notes")
    await repos.create(HERE, "gone")
    await repos.delete(HERE, "gone")


def checked(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifest's entries by name, after every file was held against them."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for one in manifest["repositories"]:
        file = folder / one["file"]
        assert hashlib.sha256(file.read_bytes()).hexdigest() == one["sha256"]
        done = subprocess.run(
            ["fossil", "test-integrity", "-R", str(file)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return {one["name"]: one for one in manifest["repositories"]}


@pytest.mark.sqlite
async def test_what_leaves_comes_in_elsewhere_as_it_was(
    here: Yard, tmp_path: Path, settings: Settings
) -> None:
    await filled(here)
    left = await here.services.leaving.take(HERE, tmp_path / "out")
    assert left.repositories == ("notes", "tools", "vault")
    entries = checked(tmp_path / "out")
    assert entries["notes"]["state"] == "archived" and entries["vault"]["organization"] == "acme"
    assert (tmp_path / "out" / "README.txt").exists()
    with pytest.raises(Conflict, match="exists already"):
        await here.services.leaving.take(HERE, tmp_path / "out")
    other = settings.model_copy(update={"data_dir": str(tmp_path / "other")})
    async with open_services(other) as services:
        found = await services.moving_in.in_folder(HERE, tmp_path / "out")
        came = await services.moving_in.bring(HERE, found)
        assert [one.error for one in came] == ["", "", ""]
        notes = await services.repos.get(HERE, "notes")
        assert (notes.description, notes.visibility) == ("What we know", Visibility.PRIVATE)
        assert (await services.repos.get(HERE, "tools")).title == "Small tools"
        assert notes.project_code == entries["notes"]["project_code"]
        again = await services.moving_in.bring(HERE, found)
        assert all("in use" in one.error for one in again), "what is here is not touched"


async def test_one_organization_leaves_as_a_tar_file(here: Yard, tmp_path: Path) -> None:
    await filled(here)
    left = await here.services.leaving.take(HERE, tmp_path / "acme.tar", org="acme")
    assert left.repositories == ("vault",)
    with tarfile.open(tmp_path / "acme.tar") as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert set(checked(tmp_path / "unpacked")) == {"vault"}
    with pytest.raises(NotFound, match="no repository in nobody"):
        await here.services.leaving.take(HERE, tmp_path / "x", org="nobody")
    assert not (tmp_path / "x").exists() and not list(tmp_path.glob(".*part"))


async def test_strangers_take_what_they_run_and_read_no_folder(here: Yard, tmp_path: Path) -> None:
    await filled(here)
    user = await here.services.accounts.create_user(HERE, "bob")
    bob = Actor("bob", user_id=user.id)
    with pytest.raises(NotFound):
        await here.services.leaving.take(bob, tmp_path / "bobs")
    with pytest.raises(Forbidden):
        await here.services.moving_in.in_folder(bob, tmp_path)


async def test_one_that_cannot_come_holds_up_no_other(here: Yard, tmp_path: Path) -> None:
    folder = tmp_path / "museum"
    folder.mkdir()
    await here.services.repos.create(HERE, "seed")
    await here.services.repos.export(HERE, "seed", folder / "My_First Project.fossil")
    shutil.copy(folder / "My_First Project.fossil", folder / "api.fossil")
    (folder / "broken.fossil").write_bytes(b"no database")
    (folder / "readme.txt").write_text("no repository")
    found = await here.services.moving_in.in_folder(HERE, folder)
    came = await here.services.moving_in.bring(HERE, found)
    assert {one.found.name: bool(one.error) for one in came} == {
        "my-first-project": False,
        "api": True,
        "broken": True,
    }
    made = await here.services.repos.get(HERE, "my-first-project")
    assert made.visibility is Visibility.PRIVATE, "nothing was said, so nobody else sees it"
    (folder / "manifest.json").write_text("{")
    with pytest.raises(InvalidInput, match="cannot be read"):
        await here.services.moving_in.in_folder(HERE, folder)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("My_Tools", "my-tools"),
        ("a--b", "a-b"),
        ("-x-", "x"),
        ("Ünal", "nal"),
        ("x" * 80, "x" * 63),
        ("", ""),
        ("___", ""),
    ],
)
def test_names_become_labels(text: str, name: str) -> None:
    assert name_from(text) == name


async def test_a_list_names_fossils_and_git(here: Yard) -> None:
    text = """# from the old host
tools https://fossil.example.org/tools
https://git.example.org/acme/Big_Thing.git

notes git+https://git.example.org/notes
"""
    found = await here.services.moving_in.in_list(text)
    assert [(one.name, one.kind, one.source) for one in found] == [
        ("tools", "clone", "https://fossil.example.org/tools"),
        ("big-thing", "git", "https://git.example.org/acme/Big_Thing.git"),
        ("notes", "git", "https://git.example.org/notes"),
    ]
    for wrong in ("a b c", "x ftp://host/x", "x https://u:secret@host/x", "only-a-name"):
        with pytest.raises(InvalidInput) as caught:
            await here.services.moving_in.in_list(wrong)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["github", "gitlab", "gitea"])
async def test_everything_of_an_owner_comes_from_a_git_server(
    here: Yard, tmp_path: Path, kind: str
) -> None:
    async with forge_server(kind) as fake:
        for name, private in (("First", False), ("second", True), ("third", True)):
            path = f"team/{name}"
            fake.repositories[path] = {
                "private": private,
                "visibility": "private" if private else "public",
                "description": f"The {name} one",
            }
        fake.repositories["else/where"] = {}
        fake.git_url = "https://git.example.org/{path}.git"
        moving = here.services.moving_in
        found = await moving.of_owner(
            "https://git.example.org/team", token=TOKEN, kind=ForgeKind(kind), api_url=fake.url
        )
        assert [(one.name, one.visibility) for one in found] == [
            ("first", Visibility.PUBLIC),
            ("second", Visibility.PRIVATE),
            ("third", Visibility.PRIVATE),
        ], "every page was read, and nobody else's came"
        assert found[0].title == "First" and found[1].description == "The second one"
        assert found[1].source == "https://git.example.org/team/second.git"
        work = tmp_path / "work"
        git(bare(tmp_path, "work"), "config", "core.bare", "false")
        author = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        git(work, "--work-tree=.", *author, "commit", "-q", "--allow-empty", "-m", "first")
        came = await moving.bring(HERE, [replace(found[1], source=str(work))])
        assert came[0].error == ""
        second = await here.services.repos.get(HERE, "second")
        assert (second.description, second.checkins > 0) == ("The second one", True)
        with pytest.raises(NotFound):
            await moving.of_owner(
                "https://git.example.org/nobody",
                token=TOKEN,
                kind=ForgeKind(kind),
                api_url=fake.url,
            )
    with pytest.raises(InvalidInput, match="cannot be told"):
        await here.services.moving_in.of_owner("https://git.example.org/team", token="")
    with pytest.raises(InvalidInput, match="names no owner"):
        await here.services.moving_in.of_owner("https://github.com/", token="")
