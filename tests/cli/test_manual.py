"""docs/commands.md has every command and every option, and no other."""

from __future__ import annotations

import re
from typing import Any

from typer.main import get_command

from fossilrepo.cli.tree import app
from tests.helpers.command import ROOT

MANUAL = (ROOT / "docs" / "commands.md").read_text()


def commands(command: Any = None, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every command that does something, by the words that call it."""
    command = command or get_command(app)
    inner = getattr(command, "commands", None)
    if inner is None:
        return {" ".join(path): command}
    return {
        name: found
        for word, child in inner.items()
        for name, found in commands(child, (*path, word)).items()
    }


def sections() -> dict[str, str]:
    """The manual's text of each command."""
    parts = re.split(r"^### (.+)$", MANUAL, flags=re.MULTILINE)
    heads = [re.sub(r" [\[A-Z].*$", "", head) for head in parts[1::2]]
    return dict(zip(heads, parts[2::2], strict=True))


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    assert sections().keys() == commands().keys()
    assert len(commands()) > 20


def test_every_section_has_an_example() -> None:
    for name, text in sections().items():
        assert re.search(rf"^    \$ .*\bfossilrepo {name}\b", text, re.MULTILINE), name


def test_every_option_stands_in_its_section_and_no_other() -> None:
    for name, command in commands().items():
        options = {o for p in command.params for o in p.opts if o.startswith("--")} - {"--help"}
        written = set(re.findall(r"`(--[a-z-]+)`", sections()[name].split("| --- |")[-1]))
        assert options - written == set(), name
        rows = re.findall(r"^\| (.+?) \|", sections()[name], re.MULTILINE)
        named = {option for row in rows for option in re.findall(r"--[a-z-]+[a-z]", row)}
        assert named <= options, name


def test_every_argument_stands_in_its_heading() -> None:
    heads = re.findall(r"^### (.+)$", MANUAL, re.MULTILINE)
    for name, command in commands().items():
        head = next(h for h in heads if re.sub(r" [\[A-Z].*$", "", h) == name)
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                assert parameter.metavar in head, head


def test_options_of_the_whole_command_stand_in_the_introduction() -> None:
    introduction = MANUAL.split("\n## ")[0]
    for option in ("--config", "--version", "--help", "--json", "--yes"):
        assert f"`{option}" in introduction
