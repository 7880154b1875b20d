"""A host under attack, shared by all of these tests; each has repositories of its own."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import hostile, jailed
from tests.helpers.host import Host
from tests.helpers.hostile import Marks, Target


@pytest.fixture
def place() -> Iterator[jailed.Place]:
    """A data folder with an empty jail and no host around it."""
    with jailed.place() as made:
        yield made


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A running host; whatever was done to it, it ends in order and without a traceback."""
    host = Host(tmp_path_factory.mktemp("host") / "data").start()
    host.admin("ada")
    yield Target(host)
    assert host.stop() == 0, host.log()[-3000:]
    # aiohttp itself logs one for a message that is not HTTP, whatever the sender does.
    failures = [text for text in host.log().split("Traceback")[1:] if "BadHttpMessage" not in text]
    assert failures == [], failures[0][:3000]


@pytest.fixture
def marks(target: Target) -> Iterator[Marks]:
    """Nothing that the test planted may have run by its end."""
    made = Marks.new(target.host.data.parent, target.host.data, target.repos, target.repos / "tmp")
    yield made
    assert made.found() == []


@pytest.fixture
def crafted(tmp_path: Path, fossil_template: Path) -> Path:
    """A stranger's repository file, to be changed by the test."""
    path = tmp_path / "crafted.fossil"
    path.write_bytes(fossil_template.read_bytes())
    path.chmod(path.stat().st_mode | stat.S_IROTH)
    hostile.change(path, hostile.setting("project-name", "Crafted"))
    return path
