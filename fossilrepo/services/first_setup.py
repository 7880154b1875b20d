"""From nothing to a host on a domain: what is looked at, and the configuration that comes of it.

Owns the questions that decide whether people and certificate authorities will find this machine,
asked before anything is written. Works without a database.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from fossilrepo.config import Settings, load
from fossilrepo.errors import Conflict, InvalidInput
from fossilrepo.services.health import Check
from fossilrepo.services.name_checks import names_lead_here
from fossilrepo.services.port_checks import Port, free


async def look(
    domain: str, routing: str = "host", http_port: int = 80, https_port: int = 443
) -> list[Check]:
    """Whether the names lead here and the ports are free."""
    checks = await names_lead_here(domain, routing)
    checks += [free(Port("Caddy", "", number)) for number in (http_port, https_port)]
    return checks


def configuration(domain: str, email: str, data: Path | None, routing: str = "host") -> str:
    """The text of a configuration for a host with Caddy; InvalidInput for what cannot be."""
    lines = ["# Written by `fossilrepo setup`. Every key: config.example.toml"]
    if data is not None:
        lines.append(f"data_dir = {json.dumps(str(data))}")
    lines += ["", "[server]", f"domain = {json.dumps(domain)}"]
    lines += [f"routing = {json.dumps(routing)}"] if routing != "host" else []
    lines.append("")
    lines += ["[caddy]", "enabled = true", f"email = {json.dumps(email)}", ""]
    return "\n".join(lines)


def try_out(path: Path, text: str) -> Settings:
    """What the text comes to beside `path`; ConfigError for what is wrong in it."""
    partial = path.with_name(f".{path.name}.new")
    try:
        partial.write_text(text, encoding="utf-8")
        return load(partial, {})
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def write(path: Path, text: str, *, replace: bool = False) -> Settings:
    """Write it where it is read from; nothing is left of one that does not load.

    Conflict when there is one already.
    """
    if os.path.lexists(path) and not replace:
        raise Conflict(
            f"there is a configuration already: {path}",
            hint="change it, or give --replace (the old one is kept beside it)",
        )
    settings = try_out(path, text)
    try:
        if os.path.lexists(path):
            path.rename(path.with_name(f"{path.name}.before"))
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from None
    return settings
