"""The tree of commands, and the words for calls that do not fit it.

Owns which topics there are. Knows nothing of what they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command

from fossilrepo import __version__
from fossilrepo.cli import (
    access_key,
    alerts,
    audit,
    backup,
    config,
    context,
    database,
    demo,
    doctor,
    grant,
    imports,
    insights,
    invitations,
    key,
    mail,
    mirror,
    mirror_rule,
    moving,
    native,
    options,
    org,
    output,
    people,
    repo,
    serve,
    service,
    setup,
    standby,
    status,
    team,
    tokens,
    trash,
    upgrade,
    upstream,
    user,
    webhook,
)

PROGRAM = "fossilrepo"

app = options.group("Host your own Fossil repositories: one process, one command.")
app.command("serve")(serve.serve)
app.command("setup")(setup.setup)
app.add_typer(service.app, name="service")
app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
repo.app.command("import")(imports.import_)
repo.app.command("import-all")(moving.import_all)
repo.app.command("export-all")(moving.export_all)
repo.app.command("insights")(insights.insights)
repo.app.add_typer(trash.app, name="trash")
app.add_typer(repo.app, name="repo")
app.add_typer(backup.app, name="backup")
for name, command in (*people.COMMANDS.items(), *invitations.COMMANDS.items()):
    user.app.command(name)(command)
user.app.command("where")(grant.where)
app.add_typer(user.app, name="user")
app.add_typer(org.app, name="org")
app.add_typer(team.app, name="team")
app.command("grant")(grant.grant)
app.command("revoke")(grant.revoke)
app.command("access")(grant.access)
app.add_typer(mail.app, name="mail")
app.add_typer(alerts.app, name="alerts")
app.add_typer(tokens.app, name="api-token")
app.add_typer(native.app, name="native")
app.add_typer(access_key.app, name="access-key")
mirror.app.add_typer(mirror_rule.app, name="rule")
mirror.app.add_typer(mirror_rule.authors, name="author")
app.add_typer(mirror.app, name="mirror")
app.add_typer(upstream.app, name="upstream")
app.add_typer(webhook.app, name="webhook")
app.add_typer(key.app, name="key")
app.add_typer(database.app, name="database")
app.command("demo")(demo.demo)
app.command("upgrade")(upgrade.upgrade)
app.command("standby")(standby.standby)
app.command("activity")(insights.activity)
app.command("audit")(audit.audit)
app.add_typer(config.app, name="config")


def _version(asked: bool) -> None:
    if asked:
        output.say(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def root(
    file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="The configuration, before or after the command. "
            "Else $FOSSILREPO_CONFIG, ./config.toml, or the defaults.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.use_config(file)


def run(arguments: Sequence[str]) -> int:
    """Run the command of these arguments; gives back its exit code."""
    try:
        code = get_command(app).main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except typer.TyperException as error:
        return _wrong_call(error)
    except typer.Abort:
        return output.refuse("nothing was entered", "", 1)
    return output.interrupted() if code == output.INTERRUPTED else int(code or 0)


def _wrong_call(error: typer.TyperException) -> int:
    called = getattr(error, "ctx", None)
    path = called.command_path if called is not None else PROGRAM
    message = error.format_message().replace("Value error, ", "").rstrip(".")
    return output.refuse(message[:1].lower() + message[1:], f"see `{path} --help`", error.exit_code)
