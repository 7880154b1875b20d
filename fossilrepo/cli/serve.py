"""`serve`: everything in the foreground until SIGTERM or SIGINT.

Owns the signals and what is printed while it runs. Imports nothing that only
the other commands need: this process stays. What is started lives in `app`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from fossilrepo import logs
from fossilrepo.cli import context, output
from fossilrepo.config import Settings


def serve() -> None:
    """Run everything until SIGTERM or Ctrl-C.

    The first start prints a link, good once, that makes the first administrator.
    """
    configured = context.settings()
    logs.to_stderr(configured.log)
    asyncio.run(_until_a_signal(configured))


def run(config: str | None) -> int:
    """The same for the short way in `fossilrepo.cli`."""
    context.use_config(Path(config) if config is not None else None)
    serve()
    return 0


async def _until_a_signal(configured: Settings) -> None:
    from fossilrepo import app

    context.imports_are_over()
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def end(number: signal.Signals) -> None:
        if not stop.is_set():
            stop.set()
        elif number is signal.SIGINT:
            output.note("ended at once: a second Ctrl-C came")
            os._exit(output.INTERRUPTED)  # the children die with us, the next start cleans up

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    await app.serve(configured, announce=output.say, stop=stop)
