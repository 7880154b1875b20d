"""Lines out of bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fossilrepo.runtime.lines import Lines


def split(*pieces: bytes, longest: int = 20) -> list[str]:
    found: list[str] = []
    lines = Lines(found.append, longest)
    for piece in pieces:
        lines.feed(piece)
    lines.close()
    return found


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"one\r\ntwo\r\n\r\n"], ["one", "two"]),
        ([b" 10%\r 20%\r", b" 100%\n"], [" 10%", " 20%", " 100%"]),
        ([b"o", b"n", b"e", b"\n"], ["one"]),
        ([b"without an end"], ["without an end"]),
        ([b"", b"\n\n\n"], []),
        ([b"\xff\xc3", b"\xa9\n"], ["\ufffdé"]),
        ([b"x" * 15, b"x" * 15, b"x\ny\n"], ["x" * 20 + "…", "y"]),
        ([b"x" * 20 + b"\n"], ["x" * 20]),
    ],
)
def test_lines(pieces: list[bytes], expected: list[str]) -> None:
    assert split(*pieces) == expected


@settings(database=None)
@given(st.lists(st.binary(max_size=50)))
def test_how_the_bytes_were_cut_does_not_matter(pieces: list[bytes]) -> None:
    assert split(*pieces) == split(b"".join(pieces))


def test_a_line_that_never_ends_takes_no_memory() -> None:
    lines = Lines(lambda line: None)
    for _ in range(100):
        lines.feed(b"x" * 100_000)
    assert len(lines._rest) == 4096
