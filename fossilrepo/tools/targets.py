"""Places where the replica lies: which kind of target a URL means.

Owns the forms of URLs; the targets themselves are in `target_file` and `target_s3`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from fossilrepo.config import Settings
from fossilrepo.errors import InvalidInput
from fossilrepo.tools.target import Stored, Target
from fossilrepo.tools.target_file import FileTarget
from fossilrepo.tools.target_s3 import S3Target

__all__ = ["FileTarget", "S3Target", "Stored", "Target", "target_of"]

_QUERY = {"endpoint", "region"}


def target_of(
    settings: Settings, url: str | None = None, env: Mapping[str, str] | None = None
) -> Target:
    """The target at `url`, by default `backup.url`.

    An s3 URL uses the configured endpoint, region and keys; `?endpoint=` and `?region=`
    in it go before. `env` stands in for the process's environment. InvalidInput when
    the URL is none of the known forms.
    """
    text = settings.backup.url if url is None else url
    interval = settings.backup.sync_interval
    if text == "file":
        return FileTarget(settings.data / "backups", interval)
    parts = urlsplit(text)
    if parts.scheme == "file" and not parts.netloc and len(parts.path) > 1:
        return FileTarget(Path(unquote(parts.path)), interval)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    if parts.scheme == "s3" and parts.netloc and "@" not in text and not set(query) - _QUERY:
        return S3Target(
            settings,
            bucket=parts.netloc,
            prefix=parts.path.strip("/"),
            endpoint=query.get("endpoint", settings.backup.endpoint),
            region=query.get("region", settings.backup.region),
            env=env,
        )
    raise InvalidInput(
        f"{text.partition('?')[0]} is no place for a replica",
        hint="write file, file:///FOLDER or s3://BUCKET/PREFIX?endpoint=…&region=…",
        field="url",
    )
