"""Which part of a long list is shown: words, order and page, all of it in the address."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class View:
    """`page` counts from 1; `path` is the list's address, `place` where on its page it is."""

    path: str
    words: str
    sort: str
    page: int
    total: int = 0
    place: str = ""

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // PER_PAGE))

    @property
    def first(self) -> int:
        return (self.page - 1) * PER_PAGE + 1 if self.total else 0

    @property
    def last(self) -> int:
        return min(self.page * PER_PAGE, self.total)

    def url(self, *, page: int = 1, sort: str = "") -> str:
        """The address of another view of the same words."""
        wanted = {"q": self.words, "sort": sort or self.sort, "page": str(page)}
        plain = {"q": "", "sort": "name", "page": "1"}
        query = urlencode({key: value for key, value in wanted.items() if value != plain[key]})
        return f"{self.path}?{query}{self.place}" if query else f"{self.path}{self.place}"
