"""How the command is called: arguments, configuration, errors, secrets."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from fossilrepo import __version__
from fossilrepo.cli import config_first
from tests.helpers.command import Command


def test_version_is_printed(fresh: Command) -> None:
    assert fresh.run_alone("--version").out == f"fossilrepo {__version__}\n"


def test_help_lists_serve_and_serve_explains_itself(fresh: Command) -> None:
    assert "serve " in fresh("--help").out
    assert "SIGTERM" in fresh("serve", "--help").out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("repo",),
        ("bogus",),
        ("repo", "create"),
        ("repo", "create", "-x"),
        ("repo", "list", "--sort", "colour"),
        ("serve", "more"),
        ("config", "check", "--config"),
    ],
    ids=" ".join,
)
def test_a_wrong_call_ends_with_2_and_two_lines(fresh: Command, arguments: tuple[str]) -> None:
    assert "\nhint: " in fresh.refused(2, *arguments)
    assert not fresh.data.exists()


def test_config_is_accepted_before_and_after_the_command(fresh: Command, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('data_dir = "./elsewhere"\n')
    for arguments in (
        ("--config", str(other), "config", "show", "--json"),
        ("config", "--config", str(other), "show", "--json"),
        ("config", "show", "--json", f"--config={other}"),
    ):
        assert fresh(*arguments).json["data_dir"] == str(tmp_path / "elsewhere")


def test_config_is_moved_to_the_front_and_the_last_one_counts() -> None:
    assert config_first(["a", "--config", "F", "b"]) == ["--config", "F", "a", "b"]
    assert config_first(["--config=F", "a", "--config", "G"]) == ["--config", "G", "a"]
    assert config_first(["a", "--", "--config", "F"]) == ["a", "--", "--config", "F"]


def test_a_wrong_configuration_ends_every_command_with_2_and_names_the_key(
    fresh: Command,
) -> None:
    (fresh.folder / "config.toml").write_text("[server]\nlisten = 8000\n")
    for arguments in (("config", "check"), ("repo", "list"), ("serve",), ("status",)):
        assert "server.listen" in fresh.refused(2, *arguments)
    assert not fresh.data.exists()


def test_config_show_can_be_kept_as_a_file(fresh: Command) -> None:
    shown = fresh("config", "show", FOSSILREPO_LIMITS__PUSH="3MiB").out
    assert tomllib.loads(shown)["limits"]["push"] == "3MiB"
    (fresh.folder / "config.toml").write_text(shown)
    assert tomllib.loads(fresh("config", "show").out)["limits"]["push"] == "3MiB"


def test_config_show_masks_the_password_of_the_database(fresh: Command) -> None:
    url = "postgresql://ada:hunter2@127.0.0.1/x"
    for form in ((), ("--json",)):
        assert "hunter2" not in fresh("config", "show", *form, FOSSILREPO_DATABASE__URL=url).out


def test_variables_of_the_command_line_are_no_configuration_keys(fresh: Command) -> None:
    own = {name: "x" for name in ("FOSSILREPO_PASSWORD", "FOSSILREPO_TOKEN", "FOSSILREPO_DEBUG")}
    assert fresh("config", "check", "--json", **own).json["ok"] is True
    assert "FOSSILREPO_PASSWROD" in fresh.refused(2, "config", "check", FOSSILREPO_PASSWROD="x")


def test_an_internal_error_has_no_traceback_and_says_where_the_details_are(
    command: Command,
) -> None:
    table = command.folder / "sitecustomize.py"
    table.write_text("import sys; sys.modules['fossilrepo.services.links'] = None\n")
    broken = {"PYTHONPATH": f"{command.folder}:{command.environment['PYTHONPATH']}"}
    said = command.run_alone("repo", "list", **broken).refusal(1)
    assert said.startswith("error: internal error")
    log = command.data / "logs" / "commands.log"
    assert str(log) in said and "Traceback" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0
    shown = command.run_alone("repo", "list", FOSSILREPO_DEBUG="1", **broken)
    assert "Traceback" in shown.err and shown.code == 1


def test_a_reader_that_goes_away_is_no_error(command: Command) -> None:
    process = command.start("repo", "list", "--json")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert "Traceback" not in process.stderr.read()
    process.wait(timeout=30)


def test_a_data_folder_that_cannot_be_used_is_said_in_words(fresh: Command) -> None:
    fresh.data.write_text("a file where the folder should be")
    assert "data" in fresh.refused(1, "repo", "list")


def test_every_reading_command_prints_one_json_document(command: Command) -> None:
    command("user", "create", "ada", "--admin", given=None)
    for arguments in (
        ("repo", "list"),
        ("repo", "show", "demo"),
        ("repo", "trash", "list"),
        ("user", "list"),
        ("api-token", "list"),
        ("audit",),
        ("config", "show"),
        ("config", "check"),
    ):
        outcome = command(*arguments, "--json")
        assert json.loads(outcome.out) is not None
        assert outcome.err == ""
