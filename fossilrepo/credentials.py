"""Credentials that lie outside the settings: keys of S3, the password of the mail server.

Owns where they are looked for. They are read anew at each use, so that they can be renewed.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fossilrepo.config import Settings, correct
from fossilrepo.errors import ConfigError

_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@dataclass(frozen=True)
class S3Keys:
    """What a bucket asks for, with a token when the keys are temporary; no secret in `repr`."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


def s3_keys(settings: Settings, env: Mapping[str, str] | None = None) -> S3Keys | None:
    """The keys for `backup.url` on S3, from `backup.credentials_file` or the environment.

    The file has the form of the AWS tools (section `[default]`). None when neither
    has any. Raises ConfigError when the file is given and cannot be used.
    """
    env = os.environ if env is None else env
    name = settings.backup.credentials_file
    found: Mapping[str, str] = {key.lower(): env.get(key, "") for key in _KEYS}
    if name:
        found = _read_keys(Path(name).expanduser())
    key, secret, token = (found.get(part.lower(), "").strip() for part in _KEYS)
    if key and secret:
        return S3Keys(key, secret, token)
    if key or secret or name:
        raise ConfigError(
            f"{name or 'the environment'} has not both {_KEYS[0]} and {_KEYS[1]}",
            hint="write both, in the file in lower case below [default]",
            field="backup.credentials_file",
        )
    return None


def mail_password(settings: Settings) -> str:
    """The password of `mail.user`, read anew each time; ConfigError for a file that is none."""
    given, name = settings.mail.password.get_secret_value(), settings.mail.password_file
    if given or not name:
        return given
    path, key = Path(name).expanduser(), "mail.password_file"
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            f"configuration key {key}: {path} cannot be read", hint=correct(key), field=key
        ) from None


def _read_keys(path: Path) -> Mapping[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _unusable(f"{path} cannot be read: {error.strerror}") from None
    except (configparser.Error, UnicodeDecodeError):  # their words quote the file
        raise _unusable(f"{path} is no credentials file") from None
    return parser["default"] if parser.has_section("default") else {}


def _unusable(message: str) -> ConfigError:
    key = "backup.credentials_file"
    return ConfigError(f"configuration key {key}: {message}", hint=correct(key), field=key)
