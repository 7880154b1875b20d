"""A minute of everything at once, with deaths; `bench/soak.py` is the long form."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.soak import database, ready
from tests.helpers.soak import FAULTS, Plan


@pytest.mark.timeout(600)
def test_a_minute_of_everything_ends_well(full: bool) -> None:
    """Behind Caddy; with `--long` on PostgreSQL, which dies too."""
    faults = (*FAULTS, "caddy", *(["database"] if full else []))
    plan = Plan(60 if full else 25, 4, writers=2, faults=faults, fault_every=5.0, seed=7)
    with tempfile.TemporaryDirectory(prefix="soak-") as name, ExitStack() as stack:
        where, cluster, more = Path(name), None, {}
        where.chmod(0o711)
        if full:
            cluster, url = stack.enter_context(database())
            more["FOSSILREPO_DATABASE__URL"] = url
        with ready(where, plan, caddy=True, cluster=cluster, **more) as soak:
            soak.run()
            soak.check()
            assert soak.problems == [], soak.did
            assert soak.did["pushes acknowledged"] > 0 and soak.did["restores"] >= 0
            assert sum(count for what, count in soak.did.items() if "killed" in what) >= 2
