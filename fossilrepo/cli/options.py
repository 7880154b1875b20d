"""Arguments and options that several commands share, with the same words everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

from fossilrepo.errors import InvalidInput
from fossilrepo.models import Visibility

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The repository's name.")]
Login = Annotated[str, typer.Argument(metavar="LOGIN", help="The person's login.")]
Title = Annotated[str, typer.Option(help="One line that people see.")]
Private = Annotated[bool, typer.Option("--private", help="The same as --visibility private.")]
Seen = Annotated[
    Visibility | None,
    typer.Option(
        "--visibility",
        help="public: everyone reads; internal: who is signed in; private: administrators.",
        show_default=False,
    ),
]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


def group(text: str) -> typer.Typer:
    """A command with sub-commands, plain help, and no tracebacks of its own."""
    return typer.Typer(
        help=text,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def visibility(private: bool, seen: Visibility | None) -> Visibility:
    """What `--private` and `--visibility` say together; public when neither is there."""
    if private and seen not in (None, Visibility.PRIVATE):
        raise InvalidInput(f"--private and --visibility {seen} differ", hint="give one of the two")
    return Visibility.PRIVATE if private else seen or Visibility.PUBLIC
