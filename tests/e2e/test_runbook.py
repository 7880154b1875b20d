"""docs/operations.md is true: every command of it does what it says, in the order of the page."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

from tests.helpers.forks import ROOT
from tests.helpers.host import Checkout, Host
from tests.helpers.poll import until_sync

RUNBOOK = ROOT / "docs" / "operations.md"


def blocks() -> list[tuple[str, list[list[str]]]]:
    """Heading and commands, in the order of the page."""
    found = []
    for part in re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        lines = [
            shlex.split(line)
            for block in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
            for line in block.splitlines()
            if line.startswith("fossilrepo ")
        ]
        if lines:
            found.append((heading, lines))
    return found


def test_every_command_of_the_runbook_works(tmp_path: Path) -> None:
    mnt = tmp_path / "mnt"
    for name in ("other", "kept", "scratch"):
        (mnt / name).mkdir(parents=True)
    settings = {"FOSSILREPO_BACKUP__URL": f"file://{mnt}/other/fossil"}
    host = Host(tmp_path / "data", settings).start()
    host.admin()
    host.call("repo", "create", "demo", "--visibility", "public")
    shutil.copy(host.data / "secret.key", mnt / "kept" / "secret.key")
    work = Checkout.cloned(
        host.url("demo", "ada", host.fossil_password("ada", "demo")), tmp_path / "work", "ada"
    )
    made = work.commit("a.txt", "text")
    work.push()
    until_sync(
        lambda: host.json("backup", "status")["state"] == "current" and _points(host) > 1,
        timeout=60,
        what="the push on the replica",
    )

    ran: dict[str, str] = {}
    try:
        for heading, commands in blocks():
            if heading == "The machine is lost":
                host.stop()
                host = Host(tmp_path / "another", settings)
            for words in commands:
                said = host.call(*(word.replace("/mnt/", f"{mnt}/") for word in words[1:]))
                ran[" ".join(words[1:])] = said.stdout
            if heading == "The machine is lost":
                host.start()
    finally:
        host.stop()
    assert len(ran) > 15, "the page still has its commands"
    assert "demo" in ran["repo list"], "the lost host is back"
    left = Checkout(mnt / "scratch" / "everything" / "demo", "ada")
    assert left.fossil("info", made, "-R", str(left.file)).returncode == 0


def _points(host: Host) -> int:
    return len(host.json("backup", "points", "demo")["points"])
