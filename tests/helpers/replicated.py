"""A data folder with a real Litestream on it, for tests of replicas.

Owns the child and the databases it copies: small SQLite files with one table, in the
place and with the name of repositories.
"""

from __future__ import annotations

import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from fossilrepo.config import Settings
from fossilrepo.tools import litestream
from fossilrepo.tools.litestream import Control, Synced
from fossilrepo.tools.targets import target_of
from tests.helpers.poll import until

NAME = "abcd.fossil"


class Replicated:
    """`up` and `down` for Litestream; `write` adds rows, which `rows` counts."""

    def __init__(
        self,
        data: Path,
        backup: dict[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.settings = Settings.model_validate({"data_dir": str(data), "backup": backup or {}})
        self.target = target_of(self.settings, env=env)
        self.control = Control(self.settings.run_dir / "litestream.sock")
        self.state = self.settings.litestream_state / self.target.key
        self.log = data / "litestream.log"
        self.settings.store.mkdir(parents=True)
        self.settings.run_dir.mkdir()
        self.file = self.database(NAME)
        self.process: subprocess.Popen[bytes] | None = None

    def database(self, name: str) -> Path:
        path = self.settings.store / name
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE blob (content)")
        return path

    def write(self, rows: int = 1, size: int = 100, path: Path | None = None) -> int:
        """Add rows, each in a transaction of its own; how many there are now."""
        with closing(sqlite3.connect(path or self.file, timeout=10)) as connection:
            for _ in range(rows):
                with connection:
                    connection.execute("INSERT INTO blob VALUES (randomblob(?))", (size,))
        return rows_of(path or self.file)

    async def up(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        text = litestream.configuration(
            self.settings,
            self.target,
            port=port,
            socket=self.control.socket,
            state_dir=self.state,
        )
        config = self.settings.run_dir / "litestream.yml"
        litestream.write_configuration(config, text)
        command = litestream.server_command(self.settings, self.target, config)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command.argv,
                env=dict(command.env),
                cwd=command.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        await until(self._knows, what="Litestream to know the database")

    async def _knows(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            known = await self.control.databases()
        except litestream.NotRunning:
            return False
        return str(self.file) in [database["path"] for database in known]

    def down(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    async def sync(self, path: Path | None = None) -> Synced:
        return await self.control.sync(path or self.file)

    async def push(self) -> Synced:
        """One more row, on the replica."""
        self.write()
        return await self.sync()

    def lose_state(self) -> None:
        shutil.rmtree(self.state / f"{NAME}-litestream")


@contextmanager
def replicated(data: Path, *args: Any, **options: Any) -> Iterator[Replicated]:
    """The data folder; its Litestream is ended at the end."""
    one = Replicated(data, *args, **options)
    try:
        yield one
    finally:
        one.down()


def rows_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        return int(connection.execute("SELECT count(*) FROM blob").fetchone()[0])
