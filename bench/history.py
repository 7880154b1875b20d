"""A Git history of any size, always the same for the same numbers.

Owns the generator that imports and benchmarks are measured with: text for
`git fast-import` on standard output, with branches, merges, tags, several
authors, text and binary files, names beyond ASCII, renames and deletions. Sizes
change with every edit, because Fossil takes an edit of equal size within one
second for none. Uses the standard library only.

    python bench/history.py --checkins 5000 --megabytes 50 > stream
    git init --bare -b trunk g.git && git -C g.git fast-import < stream
    git -C g.git fast-export --all | fossil import --git h.fossil
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

START = 1_577_836_800  # 2020-01-01
STEP = 4_000  # seconds between two check-ins, about
AUTHORS = [
    ("Ada Lovelace", "ada@example.org"),
    ("Jürgen Groß", "juergen@example.org"),
    ("李小龍", "li@example.org"),
    ("Søren Ångström", "soren@example.org"),
    ("bot", "bot@example.org"),
]
FOLDERS = ["src", "src/core", "src/web", "docs", "tests", "art", "docs/größe", "текст", "資料"]
TEXTS = ["py", "c", "md", "txt", "html", "css"]
BINARIES = ["png", "bin", "zip"]
WORDS = (
    "check in branch merge tag ticket wiki artifact timeline delta clone push pull sync manifest "
    "größer naïve файл 資料 cluster leaf trunk private closed event forum chat skin report"
).split()

EVERY_TAG = 50
EVERY_BRANCH = 40
BRANCHES = 6
BINARY_SHARE = 0.25
FILES = 400


@dataclass
class Line:
    """A line of development: its newest check-in and what is in it."""

    name: str
    mark: int
    files: dict[str, bytes] = field(default_factory=dict)
    left: int = 0


class History:
    """Check-ins from one seed; `write` gives them out once, in order."""

    def __init__(self, checkins: int, size: int, seed: int = 1) -> None:
        self._checkins = checkins
        self._random = random.Random(seed)
        self._left = size
        self._trunk = Line("trunk", 0)
        self._branches: list[Line] = []
        self._mark = 0
        self._named = 0
        self._edit = 0.0

    def write(self, out: BinaryIO) -> None:
        """The whole stream."""
        for number in range(self._checkins):
            for chunk in self._checkin(number):
                out.write(chunk)
        for branch in self._branches:
            out.write(_command(f"reset refs/heads/{branch.name}\nfrom :{branch.mark}\n"))
        out.write(b"done\n")

    def _checkin(self, number: int) -> Iterator[bytes]:
        merged: Line | None = None
        # Two edits a check-in share evenly what is left to write.
        self._edit = max(self._left / (self._checkins - number) / 2, 64.0)
        if number and number % EVERY_BRANCH == 0 and len(self._branches) < BRANCHES:
            self._open_branch(number)
        line = self._line()
        if line is self._trunk:
            merged = self._finished()
        yield from self._commit(number, line, merged)
        if number % EVERY_TAG == EVERY_TAG - 1:
            yield self._tag(number, line)

    def _open_branch(self, number: int) -> None:
        trunk = self._trunk
        name = f"feature-{number}" if number % 3 else f"größe-{number}"
        lasts = self._random.randrange(8, 30)
        self._branches.append(Line(name, trunk.mark, dict(trunk.files), lasts))

    def _line(self) -> Line:
        """Half of the work is on branches, while there are any that go on."""
        open_ones = [branch for branch in self._branches if branch.left > 0]
        if open_ones and self._random.random() < 0.5:
            line = self._random.choice(open_ones)
            line.left -= 1
            return line
        return self._trunk

    def _finished(self) -> Line | None:
        """A branch that is done, taken off the list to be merged."""
        for branch in self._branches:
            if branch.left == 0:
                self._branches.remove(branch)
                return branch
        return None

    def _commit(self, number: int, line: Line, merged: Line | None) -> Iterator[bytes]:
        parent = line.mark
        self._mark += 1
        line.mark = self._mark
        name, mail = AUTHORS[self._random.randrange(len(AUTHORS))]
        when = START + number * STEP + self._random.randrange(STEP)
        text = f"{self._words(6)} ({number})\n\n{self._words(20)}\n".encode()
        yield _command(
            f"commit refs/heads/{line.name}\nmark :{self._mark}\n"
            f"committer {name} <{mail}> {when} +0000\ndata {len(text)}\n"
        )
        yield text
        if parent:
            yield _command(f"from :{parent}\n")
        if merged:
            yield _command(f"merge :{merged.mark}\n")
            yield from self._take(line, merged)
        yield from self._changes(number, line)
        yield b"\n"

    def _take(self, line: Line, merged: Line) -> Iterator[bytes]:
        """What the branch has that the line has not, as a merge brings it."""
        for path, content in merged.files.items():
            if path not in line.files:
                yield from self._modify(line, path, content)

    def _changes(self, number: int, line: Line) -> Iterator[bytes]:
        chance = self._random.random()
        if len(line.files) > 20 and chance < 0.02:
            gone = self._random.choice(list(line.files))
            del line.files[gone]
            yield _command(f"D {_quoted(gone)}\n")
        elif len(line.files) > 20 and chance < 0.04:
            old = self._random.choice(list(line.files))
            new = self._path(number, old.rpartition(".")[2])
            line.files[new] = line.files.pop(old)
            yield _command(f"R {_quoted(old)} {_quoted(new)}\n")
        edits = 8 if not line.files else self._random.choice((1, 2, 3))
        for _ in range(edits):
            yield from self._edited(number, line)

    def _edited(self, number: int, line: Line) -> Iterator[bytes]:
        binary = self._random.random() < BINARY_SHARE
        endings = BINARIES if binary else TEXTS
        kin = [path for path in line.files if path.rpartition(".")[2] in endings]
        if kin and (len(line.files) >= FILES or self._random.random() < 0.75):
            path = self._random.choice(kin)
        else:
            path = self._path(number, self._random.choice(endings))
        old = line.files.get(path, b"")
        content = self._binary(old) if binary else self._text(old)
        yield from self._modify(line, path, content)

    def _modify(self, line: Line, path: str, content: bytes) -> Iterator[bytes]:
        line.files[path] = content
        self._left -= len(content)
        yield _command(f"M 100644 inline {_quoted(path)}\ndata {len(content)}\n")
        yield content
        yield b"\n"

    def _path(self, number: int, ending: str) -> str:
        self._named += 1
        word = self._random.choice(WORDS)
        return f"{self._random.choice(FOLDERS)}/{word} {number}-{self._named}.{ending}"

    def _words(self, count: int) -> str:
        return " ".join(self._random.choices(WORDS, k=count))

    def _size(self) -> int:
        """The bytes that a file has after this edit: on average its share of the whole."""
        return int(self._random.uniform(0.4, 1.6) * self._edit)

    def _text(self, old: bytes) -> bytes:
        """Some lines changed, added or taken away; never the same size as before."""
        lines = old.decode().splitlines()
        for _ in range(min(len(lines), 6)):
            lines[self._random.randrange(len(lines))] = self._words(9)
        wanted = self._size()
        size = sum(len(line.encode()) + 1 for line in lines)
        while size < wanted:
            lines.append(self._words(9))
            size += len(lines[-1].encode()) + 1
        while size > wanted * 1.2 and len(lines) > 1:
            size -= len(lines.pop(self._random.randrange(len(lines))).encode()) + 1
        return _of_another_size("\n".join(lines).encode() + b"\n", old)

    def _binary(self, old: bytes) -> bytes:
        """The first half kept, the rest new noise, as an edited picture is."""
        kept = old[: len(old) // 2]
        return _of_another_size(
            kept + self._random.randbytes(max(self._size() - len(kept), 16)), old
        )

    def _tag(self, number: int, line: Line) -> bytes:
        text = f"Release {number}\n".encode()
        name, mail = AUTHORS[0]
        when = START + (number + 1) * STEP
        head = f"tag v{number // EVERY_TAG}.0\nfrom :{line.mark}\n"
        return (
            _command(f"{head}tagger {name} <{mail}> {when} +0000\ndata {len(text)}\n")
            + text
            + b"\n"
        )


def _of_another_size(content: bytes, old: bytes) -> bytes:
    return content + b"~\n" if len(content) == len(old) else content


def _command(text: str) -> bytes:
    return text.encode()


def _quoted(path: str) -> str:
    """Paths with spaces must be quoted where two stand on a line; quoting always is allowed."""
    return f'"{path}"'


def main() -> None:
    parser = argparse.ArgumentParser(description="A generated history for git fast-import.")
    parser.add_argument("--checkins", type=int, default=5000)
    parser.add_argument("--megabytes", type=float, default=50.0, help="bytes of all versions")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    history = History(given.checkins, int(given.megabytes * 1_000_000), given.seed)
    history.write(sys.stdout.buffer)


if __name__ == "__main__":
    main()
