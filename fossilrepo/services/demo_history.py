"""Months of invented history, as Git's fast-import reads it.

Owns the invention: the same for the same name and day. Knows nothing of repositories.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

_VERBS = ("Mend", "Add", "Simplify", "Measure", "Explain", "Rename", "Test", "Speed up", "Remove")
_THINGS = (
    *("the harbor tables", "rounding at midnight", "the parser", "the cache", "leap seconds"),
    *("the drawing of waves", "the printer", "the north arrow", "the index", "the first page"),
    *("a race at start", "the colours", "what happens at the poles", "the unit tests", "the moon"),
)
_FILES = (
    *("src/main.c", "src/tide.c", "src/tide.h", "src/moon.c", "src/print.c", "src/cache.c"),
    *("tools/plot.py", "tools/check.py", "docs/guide.md", "docs/format.md", "test/tide.test"),
    *("Makefile", "data/harbors.csv", "web/style.css", "web/chart.js"),
)
_WORDS = (
    *("high low spring neap water mean level harbor table height time moon phase wave".split()),
    *("return value if else for each sum round begin end count index node".split()),
)


def stream(
    name: str, title: str, authors: Sequence[str], until: datetime, days: int
) -> Iterator[bytes]:
    """A fast-import stream of some check-ins for each week up to `until`.

    `authors` are logins: Fossil takes what stands where Git has an address.
    """
    return _Story(name, title, authors, until, days).tell()


class _Story:
    def __init__(
        self, name: str, title: str, authors: Sequence[str], until: datetime, days: int
    ) -> None:
        self._chance = random.Random(name)  # noqa: S311 - a story, not a secret
        self._name, self._title, self._authors = name, title, authors
        self._at, self._until = until - timedelta(days=days), until
        self._mark = 0
        self._heads: dict[str, int] = {}
        self._files: dict[str, int] = {}  # to the number of their lines

    def tell(self) -> Iterator[bytes]:
        yield from self._commit("trunk", f"Begin {self._title}", "README.md", self._readme())
        branch, left = "trunk", 0
        while self._at < self._until:
            if left == 0 and branch != "trunk":
                yield from self._merge(branch)
                branch = "trunk"
            elif branch == "trunk" and self._chance.random() < 0.07:
                branch, left = f"try-{self._chance.choice(_WORDS)}-{self._mark}", 4
            left = max(0, left - 1)
            file = self._chance.choice(_FILES)
            thing = self._chance.choice(_THINGS)
            yield from self._commit(
                branch, f"{self._chance.choice(_VERBS)} {thing}", file, self._text(file)
            )
            if branch == "trunk" and self._chance.random() < 0.03:
                yield from self._tag()

    def _pass(self) -> None:
        """Time passes: most often hours, sometimes a week; at night nobody works."""
        busy = self._chance.random() < 0.7
        self._at += timedelta(hours=self._chance.expovariate(1 / (9 if busy else 90)))
        if self._at.hour < 7:
            self._at += timedelta(hours=7)

    def _commit(self, branch: str, comment: str, file: str, text: str) -> Iterator[bytes]:
        self._pass()
        if self._at >= self._until:
            return
        self._mark += 2
        data = text.encode()
        yield b"blob\nmark :%d\ndata %d\n%s\n" % (self._mark - 1, len(data), data)
        yield from self._head(branch, comment)
        parent = self._heads.get(branch) or self._heads.get("trunk")
        if parent:
            yield b"from :%d\n" % parent
        yield b"M 100644 :%d %s\n\n" % (self._mark - 1, file.encode())
        self._heads[branch] = self._mark

    def _head(self, branch: str, comment: str) -> Iterator[bytes]:
        who = self._chance.choice(self._authors)
        person = f"{who} <{who}> {int(self._at.timestamp())} +0000".encode()
        message = comment.encode()
        yield b"commit refs/heads/%s\nmark :%d\nauthor %s\ncommitter %s\ndata %d\n%s\n" % (
            *(branch.encode(), self._mark, person, person),
            *(len(message), message),
        )

    def _merge(self, branch: str) -> Iterator[bytes]:
        self._pass()
        if self._at >= self._until:
            return
        self._mark += 1
        yield from self._head("trunk", f"Merge {branch}")
        yield b"from :%d\nmerge :%d\n\n" % (self._heads["trunk"], self._heads[branch])
        self._heads["trunk"] = self._mark

    def _tag(self) -> Iterator[bytes]:
        message, who = f"version 0.{self._mark}".encode(), self._authors[0].encode()
        yield b"tag v0.%d\nfrom :%d\ntagger %s <%s> %d +0000\ndata %d\n%s\n" % (
            *(self._mark, self._heads["trunk"], who, who),
            *(int(self._at.timestamp()), len(message), message),
        )

    def _text(self, file: str) -> str:
        lines = self._files[file] = self._files.get(file, 5) + self._chance.randint(1, 12)
        return "".join(
            " ".join(self._chance.choice(_WORDS) for _ in range(self._chance.randint(2, 9))) + "\n"
            for _ in range(lines)
        )

    def _readme(self) -> str:
        return (
            f"# {self._title}\n\nInvented for a look around: nothing of it is real.\n\n"
            "```\nmake\n./tide --harbor Ostend --days 3\n```\n\n"
            "- what it prints is in [the guide](docs/guide.md)\n"
            "- the format of the tables is in [another page](docs/format.md)\n\n"
            "| harbor | high water | height |\n| --- | --- | --- |\n"
            "| Ostend | 04:12 | 4.6 m |\n| Saint-Malo | 07:55 | 11.2 m |\n"
        )
