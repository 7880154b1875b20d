"""The entry of the `fossilrepo` command and of `python -m fossilrepo`.

Owns nothing; the command line lives in `fossilrepo.cli`.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from fossilrepo import cli

    sys.exit(cli.main(sys.argv[1:]))


if __name__ == "__main__":
    main()
