"""Every test here ends with no process and no task left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fossilrepo.runtime import launch
from tests.helpers.poll import until
from tests.helpers.runtime import Bad


@pytest.fixture
async def bad(tmp_path: Path) -> AsyncIterator[Bad]:
    """Bad children, none of which may outlive the test."""
    children = Bad(tmp_path / "bad")
    try:
        yield children
        await until(lambda: not children.alive(), timeout=3, what="the end of all children")
    finally:
        children.end_all()


@pytest.fixture(autouse=True)
async def _nothing_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = [task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()]
    assert not left, f"tasks left: {left}"
    assert not launch.ours()
