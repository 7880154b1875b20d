"""Requests for repositories that took long, told by the running host."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.host import Checkout, Host


def test_slow_pages_and_pushes_are_told_with_the_time_at_fossil(tmp_path: Path) -> None:
    host = Host(tmp_path / "data", {"FOSSILREPO_LOG__SLOW": "0.001s"}).start()
    try:
        host.admin()
        host.call("repo", "create", "demo", "--visibility", "public")
        for _ in range(10):  # what took less than a millisecond of it is not told
            assert host.get("/demo/timeline?n=5", "demo")[0] == 200
        url = host.url("demo", "ada", host.fossil_password("ada", "demo"))
        work = Checkout.cloned(url, tmp_path / "work", "ada")
        work.commit("a.txt", "a")
        work.push()
        slow = host.json("status")["slow"]
        page = f"GET demo.localhost:{host.port}/demo/timeline"
        pages = [one for one in slow if one["asked"] == page and one["status"] == 200]
        assert any("fossil " in one["spent"] for one in pages)
        assert any(one["asked"].startswith("POST ") for one in slow)
        assert "slow: GET demo.localhost" in host.log()
    finally:
        host.stop()
