"""Files that run commands, put straight into the store: the jail is the first line.

Each trap is first sprung on a server without walls, to see that it is one.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path

import pytest

from fossilrepo.tools import fossil_write, jail
from fossilrepo.tools.gate import Gate
from fossilrepo.tools.identity import give
from tests.helpers import jailed
from tests.helpers.jailed import Place
from tests.helpers.poll import until


@pytest.fixture
def evil(place: Place) -> Path:
    """Outside the jail, and open to everybody: where a trap writes when it is sprung."""
    folder = place.data / "evil"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def trap(kind: str, evil: Path) -> dict[str, str]:
    """Rows of `config` that run a command when the repository is visited."""
    # The second name is a folder outside the jail, and free to take inside it.
    command = f"id > {evil}/sprung; id > /tmp/{evil.parent.name}"
    tcl = f"tclEval {{exec sh -c {{{command}}}}}"
    return {
        # What arrived since number 0 has not been told to the hook: the next visit tells it.
        "hooks": {
            "hooks": json.dumps([{"type": "after-receive", "cmd": command, "seq": 10}]),
            "hook-last-rcvid": "0",
            "backoffice-nodelay": "1",
        },
        "tcl header": {"tcl": "1", "header": f"<html><body><th1>puts [{tcl}]</th1>"},
        "th1-setup": {"tcl": "1", "th1-setup": tcl},
    }[kind]


def arm(path: Path, rows: dict[str, str]) -> None:
    with jailed.connected(path) as db:
        db.executemany("REPLACE INTO config VALUES(?, ?, 0)", rows.items())
        db.commit()


async def spring(url: str) -> None:
    status, _ = await jailed.get(f"{url}/timeline")
    assert status in (200, 500)


def sprung(place: Place, evil: Path) -> list[Path]:
    return [*evil.iterdir(), *(place.repos / "tmp").iterdir()]


@pytest.mark.parametrize("kind", ["hooks", "tcl header", "th1-setup"])
async def test_a_trap_is_sprung_without_walls_and_not_behind_them(
    place: Place, fossil_template: Path, evil: Path, kind: str
) -> None:
    for name in ("open", "walled"):
        arm(place.new(name, fossil_template), trap(kind, evil))
    began = time.monotonic()
    async with jailed.server(place, jail.Walls("none", "", place.identity, ())) as url:
        await spring(f"{url}/open")
        await until(lambda: (evil / "sprung").exists(), timeout=15, what="the trap to be one")
    needed = time.monotonic() - began
    (evil / "sprung").unlink()

    walls = await jail.probe(place.repos, place.identity)
    assert walls.kind != "none"
    async with jailed.server(place, walls) as url:
        await spring(f"{url}/walled")
        # Nothing tells that a command could not be run: it gets twice the time that it needed.
        await asyncio.sleep(1 + 2 * needed)
    assert sprung(place, evil) == []


@pytest.mark.parametrize("kind", ["hooks", "tcl header", "th1-setup"])
@pytest.mark.parametrize("trusted", [True, False])
async def test_what_passed_the_gate_has_no_trap_left_even_without_walls(
    place: Place, fossil_template: Path, evil: Path, kind: str, trusted: bool
) -> None:
    given = place.scratch / "given.fossil"
    shutil.copy(fossil_template, given)
    give(given, place.identity)
    arm(given, trap(kind, evil))
    gate = Gate(place.identity, place.scratch)
    await gate.check_file(given)
    if trusted:
        removed = await asyncio.to_thread(fossil_write.disarm, given)
        assert removed.keys() & {"hooks", "tcl"}
        file = place.serve("safe", given)
    else:
        fresh = place.scratch / "fresh.fossil"
        removed = (await gate.copy_untrusted(given, fresh)).removed
        assert removed.keys() & {"hooks", "tcl"}
        await place.fossil.rebuild(fresh)
        file = place.serve("safe", fresh)
    async with jailed.server(place, jail.Walls("none", "", place.identity, ())) as url:
        await spring(f"{url}/safe")
        if kind == "hooks":
            await until(lambda: _backoffice_ran(file), timeout=15, what="the backoffice")
    assert sprung(place, evil) == []


async def test_secrets_beside_the_jail_are_not_there_for_a_hostile_page(
    place: Place, fossil_template: Path
) -> None:
    place.secret.chmod(0o644)  # even if its mode were wrong
    file = place.new("trap", fossil_template)
    script = f"<html><th1>puts [tclEval {{read [open {place.secret}]}}]</th1>"
    arm(file, {"tcl": "1", "header": script})
    walls = await jail.probe(place.repos, place.identity)
    async with jailed.server(place, walls) as url:
        _, page = await jailed.get(f"{url}/trap/timeline")
    assert "the secret of this place" not in page
    async with jailed.server(place, jail.Walls("none", "", place.identity, ())) as url:
        _, page = await jailed.get(f"{url}/trap/timeline")
    assert "the secret of this place" in page


async def test_links_out_of_the_folder_lead_nowhere_in_the_jail(
    place: Place, fossil_template: Path
) -> None:
    outside = place.data / "outside.fossil"
    shutil.copy(fossil_template, outside)
    give(outside, place.identity)
    (place.repos / ".served/out.fossil").symlink_to(outside)
    (place.repos / ".served/up.fossil").symlink_to("../../outside.fossil")
    (place.repos / ".served/passwd.fossil").symlink_to("/etc/passwd")
    walls = await jail.probe(place.repos, place.identity)
    async with jailed.server(place, walls) as url:
        for name in ("out", "up", "passwd"):
            status, page = await jailed.get(f"{url}/{name}/timeline")
            assert "initial empty check-in" not in page and "root:" not in page, name
            assert status != 200, name


def _backoffice_ran(file: Path) -> bool:
    return bool(jailed.rows(file, "SELECT 1 FROM config WHERE name='backoffice'"))
