"""The replica in a bucket of an S3 server.

Owns the calls to the server, in pages, with time limits and few retries, and what its
refusals mean. Keys are read anew at every call, so renewed ones count without a
restart; they never appear in a message. The library for S3 is large and comes in with
the first call.
"""

from __future__ import annotations

import asyncio
import builtins
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from fossilrepo.config import Settings
from fossilrepo.credentials import S3Keys, s3_keys
from fossilrepo.errors import InvalidInput, Unavailable
from fossilrepo.tools.target import Stored, Target

PATIENCE = 10.0  # seconds to connect, and for each answer
_CALL = 20.0  # seconds for one request with its second try
_DELETE_AT_ONCE = 1000  # the protocol's own limit
_DEFAULT_REGION = "us-east-1"
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")

_KEYS_HINT = (
    "correct backup.credentials_file, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and let "
    "these keys read, write, list and delete there"
)
_HINTS = {
    "NoSuchBucket": "create the bucket, or correct backup.url",
    "PermanentRedirect": "set backup.region to the bucket's region",
    "AuthorizationHeaderMalformed": "set backup.region to the bucket's region",
    "ExpiredToken": "renew the credentials; the new ones count without a restart",
    "RequestTimeTooSkewed": "set the clock of this machine right",
    "SlowDown": "the server asks for fewer requests; it is tried again by itself",
    "QuotaExceeded": "make room on the S3 server",
    "XMinioStorageFull": "make room on the S3 server",
}
_DENIED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "403"}


