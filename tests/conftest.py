"""Fixtures that more than one test module uses.

Owns the real programs that tests share (PostgreSQL, Chromium, a Fossil template)
and settings that touch nothing outside the test's own folder. What is costly is
made when first asked for, once per worker.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fossilrepo.config import Database, FossilServer, Server, Settings

if TYPE_CHECKING:
    from playwright.async_api import Browser


# Files that take longest, in this order; workers get whole files, and short ones fill the end.
LONGEST_FIRST = (
    "e2e/test_mending.py",
    "e2e/test_roles.py",
    "e2e/test_faults.py",
    "e2e/",
    "test_run.py",
    "cli/test_backup.py",
    "web/test_api_conformance.py",
    "web/test_site_backups.py",
    "web/test_pages_chromium.py",
    "web/test_gateway.py",
    "hostile/test_requests.py",
    "services/test_rebuild.py",
    "cli/",
    "hostile/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {path: _place(path) for path in {item.path for item in items}}
    items.sort(key=lambda item: places[item.path])


def _place(path: Path) -> int:
    name = path.relative_to(Path(__file__).parent).as_posix()
    found = (place for place, start in enumerate(LONGEST_FIRST) if name.startswith(start))
    return next(found, len(LONGEST_FIRST))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="every round of the long tests")
    parser.addoption(
        "--postgresql", action="store_true", help="the services on PostgreSQL, for tests/services"
    )


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether long tests run all of their rounds: `./run test --long`. Else about a third."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own FOSSILREPO_ variables are not the tests' business."""
    for variable in [name for name in os.environ if name.startswith("FOSSILREPO_")]:
        monkeypatch.delenv(variable)


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """The defaults, with the data in the test's own folder and ports from the kernel."""
    url = "sqlite"
    if request.config.getoption("--postgresql"):
        if request.node.get_closest_marker("sqlite") is not None:
            pytest.skip("about the file of SQLite")
        url = request.getfixturevalue("postgres_database")
    return Settings(
        data_dir=str(tmp_path / "data"),
        server=Server(listen="127.0.0.1:0"),
        fossil=FossilServer(listen="127.0.0.1:0"),
        database=Database(url=url),
    )


@pytest.fixture(scope="session")
def fossil_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new Fossil repository, closed and in one file: copy it, leave it as it is."""
    folder = tmp_path_factory.mktemp("fossil-template")
    path = folder / "template.fossil"
    subprocess.run(
        ["fossil", "init", "--admin-user", "setup", str(path)],
        check=True,
        capture_output=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "USER": "setup"},
        timeout=30,
    )
    return path


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The maintenance database of a PostgreSQL server of the tests' own."""
    from tests.helpers import postgres

    with postgres.cluster() as url:
        yield url


@pytest.fixture
async def postgres_database(postgres_url: str) -> AsyncIterator[str]:
    """A `postgresql://` URL of a new, empty database, dropped after the test."""
    from tests.helpers import postgres

    async with postgres.database(postgres_url) as url:
        yield url


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """A running browser of Playwright's async API."""
    from tests.helpers import chromium

    async with chromium.launched() as browser:
        yield browser
