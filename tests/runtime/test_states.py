"""The moves between the states of a child."""

from __future__ import annotations

import itertools

import pytest

from fossilrepo.runtime.states import State, move

LEGAL = {
    "stopped": "starting",
    "starting": "running backoff stopping stopped failed",
    "running": "backoff stopping failed",
    "backoff": "starting stopping stopped failed",
    "stopping": "stopped failed",
    "failed": "starting stopped",
}


@pytest.mark.parametrize(("old", "new"), itertools.product(State, State))
def test_only_legal_moves_are_made(old: State, new: State) -> None:
    if new in LEGAL[old].split():
        assert move(old, new) is new
    else:
        with pytest.raises(ValueError, match=f"from {old} to {new}"):
            move(old, new)
