"""A process of its own with a supervisor in it, to be killed outright by a test.

Usage: runtime_host.py STATE_FILE COMMAND...; says "started" once the child was
started, and runs until it is killed or its input ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from fossilrepo.runtime.child import ChildSpec
from fossilrepo.runtime.process import Command
from fossilrepo.runtime.supervisor import Supervisor


async def main(state_file: Path, argv: tuple[str, ...]) -> None:
    sign = state_file.with_suffix(".ready")
    sign.unlink(missing_ok=True)

    async def command() -> Command:
        return Command((*argv, "--ready-file", str(sign)), env={"PATH": os.defpath})

    async def ready() -> bool:
        return sign.exists()

    supervisor = Supervisor([ChildSpec("bad", command, ready)], state_file=state_file)
    await supervisor.start()
    print("started", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await supervisor.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), tuple(sys.argv[2:])))
