"""`setup`: from nothing to a host on a domain.

Owns the questions to the person; what is looked at and written is the service's.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from fossilrepo.cli import ask, context, doctor, output
from fossilrepo.cli.options import AsJson, Yes
from fossilrepo.errors import Conflict, InvalidInput


def setup(
    domain: Annotated[
        str, typer.Option(help="The name of the whole, like example.org; repositories are below.")
    ] = "",
    email: Annotated[
        str, typer.Option(help="Where the certificate authority writes. May be left out.")
    ] = "",
    data_dir: Annotated[
        Path | None, typer.Option(help="Where everything is kept. Else ./data beside the file.")
    ] = None,
    routing: Annotated[
        Literal["host", "path"],
        typer.Option(help="Repositories at NAME.DOMAIN, or (one certificate) at DOMAIN/NAME."),
    ] = "host",
    replace: Annotated[
        bool, typer.Option("--replace", help="Put another configuration in place of this one.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Write the configuration of a host on a domain, with certificates by Caddy.

    Looks first whether the domain leads here and the ports are free, and says what is not right;
    nothing is written then, unless --yes is given.
    """
    from fossilrepo.services import first_setup  # other commands start without it

    path = context.config_file()
    if path.exists() and not replace:
        first_setup.write(path, "")  # says that there is one
    domain = domain or _asked("domain", "The domain, like example.org")
    domain = domain.strip().lower().rstrip(".")
    if not email and not yes:
        email = _asked("", "Your e-mail address, for the authority (or empty)")
    text = first_setup.configuration(
        domain, email.strip(), data_dir and data_dir.absolute(), routing
    )
    first_setup.try_out(path, text)
    checks = asyncio.run(first_setup.look(domain, routing))
    if not as_json:
        doctor.show(checks)
    bad = [one for one in checks if one.result == "fail"]
    if bad and not yes:
        raise Conflict(
            f"{len(bad)} of these must be right before people can come",
            hint="mend it and start this again, or add --yes to write the configuration now",
        )
    settings = first_setup.write(path, text, replace=replace)
    if as_json:
        output.document(
            {
                "config": str(path),
                "data_dir": str(settings.data),
                "url": f"https://{domain}/",
                "checks": [asdict(one) for one in checks],
            }
        )
        return
    output.say(f"wrote {output.clean(path)}; the data will be in {output.clean(settings.data)}")
    output.say("next: `fossilrepo service install` starts it now and at every boot (as root),")
    output.say(f"or `fossilrepo serve` here; then open https://{domain}/")


def _asked(option: str, question: str) -> str:
    if not sys.stdin.isatty():
        if not option:
            return ""
        raise InvalidInput(f"there is no terminal to ask: {question}", hint=f"give --{option}")
    return ask.words(question)
