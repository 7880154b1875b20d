"""The `litestream` program: its configuration and how it is started.

Owns the generated file and the command line. Its socket is in `litestream_control`,
its words in `litestream_words`, what can be restored in `litestream_restore`; all of
them are used through here.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from fossilrepo.config import Settings, effective_retention
from fossilrepo.runtime.process import Command
from fossilrepo.tools.litestream_control import (
    Control,
    NotKnown,
    NotRunning,
    Synced,
    SyncFailed,
    begin_log_anew,
    put_tables,
)
from fossilrepo.tools.litestream_program import environment, program
from fossilrepo.tools.litestream_restore import Ltx, Restored, ltx, reachable, restore
from fossilrepo.tools.litestream_words import Lines, explain, lost_state, lost_tables, out_of_time
from fossilrepo.tools.target import Target, seconds

__all__ = [
    "Control",
    "Lines",
    "Ltx",
    "NotKnown",
    "NotRunning",
    "Restored",
    "SyncFailed",
    "Synced",
    "begin_log_anew",
    "configuration",
    "explain",
    "lost_state",
    "lost_tables",
    "ltx",
    "out_of_time",
    "program",
    "put_tables",
    "reachable",
    "restore",
    "server_command",
    "write_configuration",
]

log = logging.getLogger(__name__)

CONTROL_DATABASE = "fossilrepo.db"
_HANDLES_EACH = 5
_HANDLES_MORE = 200
_HANDLES_LEAST = 2**17

_OWN_CHANGES = "120s"  # the store: `/sync` is asked on every change, this is for what was missed
_CONTROL_CHANGES = "1s"
# `wal_guard` holds the log, and the host checkpoints it when everything is on the replica. A
# `truncate-page-n` of 0 is no limit in the documents and 500 MB in the program: past them each
# question makes Litestream try a checkpoint, and change the database.
_NO_CHECKPOINTS = {
    "min-checkpoint-page-count": 2**31 - 1,
    "checkpoint-interval": "87600h",
    "truncate-page-n": 2**31 - 1,
}
_LEVELS = ("30s", "5m", "1h")


def configuration(
    settings: Settings, target: Target, *, port: int, socket: Path, state_dir: Path
) -> str:
    """Litestream's configuration as YAML (JSON is YAML), without any secret.

    `port` is for its metrics on loopback, `state_dir` for its own files. Directories
    and the control database (when it is SQLite) are replicated to `target`.
    """
    stored: dict[str, Any] = {
        "dir": str(settings.store),
        "pattern": "*.fossil",
        "watch": True,
        "meta-dir": str(state_dir),
        "monitor-interval": _OWN_CHANGES,
        **_NO_CHECKPOINTS,
        "replica": target.replica_config(),
    }
    control: dict[str, Any] = {
        "path": str(settings.database_file),
        "meta-path": str(state_dir / CONTROL_DATABASE),
        "monitor-interval": _CONTROL_CHANGES,
        **_NO_CHECKPOINTS,
        "replica": target.replica_config(CONTROL_DATABASE),
    }
    return json.dumps(
        {
            "addr": f"127.0.0.1:{port}",
            "socket": {"enabled": True, "path": str(socket)},
            "logging": {"level": "info", "type": "json", "stderr": True},
            "snapshot": {
                "interval": seconds(settings.backup.snapshot_interval),
                "retention": seconds(effective_retention(settings)),
            },
            "levels": [{"interval": interval} for interval in _LEVELS],
            "l0-retention": "5m",
            "l0-retention-check-interval": "5m",
            "shutdown-sync-timeout": "5s",
            "dbs": [stored, control] if settings.database.url == "sqlite" else [stored],
        },
        indent=1,
    )


def write_configuration(path: Path, text: str) -> None:
    """Write the file for nobody but us, whole, and only when it differs. Blocks."""
    try:
        if path.read_text(encoding="utf-8") == text and path.stat().st_mode & 0o777 == 0o600:
            return
    except OSError:
        pass  # not there, or not ours: written anew
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def server_command(settings: Settings, target: Target, config: Path) -> Command:
    """Litestream with the configuration at `config`, for the supervisor. Blocks.

    It takes as many file handles as it may by itself; what it may is raised here where
    that is too little for the repositories that there are.
    """
    with suppress(FileNotFoundError):
        stored = sum(entry.name.endswith(".fossil") for entry in os.scandir(settings.store))
        _raise_handles(_HANDLES_EACH * stored + _HANDLES_MORE)
    argv = (program(), "replicate", "-no-expand-env", "-config", str(config))
    return Command(argv, env=environment(target), cwd=settings.data)


def _raise_handles(wanted: int) -> None:
    """Our own limit, which the child inherits; only root may go past the hard one.

    More than is needed now: thousands of files may be dropped in while it runs.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for many in (max(wanted, _HANDLES_LEAST), wanted):
        if hard == resource.RLIM_INFINITY or hard >= many:
            return
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, many))
            return
    log.warning("Litestream wants %d file handles and may have %d: raise the limit of "
                "open files (LimitNOFILE) of the service", wanted, hard)  # fmt: skip
