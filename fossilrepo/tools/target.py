"""What a place for replicas can do, whether it is a folder or a bucket.

Owns the calls on its objects (list, get, put, delete) and how it is told to
Litestream. Every call is bounded in time; what cannot be reached or is
denied raises Unavailable with the target's URL and never a secret.
"""

from __future__ import annotations

import builtins
import hashlib
import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fossilrepo.errors import Unavailable

_PROBE = ".fossilrepo-probe"


def seconds(duration: float) -> str:
    """A duration as Litestream reads it: it knows no days."""
    return f"{duration:.6f}".rstrip("0").rstrip(".") + "s"


@dataclass(frozen=True, slots=True)
class Stored:
    """One object: its key below the target, bytes, and when it was written."""

    key: str
    size: int
    modified: datetime


class Target(ABC):
    """A place for replicas. `url` is for people, `key` names it in the state folder."""

    is_local = False

    def __init__(self, url: str, sync_interval: float) -> None:
        self.url = url
        self._sync_interval = seconds(sync_interval)

    @property
    def key(self) -> str:
        """The same for the same place for ever; another for another."""
        return hashlib.sha256(self.place.encode()).hexdigest()[:12]

    @property
    def place(self) -> str:
        """What tells this place from every other."""
        return self.url

    def on_same_disk(self, data: Path) -> bool:
        """Whether losing the disk of `data` loses the replica too."""
        return False

    @abstractmethod
    def replica_url(self, name: str) -> str:
        """Where `name` (`ID.fossil`) is replicated, as an argument for Litestream."""

    @abstractmethod
    def replica_config(self, name: str = "") -> dict[str, Any]:
        """The `replica:` mapping of Litestream's configuration, for the whole or one `name`."""

    def environment(self) -> dict[str, str]:
        """What Litestream needs in its environment; read anew at every call."""
        return {}

    def credentials_stamp(self) -> str:
        """Changes when the credentials did; tells nothing about them."""
        text = "\0".join(f"{key}={value}" for key, value in sorted(self.environment().items()))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @abstractmethod
    async def list(self, prefix: str = "") -> builtins.list[Stored]:
        """Every object whose key begins with `prefix`, sorted by key."""

    @abstractmethod
    async def names(self) -> builtins.list[str]:
        """The entries at the top: `ID.fossil`, `fossilrepo.db`."""

    @abstractmethod
    async def get(self, key: str) -> bytes | None:
        """The object's content, or None when there is none."""

    @abstractmethod
    async def put(self, key: str, data: bytes) -> None:
        """Write the object whole; readers see the old or the new one."""

    @abstractmethod
    async def delete(self, prefix: str) -> int:
        """Delete the object or folder `prefix` with all below; how many objects went."""

    @abstractmethod
    async def reachable(self) -> None:
        """Raise Unavailable when the target does not answer or refuses us; cheap."""

    async def probe(self) -> None:
        """Write, read back, list and delete one small object; Unavailable says what failed."""
        key, content = f"{_PROBE}-{secrets.token_hex(6)}", secrets.token_bytes(16)
        await self.put(key, content)
        if await self.get(key) != content:
            raise Unavailable(f"{self.url} gives back other bytes than were written")
        if [stored.key for stored in await self.list(key)] != [key]:
            raise Unavailable(f"{self.url} does not list what was written")
        await self.delete(key)