class S3Target(Target):
    """`url` names endpoint and region too where they are set: it leads to the same place later."""

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
        self._session: Any = None
        named = {"endpoint": self.endpoint, "region": region}
        query = urlencode({key: value for key, value in named.items() if value}, safe=":/")
        url = f"s3://{bucket}/{prefix}".rstrip("/") + (f"?{query}" if query else "")
        super().__init__(url, settings.backup.sync_interval)

    @property
    def place(self) -> str:
        return f"{self.endpoint}/{self.bucket}/{self.prefix}"

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
        """The keys, and where certificates of authorities are kept.

        `AWS_CA_BUNDLE` ends Litestream, which reads `SSL_CERT_FILE` in its place.
        """
        env = os.environ if self._env is None else self._env
        found = {name: env[name] for name in _CERTIFICATES if env.get(name)}
        if env.get("AWS_CA_BUNDLE"):
            found["SSL_CERT_FILE"] = env["AWS_CA_BUNDLE"]
        keys = self._keys()
        if keys is not None:
            found["AWS_ACCESS_KEY_ID"] = keys.access_key_id
            found["AWS_SECRET_ACCESS_KEY"] = keys.secret_access_key
            if keys.session_token:
                found["AWS_SESSION_TOKEN"] = keys.session_token
        return found

    async def list(self, prefix: str = "") -> builtins.list[Stored]:
        found = []
        async with self._client() as client:
            async for page in self._pages(client, prefix):
                for entry in page.get("Contents", ()):
                    key = self._own(entry["Key"])
                    at = entry["LastModified"].astimezone(UTC)
                    found.append(Stored(key, entry["Size"], at))
        return sorted(found, key=lambda stored: stored.key)

    async def names(self) -> builtins.list[str]:
        found = set()
        async with self._client() as client:
            async for page in self._pages(client, "", Delimiter="/"):
                found |= {self._own(each["Prefix"]) for each in page.get("CommonPrefixes", ())}
                found |= {self._own(each["Key"]) for each in page.get("Contents", ())}
        return sorted(name.strip("/") for name in found if not name.startswith("."))

    async def get(self, key: str) -> bytes | None:
        async with self._client() as client:
            try:
                async with asyncio.timeout(_CALL):
                    answer = await client.get_object(Bucket=self.bucket, Key=self._key(key))
                    async with answer["Body"] as body:
                        return bytes(await body.read())
            except client.exceptions.NoSuchKey:
                return None

    async def head(self, key: str) -> dict[str, str]:
        """What was stored with the object; nothing when there is none."""
        async with self._client() as client:
            try:
                async with asyncio.timeout(_CALL):
                    answer = await client.head_object(Bucket=self.bucket, Key=self._key(key))
            except client.exceptions.ClientError as error:
                if _code(error) in ("404", "NoSuchKey"):
                    return {}
                raise
        return dict(answer.get("Metadata", {}))

    async def put(self, key: str, data: bytes) -> None:
        async with self._client() as client, asyncio.timeout(_CALL):
            await client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data)

    async def delete(self, prefix: str) -> int:
        if not prefix.strip("/"):
            raise InvalidInput("the whole replica is never deleted at once")
        below = prefix.rstrip("/") + "/"
        keys = [
            stored.key
            for stored in await self.list(prefix.rstrip("/"))
            if stored.key == prefix or stored.key.startswith(below)
        ]
        async with self._client() as client:
            for start in range(0, len(keys), _DELETE_AT_ONCE):
                await self._delete_some(client, keys[start : start + _DELETE_AT_ONCE])
        return len(keys)

    async def reachable(self) -> None:
        async with self._client() as client, asyncio.timeout(_CALL):
            await client.list_objects_v2(Bucket=self.bucket, Prefix=self._key(""), MaxKeys=1)

    async def _delete_some(self, client: Any, keys: builtins.list[str]) -> None:
        wanted = {"Objects": [{"Key": self._key(key)} for key in keys], "Quiet": True}
        async with asyncio.timeout(_CALL):
            answer = await client.delete_objects(Bucket=self.bucket, Delete=wanted)
        for error in answer.get("Errors", ()):
            code = str(error.get("Code", ""))
            raise self._refused(code, str(error.get("Message") or code))

    async def _pages(
        self, client: Any, prefix: str, **options: Any
    ) -> AsyncIterator[dict[str, Any]]:
        wanted = {"Bucket": self.bucket, "Prefix": self._prefix() + prefix, **options}
        while True:
            async with asyncio.timeout(_CALL):
                page = await client.list_objects_v2(**wanted)
            yield page
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Any]:
        """A client with the keys of now; what goes wrong inside becomes Unavailable."""
        if self._session is None:
            self._session = await asyncio.to_thread(_session)
        from botocore.exceptions import BotoCoreError, ClientError

        keys = await asyncio.to_thread(self._keys)
        try:
            async with self._session.client("s3", **self._options(keys)) as client:
                yield client
        except ClientError as error:
            said = error.response.get("Error", {})
            raise self._refused(_code(error), str(said.get("Message") or _code(error))) from None
        except TimeoutError:
            raise self._away(f"no answer within {_CALL:g} s") from None
        except (BotoCoreError, OSError) as error:
            raise self._away(_words(error)) from None

    def _options(self, keys: S3Keys | None) -> dict[str, Any]:
        from aiobotocore.config import AioConfig

        options: dict[str, Any] = {
            "region_name": self.region,
            "endpoint_url": self.endpoint or None,
            "config": AioConfig(
                connect_timeout=PATIENCE,
                read_timeout=PATIENCE,
                retries={"total_max_attempts": 2, "mode": "standard"},
                s3={"addressing_style": "path" if self.endpoint else "auto"},
                ignore_configured_endpoint_urls=True,  # Litestream does not see them either
                request_checksum_calculation="when_required",  # other servers know no others
                response_checksum_validation="when_required",
            ),
        }
        if keys is not None:
            options["aws_access_key_id"] = keys.access_key_id
            options["aws_secret_access_key"] = keys.secret_access_key
            options["aws_session_token"] = keys.session_token or None
        return options

    def _refused(self, code: str, words: str) -> Unavailable:
        hint = _KEYS_HINT if code in _DENIED else _HINTS.get(code, "look at the S3 server")
        text = words if code in words else f"{words} ({code})"
        return Unavailable(f"{self.url}: {text}", hint=hint)

    def _away(self, words: str) -> Unavailable:
        where = urlsplit(self.endpoint).netloc or "Amazon's S3"
        return Unavailable(
            f"{self.url}: {words}",
            hint=f"see that {where} can be reached from here, and that backup.endpoint is right",
        )

    def _keys(self) -> S3Keys | None:
        return s3_keys(self._settings, self._env)

    def _prefix(self) -> str:
        return f"{self.prefix}/" if self.prefix else ""

    def _key(self, key: str) -> str:
        return (self._prefix() + key).rstrip("/")

    def _own(self, key: str) -> str:
        return key.removeprefix(self._prefix())


def _session() -> Any:
    import aioboto3
    from aiobotocore import config  # noqa: F401 - in this thread, as it takes its time

    return aioboto3.Session()


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _words(error: BaseException) -> str:
    """Without the URL of the request, whose parameters are nobody's business."""
    name = type(error).__name__
    known = {
        "NoCredentialsError": "there are no keys for it",
        "PartialCredentialsError": "one of the keys is missing",
        "EndpointConnectionError": "the server does not answer",
        "ConnectTimeoutError": f"the server does not answer within {PATIENCE:g} s",
        "ReadTimeoutError": f"the server does not answer within {PATIENCE:g} s",
        "ConnectionClosedError": "the server closed the connection",
        "SSLError": "its certificate is not accepted",
        "ProfileNotFound": "AWS_PROFILE names a profile that is not there",
    }
    return known.get(name, f"the call failed ({name})")
