"""The states of a child and the legal moves between them.

Owns the table and imports nothing of ours. `running` means that it answers;
`failed` means that trying again cannot help (a mistake in the configuration or
in our own code), so that only a person's restart leaves it.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    FAILED = "failed"


_MOVES: dict[State, frozenset[State]] = {
    State.STOPPED: frozenset({State.STARTING}),
    State.STARTING: frozenset(
        {State.RUNNING, State.BACKOFF, State.STOPPING, State.STOPPED, State.FAILED}
    ),
    State.RUNNING: frozenset({State.BACKOFF, State.STOPPING, State.FAILED}),
    State.BACKOFF: frozenset({State.STARTING, State.STOPPING, State.STOPPED, State.FAILED}),
    State.STOPPING: frozenset({State.STOPPED, State.FAILED}),
    State.FAILED: frozenset({State.STARTING, State.STOPPED}),
}

SETTLED = frozenset({State.RUNNING, State.BACKOFF, State.FAILED, State.STOPPED})


def move(old: State, new: State) -> State:
    """`new`; ValueError when the move is not a legal one."""
    if new not in _MOVES[old]:
        raise ValueError(f"a child cannot go from {old} to {new}")
    return new
