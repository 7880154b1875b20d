"""`config …`: is the configuration right, and what does it come to.

Owns the form for people: TOML, which can be kept as a file. Secrets are masked
by `fossilrepo.config`.
"""

from __future__ import annotations

import json
from typing import Any

from fossilrepo.cli import context, options, output
from fossilrepo.cli.options import AsJson
from fossilrepo.config import masked

app = options.group("The configuration: check it, show it.")


@app.command()
def check(as_json: AsJson = False) -> None:
    """Say whether the configuration is right.

    Exit code 2, the key's name and what to write when it is not.
    """
    configured = context.settings()
    output.result(
        {"ok": True, "data_dir": str(configured.data)},
        as_json,
        f"the configuration is right; the data is in {output.clean(configured.data)}",
    )


@app.command()
def show(as_json: AsJson = False) -> None:
    """Show every key with its value.

    From the file, the environment and the defaults together, as TOML; secrets
    are masked.
    """
    shown = masked(context.settings())
    if as_json:
        output.document(shown)
    else:
        output.say(toml(shown))


def toml(shown: dict[str, Any]) -> str:
    """`shown` as a TOML document: single keys first, then the sections."""
    lines = [f"{key} = {_value(value)}" for key, value in shown.items() if not _section(value)]
    for key, section in shown.items():
        if _section(section):
            lines += ["", f"[{key}]"]
            lines += [f"{name} = {_value(value)}" for name, value in section.items()]
    return "\n".join(lines)


def _section(value: object) -> bool:
    return isinstance(value, dict)


def _value(value: object) -> str:
    """JSON is TOML for text, numbers, booleans and lists of them."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
