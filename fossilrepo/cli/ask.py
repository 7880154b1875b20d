"""What the command line asks a person: yes or no, passwords, tokens.

Owns the ways in which a secret comes here: a prompt without echo, standard
input, or the environment; never an argument, which every user of the machine
can read. Nothing is asked without a terminal.
"""

from __future__ import annotations

import os
import sys
from getpass import getpass

from fossilrepo.errors import InvalidInput

PASSWORD_VARIABLE = "FOSSILREPO_PASSWORD"  # noqa: S105 - the name of a variable
TOKEN_VARIABLE = "FOSSILREPO_TOKEN"  # noqa: S105
_LONGEST = 4096


def confirm(question: str, yes: bool) -> None:
    """Go on only with `--yes`, or when a person at a terminal says so."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"this needs a yes, and there is no terminal to ask: {question}",
            hint="add --yes if you mean it",
        )
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InvalidInput("nothing was changed", hint="answer y, or add --yes")


def words(question: str) -> str:
    """What a person types at a terminal, in one line."""
    print(f"{question}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def asked(question: str, answer: bool | None) -> bool:
    """What an option said, else what a person at a terminal says; no without one."""
    if answer is not None:
        return answer
    if not sys.stdin.isatty():
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def new_password(from_stdin: bool, who: str) -> str:
    """A password that is set: asked for twice. Empty when none was given at all."""
    given = _given(from_stdin, PASSWORD_VARIABLE, "--password-stdin")
    if given or not sys.stdin.isatty():
        return given
    first = getpass(f"Password for {who} (empty: none for now): ")
    if first and getpass("The same again: ") != first:
        raise InvalidInput("the two passwords differ", hint="nothing was changed: try again")
    return first


def password(from_stdin: bool, who: str) -> str:
    """A password that exists already; InvalidInput when there is no way to ask for it."""
    given = _given(from_stdin, PASSWORD_VARIABLE, "--password-stdin")
    if not given and sys.stdin.isatty():
        given = getpass(f"Password of {who}: ")
    if not given:
        raise no_password(who)
    return given


def no_password(who: str) -> InvalidInput:
    return InvalidInput(
        f"there is no password for {who}",
        hint=f"give it with --password-stdin or in {PASSWORD_VARIABLE}",
        field="password",
    )


def token(from_stdin: bool) -> str:
    """An access token for a remote, or nothing."""
    return _given(from_stdin, TOKEN_VARIABLE, "--token-stdin")


def line(option: str) -> str:
    """One line of standard input, for what may not be an argument."""
    return _given(True, "", option)


def _given(from_stdin: bool, variable: str, option: str) -> str:
    if not from_stdin:
        return os.environ.get(variable, "")
    try:
        text = sys.stdin.buffer.read(_LONGEST + 2).decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"what {option} read is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or "\n" in text or "\0" in text or len(text) > _LONGEST:
        raise InvalidInput(
            f"{option} needs one line on standard input",
            hint=f"for example: fossilrepo … {option} < FILE",
        )
    return text
