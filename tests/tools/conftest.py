"""Fixtures of the tests of external programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers import jailed


@pytest.fixture
def place() -> Iterator[jailed.Place]:
    """A data folder with an empty jail."""
    with jailed.place() as made:
        yield made
