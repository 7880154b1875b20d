"""The command line: `fossilrepo COMMAND …`, one small file per topic.

Owns the entry. `serve` takes a short way that imports nothing of the command
line's libraries, since that process stays for months; everything else goes
through the command tree. Both end in the same words for errors.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence

from fossilrepo.cli import output
from fossilrepo.errors import FossilrepoError, InvalidInput


def main(arguments: Sequence[str]) -> int:
    """Run one command; gives back its exit code. Errors end on stderr in two lines."""
    output.prepare()
    gc.disable()  # imports make no garbage: see `context.imports_are_over`
    try:
        ordered = config_first(arguments)
        if _is_plain_serve(ordered):
            from fossilrepo.cli import serve

            return serve.run(ordered[1] if ordered[0] == "--config" else None)
        from fossilrepo.cli import tree

        return tree.run(ordered)
    except FossilrepoError as error:
        return output.fail(error)
    except KeyboardInterrupt:
        return output.interrupted()
    except Exception as error:
        return output.internal(error)
    finally:
        gc.freeze()  # the end of the process frees it all at once


def config_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--config FILE`, which may stand anywhere, at the front."""
    found: list[str] = []
    rest = list(arguments)
    position = 0
    while position < len(rest) and rest[position] != "--":
        option, equals, value = rest[position].partition("=")
        if option != "--config":
            position += 1
            continue
        del rest[position]
        if not equals and position < len(rest):
            value = rest.pop(position)
        if not value:
            raise InvalidInput("--config has no file", hint="write --config FILE", field="config")
        found = ["--config", value]
    return found + rest


def _is_plain_serve(ordered: Sequence[str]) -> bool:
    """`serve` without anything else; `serve --help` and mistakes are the tree's to answer."""
    return list(ordered[2:] if ordered[:1] == ["--config"] else ordered) == ["serve"]
