"""A minute of everything at once, with deaths; `bench/soak.py` is the long form."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from bench.soak import ready
from tests.helpers.soak import Plan


@pytest.mark.timeout(600)
def test_a_minute_of_everything_ends_well(full: bool) -> None:
    plan = Plan(seconds=60 if full else 25, repositories=4, writers=2, fault_every=5.0, seed=7)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        where = Path(name)
        where.chmod(0o711)
        with ready(where, plan) as soak:
            soak.run()
            soak.check()
            assert soak.problems == [], soak.did
            assert soak.did["pushes acknowledged"] > 0 and soak.did["restores"] >= 0
            assert sum(count for what, count in soak.did.items() if "killed" in what) >= 2
