"""Robots that follow every link: told what to leave alone, and asked to wait when they do not."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from fossilrepo.web import gateway_costly as costly
from fossilrepo.web.hosts import NOT_FOUND_TARGET
from tests.helpers import gateway_parts as parts
from tests.helpers.gateway_parts import Served
from tests.helpers.gateway_process import gateway


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with parts.repositories(tmp_path_factory.mktemp("costly"), NOT_FOUND_TARGET) as served:
        yield served


@pytest.mark.parametrize(
    ("target", "is_costly"),
    [
        ("/demo/zip/x.zip?r=trunk", True),
        ("/demo/ZIP", True),
        ("/demo//annotate?filename=a", True),
        ("/demo/%7aip", True),
        ("/demo/timeline?n=100000", True),
        ("/demo/timeline?y=ci&n=all", True),
        ("/demo/timeline?n=0", True),
        ("/demo/timeline?n=%C2%B2", False),
        ("/demo/timeline?n=50", False),
        ("/demo/timeline", False),
        ("/demo/info/abc", False),
        ("/demo/zipper", False),
        ("/demo", False),
        ("/demo/xfer", False),
    ],
)
def test_which_pages_cost_much(target: str, is_costly: bool) -> None:
    assert costly.is_costly(target) is is_costly


def test_an_allowance_is_used_up_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    at = [1000.0]
    monkeypatch.setattr(costly.time, "monotonic", lambda: at[0])
    allowance = costly.Allowance(burst=3, per_second=0.5)
    assert [allowance.take("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert allowance.take("a") == 2.0
    assert allowance.take("b") == 0.0, "others are not asked to wait"
    assert sum(allowance.take("a", signed_in=True) == 0 for _ in range(30)) == 15
    at[0] += 2.0
    assert (allowance.take("a"), allowance.take("a")) == (0.0, 2.0)
    at[0] += 3600.0
    assert sum(allowance.take("a") == 0 for _ in range(10)) == 3, "never more than the burst"


def test_addresses_without_end_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costly, "_MOST_KEYS", 100)
    allowance = costly.Allowance(burst=1, per_second=0.001)
    for number in range(1000):
        assert allowance.take(f"10.0.{number}") == 0.0
    assert len(allowance._left) == 100


async def test_who_asks_without_end_waits_and_nobody_else(served: Served) -> None:
    async with gateway(served) as (site, _):
        host = site.host("demo")

        async def ask(target: str, address: str = "192.0.2.7") -> parts.Answer:
            header = f"X-Forwarded-For: {address}\r\n"
            return await site.ask("GET", target, host=host, headers=header)

        answers = [await ask("/demo/annotate?filename=none") for _ in range(costly.BURST + 2)]
        assert [one.status for one in answers].count(429) in (1, 2), "some come back meanwhile"
        assert int(answers[-1].one("retry-after")) >= 1
        assert (await ask("/demo/timeline?n=5")).status == 200, "ordinary pages are there"
        assert (await ask("/demo/annotate?filename=none", "192.0.2.8")).status != 429


async def test_robots_are_told(served: Served) -> None:
    async with gateway(served) as (site, _):
        answer = await site.ask("GET", "/robots.txt", host=site.host("demo"))
        text = answer.body.decode()
        assert answer.status == 200
        assert "Disallow: /demo/annotate\n" in text and "Disallow: /demo/timeline?\n" in text
        assert "Disallow: /\n" not in text, "what is public may be found"


def test_caddy_sends_the_same_pages_to_the_gateway() -> None:
    text = (parts.ROOT / "Caddyfile").read_text()
    found = re.search(r"@costly path_regexp \(\?i\)\^/\[\^/\]\+/\+\(([a-z|]+)\)", text)
    assert found and found[1].split("|") == list(costly.PAGES)
