"""What a command works with: the settings, and the services opened on them.

Owns where the configuration comes from, the log of commands, and how a command
that is interrupted ends. Commands use the same services on the same files as
the server, whether it runs or not.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fossilrepo import logs
from fossilrepo.config import CONFIG_VARIABLE, Settings, load
from fossilrepo.errors import FossilrepoError
from fossilrepo.models import Actor

if TYPE_CHECKING:
    from fossilrepo.services import Services

ACTOR = Actor.command_line()
# Read by the command line itself; to `config` they are no keys.
OWN_VARIABLES = ("FOSSILREPO_PASSWORD", "FOSSILREPO_TOKEN", "FOSSILREPO_DEBUG")
_config_file: ContextVar[Path | None] = ContextVar("config_file", default=None)

Outcome = TypeVar("Outcome")


class Interrupted(FossilrepoError):
    """Ended by a signal; what was begun has been undone."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__("interrupted", hint="nothing was left behind: start it again")
        self.exit_code = 128 + number


def use_config(path: Path | None) -> None:
    """Where `settings` reads from: `--config`, or the usual places."""
    _config_file.set(path)


def config_file() -> Path:
    """Where the configuration is, or would be."""
    return _config_file.get() or Path(os.environ.get(CONFIG_VARIABLE) or "config.toml")


def settings() -> Settings:
    """The configuration. Raises ConfigError, which ends the command with exit code 2."""
    env = {key: value for key, value in os.environ.items() if key not in OWN_VARIABLES}
    return load(_config_file.get(), env)


def imports_are_over() -> None:
    """Collect garbage from now on, and never look at what the imports made.

    A third of the time of a short command went into that, most of it at the end.
    """
    gc.freeze()
    gc.enable()


def run(work: Callable[[Services], Awaitable[Outcome]]) -> Outcome:
    """What `work` gives with the services opened; Interrupted when a signal ended it."""
    configured = settings()
    logs.to_file(configured.logs / "commands.log", configured.log)
    ended_by: list[signal.Signals] = []
    try:
        return asyncio.run(_inside(configured, work, ended_by))
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise Interrupted(ended_by[0] if ended_by else signal.SIGINT) from None


async def _inside(
    configured: Settings,
    work: Callable[[Services], Awaitable[Outcome]],
    ended_by: list[signal.Signals],
) -> Outcome:
    from fossilrepo.core import open_services

    imports_are_over()
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None  # noqa: S101 - we are inside one

    def end(number: signal.Signals) -> None:
        if not ended_by:  # once: a second signal would cut the cleaning up
            ended_by.append(number)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end, number)
    async with open_services(configured) as services:
        return await work(services)
