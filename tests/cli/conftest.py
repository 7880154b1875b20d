"""A data folder that exists, for tests of the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers import forks
from tests.helpers.command import Command


@pytest.fixture(scope="session")
def forked() -> forks.Forks:
    return forks.shared()


@pytest.fixture(scope="session")
def prepared(forked: forks.Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration, a migrated database and the repository `demo`."""
    command = Command.in_folder(tmp_path_factory.mktemp("prepared"), forked)
    command("repo", "create", "demo", "--title", "A demonstration")
    return command.folder


@pytest.fixture
def command(forked: forks.Forks, prepared: Path, tmp_path: Path) -> Command:
    """The command on a copy of it."""
    shutil.copytree(prepared, tmp_path / "host", symlinks=True)
    return Command(tmp_path / "host", forked)


@pytest.fixture
def fresh(forked: forks.Forks, tmp_path: Path) -> Command:
    """The command in a folder that has a configuration and nothing else."""
    folder = tmp_path / "fresh"
    folder.mkdir()
    return Command.in_folder(folder, forked)
