"""The site's look on Fossil's own pages: put on, kept right, and taken off without a trace."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.helpers.host import Host
from tests.helpers.poll import until_sync


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path / "data").start()
    one.admin()
    yield one
    one.stop()


def timeline(host: Host, name: str) -> str:
    status, page = host.get(f"/{name}/timeline", name)
    assert status == 200
    return page


def settings(host: Host, name: str) -> dict[str, str]:
    file = host.data / "repos" / f"{name}.fossil"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        rows = (
            "SELECT name, value FROM config WHERE name IN ('css', 'header', 'footer', 'mainmenu')"
        )
        return dict(db.execute(rows).fetchall())


def write(host: Host, name: str, setting: str, value: str) -> None:
    file = host.data / "repos" / f"{name}.fossil"
    with closing(sqlite3.connect(file, timeout=10)) as db, db:
        db.execute("REPLACE INTO config VALUES (?, ?, unixepoch())", (setting, value))


def menu(page: str) -> list[str]:
    return re.findall(r"<a href='([^']+)' class='[^']*'>", page)


def test_an_organization_dresses_its_repositories_and_undresses_them(host: Host) -> None:
    host.call("repo", "create", "demo", "--visibility", "public")
    host.call("repo", "create", "theirs")
    write(host, "theirs", "css", "body { color: navy }")
    plain = timeline(host, "demo")
    assert "/repos/demo" not in plain

    assert host.json("org", "configure", "main", "--skin")["skin"] is True
    page = timeline(host, "demo")
    assert f'<a href="http://localhost:{host.port}/repos/demo"' in page
    assert menu(page) == menu(plain), "Fossil's own menu stays"
    assert "The look of the site" in host.get("/demo/style.css", "demo")[1]
    assert settings(host, "theirs") == {"css": "body { color: navy }"}, "its own skin is kept"

    host.call("repo", "create", "later", "--visibility", "public")
    assert "/repos/later" in timeline(host, "later")
    host.call("repo", "rename", "later", "last")
    assert "/repos/last" in timeline(host, "last")

    leaving = host.data.parent / "out.fossil"
    host.call("repo", "export", "demo", str(leaving))
    with closing(sqlite3.connect(leaving)) as db:
        assert not db.execute("SELECT 1 FROM config WHERE name IN ('css', 'header')").fetchall()

    host.call("org", "create", "apart")
    host.call("repo", "configure", "last", "--org", "apart")
    assert settings(host, "last") == {}

    host.json("org", "configure", "main", "--no-skin")
    assert settings(host, "demo") == {}
    after = timeline(host, "demo")
    assert "/repos/demo" not in after
    assert after.count("<a ") == plain.count("<a ")


def test_what_people_change_in_it_is_theirs(host: Host) -> None:
    host.call("org", "configure", "main", "--skin")
    host.call("repo", "create", "demo", "--visibility", "public")
    ours = settings(host, "demo")
    assert set(ours) == {"css", "header"}

    # Somebody took it away in Fossil: it comes back, as the organization wants.
    file = host.data / "repos" / "demo.fossil"
    with closing(sqlite3.connect(file, timeout=10)) as db, db:
        db.execute("DELETE FROM config WHERE name = 'css'")
    until_sync(lambda: settings(host, "demo") == ours, what="the skin")

    changed = ours["css"].replace("#1f6175", "#802020")
    write(host, "demo", "css", changed)
    host.call("org", "configure", "main", "--no-skin")
    host.call("org", "configure", "main", "--skin")
    assert settings(host, "demo") == {"css": changed, "header": ours["header"]}


def test_the_link_back_follows_the_address_of_the_site(host: Host) -> None:
    host.call("org", "configure", "main", "--skin")
    host.call("repo", "create", "demo", "--visibility", "public")
    host.stop()
    host.environment["FOSSILREPO_SERVER__PUBLIC_URL"] = "https://code.example.org"
    host.environment["FOSSILREPO_SERVER__DOMAIN"] = "code.example.org"
    host.launch()
    until_sync(
        lambda: "https://code.example.org/repos/demo" in settings(host, "demo")["header"],
        what="the new address in the header",
    )
