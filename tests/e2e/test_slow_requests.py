"""Requests for repositories that took long, told by the running host."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.host import Checkout, Host


def test_slow_pages_and_pushes_are_told_with_the_time_at_fossil(tmp_path: Path) -> None:
    host = Host(tmp_path / "data", {"FOSSILREPO_LOG__SLOW": "0.001s"}).start()
    try:
        host.admin()
        host.call("repo", "create", "demo", "--visibility", "public")
        status, _ = host.get("/demo/timeline?n=5", "demo")
        assert status == 200
        url = host.url("demo", "ada", host.fossil_password("ada", "demo"))
        work = Checkout.cloned(url, tmp_path / "work", "ada")
        work.commit("a.txt", "a")
        work.push()
        slow = {one["asked"]: one for one in host.json("status")["slow"]}
        page = slow[f"GET demo.localhost:{host.port}/demo/timeline"]
        assert page["status"] == 200 and "fossil " in page["spent"]
        assert page["seconds"] < 5
        assert any(asked.startswith("POST ") for asked in slow)
        assert "slow: GET demo.localhost" in host.log()
    finally:
        host.stop()
